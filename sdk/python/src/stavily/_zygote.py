"""The zygote: a plugin's process that forks a fresh one for every execution.

    agent ── order + stdin, stdout, stderr ──▶ zygote ── fork ──▶ execution
      ▲                                          │                   │
      └── hello, over the same socket ───────────┼───────────────────┤ answers one command, ends
      └── ended: status and usage ───────────────┘◀── SIGCHLD ───────┘

The agent starts a plugin as always, with a SEQPACKET socket in STAVILY_ZYGOTE_FD
besides. When the plugin calls `run`, everything is imported and nothing has run:
that is the state in which every execution begins. The zygote answers the commands
of the contract on its standard streams and is configured by them once; an
execution inherits that and is asked one command on streams of its own.

    to the agent     {"ready": {…}}, {"hello": id}, {"ended": id, …}, {"worn": reason}
    from the agent   {"place": {…}}, {"start": id, …} with the three streams, {"signal": number, "id": id}

An execution is a session of its own, with its own scratch directory, limits and
Landlock domain: it cannot see, signal or trace its siblings or the zygote. The
agent trusts none of this and looks for itself; see its package `warm`.
"""

import _socket  # not socket, which costs a millisecond and half a megabyte of every execution
import atexit
import gc
import json
import os
import resource
import select
import signal
import stat
import struct
import sys
import traceback
from typing import Any, BinaryIO, Dict, List, Optional, Set, Tuple

from . import _agent, _kernel
from ._contract import Host, Stop

# What an execution that could not begin ends with; env(1) uses it as well.
_CANNOT_BEGIN = 125

# An order is an environment and a few numbers; the agent sends none that is larger.
_MAX_ORDER = 1 << 16

# Where the system sets no useful bound on open files, looking stops here.
_MOST_DESCRIPTORS = 1 << 16

_DESCRIPTOR = struct.Struct("i")

# What is another for every execution: a plugin that reads it while it is imported
# would go on with what was true of none.
_OF_AN_EXECUTION = frozenset(
    ("STAVILY_AGENT_SOCKET", "STAVILY_INPUT_FILE", "STAVILY_INSTRUCTION_ID", "TMPDIR", "TRACEPARENT")
)
_read_early: Set[str] = set()

_Environment = type(os.environ)


class _WatchedEnvironment(_Environment):  # type: ignore[valid-type,misc]
    def __getitem__(self, key: Any) -> Any:
        if key in _OF_AN_EXECUTION:
            _read_early.add(key)
        return super().__getitem__(key)


def watch() -> None:
    """Notice from now on what the plugin reads of its environment before it calls run."""
    os.environ.__class__ = _WatchedEnvironment


def serve(host: Host, descriptor: int, requests: BinaryIO, answers: BinaryIO) -> None:
    """Be the zygote until the agent closes its end."""
    os.environ.__class__ = _Environment
    try:
        _Zygote(host, descriptor, requests, answers).run()
    except Stop:
        return


class _Zygote:
    """One thread, one loop. What it does between two forks is inherited by the next execution, so it does little."""

    def __init__(self, host: Host, descriptor: int, requests: BinaryIO, answers: BinaryIO) -> None:
        os.set_inheritable(descriptor, False)
        self._control = _socket.socket(fileno=descriptor)
        self._host, self._requests, self._answers = host, requests, answers
        self._pid = os.getpid()
        self._live: Dict[int, int] = {}  # process → execution
        self._layer: Optional[_Layer] = None
        self._temp = ""
        self._wake, self._woken = os.pipe()
        for end in (self._wake, self._woken):
            os.set_blocking(end, False)
        # A Python handler has to be there for the descriptor to be written.
        self._former = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        self._kernel = _kernel.load()

    def run(self) -> None:
        known = {0, 1, 2, self._control.fileno(), self._requests.fileno(), self._answers.fileno(), self._wake, self._woken}
        poll = select.poll()
        for descriptor in (self._control.fileno(), self._requests.fileno(), self._wake):
            poll.register(descriptor, select.POLLIN)
        abi = self._kernel.landlock_abi() if self._kernel else 0
        self._say({"ready": {"refused": self._refusal(known), "landlock": abi}})
        while True:
            ready = {descriptor for descriptor, _ in self._host.wait(poll.poll)}
            if self._wake in ready:
                self._reap()
            if self._requests.fileno() in ready and not self._answer():
                return
            if self._control.fileno() in ready and not self._obey():
                return

    def _refusal(self, known: Set[int]) -> str:
        """Why executions would not be as fresh as a new process, or ""."""
        if self._kernel is None:
            return "this Python has no ctypes, which confining an execution takes"
        if "threading" in sys.modules and sys.modules["threading"].active_count() > 1:
            return "it starts threads while it is imported, and a fork leaves them behind"
        if _read_early:
            return "it reads {} while it is imported, which is another for every run".format(", ".join(sorted(_read_early)))
        for descriptor in range(3, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _MOST_DESCRIPTORS)):
            kind = "" if descriptor in known else _kind_of(descriptor)
            if kind:
                return "it opens a {} while it is imported, which its runs would share".format(kind)
        return ""

    def _say(self, message: Dict[str, Any]) -> None:
        self._control.send(json.dumps(message).encode())

    def _answer(self) -> bool:
        """Answer one command of the contract; False at the end of the input."""
        line = self._requests.readline()
        if line:
            self._answers.write(self._host.answer(line))
        return bool(line)

    def _obey(self) -> bool:
        """Do what the agent says; False when it is gone."""
        space = _socket.CMSG_SPACE(3 * _DESCRIPTOR.size)
        data, ancillary, _, _ = self._control.recvmsg(_MAX_ORDER, space, _socket.MSG_CMSG_CLOEXEC)
        if not data:
            return False
        order = json.loads(data)
        streams = [fd for _, _, fds in ancillary for fd, in _DESCRIPTOR.iter_unpack(fds)]
        if "place" in order:
            self._place(order["place"])
        elif "start" in order:
            self._start(order, streams)
        else:
            self._signal(order["id"], order["signal"])
        return True

    def _place(self, place: Dict[str, Any]) -> None:
        """Learn where the executions live; from now on they are forked."""
        self._temp = place["temp"]
        if self._kernel and place["layer"]:
            self._layer = _Layer(self._kernel, place["layer"])
        gc.collect()
        gc.freeze()  # the collector of an execution leaves these pages alone, so they stay shared

    def _start(self, order: Dict[str, Any], streams: List[int]) -> None:
        try:
            pid = os.fork()
        except OSError:  # too many processes: the agent starts it otherwise
            pid = -1
            self._say({"unforked": order["start"]})
        if pid == 0:
            self._become(order, streams)
        if pid > 0:
            self._live[pid] = order["start"]
        for stream in streams:
            os.close(stream)
        if self._layer:
            self._layer.prepare()  # for the next one, while this one runs

    def _signal(self, execution: int, number: int) -> None:
        """Signal the group of an execution. Its number is its own until it is reaped, which only happens here."""
        for pid, live in self._live.items():
            if live == execution:
                try:
                    os.killpg(pid, number)
                except ProcessLookupError:  # it has not yet become a group
                    os.kill(pid, number)

    def _reap(self) -> None:
        try:
            os.read(self._wake, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            execution = self._live.pop(pid, None)
            if execution is None:
                continue  # what an execution had left behind, and the agent ended
            times = {"user": usage.ru_utime, "system": usage.ru_stime, "maxrss": usage.ru_maxrss}
            self._say({"ended": execution, "status": status, **times})
            try:
                _remove(os.path.join(self._temp, str(execution)))
            except (OSError, RecursionError) as error:
                self._say({"worn": "the scratch directory of a run cannot be removed: {}".format(error)})

    def _become(self, order: Dict[str, Any], streams: List[int]) -> None:
        """Be the execution, in the process that was just forked; never returns."""
        code = _CANNOT_BEGIN
        try:
            self._say({"hello": order["start"]})  # the kernel adds who says it
            self._leave(streams[2])
            self._settle(order)
            code = 1
            with open(streams[0], "rb") as requests, open(streams[1], "wb", buffering=0) as answers:
                self._host.execute(_agent.from_environment(), requests, answers)
            code = 0
        except BaseException:  # this is the last frame of a process: it ends as the interpreter would end it
            traceback.print_exc()
        finally:
            _finish()
            os._exit(code)

    def _leave(self, log: int) -> None:
        """Let go of what is the zygote's, and log to the execution's own stream."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if self._former is None else self._former)
        self._control.close()
        self._requests.close()
        self._answers.close()
        os.close(self._wake)
        os.close(self._woken)
        os.dup2(log, 2)
        os.dup2(log, 1)
        os.close(log)

    def _settle(self, order: Dict[str, Any]) -> None:
        """Take the place that the agent gave this execution, and give up what lies outside."""
        os.setsid()
        if self._kernel:
            self._kernel.die_with_parent()
            self._kernel.adopt_orphans()
        if os.getppid() != self._pid:
            raise OSError("the zygote died")
        os.environ.update(order["environment"])
        for name in order["without"]:
            os.environ.pop(name, None)
        for number, soft, hard in order["limits"]:
            resource.setrlimit(number, (soft, hard))
        temp = os.path.join(self._temp, str(order["start"]))
        os.mkdir(temp, 0o700)
        if self._layer:
            self._layer.enter(temp, order["given"])
        _forget()


class _Layer:
    """The Landlock domain of each execution: what the sandbox grants, with no sibling's directories in it."""

    def __init__(self, kernel: _kernel.Kernel, order: Dict[str, Any]) -> None:
        self._kernel = kernel
        own = [path for path in _own_paths() if not any(_is_below(hidden, path) for hidden in order["hidden"])]
        self._rules: List[Tuple[int, int]] = []
        for paths, rights in (
            (order["read"] + own, _kernel.READ),
            (order["devices"], _kernel.DEVICE),
            (order["write"], _kernel.WRITE),
        ):
            self._rules += [rule for path in paths for rule in _rule(path, rights)]
        self._ruleset = -1
        self.prepare()

    def prepare(self) -> None:
        """Make the ruleset of the next execution, without what is that one's alone."""
        if self._ruleset >= 0:
            os.close(self._ruleset)
        self._ruleset = self._kernel.ruleset()
        for place, rights in self._rules:
            self._kernel.allow(self._ruleset, place, rights)

    def enter(self, temp: str, given: str) -> None:
        for path, rights in ((temp, _kernel.WRITE), (given, _kernel.READ)):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            self._kernel.allow(self._ruleset, place, rights)
            os.close(place)
        self._kernel.restrict(self._ruleset)
        os.close(self._ruleset)
        for place, _ in self._rules:
            os.close(place)


def _rule(path: str, rights: int) -> List[Tuple[int, int]]:
    """A rule for a place, which may be one that the sandbox does not show."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return []
    if not stat.S_ISDIR(os.fstat(place).st_mode):
        rights &= _kernel.OF_A_FILE
    return [(place, rights)]


def _own_paths() -> List[str]:
    """Where this interpreter finds its modules; the sandbox has granted all of it."""
    return sorted({os.path.realpath(path) for path in [sys.prefix, sys.base_prefix, *sys.path]})


def _is_below(path: str, parent: str) -> bool:
    return (path + "/").startswith(parent.rstrip("/") + "/")


def _kind_of(descriptor: int) -> str:
    """What a descriptor is, or "" where there is none or none that keeps a state."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return ""
    if stat.S_ISCHR(mode):  # such as /dev/urandom
        return ""
    if stat.S_ISSOCK(mode):
        return "socket"
    return "file" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "pipe"


def _remove(path: str) -> None:
    """Take away the scratch directory of an execution, which mostly is empty."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return  # it ended before it had one
    except OSError:
        for parent, directories, files in os.walk(path, topdown=False):
            for name in files:
                os.unlink(os.path.join(parent, name))
            for name in directories:
                place = os.path.join(parent, name)
                os.unlink(place) if os.path.islink(place) else os.rmdir(place)
        os.rmdir(path)


def _forget() -> None:
    """Drop what the standard library remembers and is another here. `random` and `ssl` see to themselves."""
    if "tempfile" in sys.modules:
        sys.modules["tempfile"].tempdir = None  # type: ignore[attr-defined]
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def _finish() -> None:
    """Do what the interpreter does at its end, save for taking itself apart."""
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()  # type: ignore[attr-defined]  # waits for threads, as a program's end does
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # as above: whatever an exit function raises ends here
        traceback.print_exc()
