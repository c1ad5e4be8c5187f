"""Tells when processes that should run do not, when there are too many, or when they take too much memory."""

import os
import re
from typing import NamedTuple

import stavily

# What is looked at of a command line, in bytes: enough for every class path that tells programs apart.
LONGEST = 4096


class Process(NamedTuple):
    """One process of the host."""

    pid: int
    start_ticks: int
    name: str
    cmdline: str
    rss_bytes: int


@stavily.sensor(interval=30)
def process(config, emit, state):
    """Emit process.count.low, process.count.high and process.rss.high for what matches, and .ok when it is over."""
    wanted = patterns(config)
    found = [entry for entry in running() if matches(entry, *wanted)]
    rss = sum(entry.rss_bytes for entry in found)
    data = {
        "match": config.get("name") or config.get("cmdline"),
        "count": len(found),
        "rss_bytes": rss,
        "pids": [entry.pid for entry in found[:50]],
        "start_ticks": [entry.start_ticks for entry in found[:50]],
    }
    judge("process.count", count_state(len(found), config), data, config, emit, state)
    if config.get("max_rss_bytes") is not None:
        now = "high" if rss > config.get("max_rss_bytes") else "ok"
        judge("process.rss", now, {**data, "max_rss_bytes": config.get("max_rss_bytes")}, config, emit, state)


def count_state(count, config):
    """What a number of processes means: low, high or ok."""
    most = config.get("max_count")
    if count < config.min_count:
        return "low"
    return "high" if most is not None and count > most else "ok"


def judge(topic, now, data, config, emit, state):
    """Emit when what is found has changed, and has been so for long enough."""
    seen = state.get(topic) or {"told": "ok", "now": "ok", "checks": 0}
    checks = seen["checks"] + 1 if now == seen["now"] else 1
    told = seen["told"]
    # The state follows the event: what could not be emitted is tried again at the next check.
    if now != told and (now == "ok" or checks >= config.checks):
        emit(topic + "." + now, data=data, severity="low" if now == "ok" else "high", key=data["match"])
        told = now
    state[topic] = {"told": told, "now": now, "checks": min(checks, config.checks)}


def patterns(config):
    """The expressions for name and command line, None for what is not asked; Failed where there is none, or a wrong one."""
    if not config.get("name") and not config.get("cmdline"):
        raise stavily.Failed("nothing to look for: set name or cmdline, or both")
    return [compiled("name", config.get("name")), compiled("cmdline", config.get("cmdline"))]


def compiled(key, pattern):
    """A regular expression of the configuration, None for an empty one."""
    try:
        return re.compile(pattern) if pattern else None
    except re.error as error:
        raise stavily.Failed("{} is not a regular expression: {!r}: {}".format(key, pattern, error)) from error


def matches(entry, name, cmdline):
    """Whether a process is one of those that are watched."""
    return (name is None or name.search(entry.name)) and (cmdline is None or cmdline.search(entry.cmdline))


def running():
    """The host's processes, as far as the sandbox shows them."""
    host = os.environ.get("HOST_PROC")
    proc = host or "/proc"
    try:
        pids = [int(entry) for entry in os.listdir(proc) if entry.isdigit()]
    except OSError as error:
        raise stavily.Failed(unseen(proc)) from error
    if not pids or not host and os.getpid() == 1:  # the only one of a process id namespace of its own
        raise stavily.Failed(unseen(proc))
    return [entry for entry in (read(os.path.join(proc, str(pid)), pid) for pid in sorted(pids)) if entry]


def unseen(proc):
    """Why there is nothing to see."""
    return (
        "the host's processes are not to be seen in {}: that takes sandbox level full (`sensor-agent sandbox check` says"
        " what is missing), and `read` in the plugin's file in config/plugins must allow /proc"
    ).format(proc)


def read(path, pid):
    """One process, as proc(5) has it; None when it has ended in the meantime or is a zombie, which runs no more."""
    try:
        with open(os.path.join(path, "stat"), "rb") as file:
            head, tail = file.read().rsplit(b")", 1)
        with open(os.path.join(path, "cmdline"), "rb") as file:
            cmdline = file.read(LONGEST)
    except (OSError, ValueError):
        return None
    fields = tail.split()
    if fields[0] in (b"Z", b"X"):
        return None
    name, line = head.split(b"(", 1)[1], cmdline.rstrip(b"\0").replace(b"\0", b" ")
    pages = int(fields[21])  # the 24th of proc_pid_stat(5)
    size = pages * os.sysconf("SC_PAGE_SIZE")
    return Process(pid, int(fields[19]), name.decode("utf-8", "replace"), line.decode("utf-8", "replace"), size)


if __name__ == "__main__":
    stavily.run()
