"""The kernel itself: calls that few programs need and many holes were in."""

import ctypes
import fcntl
import os
import socket
import struct
import time

from ._probe import ORDINARY, Blocked, NotApplicable, each, preparing, probe
from ._syscall import X86_64, call, call_number, machine_code, prctl
from ._files import read, scratch
from .mounts import in_child


@probe()
def key_rings(bait):
    """Keep keys in the kernel, and reach those of the user."""
    return each(
        {
            "add_key": lambda: call("add_key", "user", "stavily-attack", b"secret", 6, -2),  # process keyring
            "keyctl": lambda: call("keyctl", 0, -4, 0),  # get the user keyring
            "request_key": lambda: call("request_key", "user", "stavily-attack", 0, -2),
        }
    )


@probe()
def bpf(bait):
    """Load a program into the kernel."""
    attr = struct.pack("5I", 2, 4, 8, 1, 0).ljust(128, b"\0")  # an array map
    try:
        return "map {}".format(call("bpf", 0, attr, len(attr)))
    except OSError as error:
        if error.errno == 1 and _sysctl("kernel/unprivileged_bpf_disabled") != 0 and bait["sandbox"] == "none":
            raise NotApplicable("kernel.unprivileged_bpf_disabled") from error
        raise


@probe()
def performance_counters(bait):
    """Measure other processes and the kernel by its counters."""
    # Software, task clock; without the kernel's and the hypervisor's part.
    attr = struct.pack("IIQQQQQ", 1, 120, 1, 0, 0, 0, 0x60).ljust(120, b"\0")
    try:
        return "descriptor {}".format(call("perf_event_open", attr, 0, -1, -1, 0))
    except OSError as error:
        if error.errno == 13 and _sysctl("kernel/perf_event_paranoid") > 2:
            raise NotApplicable("kernel.perf_event_paranoid") from error
        raise


def _sysctl(name):
    try:
        with open("/proc/sys/" + name) as file:
            return int(file.read())
    except OSError:
        return 0


@probe()
def user_faults(bait):
    """Stop the kernel in the middle of a copy by userfaultfd."""
    return "descriptor {}".format(call("userfaultfd", 1))  # user mode only


@probe()
def kernel_log(bait):
    """Read the kernel's log, with its addresses."""
    room = ctypes.create_string_buffer(200)
    try:
        size = call("syslog", 3, room, 200)
    except OSError as error:
        if error.errno == 1 and bait["sandbox"] == "none" and _sysctl("kernel/dmesg_restrict"):
            raise NotApplicable("kernel.dmesg_restrict") from error
        raise
    return room.raw[:size]


@probe()
def io_ring(bait):
    """Set up an io_uring."""
    try:
        return "ring {}".format(call("io_uring_setup", 4, ctypes.create_string_buffer(120)))
    except OSError as error:
        if error.errno == 38:
            raise NotApplicable("the kernel has none") from error
        raise


@probe()
def old_aio(bait):
    """Set up asynchronous I/O of the old kind."""
    context = ctypes.c_ulong()
    call("io_setup", 1, ctypes.byref(context))
    return "set up"


@probe()
def splice_user_pages(bait):
    """Give pages of one's own to a pipe by vmsplice."""
    _, writing = os.pipe()
    buffer = ctypes.create_string_buffer(4096)
    area = struct.pack("QQ", ctypes.addressof(buffer), 4096)
    return "gave {} bytes".format(call("vmsplice", writing, area, 1, 0))


@probe()
def change_personality(bait):
    """Take randomness out of the addresses of the programs that one starts."""
    call("personality", 0x0040000)  # ADDR_NO_RANDOMIZE
    return "taken"


def by_the_old_door(attack):
    """Run an attack that enters the kernel by int 0x80: some virtual machines kill whoever does."""
    try:
        return in_child(attack)
    except Blocked as reason:
        if "signal 11" in str(reason):
            raise NotApplicable("this machine has no such door") from reason
        raise


@probe()
def old_system_calls(bait):
    """Enter the kernel by the door for 32-bit programs, where the filter's numbers mean others."""
    # push rbx; mov eax, 20 (getpid of i386); int 0x80; pop rbx; cdqe; ret
    getpid = machine_code(b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\x48\x98\xc3")

    def attack():
        if getpid() != os.getpid():
            raise Blocked("no such door")
        return "answered"

    return by_the_old_door(attack)


@probe()
def old_socket_call(bait):
    """Open a socket by socketcall of that door."""
    # socketcall(SYS_SOCKET, [AF_INET, SOCK_STREAM, 0]); needs its arguments below 4 GiB
    import mmap

    def attack():
        if not X86_64:
            raise Blocked("not on this processor")
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        low = libc.mmap(None, 4096, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40, -1, 0)  # MAP_32BIT
        ctypes.memmove(low, struct.pack("III", 2, 1, 0), 12)
        code = b"\x53\xb8\x66\x00\x00\x00\xbb\x01\x00\x00\x00\xb9" + struct.pack("I", low) + b"\xcd\x80\x5b\x48\x98\xc3"
        fd = machine_code(code)()
        if fd < 0:
            raise OSError(-fd, os.strerror(-fd))
        return "socket {}".format(fd)

    return by_the_old_door(attack)


@probe(control="this kernel has no x32")
def x32_system_calls(bait):
    """The same by the door for x32 programs."""

    def attack():
        return "answered {}".format(call_number(0x40000000 + 39))

    return in_child(attack)


@probe()
def memory_without_file(bait):
    """Make files that are only memory."""
    return each(
        {
            "memfd_create": lambda: call("memfd_create", "attack", 0),
            "memfd_secret": lambda: call("memfd_secret", 0),
        }
    )


@probe(control=ORDINARY)
def load_module(bait):
    """Load and remove kernel modules."""

    def reached(name, *args):
        try:
            call(name, *args)
        except OSError as error:
            if error.errno in (1, 38):
                raise
            # Past the check of the right: the arguments are nonsense on purpose.

    return each(
        {
            "finit_module": lambda: reached("finit_module", -1, "", 0),
            "delete_module": lambda: reached("delete_module", "stavily_none", 0o4000),
            "kexec_load": lambda: reached("kexec_load", 0, 99, 0, 1 << 20),
        }
    )


@probe(control=ORDINARY)
def restart_host(bait):
    """Restart the host (with numbers that mean nothing, so that only the right is asked)."""
    try:
        call("reboot", 0, 0, 0, 0)
    except OSError as error:
        if error.errno == 22:
            return "only the numbers were wrong"
        raise
    return "restarted"


@probe(control=ORDINARY)
def change_clock(bait):
    """Set the clock, to what it is."""
    now = time.time()
    spec = struct.pack("qq", int(now), int(now % 1 * 1e9))
    return each(
        {
            "clock_settime": lambda: call("clock_settime", 0, spec),
            "settimeofday": lambda: call("settimeofday", struct.pack("qq", int(now), 0), 0) and None,
            "clock_adjtime": lambda: call("clock_adjtime", 0, struct.pack("Iq", 0x4000, 10000).ljust(208, b"\0")),
        }
    )


@probe(control=ORDINARY)
def change_host_name(bait):
    """Rename the host, to what it is called."""
    name = socket.gethostname().encode()
    return each(
        {
            "sethostname": lambda: call("sethostname", name, len(name)),
            "setdomainname": lambda: call("setdomainname", b"(none)", 6),
        }
    )


@probe(control=ORDINARY)
def swap_and_accounting(bait):
    """Turn on swap, accounting and quotas."""
    return each(
        {
            "swapon": lambda: call("swapon", scratch("none"), 0),
            "acct": lambda: call("acct", 0),
            "quotactl": lambda: call("quotactl", 0x800002 << 8, "/dev/vda", 0, 0),
        }
    )


@probe(control=ORDINARY)
def hang_up_terminal(bait):
    """Hang up the terminal."""
    return in_child(lambda: call("vhangup"))


@probe(control=ORDINARY)
def watch_file_system(bait):
    """Watch every file of a file system by fanotify."""
    return "descriptor {}".format(call("fanotify_init", 0, 0))


@probe()
def file_flags(bait):
    """Set file-system flags of a file of one's own."""
    with preparing():
        fd = os.open(scratch("flags"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        flags = struct.unpack("l", fcntl.ioctl(fd, 0x80086601, bytes(8)))[0]  # FS_IOC_GETFLAGS
        fcntl.ioctl(fd, 0x40086602, struct.pack("l", flags | 0x40))  # FS_IOC_SETFLAGS, FS_NODUMP_FL
    except OSError as error:
        if error.errno in (25, 95) and bait["sandbox"] == "none":
            raise NotApplicable("the file system has no flags") from error
        raise
    return "set"


@probe(control="a domain can only be narrowed")
def widen_landlock(bait):
    """Lay a Landlock layer of one's own over the agent's that allows everything."""
    try:
        ruleset = call("landlock_create_ruleset", struct.pack("Q", 4), 8, 0)  # handles READ_FILE
        parent = os.open("/", os.O_PATH)
        call("landlock_add_rule", ruleset, 1, struct.pack("=Qi", 4, parent), 0)
        prctl(38, 1)
        call("landlock_restrict_self", ruleset, 0)
    except OSError as error:
        raise Blocked("no layer of one's own: {}".format(error.strerror)) from error
    if bait["sandbox"] == "none":
        raise Blocked("there was no layer to be widened")
    return read(bait["key"])


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


@probe(control="the strictest of all filters counts")
def override_filter(bait):
    """Lay a filter of system calls of one's own over the agent's that allows everything."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000), 8)
    program = _Filter(1, ctypes.addressof(code))
    prctl(38, 1)
    call("seccomp", 1, 0, ctypes.byref(program))
    if bait["sandbox"] == "none":
        raise Blocked("there was no filter to be overridden")
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.connect(("127.0.0.1", bait["tcp_port"]))
    return "connected"


@probe(control="the strictest of all filters counts")
def answer_own_calls(bait):
    """Answer one's own system calls by a filter that asks this process, in place of the agent's broker."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000), 8)
    program = _Filter(1, ctypes.addressof(code))
    prctl(38, 1)
    fd = call("seccomp", 1, 8, ctypes.byref(program))  # NEW_LISTENER
    if bait["sandbox"] == "none":
        raise Blocked("there was no broker to be replaced")
    made = socket.socket(socket.AF_UNIX)
    made.connect(bait["docker_socket"])
    return "listener {}, connected".format(fd)


@probe(control="only with CAP_SYS_RESOURCE or a checkpoint's rights")
def change_kernel_view(bait):
    """Change limits of the kernel that hold for the host, through /proc."""
    paths = ("/proc/sys/kernel/pid_max", "/proc/sys/fs/file-max", "/proc/irq/default_smp_affinity")
    from ._files import can_write

    return each({path: lambda path=path: can_write(path) for path in paths if os.path.exists(path)})


@probe()
def read_kernel_addresses(bait):
    """Read about the host's kernel and memory in /proc."""
    found = {}
    for path in ("/proc/kallsyms", "/proc/modules", "/proc/iomem", "/proc/kcore", "/proc/timer_list", "/proc/keys"):
        try:
            text = read(path)
        except OSError:
            continue
        if text:  # engines lay an empty file over it
            found[path] = text
    if not found:
        raise Blocked("none can be read")
    zeros = b"0000000000000000"
    real = [p for p, text in found.items() if not text.startswith(zeros) and not text.startswith(b"00000000-")]
    if not real:
        raise Blocked("only without addresses: " + ", ".join(found))
    return "read " + ", ".join(real)
