"""Memory, queues and semaphores that processes of a host share."""

import ctypes
import mmap
import os

from ._probe import Blocked, each, probe
from ._syscall import call
from ._files import can_create, read


def _libc():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    return libc


@probe()
def shared_memory(bait):
    """Read a System V shared memory segment of the agent's user."""
    shm = call("shmget", bait["shm_key"], 0, 0)
    address = _libc().shmat(shm, None, 0o10000)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "shmat")
    return ctypes.string_at(address, 40)


@probe()
def shared_memory_write(bait):
    """Write into that segment."""
    shm = call("shmget", bait["shm_key"], 0, 0)
    address = _libc().shmat(shm, None, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "shmat")
    ctypes.memmove(address + 64, b"owned", 5)
    return "written"


@probe()
def semaphore(bait):
    """Change a System V semaphore of the agent's user."""
    sem = call("semget", bait["sem_key"], 0, 0)
    call("semctl", sem, 0, 16, 7)  # SETVAL
    return "set"


@probe()
def message_queue(bait):
    """Take a message from a System V queue of the agent's user."""
    queue = call("msgget", bait["msg_key"], 0)
    room = ctypes.create_string_buffer(200)
    size = call("msgrcv", queue, room, 100, 0, 0o4000)
    return room.raw[8 : 8 + size]


@probe()
def posix_queue(bait):
    """Open a POSIX message queue of the agent's user."""
    return "descriptor {}".format(call("mq_open", bait["mq_name"], os.O_RDWR | os.O_NONBLOCK, 0, 0))


@probe()
def posix_memory(bait):
    """Read POSIX shared memory of the agent's user."""
    return read(bait["posix_memory"])


@probe()
def persist_in_memory(bait):
    """Leave a file in /dev/shm, where it stays."""
    return can_create(bait["shm_left"])


@probe()
def map_others_file(bait):
    """Map a file of the agent, shared and writable."""
    fd = os.open(bait["targets"] + "/map_others_file", os.O_RDWR)
    with mmap.mmap(fd, 16) as mapped:
        mapped[:5] = b"owned"
    return "written"


@probe()
def make_lasting(bait):
    """Make shared memory, semaphores and queues that outlive the run."""

    def made(name, *args):
        if call(name, *args) < 0:
            raise Blocked("refused")

    create = 0o1600
    return each(
        {
            "memory": lambda: made("shmget", bait["left_key"], 4096, create),
            "semaphores": lambda: made("semget", bait["left_key"], 1, create),
            "queue": lambda: made("msgget", bait["left_key"], create),
        }
    )
