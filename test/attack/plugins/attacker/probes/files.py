"""Files of the agent, of other plugins, of the host and of its owner."""

import ctypes
import fcntl
import glob
import os
import struct
import sys
import time

from ._probe import ALWAYS, ORDINARY, SUPERVISED, Blocked, NotApplicable, each, preparing, probe
from ._syscall import AT_EMPTY_PATH, AT_FDCWD, call


def read(path, dir_fd=None):
    """The first bytes of a file."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK, dir_fd=dir_fd)
    try:
        return os.read(fd, 200)
    finally:
        os.close(fd)


def can_write(path):
    """Opens for writing, and writes nothing: the file may be the host's."""
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    return "opened for writing: " + path


def can_create(path):
    """Creates a file, and takes it away again where it is the host's."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return path


def scratch(name):
    """A path in the private directory."""
    return os.path.join(os.environ["TMPDIR"], name)


@probe()
def read_agent_key(bait):
    """Read the agent's private key."""
    return read(bait["key"])


@probe()
def read_agent_config(bait):
    """Read the agent's configuration."""
    return read(bait["config"])


@probe()
def read_agent_journal(bait):
    """Read the agent's journal of instructions."""
    return read(bait["journal"])


@probe()
def read_agent_log(bait):
    """Read the agent's log."""
    return read(bait["log"])


@probe(control=ORDINARY)
def read_etc_shadow(bait):
    """Read /etc/shadow."""
    return read("/etc/shadow")


@probe()
def read_other_plugin(bait):
    """Read a secret beside another plugin's code."""
    return read(bait["neighbour_secret"])


@probe()
def read_other_state(bait):
    """Read what another plugin keeps in its home."""
    return read(bait["neighbour_state"])


@probe()
def read_other_plugin_config(bait):
    """Read another plugin's configuration on this host."""
    return read(bait["neighbour_config"])


@probe()
def read_server_database(bait):
    """Read the orchestrator's database, where it is on the same host."""
    return read(bait["server_db"])


@probe()
def read_host_home(bait):
    """Read a private key in the home of the agent's user."""
    return read(bait["home_key"])


@probe()
def list_other_plugins(bait):
    """List the installed plugins."""
    names = os.listdir(bait["plugins_dir"])
    return "listed: " + " ".join(names)


@probe()
def list_agent_base(bait):
    """List the agent's base directory."""
    return "listed: " + " ".join(os.listdir(bait["base"]))


@probe()
def list_temp(bait):
    """List the host's directory for temporary files, and read one."""
    os.listdir("/tmp")
    return read(bait["tmp_file"])


@probe()
def proc1_root(bait):
    """Read the agent's key through /proc/1/root."""
    return read("/proc/1/root" + bait["key"])


@probe()
def proc_agent_root(bait):
    """Read the agent's key through /proc/AGENT/root."""
    return each_agent(bait, lambda pid: read("/proc/{}/root{}".format(pid, bait["key"])))


@probe()
def proc_agent_cwd(bait):
    """Read the agent's key through /proc/AGENT/cwd."""
    up = os.path.join(*[".."] * 20)
    return each_agent(bait, lambda pid: read("/proc/{}/cwd/{}{}".format(pid, up, bait["key"])))


@probe()
def proc_agent_environ(bait):
    """Read the agent's environment, with a token in it."""

    def search(pid):
        with open("/proc/{}/environ".format(pid), "rb") as file:
            text = file.read(1 << 16)
        if bait["token"].encode() not in text:
            raise Blocked("no token in the environment of {}".format(pid))
        return "the agent's environment holds " + bait["token"]

    return each_agent(bait, search)


@probe()
def proc_agent_cmdline(bait):
    """Read the agent's command line."""
    return each_agent(bait, lambda pid: read("/proc/{}/cmdline".format(pid)))


@probe()
def proc_agent_maps(bait):
    """Read the map of the agent's memory."""
    return each_agent(bait, lambda pid: read("/proc/{}/maps".format(pid)))


@probe()
def proc_agent_mem(bait):
    """Read the agent's memory through /proc/AGENT/mem."""

    def peek(pid):
        with open("/proc/{}/mem".format(pid), "rb", buffering=0) as file:
            file.seek(bait["agent_text"])
            return b"memory: " + file.read(16)

    return each_agent(bait, peek)


@probe()
def proc_agent_fd(bait):
    """Read an open file of the agent through /proc/AGENT/fd."""
    return each_agent(bait, lambda pid: read("/proc/{}/fd/{}".format(pid, bait["leaked_fd"])))


def each_agent(bait, attack):
    """Attack the agent by its number, and by that of this process's parent."""
    failure = None
    for pid in (bait["agent_pid"], os.getppid()):
        try:
            return attack(pid)
        except (OSError, Blocked) as error:
            failure = failure or error
    raise failure


@probe()
def write_plugin_dir(bait):
    """Leave a file in the plugin's own directory, for its next run."""
    return can_create(os.path.join(bait["plugins_dir"], "attacker", "left-behind"))


@probe()
def write_own_code(bait):
    """Open the plugin's own program for writing."""
    return can_write(os.path.join(bait["plugins_dir"], "attacker", "main.py"))


@probe()
def write_pycache(bait):
    """Plant byte code that the plugin's next run would load."""
    directory = os.path.join(bait["plugins_dir"], "attacker", "__pycache__")
    os.makedirs(directory, exist_ok=True)
    return can_create(os.path.join(directory, "left-behind.pyc"))


@probe()
def write_sdk(bait):
    """Change the SDK that every plugin loads."""
    import stavily

    return can_write(stavily.__file__)


@probe()
def write_other_plugin(bait):
    """Change another plugin's program."""
    return can_write(os.path.join(bait["plugins_dir"], "neighbour", "main.py"))


@probe()
def hardlink_into_other_plugin(bait):
    """Link a file of ours into another plugin's directory."""
    own = scratch("hardlink-source")
    with preparing(), open(own, "w") as file:
        file.write("print('owned')\n")
    os.link(own, os.path.join(bait["plugins_dir"], "neighbour", "left-behind.py"))
    return "linked"


@probe()
def write_agent_config(bait):
    """Open the agent's configuration for writing."""
    return can_write(bait["config"])


@probe()
def write_plugin_grant(bait):
    """Write this plugin a file in config/plugins, which grants it more."""
    return can_create(os.path.join(bait["base"], "config", "plugins", "left-behind.yaml"))


@probe()
def write_agent_journal(bait):
    """Open the agent's journal for writing."""
    return can_write(bait["journal"])


@probe()
def replace_agent_program(bait):
    """Put another program in place of one beside the agent's."""
    new = bait["program"] + ".new"
    can_create(new)
    os.rename(new, bait["program"])
    return "replaced " + bait["program"]


@probe(control=ORDINARY)
def write_usr_lib(bait):
    """Create a file in /usr/lib."""
    path = can_create("/usr/lib/stavily-attack-left-behind")
    os.unlink(path)
    return path


@probe(control=ORDINARY)
def write_etc(bait):
    """Create a file in /etc, and open /etc/passwd for writing."""

    def create():
        os.unlink(can_create("/etc/stavily-attack-left-behind"))

    return each({"create": create, "passwd": lambda: can_write("/etc/passwd")})


@probe(control=ORDINARY)
def write_root_dir(bait):
    """Create a file in the root directory."""
    path = can_create("/stavily-attack-left-behind")
    os.unlink(path)
    return path


@probe(control="a program that runs cannot be written")
def write_proc_self_exe(bait):
    """Open the running interpreter for writing."""
    return can_write("/proc/self/exe")


@probe()
def write_home_profile(bait):
    """Append to the shell profile of the agent's user."""
    return can_write(bait["home_profile"])


@probe()
def plant_usercustomize(bait):
    """Plant a module that every Python of the agent's user loads at its start."""
    directory = os.path.join(bait["home"], ".local", "lib", "python{}.{}".format(*sys.version_info), "site-packages")
    os.makedirs(directory, exist_ok=True)
    return can_create(os.path.join(directory, "usercustomize.py"))


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
def chmod_agent_file(bait):
    """Open a private file of the agent to everybody."""
    os.chmod(bait["targets"] + "/chmod_agent_file", 0o666)
    return "chmod done"


@probe()
def chmod_by_descriptor(bait):
    """The same by fchmodat2 on a descriptor that was never opened for it."""
    fd = os.open(bait["targets"] + "/chmod_by_descriptor", os.O_PATH)
    try:
        call("fchmodat2", fd, "", 0o666, AT_EMPTY_PATH)
    except OSError as error:
        if error.errno == 38:
            raise NotApplicable("no fchmodat2 before Linux 6.6") from error
        raise
    return "fchmodat2 done"


@probe()
def chown_agent_file(bait):
    """Change the owner of a file of the agent, to whom it belongs already."""
    os.chown(bait["targets"] + "/chown_agent_file", os.getuid(), os.getgid())
    return "chown done"


@probe()
def truncate_agent_file(bait):
    """Empty a file of the agent."""
    os.truncate(bait["targets"] + "/truncate_agent_file", 0)
    return "truncated"


@probe()
def unlink_agent_file(bait):
    """Remove a file of the agent."""
    os.unlink(bait["targets"] + "/unlink_agent_file")
    return "removed"


@probe()
def create_in_agent_dir(bait):
    """Create a file, a directory, a link and a socket in a directory of the agent."""
    import socket

    target = bait["targets"] + "/created"
    bind = socket.socket(socket.AF_UNIX)
    return each(
        {
            "file": lambda: can_create(target),
            "directory": lambda: os.mkdir(target + "-dir"),
            "link": lambda: os.symlink("/", target + "-link"),
            "fifo": lambda: os.mkfifo(target + "-fifo"),
            "socket": lambda: bind.bind(target + "-socket"),
        }
    )


@probe()
def touch_agent_file(bait):
    """Change the times of a file of the agent."""
    os.utime(bait["targets"] + "/touch_agent_file", (1, 1))
    return "touched"


@probe()
def xattr_agent_file(bait):
    """Attach an attribute to a file of the agent."""
    try:
        os.setxattr(bait["targets"] + "/xattr_agent_file", "user.owned", b"1")
    except OSError as error:
        if error.errno == 95:
            raise NotApplicable("the file system has no attributes") from error
        raise
    return "attached"


@probe()
def flags_of_agent_file(bait):
    """Set file-system flags of a file of the agent, by path and without opening it."""
    attr = struct.pack("QIIIII", 0, 0, 0, 0, 0, 0)
    try:
        call("file_setattr", AT_FDCWD, bait["targets"] + "/flags_of_agent_file", attr, len(attr), 0)
    except OSError as error:
        if error.errno in (38, 95):
            raise NotApplicable("no file_setattr here") from error
        raise
    return "set"


@probe()
def lock_agent_file(bait):
    """Lock a file of the agent, so that it waits for ever."""
    fd = os.open(bait["targets"] + "/lock_agent_file", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return "locked"


@probe()
def watch_agent_dir(bait):
    """Watch the agent's directory with inotify."""
    fd = call("inotify_init1", os.O_NONBLOCK)
    call("inotify_add_watch", fd, bait["base"], 0xFFF)
    end = time.monotonic() + 2
    while time.monotonic() < end:  # a file there is written ten times a second
        try:
            return "{} bytes of events".format(len(os.read(fd, 4096)))
        except BlockingIOError:
            time.sleep(0.05)
    raise Blocked("it can be watched, and nothing is seen to happen in it")


@probe()
def stat_agent_files(bait):
    """See that a file of the agent is there, how large, and when it was written."""
    info = os.stat(bait["key"])
    return "the key has {} bytes of {}".format(info.st_size, info.st_mtime_ns)


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


@probe()
def run_agent_program(bait):
    """Have the agent's own program read its configuration for us."""
    from .execution import output_of

    return output_of([bait["agent_program"], "config", "show", "--config", bait["config"]])


@probe(control="only this plugin's files are there")
def other_runs_leftovers(bait):
    """Read what an earlier run left in the private directories."""
    found = glob.glob(os.path.join(os.environ["TMPDIR"], "*")) + glob.glob("/tmp/*")
    for path in found:
        if os.path.basename(path) == "left-by-a-run":
            return read(path)
    with preparing(), open(scratch("left-by-a-run"), "w") as file:
        file.write("left")
    raise Blocked("nothing was left")


@probe(control=ALWAYS)
def environment_of_agent(bait):
    """Find the agent's token in the plugin's own environment."""
    if bait["token"] in repr(dict(os.environ)):
        return bait["token"]
    raise Blocked("it is not there")
