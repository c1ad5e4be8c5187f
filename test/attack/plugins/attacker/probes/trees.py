"""Processes that want to outlive their run; how many did is counted from outside."""

import os
import signal
import time

from ._probe import LAST, SHORT, SUPERVISED, ALONE, Blocked, preparing, probe
from ._syscall import rename_process
from ._files import scratch


def deaf():
    """Ignore every request to end."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)


def daemon(name, work):
    """Do something in a process that has nothing to do with this one any more."""
    pid = os.fork()
    if pid != 0:
        os.waitpid(pid, 0)
        return
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    deaf()
    rename_process(name)
    for fd in range(0, 64):
        try:
            os.close(fd)
        except OSError:
            continue
    try:
        work()
    finally:
        os._exit(0)


def sleep_long():
    """As long as nobody can overlook."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(1)


@probe(control=SUPERVISED, kind=SHORT)
def forking_on(bait):
    """Be somebody else every millisecond: fork and end without pause."""

    def hop():
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if os.fork() != 0:
                os._exit(0)

    daemon("atk-hop", hop)
    rename_process("atk-hop")
    deaf()
    sleep_long()
    raise Blocked("unreached")


@probe(control=SUPERVISED, kind=SHORT)
def daemon_past_time_limit(bait):
    """Leave a daemon behind when the time is up."""
    daemon("atk-daemon-1", sleep_long)
    sleep_long()
    raise Blocked("unreached")


@probe(control=SUPERVISED, kind=ALONE)
def daemon_past_exit(bait):
    """Leave a daemon behind at the end of the run."""
    daemon("atk-daemon-2", sleep_long)
    time.sleep(0.3)  # so that it is seen
    raise Blocked("whether it lives on is seen from outside")


@probe(control=SUPERVISED, kind=SHORT)
def deaf_tree(bait):
    """A tree of processes in sessions of their own, all of them deaf."""
    for _ in range(3):
        daemon("atk-deaf", sleep_long)
    deaf()
    sleep_long()
    raise Blocked("unreached")


@probe(control=SUPERVISED, kind=SHORT)
def closed_outputs(bait):
    """Close every output and go on."""
    rename_process("atk-closed")
    deaf()
    for fd in range(0, 64):
        try:
            os.close(fd)
        except OSError:
            continue
    sleep_long()
    raise Blocked("unreached")


@probe(control=SUPERVISED, kind=SHORT)
def stuck_on_fifo(bait):
    """Sleep in the kernel, on a FIFO that nobody opens."""
    with preparing():
        os.mkfifo(scratch("fifo"))
    daemon("atk-fifo", lambda: os.open(scratch("fifo"), os.O_RDONLY))
    rename_process("atk-fifo")
    deaf()
    os.open(scratch("fifo"), os.O_RDONLY)
    raise Blocked("unreached")


@probe(control=SUPERVISED, kind=SHORT)
def stopped(bait):
    """Stop oneself, so that no request is heard."""
    daemon("atk-stopped", lambda: os.kill(os.getpid(), signal.SIGSTOP))
    rename_process("atk-stopped")
    os.kill(os.getpid(), signal.SIGSTOP)
    sleep_long()
    raise Blocked("unreached")


@probe(control=SUPERVISED, kind=SHORT)
def vfork_for_ever(bait):
    """Wait in vfork for a child that never becomes another program."""
    rename_process("atk-vfork")
    deaf()
    with preparing():
        os.mkfifo(scratch("spawn"))
    # posix_spawn(3) waits as vfork does, here for a child that waits for the FIFO.
    os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, scratch("spawn"), os.O_RDONLY, 0)])
    raise Blocked("unreached")


@probe(control=SUPERVISED, kind=SHORT)
def tracing_each_other(bait):
    """Hold a process by ptrace, so that its end waits for the tracer."""
    from ._syscall import call

    rename_process("atk-traced")
    child = os.fork()
    if child == 0:
        deaf()
        sleep_long()
        os._exit(0)
    try:
        call("ptrace", 0x4206, child, 0, 0x100000)  # SEIZE, EXITKILL off
    except OSError:
        deaf()  # without it the child is only one more that must be found
    sleep_long()
    raise Blocked("unreached")


@probe(control=SUPERVISED, kind=LAST)
def outlive_agent(bait):
    """Leave a daemon behind when the agent is killed."""
    daemon("atk-outlive", sleep_long)
    rename_process("atk-outlive")
    deaf()
    sleep_long()
    raise Blocked("unreached")
