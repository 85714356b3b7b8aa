"""Calls that may take so long and no longer."""

from __future__ import annotations

import atexit
import ctypes
from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Lock, Thread
from typing import TypeVar

from llmrec.errors import EngineError

T = TypeVar("T")
_PATIENCE = 2.0
"""Seconds that the end of the process waits for a late call."""


class TimeLimit:
    """Seconds that each call may take before its caller goes on without it.

    Python cannot stop a thread. A call that is late runs on in the background, with what it holds (memory, processor, a
    connection), until it ends by itself or asks ``wanted``; its result is dropped. Calls under one limit, or under
    limits with one ``turn``, never run side by side: the next one waits for its turn, and that time counts. When the
    process ends, late calls are ended between two steps of Python; it waits two seconds for them at most.

    Args:
        seconds: that a call may take; None for any number, where only the turn matters.
        turn: one for all that must not run side by side, such as rankers that ask the same engine; None for its own.
    """

    def __init__(self, seconds: float | None, turn: Turn | None = None) -> None:
        self.seconds, self.turn = seconds, turn or Turn()

    def call(self, function: Callable[[], T]) -> T:
        """Return what ``function`` returns.

        Raises:
            EngineError: it took too long.
        """
        future: Future[T] = Future()
        thread = Thread(target=self.turn.run, args=(future, function), daemon=True)
        thread.start()
        if not wait([future], self.seconds).done:
            if not (waited := future.cancel()):  # it runs
                self.turn.late = future  # type: ignore[assignment]
                atexit.register(_end, thread)
            raise EngineError(
                f"no result after {self.seconds:g} s" + (" of waiting for a late call to end" if waited else ""),
                expected="one within the time limit",
                cure="raise the stage's timeout, or hand it fewer candidates or smaller blocks",
            )
        return future.result()


class Turn:
    """One call at a time.

    Attributes:
        late: the call that is running though nobody waits for it, if there was one.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: Future[object] | None = None
        self.late: Future[object] | None = None

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the call that runs now; one that can stop early asks, and raises if not."""
        return self._running is None or self._running is not self.late

    def settle(self, seconds: float) -> None:
        """Wait at most so long for a late call to end, so that what it uses can be closed."""
        if self.late is not None:
            wait([self.late], seconds)

    def run(self, future: Future[T], function: Callable[[], T]) -> None:
        """Call ``function`` when its turn comes, unless ``future`` was cancelled before, and put its result there."""
        with self._lock:
            if not future.set_running_or_notify_cancel():
                return
            self._running = future  # type: ignore[assignment]
            try:
                future.set_result(function())
            except BaseException as error:  # whoever waits raises it
                future.set_exception(error)
            finally:
                self._running = None


def _end(thread: Thread) -> None:
    """End a late call where it is: C++ code, torch's say, that returns to a Python that is gone aborts the process."""
    if thread.is_alive() and thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
        thread.join(_PATIENCE)
