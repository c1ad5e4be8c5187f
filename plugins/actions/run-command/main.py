"""Runs a program that the host's owner allowed, never through a shell."""

import os
import signal
import subprocess
import threading
import time

import stavily

# Seconds between two looks at cancellation and time while the program runs.
LOOK = 0.1
# Seconds that a program which is told to stop has for it.
GRACE = 2.0
# Seconds, after the program's end, for output that children of it still hold open.
LINGER = 1.0


class Output(threading.Thread):
    """Reads a stream to its end, so that the program never blocks, and keeps the first `limit` bytes."""

    def __init__(self, stream, limit):
        super().__init__(daemon=True)
        self._stream, self._limit = stream, limit
        self._kept = bytearray()
        self.cut = False
        self.start()

    def run(self):
        with self._stream:
            for chunk in iter(lambda: self._stream.read1(1 << 16), b""):
                room = self._limit - len(self._kept)
                self._kept += chunk[:room]
                self.cut = self.cut or len(chunk) > room

    def text(self):
        """What was kept; waits a little for the rest when the program has ended."""
        self.join(LINGER)
        return bytes(self._kept).decode("utf-8", "replace")


@stavily.action
def run_command(params, ctx):
    """Run params.command and return its exit code and the beginning of what it wrote."""
    command = allowed(params.command, ctx.config.allow)
    ctx.log.info("running %s", command)
    begin = time.monotonic()
    process = start(command, params.get("cwd"))
    stdout, stderr = (Output(stream, ctx.config.max_output_bytes) for stream in (process.stdout, process.stderr))
    stopped = wait(process, begin + min(params.timeout, ctx.remaining), ctx)
    result = {
        "exit_code": process.returncode,
        "stdout": stdout.text(),
        "stderr": stderr.text(),
        "truncated": stdout.cut or stderr.cut,
        "duration_seconds": round(time.monotonic() - begin, 3),
    }
    if stopped == "cancelled":
        raise stavily.Cancelled("stopped because the run was cancelled", result)
    if stopped:
        raise stavily.Failed(stopped, result)
    if process.returncode not in params.ok_exit_codes:
        raise stavily.Failed(ending(process.returncode, result["stderr"]), result)
    return result


def allowed(command, allow):
    """The command, if it begins with one of the allowed prefixes; Refused otherwise.

    A prefix is a list of arguments or, for a program with any arguments, its path.
    """
    if not isinstance(command, list):
        example = '["/usr/bin/uptime", "-p"]'
        told = "command must be a list of arguments, such as {}: a text would need a shell, and there is none"
        raise stavily.Refused(told.format(example))
    if not command or not all(isinstance(argument, str) and "\0" not in argument for argument in command):
        raise stavily.Refused("command must begin with a program, and every argument must be a text without NUL")
    if not os.path.isabs(command[0]):
        raise stavily.Refused("the program must be named by its absolute path, is {!r}".format(command[0]))
    for prefix in ([entry] if isinstance(entry, str) else entry for entry in allow):
        if prefix and command[: len(prefix)] == prefix:
            return command
    raise stavily.Refused("{} is not among the commands that this host allows".format(command))


def start(command, cwd):
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
        raise stavily.Failed("cannot run {}: {}".format(command[0], error))


def wait(process, end, ctx):
    """Wait for the program until `end`; returns why it was stopped before, or "" when it ended by itself."""
    begin = time.monotonic()
    while True:
        try:
            process.wait(LOOK)
            return ""
        except subprocess.TimeoutExpired:
            if ctx.cancelled or time.monotonic() >= end:
                break
    stop(process)
    return "cancelled" if ctx.cancelled else "stopped after {:.1f} seconds".format(time.monotonic() - begin)


def stop(process):
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


def ending(code, stderr):
    """One line for people: how the program ended, and the last thing that it complained about."""
    how = "exit code {}".format(code) if code >= 0 else "ended by {}".format(signal.Signals(-code).name)
    complaints = stderr.strip().splitlines()
    return "{}: {}".format(how, complaints[-1]) if complaints else how


if __name__ == "__main__":
    stavily.run()
