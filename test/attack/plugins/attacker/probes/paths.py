"""Links, descriptors and names that lead elsewhere, also for the agent that follows them."""

import ctypes
import os
import struct

from ._files import can_create, can_write, read, scratch
from ._probe import ORDINARY, SUPERVISED, Blocked, NotApplicable, preparing, probe
from ._syscall import AT_FDCWD, call


@probe()
def symlink_to_key(bait):
    """Read the key through a symbolic link in the private directory."""
    link = scratch("key-link")
    with preparing():
        os.symlink(bait["key"], link)
    return read(link)


@probe()
def hardlink_key(bait):
    """Link the key into the private directory and read it there."""
    link = scratch("key-hardlink")
    os.link(bait["key"], link)
    return read(link)


@probe()
def rename_out_of_reach(bait):
    """Move a file of the agent into the private directory."""
    os.rename(bait["targets"] + "/rename_out_of_reach", scratch("moved"))
    return "moved"


@probe()
def rename_exchange(bait):
    """Exchange a file of the agent with one of ours."""
    own = scratch("exchange")
    with preparing():
        can_create(own)
    call("renameat2", AT_FDCWD, own, AT_FDCWD, bait["targets"] + "/rename_exchange", 2)
    return "exchanged"


@probe()
def dotdot_from_scratch(bait):
    """Climb out of the private directory by `..` to the key."""
    return read(os.path.join(os.environ["TMPDIR"], *[".."] * 20) + bait["key"])


@probe()
def openat2_in_root(bait):
    """Reach the key by openat2 with a directory as its root."""
    root = os.open("/", os.O_PATH)
    how = struct.pack("QQQ", os.O_RDONLY, 0, 0x10)  # RESOLVE_IN_ROOT
    try:
        fd = call("openat2", root, bait["key"], how, len(how))
    except OSError as error:
        if error.errno == 38:
            raise NotApplicable("no openat2 before Linux 5.6") from error
        raise
    return os.read(fd, 200)


@probe()
def opath_then_openat(bait):
    """Take hold of the key's directory without opening it, then open the key from there."""
    directory = os.open(os.path.dirname(bait["key"]), os.O_PATH)
    return read(os.path.basename(bait["key"]), dir_fd=directory)


@probe()
def opath_reopen(bait):
    """Take hold of the key without opening it, then open it through /proc/self/fd."""
    fd = os.open(bait["key"], os.O_PATH)
    return read("/proc/self/fd/{}".format(fd))


@probe()
def chdir_then_read(bait):
    """Change into the key's directory and open it by its bare name."""
    os.chdir(os.path.dirname(bait["key"]))
    return read(os.path.basename(bait["key"]))


@probe()
def reopen_for_writing(bait):
    """Open own code for reading, then again for writing through /proc/self/fd."""
    with preparing():
        fd = os.open(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "plugin.yaml"), os.O_RDONLY)
    return can_write("/proc/self/fd/{}".format(fd))


@probe()
def persist_in_temp(bait):
    """Leave a file in the host's directory for temporary files."""
    return can_create(bait["tmp_left"])


@probe(control=SUPERVISED)
def sweep_follows_link(bait):
    """Have the agent, as it clears the private directory, follow a link and remove another's files."""
    with preparing():
        os.symlink(bait["targets"] + "/sweep", scratch("sweep-link"))
        os.mkdir(scratch("sweep-dir"))
        os.symlink(bait["targets"] + "/sweep", scratch("sweep-dir/inner"))
    raise Blocked("whether it did is seen from outside")


@probe(control=SUPERVISED)
def unremovable_scratch(bait):
    """Leave a private directory that cannot be removed: without permissions, deep, with odd names."""
    with preparing():
        deep = scratch("deep")
        for _ in range(60):
            deep += "/d"
        os.makedirs(deep)
        os.mkdir(scratch("locked"))
        os.mkdir(scratch("locked/inner"), 0)
        open(scratch("locked/file"), "w").close()
        open(scratch("odd\n\x01 name"), "w").close()
    try:
        os.chmod(scratch("locked"), 0)
    except OSError:
        os.fchmod(os.open(scratch("locked"), os.O_RDONLY), 0)  # where only chmod by path is refused
    raise Blocked("whether it did is seen from outside")


@probe(control=SUPERVISED)
def fifo_for_a_file(bait):
    """Put a FIFO in place of the files that the agent gave, so that it hangs reading them."""
    tmp = os.environ["TMPDIR"]
    for name in os.listdir(tmp):
        try:
            os.unlink(os.path.join(tmp, name))
            os.mkfifo(os.path.join(tmp, name))
        except OSError:
            continue  # the socket's directory, or not ours
    raise Blocked("the run ended in time")


@probe(control="the agent never writes there by that name")
def result_through_link(bait):
    """Plant links where the agent keeps large results, so that it writes over the key."""
    cache = os.path.join(bait["base"], "data", "cache")
    instruction = os.environ.get("STAVILY_INSTRUCTION_ID", "none")
    os.symlink(bait["targets"] + "/result", os.path.join(cache, "result-{}.json".format(instruction)))
    raise Blocked("the link is planted; whether the agent followed is seen from outside")


@probe(control=ORDINARY)
def open_by_handle(bait):
    """Open the key by its file handle, past every path."""
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
    mount_id = ctypes.c_int()
    call("name_to_handle_at", AT_FDCWD, bait["key"], handle, ctypes.byref(mount_id), 0)
    root = os.open(os.path.dirname(bait["key"]), os.O_RDONLY | os.O_DIRECTORY)
    fd = call("open_by_handle_at", root, handle, os.O_RDONLY)
    return os.read(fd, 200)
