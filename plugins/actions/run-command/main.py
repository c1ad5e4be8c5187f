"""Runs a program that the host's owner allowed, never through a shell."""

import os
import time

import stavily
from stavily.tools.program import ending, run


@stavily.action
def run_command(params, ctx):
    """Run params.command and return its exit code and the beginning of what it wrote."""
    command = allowed(params.command, ctx.config.allow)
    ctx.log.info("running %s", command)
    begin = time.monotonic()
    ended = run(
        command,
        seconds=min(params.timeout, ctx.remaining),
        most=ctx.config.max_output_bytes,
        cwd=params.get("cwd"),
        cancelled=lambda: ctx.cancelled,
    )
    result = {
        "exit_code": ended.exit_code,
        "stdout": ended.stdout,
        "stderr": ended.stderr,
        "truncated": ended.cut,
        "duration_seconds": round(time.monotonic() - begin, 3),
    }
    if ended.stopped == "cancelled":
        raise stavily.Cancelled("stopped because the run was cancelled", result)
    if ended.stopped:
        raise stavily.Failed(ended.stopped, result)
    if ended.exit_code not in params.ok_exit_codes:
        raise stavily.Failed(ending(ended.exit_code, ended.stderr), result)
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


if __name__ == "__main__":
    stavily.run()
