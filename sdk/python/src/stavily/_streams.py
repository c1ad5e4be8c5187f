"""Standard streams of a plugin: two for the protocol, the rest is its log."""

import logging
import os
import sys
from typing import BinaryIO, Tuple


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


def log_to_stderr() -> None:
    """Send every logger's records to standard error, unless the plugin has set up its own.

    From INFO on, or from what the agent's own logging.level says.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    level = _LEVELS.get(os.environ.get("STAVILY_LOG_LEVEL", ""), logging.INFO)
    logging.basicConfig(level=level, handlers=[handler])
