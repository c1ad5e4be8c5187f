"""Ends a process that the host's owner allowed: first asked, then forced."""

import os
import re
import signal
import time
from typing import NamedTuple

import stavily

# Seconds between two looks at whether it has ended.
LOOK = 0.1
CONFINED = (
    "a plugin in the sandbox reaches no process of the host, and no permission changes that: stop the service instead"
    " (restart-service), or run this plugin by an agent of its own with security.sandbox.level: none and require: none"
)


class Process(NamedTuple):
    """A process, named for ever by its number and its start."""

    pid: int
    start_ticks: int
    name: str


@stavily.action
def kill_process(params, ctx):
    """End the process, or the processes of a name; returns which ended by which signal."""
    if os.getpid() == 1:  # the only one of a process id namespace of its own, in which host's numbers mean nothing
        raise stavily.Refused(CONFINED)
    targets = find(params)
    permitted(targets, ctx.config.allow)
    handles = [(target, opened(target)) for target in targets]
    try:
        asked = [pair for pair in handles if send(*pair, signal.SIGTERM)]
        left = wait(asked, params.grace_seconds, ctx)
        forced = [pair for pair in left if params.force and not ctx.cancelled and send(*pair, signal.SIGKILL)]
        stubborn = wait(forced, 5.0, ctx) if forced else left
    finally:
        for _, handle in handles:
            if handle is not None:
                os.close(handle)
    result = {
        "ended": [target._asdict() for target, _ in asked if target not in [other for other, _ in stubborn]],
        "forced": [target.pid for target, _ in forced],
        "left": [target.pid for target, _ in stubborn],
    }
    if ctx.cancelled:
        raise stavily.Cancelled("cancelled: what was asked to end may still do so", result)
    if stubborn:
        raise stavily.Failed("still there: {}".format(", ".join(str(pid) for pid in result["left"])), result)
    return result


def find(params):
    """The processes that are meant; Refused where that is not clear."""
    if (params.get("pid") is None) == (params.get("name") is None):
        raise stavily.Refused("say which process: either pid and start_ticks, or name")
    if params.get("name") is None:
        if params.get("start_ticks") is None:
            raise stavily.Refused("pid alone could be another process by now: give start_ticks, too")
        target = look(params.get("pid"))
        if target is None or target.start_ticks != params.get("start_ticks"):
            raise stavily.Failed("process {} has ended already".format(params.get("pid")))
        return [target]
    try:
        pids = sorted(int(entry) for entry in os.listdir(stavily.host.proc()) if entry.isdigit())
    except OSError as error:
        raise stavily.Refused(CONFINED) from error
    found = [target for target in map(look, pids) if target and target.name == params.get("name")]
    if not found:
        raise stavily.Failed("there is no process named {!r}".format(params.get("name")))
    if len(found) > params.max_processes:
        told = "{} processes are named {!r}, and max_processes is {}"
        raise stavily.Refused(told.format(len(found), params.get("name"), params.max_processes))
    return found


def permitted(targets, allow):
    """See that all may be ended: neither this plugin's own ancestors nor what the owner did not name."""
    own = ancestors()
    for target in targets:
        try:
            named = any(re.fullmatch(pattern, target.name) for pattern in allow)
        except re.error as error:
            raise stavily.Refused("config.allow holds what is not a regular expression: {}".format(error)) from error
        if not named:
            raise stavily.Refused("{!r} is not among the processes that this host allows: {}".format(target.name, ", ".join(allow) or "none"))
        if target.pid in own or target.pid == 1:
            raise stavily.Refused("process {} is this agent, or what started it".format(target.pid))


def ancestors():
    """This process and those that it came from."""
    found, pid = {os.getpid()}, os.getppid()
    while pid > 1 and pid not in found:
        found.add(pid)
        fields = stat(pid)
        pid = int(fields[1][1]) if fields else 0
    return found


def look(pid):
    """A process as it is now, None when it has ended or is a zombie."""
    found = stat(pid)
    if found is None or found[1][0] in (b"Z", b"X"):
        return None
    return Process(pid, int(found[1][19]), found[0].decode("utf-8", "replace"))


def stat(pid):
    """Name and further fields of a process, as proc_pid_stat(5) has them; None when there is none."""
    try:
        with open(stavily.host.proc(str(pid), "stat"), "rb") as file:
            head, tail = file.read().rsplit(b")", 1)
    except PermissionError as error:
        raise stavily.Refused(CONFINED) from error
    except (OSError, ValueError):
        return None
    return head.split(b"(", 1)[1], tail.split()


def opened(target):
    """A descriptor of the process, which no other takes over; None where this system has none."""
    try:
        return os.pidfd_open(target.pid) if hasattr(os, "pidfd_open") else None
    except OSError:
        return None


def send(target, handle, number):
    """Signal a process, if it is still the one that was found; whether it was there."""
    if look(target.pid) != target:
        return False
    try:
        if handle is not None:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(target.pid, number)
        return True
    except ProcessLookupError:
        return False
    except PermissionError as error:
        told = "may not signal process {} ({}): it belongs to another user than the agent's, or the sandbox is in the way: {}"
        raise stavily.Refused(told.format(target.pid, target.name, CONFINED)) from error


def wait(pairs, seconds, ctx):
    """Those of the processes that have not ended within so many seconds."""
    end = time.monotonic() + min(seconds, ctx.remaining)
    while True:
        pairs = [pair for pair in pairs if look(pair[0].pid) == pair[0]]
        if not pairs or ctx.cancelled or time.monotonic() >= end:
            return pairs
        ctx.sleep(LOOK)


if __name__ == "__main__":
    stavily.run()
