"""Programs that are not the plugin's own."""

import os
import shutil
import subprocess
import sys

from ._probe import Blocked, NotApplicable, preparing, probe
from ._syscall import AT_EMPTY_PATH, call
from ._files import scratch


def output_of(command):
    """What a command prints; Blocked when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=10)
    if done.returncode != 0:
        raise Blocked("exit status {}: {}".format(done.returncode, done.stderr[-200:].decode("latin-1")))
    return done.stdout[:4000]


def planted(name):
    """A program of ours in the private directory."""
    path = scratch(name)
    with preparing():
        with open("/bin/true", "rb") as source, programs(path) as file:
            shutil.copyfileobj(source, file)
    return path


def programs(path):
    """A file to be written that can be run once it is: made so, as chmod may be refused."""
    return os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY, 0o700), "wb")


@probe()
def run_from_scratch(bait):
    """Run a program that was written into the private directory."""
    output_of([planted("program")])
    return "it ran"


@probe()
def run_script_from_scratch(bait):
    """The same with a script and its interpreter named in it."""
    path = scratch("script")
    with preparing():
        with programs(path) as file:
            file.write("#!{} -IS\nprint('ran')\n".format(os.path.realpath(sys.executable)).encode())
    return output_of([path])


@probe()
def run_through_loader(bait):
    """The same through the dynamic loader, which needs no right to execute the file."""
    path = planted("loaded")
    for loader in ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"):
        if os.path.exists(loader):
            output_of([loader, path])
            return "it ran"
    raise NotApplicable("there is no such loader")


@probe()
def run_from_memory(bait):
    """Run a program that is in no file system, by memfd_create."""
    fd = call("memfd_create", "program", 0)
    with open("/bin/true", "rb") as source:
        os.write(fd, source.read())
    _execute(fd)
    return "it ran"


def _execute(fd):
    pid = os.fork()
    if pid == 0:
        try:
            os.execve(fd, ["true"], {})
        finally:
            os._exit(126)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise Blocked("status {}".format(status))


@probe()
def run_by_descriptor(bait):
    """Run a program by a descriptor, by execveat."""
    fd = os.open(planted("by-descriptor"), os.O_RDONLY)
    pid = os.fork()
    if pid == 0:
        try:
            call("execveat", fd, "", 0, 0, AT_EMPTY_PATH)
        finally:
            os._exit(126)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise Blocked("status {}".format(status))
    return "it ran"


@probe()
def run_shell(bait):
    """Have a shell read the agent's key."""
    return output_of(["/bin/sh", "-c", 'cat "$0"', bait["key"]])
