"""Room on the host's disk."""

import os
import sys

from ._probe import ALONE, SUPERVISED, Blocked, preparing, probe
from ._files import scratch


@probe(control=SUPERVISED, kind=ALONE)
def fill_with_one_file(bait):
    """Write eight times what the private directory may hold into one file."""
    return _fill(bait["temp_bytes"] * 8, ["one"])


@probe(control=SUPERVISED, kind=ALONE)
def fill_with_many_files(bait):
    """The same into many files."""
    return _fill(bait["temp_bytes"] * 8, ["many-{}".format(i) for i in range(64)])


def _fill(amount, names):
    block = b"\xa5" * (1 << 20)
    written, each_file = 0, amount // len(names)
    while written < amount:
        path = scratch(names[written // each_file % len(names)])
        with open(path, "ab", buffering=0) as file:
            written += file.write(block)
    return "{} MiB are written".format(written >> 20)


@probe(control=SUPERVISED, kind=ALONE)
def use_up_inodes(bait):
    """Make twice as many files as the private directory may hold."""
    directory = scratch("inodes")
    with preparing():
        os.mkdir(directory)
    for i in range(bait["temp_files"] * 2):
        os.close(os.open("{}/{}".format(directory, i), os.O_CREAT | os.O_WRONLY, 0o600))
    return "{} files are made".format(i + 1)


@probe(control="the limit on a file's size, in every level", kind=ALONE)
def one_huge_file(bait):
    """Make a file of a terabyte, without writing it."""
    with open(scratch("huge"), "wb") as file:
        file.truncate(1 << 40)
    return "it is there"


@probe(control=SUPERVISED, kind=ALONE)
def fill_by_unlinked_file(bait):
    """Write eight times the room into a file without a name, which no walk of the directory finds."""
    with preparing():
        fd = os.open(scratch("nameless"), os.O_CREAT | os.O_RDWR, 0o600)
        os.unlink(scratch("nameless"))
    block, amount = b"\xa5" * (1 << 20), bait["temp_bytes"] * 8
    written = 0
    while written < amount:
        written += os.write(fd, block)
    return "{} MiB are written".format(written >> 20)


@probe(control=SUPERVISED, kind=ALONE)
def flood_log(bait):
    """Write 64 MiB of log."""
    line = "x" * 1023 + "\n"
    for _ in range(64 << 10):
        sys.stderr.write(line)
    raise Blocked("how much was kept is seen from outside")


@probe(control=SUPERVISED, kind=ALONE)
def flood_answer(bait):
    """Answer with 64 MiB, in one line and in many."""
    out = os.dup(1)
    junk = b"y" * (1 << 20)
    for _ in range(64):
        os.write(out, junk)
    raise Blocked("what became of the agent is seen from outside")
