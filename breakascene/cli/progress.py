"""Progress of an extraction on the terminal, and its interruption by Ctrl-C."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINES_EVERY = 50  # steps between lines where the output is not a terminal


@contextmanager
def step_progress() -> Iterator[Callable]:
    """Yield a callback that prints a StepEvent.

    On a terminal one line is updated in place; elsewhere a line is printed every 50 steps and after the last. A change
    of the memory mode is printed on a separate line.
    """
    live = sys.stdout.isatty()
    unfinished, memory = False, None

    def report(event) -> None:
        nonlocal unfinished, memory
        if event.memory != memory:
            memory = event.memory
            print(f"\r\x1b[K{memory}" if live else memory, flush=True)
        last = event.step == event.total
        line = (
            f"phase {event.phase}, step {event.step} of {event.total}, loss {event.losses['total']:.3f}, "
            f"{format_duration(event.seconds_left)} left"
        )
        if live:
            print(f"\r\x1b[K{line}", end="\n" if last else "", flush=True)
            unfinished = not last
        elif last or event.step % LINES_EVERY == 0:
            print(line, flush=True)

    try:
        yield report
    finally:
        if unfinished:
            print()


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that is true once Ctrl-C was pressed; a second Ctrl-C interrupts at once."""
    requested = False

    def request_stop(*_) -> None:
        nonlocal requested
        requested = True
        signal.signal(signal.SIGINT, previous_handler)

    previous_handler = signal.signal(signal.SIGINT, request_stop)
    try:
        yield lambda: requested
    finally:
        signal.signal(signal.SIGINT, previous_handler)


def format_duration(seconds: float) -> str:
    """Format seconds as "8 s", "2 min 05 s" or "1 h 10 min"."""
    minutes, seconds = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
