"""Other processes of the host, and more of one's own than one may have."""

import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time

from ._probe import ALONE, ALWAYS, ORDINARY, SHORT, SUPERVISED, Blocked, NotApplicable, each, preparing, probe
from ._syscall import IOVec, call, rename_process
from .mounts import in_child

PTRACE_CONT, PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SEIZE = 7, 16, 17, 0x4206
# What its receiver writes down, and nobody else minds.
HARMLESS = signal.SIGWINCH


def listed():
    """The numbers of the processes that /proc shows."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


@probe()
def list_processes(bait):
    """List the processes of the host."""
    pids = listed()
    if bait["agent_pid"] not in pids or bait["sibling_pid"] not in pids:
        raise Blocked("{} processes, of which none is the host's".format(len(pids)))
    with open("/proc/{}/cmdline".format(bait["sibling_pid"]), "rb") as file:
        return "{} processes, of them {!r}".format(len(pids), file.read(60))


@probe()
def find_processes(bait):
    """Find out which processes there are by asking for their session, group and scheduling, and to signal them."""
    pid = bait["sibling_pid"]
    return each(
        {
            "signal": lambda: os.kill(pid, 0),
            "session": lambda: os.getsid(pid),
            "group": lambda: os.getpgid(pid),
            "scheduler": lambda: os.sched_getscheduler(pid),
            "affinity": lambda: os.sched_getaffinity(pid),
            "priority": lambda: os.getpriority(os.PRIO_PROCESS, pid),
        }
    )


@probe()
def trace_agent(bait):
    """Trace the agent."""
    return in_child(lambda: "traced {}".format(call("ptrace", PTRACE_SEIZE, bait["agent_pid"], 0, 0)))


@probe()
def trace_sibling(bait):
    """Stop another process of the same user and look into it."""

    def attack():
        pid = bait["sibling_pid"]
        call("ptrace", PTRACE_ATTACH, pid, 0, 0)
        while (came := os.WSTOPSIG(os.waitpid(pid, 0x40000000)[1])) != signal.SIGSTOP:  # __WALL
            call("ptrace", PTRACE_CONT, pid, 0, came)  # another probe's signal, behind which it would stop for good
        word = ctypes.c_long()
        call("ptrace", 1, pid, bait["sibling_address"], ctypes.byref(word))
        call("ptrace", PTRACE_DETACH, pid, 0, 0)
        return "its memory begins with {!r}".format(struct.pack("l", word.value))

    return in_child(attack)


def _transfer(name, pid, address, buffer):
    here = IOVec(ctypes.addressof(buffer), len(buffer))
    there = IOVec(address, len(buffer))
    return call(name, pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)


@probe()
def read_agents_memory(bait):
    """Read the agent's memory by process_vm_readv."""
    room = ctypes.create_string_buffer(4)
    _transfer("process_vm_readv", bait["agent_pid"], bait["agent_text"], room)
    return b"memory: " + room.raw


@probe()
def read_siblings_memory(bait):
    """Read a secret in the memory of another process of the same user."""
    room = ctypes.create_string_buffer(40)
    _transfer("process_vm_readv", bait["sibling_pid"], bait["sibling_address"], room)
    return room.raw


@probe()
def write_siblings_memory(bait):
    """Write into the memory of another process of the same user."""
    room = ctypes.create_string_buffer(b"owned", 5)
    _transfer("process_vm_writev", bait["sibling_pid"], bait["sibling_address"] + 64, room)
    return "written"


@probe()
def signal_agent(bait):
    """Send the agent a signal."""
    os.kill(bait["agent_pid"], HARMLESS)
    return "sent"


@probe()
def signal_parent(bait):
    """Send a signal to whatever started this process."""
    if os.getppid() == 0:
        raise Blocked("nobody that could be named")
    os.kill(os.getppid(), HARMLESS)
    return "sent"


@probe()
def signal_sibling(bait):
    """Send another process of the same user a signal."""
    os.kill(bait["sibling_pid"], signal.SIGUSR1)
    return "sent"


@probe()
def signal_sibling_thread(bait):
    """The same to one of its threads, by tgkill and tkill."""
    pid = bait["sibling_pid"]
    return each(
        {
            "tgkill": lambda: call("tgkill", pid, pid, signal.SIGUSR2),
            "tkill": lambda: call("tkill", pid, signal.SIGUSR2),
        }
    )


@probe()
def signal_queued(bait):
    """The same with a value, by sigqueue."""
    info = struct.pack("iii4xIIQ", signal.SIGRTMIN + 4, 0, -1, os.getpid(), os.getuid(), 7).ljust(128, b"\0")
    call("rt_sigqueueinfo", bait["sibling_pid"], signal.SIGRTMIN + 4, info)
    return "sent"


@probe()
def signal_by_pidfd(bait):
    """The same by a descriptor of the process."""
    fd = call("pidfd_open", bait["sibling_pid"], 0)
    call("pidfd_send_signal", fd, signal.SIGRTMIN + 1, 0, 0)
    return "sent"


@probe()
def signal_by_owner(bait):
    """Have the kernel signal it, as the owner of a socket that becomes readable."""
    one, other = socket.socketpair()
    fcntl.fcntl(one, 10, signal.SIGRTMIN + 2)  # F_SETSIG
    fcntl.fcntl(one, fcntl.F_SETOWN, bait["sibling_pid"])
    fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    other.send(b"x")
    return "arranged"


@probe()
def signal_by_owner_ex(bait):
    """The same by F_SETOWN_EX and FIOSETOWN, which are other calls."""
    one, other = socket.socketpair()
    fcntl.fcntl(one, 10, signal.SIGRTMIN + 3)

    def by_ioctl():
        fcntl.ioctl(one, 0x8901, struct.pack("i", bait["sibling_pid"]))

    def by_ex():
        fcntl.fcntl(one, 15, struct.pack("ii", 1, bait["sibling_pid"]))  # F_OWNER_PID

    worked = each({"F_SETOWN_EX": by_ex, "FIOSETOWN": by_ioctl})
    fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    other.send(b"x")
    return worked


@probe()
def signal_everybody(bait):
    """Signal every process that one may."""
    os.kill(-1, HARMLESS)
    return "sent"


@probe()
def signal_group(bait):
    """Signal the agent's process group."""
    os.killpg(bait["agent_pid"], HARMLESS)
    return "sent"


@probe()
def take_agents_descriptor(bait):
    """Take an open file out of the agent by pidfd_getfd."""
    fd = call("pidfd_open", bait["agent_pid"], 0)
    taken = call("pidfd_getfd", fd, bait["leaked_fd"], 0)
    return os.pread(taken, 200, 0)


@probe()
def compare_agent(bait):
    """Compare files and memory with the agent's by kcmp."""
    return "kcmp {}".format(call("kcmp", os.getpid(), bait["agent_pid"], 1, 0, 0))


@probe()
def limit_agent(bait):
    """Set a limit of the agent, to what it is."""
    now = resource.prlimit(bait["agent_pid"], resource.RLIMIT_CORE)
    resource.prlimit(bait["agent_pid"], resource.RLIMIT_CORE, now)
    return "set to {}".format(now)


@probe()
def pin_agent(bait):
    """Pin the agent to processors, to those that it has."""
    os.sched_setaffinity(bait["agent_pid"], os.sched_getaffinity(bait["agent_pid"]))
    return "pinned"


@probe()
def slow_sibling(bait):
    """Take priority from another process of the same user."""
    pid = bait["sibling_pid"]
    os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid) + 1)
    return "slower"


@probe(kind=ALONE)
def slow_user(bait):
    """Take priority from every process of the user."""
    before = os.getpriority(os.PRIO_PROCESS, bait["sibling_pid"])
    call("setpriority", 2, os.getuid(), before + 1)
    with open("/proc/{}/stat".format(bait["sibling_pid"])) as file:
        nice = int(file.read().rsplit(")", 1)[1].split()[16])
    if nice <= before:
        raise Blocked("the sibling's is {}".format(nice))
    return "the sibling's is {}".format(nice)


@probe()
def slow_siblings_disk(bait):
    """Take priority on the disk from it."""
    call("ioprio_set", 1, bait["sibling_pid"], (3 << 13) | 0)
    return "slower"


@probe()
def reschedule_sibling(bait):
    """Give it another scheduler."""
    return each(
        {
            "sched_setscheduler": lambda: call("sched_setscheduler", bait["sibling_pid"], 0, struct.pack("i", 0)),
            "sched_setattr": lambda: call("sched_setattr", bait["sibling_pid"], struct.pack("IIQiIQQQ", 48, 0, 0, 5, 0, 0, 0, 0), 0),
        }
    )


@probe(control=ORDINARY)
def real_time(bait):
    """Take a processor for oneself by real-time scheduling."""
    call("sched_setscheduler", 0, 1, struct.pack("i", 1))
    return "has it"


@probe()
def advise_sibling(bait):
    """Page out the memory of another process."""
    fd = call("pidfd_open", bait["sibling_pid"], 0)
    area = IOVec(bait["sibling_address"], 4096)
    try:
        return "advised {}".format(call("process_madvise", fd, ctypes.byref(area), 1, 20, 0))
    except OSError as error:
        if error.errno == 1 and os.getuid() != 0 and bait["sandbox"] == "none":
            raise NotApplicable("needs CAP_SYS_NICE besides") from error
        raise


@probe()
def move_siblings_pages(bait):
    """Ask where the pages of another process are, and move them."""
    page, status = ctypes.c_void_p(bait["sibling_address"]), ctypes.c_int()
    call("move_pages", bait["sibling_pid"], 1, ctypes.byref(page), 0, ctypes.byref(status), 0)
    return "node {}".format(status.value)


@probe(control=ALWAYS)
def inherited_descriptor(bait):
    """Read a file that the agent has open, by a descriptor inherited from it."""
    for fd in range(3, 256):
        try:
            data = os.pread(fd, 200, 0)
        except OSError:
            continue
        if bait["leaked_secret"].encode() in data:
            return data
    raise Blocked("no such descriptor")


@probe(control=ALWAYS)
def descriptor_across_exec(bait):
    """The same from a child that Python starts."""
    code = "import os,sys\nfor fd in range(3, 256):\n  try: sys.stdout.write(repr(os.pread(fd, 99, 0)))\n  except OSError: pass"
    out = subprocess.run([sys.executable, "-IS", "-c", code], stdout=subprocess.PIPE, close_fds=False, timeout=10).stdout
    if bait["leaked_secret"].encode() in out:
        return out
    raise Blocked("no such descriptor")


@probe(control=SUPERVISED, kind=ALONE)
def fork_bomb(bait):
    """Start more processes than one may have."""
    limit = bait["process_limit"]
    started = []
    try:
        while len(started) < limit + 50:
            pid = os.fork()
            if pid == 0:
                time.sleep(5)
                os._exit(0)
            started.append(pid)
        time.sleep(0.5)  # what is watched and not held may exceed it until it is looked at
    finally:
        for pid in started:
            os.kill(pid, signal.SIGKILL)
        for pid in started:
            os.waitpid(pid, 0)
    return "{} processes at the same time".format(len(started))


@probe(control=SUPERVISED, kind=ALONE)
def thread_bomb(bait):
    """Start more threads than one may have."""
    import threading

    stop = threading.Event()
    limit = bait["process_limit"] * 4
    threading.stack_size(64 << 10)
    try:
        for _ in range(limit):
            threading.Thread(target=stop.wait, daemon=True).start()
        time.sleep(0.5)
    except RuntimeError as error:
        raise Blocked(str(error)) from error
    finally:
        stop.set()
    return "{} threads at the same time".format(limit)


def _swallow(amount):
    """Take memory for good: pages that are written, in steps that a watchdog can see."""
    rename_process("atk-memory")
    taken = []
    for _ in range(amount >> 22):
        block = bytearray(4 << 20)
        block[:: os.sysconf("SC_PAGE_SIZE")] = b"\1" * len(block[:: os.sysconf("SC_PAGE_SIZE")])
        taken.append(block)
    time.sleep(0.3)
    return "{} MiB".format(len(taken) * 4)


@probe(control=SUPERVISED, kind=ALONE)
def memory_in_one_process(bait):
    """Take four times the memory that one may have."""
    return _swallow(bait["memory_limit"] * 4)


@probe(control=SUPERVISED, kind=ALONE)
def memory_in_many_processes(bait):
    """The same spread over six processes, each within the limit."""
    pids = []
    for _ in range(6):
        pid = os.fork()
        if pid == 0:
            try:
                _swallow(bait["memory_limit"] * 9 // 10)
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    return "taken"


@probe(control=SUPERVISED, kind=ALONE)
def memory_outside_process(bait):
    """The same in memory that belongs to no process: of files without a disk."""
    held, block = [], b"\xa5" * (1 << 20)
    for i in range(bait["memory_limit"] * 4 >> 24):  # a warm one's group has room for its zygote too
        try:
            fd = call("memfd_create", "hoard", 0)
        except OSError:
            path = "/dev/shm/{}-{}".format(bait["mark"], i)
            fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            os.unlink(path)
        held.append(fd)
        for _ in range(16):  # many small ones: a limit on the size of a file is no limit
            os.write(fd, block)
    return "{} MiB".format(len(held) * 16)


@probe(control=SUPERVISED, kind=SHORT)
def spin(bait):
    """Use a processor beyond the time limit, deaf to every request."""
    rename_process("atk-spin")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass
