"""Device nodes."""

import fcntl
import os
import struct

from ._probe import ORDINARY, NotApplicable, each, probe


def open_any(paths, flags=os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY):
    """Open whichever of the devices exists; NotApplicable when the host has none of them."""
    if not any(os.path.lexists(path) for path in paths):
        raise NotApplicable("there is no " + ", ".join(paths))
    return each({path: lambda path=path: os.open(path, flags) for path in paths})


@probe(control=ORDINARY)
def open_disk(bait):
    """Read the host's disk."""
    disks = [os.path.join("/dev", name) for name in ("vda", "sda", "xvda", "nvme0n1", "loop0")]
    return open_any(disks, os.O_RDONLY)


@probe(control=ORDINARY)
def open_memory(bait):
    """Open the host's memory and ports."""
    return open_any(["/dev/mem", "/dev/port", "/dev/kmem"], os.O_RDONLY)


@probe(control=ORDINARY)
def write_kernel_log(bait):
    """Write into the kernel's log."""
    return open_any(["/dev/kmsg"], os.O_WRONLY)


@probe(control=ORDINARY)
def open_special(bait):
    """Open the devices of virtual machines, file systems, tunnels and loops."""
    return open_any(["/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/loop-control", "/dev/vhost-net"])


@probe()
def open_terminal_maker(bait):
    """Make a terminal by /dev/ptmx."""
    return open_any(["/dev/ptmx", "/dev/pts/ptmx"])


@probe(control="a session of its own has no terminal, in every level")
def open_controlling_terminal(bait):
    """Open the terminal that the agent was started from."""
    return open_any(["/dev/tty"])


@probe()
def type_into_terminal(bait):
    """Put characters into a terminal as if somebody had typed them."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(master, 0x40045431, struct.pack("i", 0))  # TIOCSPTLCK
    number = struct.unpack("i", fcntl.ioctl(master, 0x80045430, bytes(4)))[0]  # TIOCGPTN
    slave = os.open("/dev/pts/{}".format(number), os.O_RDWR)  # and becomes the controlling one
    try:
        fcntl.ioctl(slave, 0x5412, b"x")  # TIOCSTI
    except OSError as error:
        if error.errno == 5:
            raise NotApplicable("dev.tty.legacy_tiocsti is off") from error
        raise
    return "typed"


@probe(control=ORDINARY)
def sysfs_write(bait):
    """Open settings of the kernel and of devices for writing."""
    paths = ["/sys/kernel/mm/transparent_hugepage/enabled", "/sys/power/state", "/sys/kernel/uevent_helper"]
    return open_any([path for path in paths if os.path.exists(path)] or paths, os.O_WRONLY)
