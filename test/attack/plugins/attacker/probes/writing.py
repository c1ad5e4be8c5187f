"""Changing files of the agent, of other plugins, of the host and of its owner."""

import fcntl
import os
import struct
import sys

from ._files import can_create, can_write, scratch
from ._probe import ORDINARY, NotApplicable, each, preparing, probe
from ._syscall import AT_EMPTY_PATH, AT_FDCWD, call


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
