"""Regular expressions under a time limit: some take longer than the universe for thirty characters."""

import re
import signal
import threading
from typing import Any, Pattern

from .._errors import Failed


class TooSlow(Exception):
    """A match was given up."""


def compiled(name: str, pattern: str) -> Pattern[str]:
    """The expression under a key of the configuration; Failed with a sentence when it is none."""
    try:
        return re.compile(pattern, re.MULTILINE)
    except (re.error, RecursionError, OverflowError) as error:
        raise Failed("{} is not a regular expression: {!r}: {}".format(name, pattern, error)) from error


class Limit:
    """A block in which matching takes at most `seconds`; what is found late is TooSlow.

    The engine looks for signals while it works, so a timer's handler can end
    it by an exception. Signals arrive on the main thread of a Unix system; anywhere else
    the agent's limit on the time of a check is what is left.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._possible = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
        self._before: Any = None

    def __enter__(self) -> "Limit":
        if self._possible:
            self._before = signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, self._seconds)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._possible:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)

    def _ring(self, *_: Any) -> None:
        raise TooSlow("took more than {} seconds".format(self._seconds))
