"""Mounts, roots and namespaces."""

import os
import struct

from ._probe import ORDINARY, Blocked, each, probe
from ._syscall import AT_FDCWD, call
from ._files import read, scratch

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWPID = 0x20000, 0x10000000, 0x40000000, 0x20000000
CLONE_NEWTIME, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWCGROUP = 0x80, 0x04000000, 0x08000000, 0x02000000
MS_REMOUNT, MS_BIND, MS_REC = 32, 4096, 16384


def in_child(attack):
    """Run an attack that changes the process for good in a child, and pass on what came of it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(writing, b"+" + str(attack()).encode())
            code = 0
        except OSError as error:
            os.write(writing, b"-" + str(error.errno).encode())
        except Blocked as reason:
            os.write(writing, b"b" + str(reason).encode())
        finally:
            os._exit(code)
    os.close(writing)
    answer = os.read(reading, 1000)
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        raise Blocked("the child was killed by signal {}".format(os.WTERMSIG(status)))
    if answer.startswith(b"+"):
        return answer[1:].decode()
    if answer.startswith(b"-"):
        code = int(answer[1:])
        raise OSError(code, os.strerror(code))
    raise Blocked(answer[1:].decode() or "the child ended with status {}".format(status))


@probe(control=ORDINARY)
def mount_tmpfs(bait):
    """Mount a file system."""
    return in_child(lambda: call("mount", "none", scratch(""), "tmpfs", 0, 0))


@probe(control=ORDINARY)
def mount_bind(bait):
    """Bind the agent's directory into the private one."""
    return in_child(lambda: call("mount", bait["base"], scratch(""), 0, MS_BIND | MS_REC, 0))


@probe(control=ORDINARY)
def umount_temp(bait):
    """Unmount what covers the host's files."""
    return in_child(
        lambda: each({path: lambda path=path: call("umount2", path, 2) for path in ("/tmp", "/proc", "/dev", "/", scratch(""))})
    )


@probe(control=ORDINARY)
def remount_writable(bait):
    """Make the root writable."""
    return in_child(lambda: call("mount", 0, "/", 0, MS_REMOUNT | MS_BIND, 0))


@probe(control=ORDINARY)
def mount_setattr_writable(bait):
    """Make the root writable by mount_setattr."""
    attr = struct.pack("QQQQ", 0, 1, 0, 0)
    return in_child(lambda: call("mount_setattr", AT_FDCWD, "/", 0x8000, attr, len(attr)))


@probe(control=ORDINARY)
def open_tree_clone(bait):
    """Copy the tree of mounts."""
    return "descriptor {}".format(call("open_tree", AT_FDCWD, "/", 1))


@probe(control=ORDINARY)
def open_file_system(bait):
    """Prepare a new file system by fsopen."""
    return "descriptor {}".format(call("fsopen", "tmpfs", 0))


@probe(control=ORDINARY)
def chroot_out(bait):
    """Leave the root by chroot and `..`."""

    def escape():
        os.mkdir(scratch("jail"))
        os.chroot(scratch("jail"))
        os.chdir(os.path.join(*[".."] * 20))
        return read("." + bait["key"])

    return in_child(escape)


@probe(control=ORDINARY)
def pivot_root_out(bait):
    """Change the root by pivot_root."""
    return in_child(lambda: call("pivot_root", "/", "/"))


@probe(control=ORDINARY)
def make_device(bait):
    """Make the node of the host's disk and of /dev/mem."""
    return each(
        {
            "disk": lambda: os.mknod(scratch("disk"), 0o60600, os.makedev(254, 0)),
            "mem": lambda: os.mknod(scratch("mem"), 0o20600, os.makedev(1, 1)),
        }
    )


@probe()
def new_user_namespace(bait):
    """Become root of a user namespace of one's own."""
    return in_child(lambda: call("unshare", CLONE_NEWUSER))


@probe()
def mount_in_user_namespace(bait):
    """Mount a file system in a user namespace, as root there."""

    def attack():
        call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
        call("mount", "none", "/", 0, MS_REC | (1 << 18), 0)
        call("mount", "none", "/tmp", "tmpfs", 0, 0)
        return "mounted"

    return in_child(attack)


@probe()
def unmount_in_user_namespace(bait):
    """Unveil what a mount covers by a copy of the tree in a user namespace."""

    def attack():
        call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
        return each({path: lambda path=path: call("open_tree", AT_FDCWD, path, 1 | 0x8000) for path in ("/", "/proc")})

    return in_child(attack)


@probe()
def network_in_user_namespace(bait):
    """Raw sockets in a network namespace of a user namespace."""
    import socket

    def attack():
        call("unshare", CLONE_NEWUSER | CLONE_NEWNET)
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        return "has a packet socket"

    return in_child(attack)


@probe()
def clone3_user_namespace(bait):
    """The same by clone3, whose flags no filter can see."""

    def attack():
        # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, …
        args = struct.pack("11Q", CLONE_NEWUSER, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)
        pid = call("clone3", args, len(args))
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return "started a child in a user namespace"

    return in_child(attack)


@probe()
def clone_user_namespace(bait):
    """The same by clone."""
    from ._syscall import X86_64, call_number

    def attack():
        pid = call_number(56 if X86_64 else 220, CLONE_NEWUSER | 17, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return "started a child in a user namespace"

    return in_child(attack)


@probe(control=ORDINARY)
def new_other_namespace(bait):
    """A mount, process, network, IPC, host-name, control-group or time namespace without a user's."""
    flags = {
        "mount": CLONE_NEWNS,
        "pid": CLONE_NEWPID,
        "net": CLONE_NEWNET,
        "ipc": CLONE_NEWIPC,
        "uts": CLONE_NEWUTS,
        "cgroup": CLONE_NEWCGROUP,
        "time": CLONE_NEWTIME,
    }
    return each({name: lambda flag=flag: in_child(lambda: call("unshare", flag)) for name, flag in flags.items()})


@probe(control=ORDINARY)
def join_agents_namespaces(bait):
    """Enter the namespaces of the agent."""

    def enter(kind):
        fd = os.open("/proc/{}/ns/{}".format(bait["agent_pid"], kind), os.O_RDONLY)
        call("setns", fd, 0)

    return each({kind: lambda kind=kind: in_child(lambda: enter(kind)) for kind in ("user", "mnt", "net", "pid", "ipc")})


@probe(control=ORDINARY)
def join_by_pidfd(bait):
    """Enter the namespaces of the agent by a descriptor of its process."""
    fd = call("pidfd_open", bait["agent_pid"], 0)
    return in_child(lambda: call("setns", fd, CLONE_NEWNS | CLONE_NEWNET))


@probe(control="nobody hands out a descriptor of another root")
def fchdir_out(bait):
    """Climb out by a directory descriptor from before the root was changed."""
    for fd in range(3, 64):
        try:
            os.fchdir(fd)
        except OSError:
            continue
        try:
            return read(os.path.join(*[".."] * 20) + bait["key"])
        except OSError:
            continue
    raise Blocked("no directory is open")
