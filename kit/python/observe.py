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

# Events of sys.audit: the use, and for each path of it the position of the path and of the descriptor of the directory
# that it is relative to. See the table of audit events of Python's documentation.
PATHS = {
    "os.listdir": ("read", (0, None)),
    "os.scandir": ("read", (0, None)),
    "os.mkdir": ("write", (0, 2)),
    "os.rmdir": ("write", (0, 1)),
    "os.remove": ("write", (0, 1)),
    "os.truncate": ("write", (0, None)),
    "os.chmod": ("write", (0, 2)),
    "os.chown": ("write", (0, 3)),
    "os.utime": ("write", (0, 3)),
    "os.setxattr": ("write", (0, None)),
    "os.rename": ("write", (0, 2), (1, 3)),
    "os.link": ("write", (1, 3)),
    "os.symlink": ("write", (1, 2)),
    "sqlite3.connect": ("write", (0, None)),
    "ctypes.dlopen": ("read", (0, None)),
    "os.exec": ("run", (0, None)),
    "os.posix_spawn": ("run", (0, None)),
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
            return [(opening(args[1], args[2]), args[0])]
        if event in PATHS:
            use, *places = PATHS[event]
            return [(use, beside(args[path], None if at is None else args[at])) for path, at in places]
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

    def told(self, use, path, directory=None):
        """A use that has no event, or one that says too little."""
        if self.busy or len(self.seen) >= MOST:
            return
        self.busy = True
        try:
            self.note(use, beside(path, directory))
        except Exception:  # as in hook
            pass
        finally:
            self.busy = False

    def stat(self, function):
        """The function, which tells of itself: stat() has no event."""

        def telling(path, *args, **options):
            self.told("stat", path, options.get("dir_fd"))
            return function(path, *args, **options)

        return telling

    def open(self, function):
        """os.open, of which the event does not tell what a path is relative to."""

        def telling(path, flags, mode=0o777, *, dir_fd=None):
            if dir_fd is None or os.path.isabs(path):
                return function(path, flags, mode, dir_fd=dir_fd)
            self.told(opening(None, flags), path, dir_fd)
            before, self.busy = self.busy, True
            try:
                return function(path, flags, mode, dir_fd=dir_fd)
            finally:
                self.busy = before

        return telling


def opening(mode, flags):
    """The use that opening a file so is."""
    if mode is not None:
        return "write" if any(letter in mode for letter in "wax+") else "read"
    if flags & getattr(os, "O_PATH", 0):
        return "stat"
    return "write" if flags & WRITES else "read"


def beside(path, directory):
    """A path that may be relative to the directory of a descriptor; -1 is none."""
    if directory is None or directory == -1 or isinstance(path, int) or os.path.isabs(path):
        return path
    return os.path.join(os.readlink("/proc/self/fd/{}".format(directory)), os.fsdecode(path))


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
    os.open = observer.open(os.open)
    sys.addaudithook(observer.hook)


begin()
