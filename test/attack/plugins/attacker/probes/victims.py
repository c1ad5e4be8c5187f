"""Other runs of the same plugin: they share its code, its home and, warm, its parent."""

import ctypes
import os
import signal
import time

from ._probe import VICTIM, Blocked, NotApplicable, probe
from ._syscall import IOVec, call, rename_process
from .processes import listed

_SECRET = "victims-secret"


@probe(kind=VICTIM, control="it is the one attacked")
def victim(bait):
    """Be there, with a secret in memory and in the private directory, until told to end."""
    secret = ctypes.create_string_buffer((bait["victim_secret"]).encode())
    with open(os.path.join(os.environ["TMPDIR"], _SECRET), "w") as file:
        file.write(bait["victim_secret"])
    with open(os.path.join(os.environ["TMPDIR"], "address"), "w") as file:
        file.write(str(ctypes.addressof(secret)))
    with open(os.path.join(os.environ["HOME"], "victim"), "w") as file:
        file.write("{} {} {}".format(os.getpid(), ctypes.addressof(secret), os.environ["TMPDIR"]))
    rename_process("atk-victim")
    stop = os.path.join(os.environ["HOME"], "victim-stop")
    end = time.monotonic() + 100
    while time.monotonic() < end and not os.path.exists(stop):
        time.sleep(0.05)
    raise Blocked("it lived to its end")


def find(bait):
    """The victim's number as seen from here, the address of its secret, its private directory."""
    with open(os.path.join(os.environ["HOME"], "victim")) as file:
        pid, address, scratch = file.read().split()
    candidates = [pid for pid in listed() if _name(pid) == "atk-victim"] if os.path.isdir("/proc/self") else []
    return candidates or [int(pid), bait["victim_pid"]], int(address), scratch


def _name(pid):
    try:
        with open("/proc/{}/comm".format(pid)) as file:
            return file.read().strip()
    except OSError:
        return ""


def attack(bait, way):
    """Try a way on each number that may be the victim's."""
    pids, address, scratch = find(bait)
    failure = None
    for pid in pids:
        if pid == os.getpid():
            continue
        try:
            return way(pid, address, scratch)
        except OSError as error:
            failure = error
    raise failure or Blocked("it cannot be found")


@probe()
def victims_memory(bait):
    """Read the memory of another run of the plugin."""

    def peek(pid, address, _):
        room = ctypes.create_string_buffer(40)
        here, there = IOVec(ctypes.addressof(room), 40), IOVec(address, 40)
        call("process_vm_readv", pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
        return room.raw

    return attack(bait, peek)


@probe()
def victims_memory_file(bait):
    """The same through /proc."""

    def peek(pid, address, _):
        with open("/proc/{}/mem".format(pid), "rb", buffering=0) as file:
            file.seek(address)
            return file.read(40)

    return attack(bait, peek)


@probe()
def victims_environment(bait):
    """Read the environment of another run, which names its socket."""

    def peek(pid, _, scratch):
        with open("/proc/{}/environ".format(pid), "rb") as file:
            text = file.read()
        if b"STAVILY_INSTRUCTION_ID" not in text:
            raise Blocked("it holds none")
        return "environment of {}: {} bytes".format(pid, len(text))

    return attack(bait, peek)


@probe()
def victims_files(bait):
    """Read the private files of another run."""
    _, _, scratch = find(bait)
    if scratch == os.environ["TMPDIR"]:
        raise Blocked("its private directory has the name of this one's")
    with open(os.path.join(scratch, _SECRET), "rb") as file:
        return file.read()


@probe()
def victims_files_by_root(bait):
    """The same through the root of that process."""
    _, _, scratch = find(bait)

    def peek(pid, _, scratch):
        with open("/proc/{}/root{}/{}".format(pid, scratch, _SECRET), "rb") as file:
            return file.read()

    return attack(bait, peek)


@probe()
def victims_end(bait):
    """Signal another run (by a signal that nobody minds, so that it lives on for the others)."""
    return attack(bait, lambda pid, _, __: "signalled: {}".format(os.kill(pid, signal.SIGWINCH)))


@probe()
def victims_trace(bait):
    """Trace another run."""
    from .mounts import in_child

    return attack(bait, lambda pid, _, __: in_child(lambda: call("ptrace", 0x4206, pid, 0, 0)))


@probe()
def victims_socket(bait):
    """Speak to the agent as another run, by its agent socket."""
    import glob
    import json
    import socket

    found = glob.glob(os.path.join(bait["base"], "tmp", "run-*", "s"))
    found = [path for path in found if path != os.environ["STAVILY_AGENT_SOCKET"]]
    failure = Blocked("no socket is to be seen")
    for path in found or bait["other_sockets"]:
        try:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(2)
            s.connect(path)
            s.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "get_agent_info"}).encode() + b"\n")
            return s.recv(300)
        except OSError as error:
            failure = error
    raise failure


@probe()
def forge_event(bait):
    """Report an event in the name of a sensor, by that sensor's agent socket."""
    import json
    import socket

    if not bait["sensor_sockets"]:
        raise NotApplicable("the sensor has no socket")
    failure = Blocked("none")
    for path in bait["sensor_sockets"]:
        try:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(2)
            s.connect(path)
            params = {"trigger_name": "attack.forged", "payload": {"mark": bait["mark"]}}
            s.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "report_trigger", "params": params}).encode() + b"\n")
            return s.recv(300)
        except OSError as error:
            failure = error
    raise failure
