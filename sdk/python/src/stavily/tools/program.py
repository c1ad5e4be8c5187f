"""A program, run to its end or to the end of its time, never through a shell."""

import os
import signal
import subprocess
import threading
import time
from typing import Any, Callable, NamedTuple, Optional, Sequence

from .._errors import Failed

# Seconds between two looks at cancellation and time while the program runs.
LOOK = 0.1
# Seconds that a program which is told to stop has for it.
GRACE = 2.0
# Seconds, after the program's end, for output that children of it still hold open.
LINGER = 1.0


class Ended(NamedTuple):
    """How a program ended; `stopped` says why it was stopped before, "" when it ended by itself."""

    exit_code: int  # negative: the signal that ended it
    stdout: str
    stderr: str
    cut: bool
    stopped: str


class Output(threading.Thread):
    """Reads a stream to its end, so that the program never blocks, and keeps the first `limit` bytes."""

    def __init__(self, stream: Any, limit: int) -> None:
        super().__init__(daemon=True)
        self._stream, self._limit = stream, limit
        self._kept = bytearray()
        self.cut = False
        self.start()

    def run(self) -> None:
        with self._stream:
            while True:
                chunk: bytes = self._stream.read1(1 << 16)
                if not chunk:
                    break
                room = self._limit - len(self._kept)
                self._kept += chunk[:room]
                self.cut = self.cut or len(chunk) > room

    def text(self) -> str:
        """What was kept; waits a little for the rest when the program has ended."""
        self.join(LINGER)
        return bytes(self._kept).decode("utf-8", "replace")


def run(
    command: Sequence[str],
    *,
    seconds: float,
    most: int,
    cwd: Optional[str] = None,
    cancelled: Callable[[], bool] = lambda: False
) -> Ended:
    """Run a program for at most so many seconds, and keep so many bytes of each of its outputs."""
    begin = time.monotonic()
    process = start(command, cwd)
    try:
        stdout, stderr = (Output(stream, most) for stream in (process.stdout, process.stderr))
        stopped = wait(process, begin + seconds, cancelled)
    except BaseException:  # the plugin itself is told to end
        stop(process)
        raise
    return Ended(process.returncode, stdout.text(), stderr.text(), stdout.cut or stderr.cut, stopped)


def start(command: Sequence[str], cwd: Optional[str]) -> "subprocess.Popen[bytes]":
    """The program, running in a process group of its own, with nothing to read and without the agent's variables."""
    try:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env={name: value for name, value in os.environ.items() if not name.startswith("STAVILY_")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise Failed("cannot run {}: {}".format(command[0], error))


def wait(process: "subprocess.Popen[bytes]", end: float, cancelled: Callable[[], bool]) -> str:
    """Wait for the program until `end`; returns why it was stopped before, or "" when it ended by itself."""
    begin = time.monotonic()
    while True:
        try:
            process.wait(LOOK)
            return ""
        except subprocess.TimeoutExpired:
            if cancelled() or time.monotonic() >= end:
                break
    stop(process)
    return "cancelled" if cancelled() else "stopped after {:.1f} seconds".format(time.monotonic() - begin)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End the program and its group: asked first, then, with what of the group outlived it, forced."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)  # the number is nobody else's while one of the group lives
    except (ProcessLookupError, PermissionError):  # nobody is left; macOS says it by the second
        pass
    process.wait()


def ending(code: int, stderr: str) -> str:
    """One line for people: how the program ended, and the last thing that it complained about."""
    how = "exit code {}".format(code) if code >= 0 else "ended by {}".format(signal.Signals(-code).name)
    complaints = stderr.strip().splitlines()
    return "{}: {}".format(how, complaints[-1]) if complaints else how
