"""Standard streams of a plugin: two for the protocol, the rest is its log."""

import io
import logging
import os
import select
import signal
import sys
from typing import Any, BinaryIO, Container, Tuple, cast

from ._errors import Cancelled


def claim() -> Tuple[BinaryIO, BinaryIO]:
    """Take the protocol's two streams for the SDK alone; returns (requests, responses).

    After it, descriptor 0 is empty and 1 is standard error. So `print`, a C
    library or a child process can neither eat a command nor break an answer:
    what they write is log.
    """
    requests, responses = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    # A log line must be out before the process can be killed, and an odd
    # character in it must not become an exception.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[attr-defined]
    return requests, responses


def until_signal(requests: BinaryIO, numbers: Container[int]) -> BinaryIO:
    """The same requests, which end when one of these signals has come; the main thread calls it, once.

    A handler written in Python runs between two of its instructions, so a signal that comes
    just before a read is heard only after it, which may be never. The read waits for both
    instead, as signal.set_wakeup_fd allows. Windows has no poll, and no such signals: there
    it is `requests` itself.
    """
    if not hasattr(select, "poll"):
        return requests
    raw = _UntilSignal(requests, numbers)
    signal.set_wakeup_fd(raw.wake, warn_on_full_buffer=False)
    # A signal of a process that the plugin forks is none of ours.
    os.register_at_fork(after_in_child=lambda: cast(None, signal.set_wakeup_fd(-1)))
    return cast(BinaryIO, io.BufferedReader(raw))


class _UntilSignal(io.RawIOBase):
    """Belongs to the thread that reads; `wake` is written to by signal handlers of the interpreter."""

    def __init__(self, requests: BinaryIO, numbers: Container[int]) -> None:
        self._requests, self._numbers = requests, numbers
        self._came = False
        self._woken, self.wake = os.pipe()
        self._poll = select.poll()
        self._poll.register(requests, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)
        os.set_blocking(self.wake, False)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._came:
            ready = [descriptor for descriptor, _ in self._poll.poll()]
            if self._woken in ready:
                self._came = any(number in self._numbers for number in os.read(self._woken, 64))
            elif ready:
                return os.readv(self._requests.fileno(), [buffer])
        return 0


_LEVELS = {"debug": logging.DEBUG, "warn": logging.WARNING, "error": logging.ERROR}


class LineFormatter(logging.Formatter):
    """`warn: message`, with the level on each line, since the agent reads lines.

    The levels are the agent's: debug, info, warn, error. One of a logger's own counts
    as the next below.
    """

    _NAMES = ((logging.ERROR, "error"), (logging.WARNING, "warn"), (logging.INFO, "info"))

    def format(self, record: logging.LogRecord) -> str:
        level = next((name for least, name in self._NAMES if record.levelno >= least), "debug")
        return "\n".join("{}: {}".format(level, line) for line in super().format(record).splitlines() or [""])


class _LineHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Lines on a stream. Who is cancelled while it writes one is cancelled: logging keeps every other error to itself."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, Cancelled):
            raise error
        super().handleError(record)


def log_to_stderr() -> None:
    """Send every logger's records to standard error, unless the plugin has set up its own.

    From INFO on, or from what the agent's own logging.level says.
    """
    handler = _LineHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    level = _LEVELS.get(os.environ.get("STAVILY_LOG_LEVEL", ""), logging.INFO)
    logging.basicConfig(level=level, handlers=[handler])
