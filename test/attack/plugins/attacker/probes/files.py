"""Reading files of the agent, of other plugins, of the host and of its owner."""

import glob
import os
import time

from ._files import read, scratch
from ._probe import ALWAYS, ORDINARY, Blocked, preparing, probe
from ._syscall import call


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
