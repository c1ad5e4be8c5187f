"""More rights than one has."""

import glob
import os
import resource
import struct
import subprocess

from ._probe import ALWAYS, ORDINARY, Blocked, NotApplicable, each, preparing, probe
from ._syscall import call, prctl
from ._files import can_write, scratch


@probe()
def make_setuid(bait):
    """Make a file that runs with the rights of its owner, or of its group."""
    path = scratch("setuid")
    with preparing():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o700))

    def bit(mode):
        os.chmod(path, mode)
        if not os.stat(path).st_mode & 0o6000:
            raise Blocked("the bit was dropped")

    return each({"setuid": lambda: bit(0o4755), "setgid": lambda: bit(0o2755)})


@probe(control=ALWAYS)
def run_setuid_program(bait):
    """Run a program that becomes root."""
    found = [p for p in ("/usr/bin/su", "/usr/bin/passwd", "/usr/bin/sudo", "/usr/bin/newgrp") if os.path.exists(p)]
    if not found:
        raise NotApplicable("there is no such program")
    child = subprocess.Popen(found[:1], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with open("/proc/{}/status".format(child.pid)) as file:
            uids = [line for line in file if line.startswith("Uid:")][0].split()
    finally:
        child.kill()
        child.wait()
    if os.getuid() != 0 and uids[2] == "0":
        return "it ran as root"
    raise Blocked("it ran as user " + uids[2])


@probe(control=ORDINARY)
def set_file_capabilities(bait):
    """Give a file capabilities."""
    path = scratch("capable")
    with preparing():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o700))
    os.setxattr(path, "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 21, 0, 0, 0))
    return "set"


@probe(control=ORDINARY)
def become_another_user(bait):
    """Become root, or anybody else."""
    if os.getuid() == 0:
        raise NotApplicable("it is root already, see has_capabilities")
    return each({"setuid": lambda: os.setuid(0), "setgid": lambda: os.setgid(0), "setgroups": lambda: os.setgroups([0])})


@probe(control=ORDINARY)
def has_capabilities(bait):
    """Have any capability, or find one to raise."""
    with open("/proc/self/status") as file:
        sets = dict(line.split(":\t") for line in file if line.startswith("Cap"))
    held = {name: value.strip() for name, value in sets.items() if int(value, 16)}
    if any(name in held for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")):
        return repr(held)
    raise Blocked("the sets are empty")


@probe(control=ALWAYS)
def undo_no_new_privileges(bait):
    """Take back the promise to gain no privileges."""
    if prctl(39) != 1:
        return "it was never made"
    prctl(38, 0)
    return "taken back"


@probe(control=ORDINARY)
def raise_limits(bait):
    """Raise a hard limit."""

    def above(which):
        hard = resource.getrlimit(which)[1]
        if hard == resource.RLIM_INFINITY:
            raise NotApplicable("there is no limit to raise")
        try:
            resource.setrlimit(which, (hard + 1, hard + 1))
        except ValueError as error:  # Python's word for EPERM
            raise Blocked(str(error)) from error

    names = ("NOFILE", "NPROC", "AS", "FSIZE", "CORE")
    return each({name: lambda name=name: above(getattr(resource, "RLIMIT_" + name)) for name in names})


@probe()
def change_mark(bait):
    """Take off the mark by which leftovers are found (RLIMIT_LOCKS)."""
    locks = 10
    resource.prlimit(0, locks, (7, 7))
    return "the mark is changed to {}".format(resource.prlimit(0, locks))


@probe(control=ORDINARY)
def write_core_pattern(bait):
    """Have the kernel run a program of ours at the next crash."""
    return can_write("/proc/sys/kernel/core_pattern")


@probe(control=ORDINARY)
def write_sysctl(bait):
    """Change settings of the kernel."""
    paths = ("/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/user/max_user_namespaces")
    return each({path: lambda path=path: can_write(path) for path in paths})


@probe(control=ORDINARY)
def press_sysrq(bait):
    """Reach the keys that restart the host."""
    return can_write("/proc/sysrq-trigger")


@probe()
def survive_out_of_memory(bait):
    """Have the kernel end others before this plugin when memory runs out."""
    path = "/proc/self/oom_score_adj"
    with open(path) as file:
        before = int(file.read())
    with open(path, "w") as file:
        file.write("0")
    if before <= 0:
        return "it is not first in line: {}".format(before)
    return "lowered from {}".format(before)


@probe(control=ORDINARY)
def write_control_groups(bait):
    """Leave one's control group, or make one."""
    roots = [path for path in glob.glob("/sys/fs/cgroup/*") + ["/sys/fs/cgroup"] if os.path.isdir(path)]
    if not roots:
        raise Blocked("there are none to be seen")

    def leave(path):
        with open(os.path.join(path, "cgroup.procs"), "w") as file:
            file.write("0")

    def make(path):
        os.mkdir(os.path.join(path, "stavily-attack"))
        os.rmdir(os.path.join(path, "stavily-attack"))

    ways = {"leave " + root: lambda root=root: leave(root) for root in roots}
    ways.update({"make in " + root: lambda root=root: make(root) for root in roots})
    return each(ways)


@probe(control=ORDINARY)
def write_id_maps(bait):
    """Map the host's root into a user namespace."""
    with open("/proc/self/uid_map", "w") as file:
        file.write("0 0 1\n")
    return "mapped"


@probe(control=ORDINARY)
def change_own_memory_map(bait):
    """Move one's own memory map about, to pass for another program."""
    return "PR_SET_MM {}".format(call("prctl", 35, 13, os.open("/proc/self/exe", os.O_RDONLY), 0, 0))
