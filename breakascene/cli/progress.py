"""Progress of an extraction on the terminal, and its interruption by Ctrl-C."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from breakascene.rendering.durations import format_duration

LINES_EVERY = 50  # steps between lines where the output is not a terminal


@contextmanager
def step_progress() -> Iterator[Callable]:
    """Yield a callback that prints a StepEvent.

    On a terminal one line is updated in place; otherwise a line is printed every 50 steps and after the last. A change
    of the memory mode is printed on a separate line.
    """
    live = sys.stdout.isatty()
    unfinished, memory = False, None

    def report(event) -> None:
        with suppress(OSError):  # a terminal that was closed must not end the run
            write(event)

    def write(event) -> None:
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
            with suppress(OSError):
                print()


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that is true after Ctrl-C, SIGTERM or SIGHUP; a second Ctrl-C interrupts at once."""
    requested = False
    previous = {}

    def request_stop(*_) -> None:
        nonlocal requested
        requested = True
        restore()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):  # as nohup sets it
            continue
        previous[number] = signal.signal(number, request_stop)
    try:
        yield lambda: requested
    finally:
        restore()
