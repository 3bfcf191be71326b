"""Exclusive use of a base model by one thread at a time, or by one extraction from its first step to its end."""

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager

from breakascene.errors import UserError


class BaseLock:
    """A reentrant lock that a generator can hold between its items.

    A threading.RLock belongs to a thread, but a generator may be resumed by one thread and closed by another.
    """

    def __init__(self):
        self._changed = threading.Condition()
        self._thread: int | None = None  # in one or several nested `held` blocks
        self._depth = 0
        self._generator: Generator | None = None  # in `hold_over`
        self._resumed_by: int | None = None  # the thread that ran the generator last
        self._running = False  # whether the generator runs at the moment

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for the duration of a block, after waiting for other threads.

        Raises:
            UserError: If an extraction of the calling thread is suspended between two steps: waiting would never end.
        """
        thread = threading.get_ident()
        with self._changed:
            inside = self._inside(thread)
            if not inside:
                self._wait(thread)
                self._thread, self._depth = thread, self._depth + 1
        try:
            yield
        finally:
            if not inside:
                with self._changed:
                    self._depth -= 1
                    self._thread = thread if self._depth else None
                    self._changed.notify_all()

    def hold_over(self, generator: Generator) -> Generator:
        """Run a generator, holding the lock from its first item until it ends, fails or is closed."""
        thread = threading.get_ident()
        with self._changed:
            if self._inside(thread) or self._thread == thread:
                raise _in_use()
            self._wait(thread)
            self._generator = generator
        try:
            while True:
                with self._resumed():
                    try:
                        item = next(generator)
                    except StopIteration as end:
                        return end.value
                yield item
        finally:
            with self._resumed():
                generator.close()
            with self._changed:
                self._generator = None
                self._changed.notify_all()

    def _inside(self, thread: int) -> bool:
        """Whether the thread is running the generator that holds the lock."""
        return self._running and self._resumed_by == thread

    def _wait(self, thread: int) -> None:
        if self._generator is not None and not self._running and self._resumed_by == thread:
            raise _in_use()
        self._changed.wait_for(lambda: self._generator is None and self._thread in (None, thread))

    @contextmanager
    def _resumed(self) -> Iterator[None]:
        with self._changed:
            self._resumed_by, self._running = threading.get_ident(), True
        try:
            yield
        finally:
            with self._changed:
                self._running = False


def _in_use() -> UserError:
    return UserError("An extraction is using this base model: finish or close it before using the model otherwise.")
