"""Writes down what a Python process of a plugin opens, runs and connects to.

`stavily plugin test` puts this where every interpreter of the plugin imports it before
all else (sitecustomize). Each use is one line of JSON in HOME, written before the use
is allowed or refused: {"use": "read", "path": "/etc/hosts", "where": "main.py:12"}. It
changes nothing of what the plugin does. What compiled modules and other programs do is
not seen.
"""

import json
import os
import sys

FILE = ".stavily-observed"
MOST = 2000  # different uses of one process
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

NETWORK = (2, 10, 23, 30)  # AF_INET and, by system, AF_INET6: importing socket would not be the plugin's doing

# Events of sys.audit with one path: see the table of audit events of Python's documentation.
PATHS = {
    "os.listdir": "read",
    "os.scandir": "read",
    "os.mkdir": "write",
    "os.rmdir": "write",
    "os.remove": "write",
    "os.truncate": "write",
    "os.chmod": "write",
    "os.chown": "write",
    "os.utime": "write",
    "os.setxattr": "write",
    "sqlite3.connect": "write",
    "ctypes.dlopen": "read",
    "os.exec": "run",
    "os.posix_spawn": "run",
}


class Observer:
    def __init__(self, descriptor, home):
        self.descriptor = descriptor
        self.directory = home + os.sep
        self.seen = set()
        self.busy = False

    def hook(self, event, args):
        """What sys.audit calls."""
        if self.busy or len(self.seen) >= MOST:
            return
        self.busy = True  # what happens in here is not the plugin's
        try:
            for use, what in self.uses(event, args):
                self.note(use, what)
        except Exception:  # whatever a plugin passes to open(): it is told by open() itself
            pass
        finally:
            self.busy = False

    def uses(self, event, args):
        if event == "open":
            path, mode, flags = args
            writes = flags & WRITES if mode is None else any(letter in mode for letter in "wax+")
            return [("write" if writes else "read", path)]
        if event in PATHS:
            return [(PATHS[event], args[0])]
        if event in ("os.rename", "os.link", "os.symlink"):
            return [("write", args[0])] * (event == "os.rename") + [("write", args[1])]
        if event == "subprocess.Popen":
            return [("run", found(args[0] or args[1][0]))]
        if event == "socket.connect":
            address = args[1]
            return [("connect", endpoint(address[0], address[1]))] if isinstance(address, tuple) else [("socket", address)]
        if event == "socket.__new__":
            return [("network", "socket")] if args[1] in NETWORK else []
        if event == "socket.getaddrinfo":
            return [("lookup", endpoint(args[0], args[1]))] if args[0] else []
        return []

    def note(self, use, what):
        if isinstance(what, int) or what is None:  # a descriptor, which was noted when it was opened
            return
        what = os.fsdecode(what)
        if use in ("read", "write", "run", "stat", "socket"):
            if not what or what.startswith("\0"):
                return
            what = os.path.abspath(what)
        where = caller(self.directory)
        if where is None or (use, what) in self.seen:
            return
        self.seen.add((use, what))
        os.write(self.descriptor, json.dumps({"use": use, "path": what, "where": where}).encode() + b"\n")

    def stat(self, function):
        """The function, which tells of itself: stat() has no event."""

        def told(path, *args, **options):
            if not self.busy and len(self.seen) < MOST and "dir_fd" not in options:
                self.busy = True
                try:
                    self.note("stat", path)
                except Exception:  # as in hook
                    pass
                finally:
                    self.busy = False
            return function(path, *args, **options)

        return told


def caller(directory):
    """The line of the plugin that leads here, "" where another thread's does, None for the import of a module."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib"):
            return None
        if name.startswith(directory):
            return "{}:{}".format(name[len(directory) :], frame.f_lineno)
        frame = frame.f_back
    return None


def endpoint(host, port):
    host = os.fsdecode(host)
    return ("[{}]:{}" if ":" in host else "{}:{}").format(host, "" if port is None else os.fsdecode(port) if isinstance(port, (str, bytes)) else port)


def found(program):
    """The path of a program that is looked for as a shell does."""
    program = os.fsdecode(program)
    if os.sep in program:
        return program
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        if os.access(os.path.join(directory, program), os.X_OK):
            return os.path.join(directory, program)
    return program


def begin():
    home = os.environ.get("HOME") or os.environ.get("USERPROFILE")
    if not home or not hasattr(sys, "addaudithook"):
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
    observer = Observer(os.open(os.path.join(home, FILE), flags, 0o600), os.getcwd())
    for name in ("stat", "lstat", "statvfs", "access"):
        if hasattr(os, name):
            setattr(os, name, observer.stat(getattr(os, name)))
    sys.addaudithook(observer.hook)


begin()
