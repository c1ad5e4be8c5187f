"""The zygote: a plugin's process that forks a fresh one for every execution.

    agent ◀──── control: ready, ended / place, signal ────▶ zygote
      │                                                       │ fork
      │                                                       ▼
      └───── orders: start + stdin, stdout, stderr ───────▶ spare ──▶ execution ──▶ end
                              hello ◀───────────────────────┘             ▲
                              stdin: environment, command ────────────────┘

The agent starts a plugin as always, with a SEQPACKET socket in STAVILY_ZYGOTE_FD
besides. When the plugin calls `run`, everything is imported and nothing has run:
that is the state in which every execution begins. The zygote answers the commands
of the contract on its standard streams and is configured by them once; executions
inherit that, and each is asked one command on streams of its own.

A fork costs most of what it costs afterwards, in page faults. So the zygote forks
ahead: spares, which have gone through the motions (`_rehearse`) before they wait for
the order that makes them executions. Then it forks others. An execution stands by in
its place until it is given its environment and its command.

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
from ._handler import Handler
from ._layer import Layer

# What an execution that could not begin ends with; env(1) uses it as well.
_CANNOT_BEGIN = 125

# An order is an environment and a few numbers; the agent sends none that is larger.
_MAX_ORDER = 1 << 16

# What a spare writes into the zygote's pipe when it takes an order: its process.
_TAKEN = struct.Struct("=i")

# Spares. The agent has one execution stand by; when that begins, one more is soon asked for.
_SPARES = 1

# Milliseconds that a new execution has to itself before another spare is forked,
# unless one ends before, or another is asked for. Nothing wakes the zygote in that time:
# it would run where the execution does, and before it.
_PAUSE = 5

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
        pass
    os._exit(0)  # it was no run of the plugin, so what the plugin does at the end of one is not done


class _Zygote:
    """One thread, one loop. What it does between two forks is inherited by the next execution, so it does little."""

    def __init__(self, host: Host, descriptor: int, requests: BinaryIO, answers: BinaryIO) -> None:
        os.set_inheritable(descriptor, False)
        self.control = _socket.socket(fileno=descriptor)
        self.host, self.requests, self.answers = host, requests, answers
        self.kernel = _kernel.load()
        self.executions: Set[int] = set()  # processes
        self.spares: Set[int] = set()  # processes that wait for an order
        self.due = True  # whether a spare that is missing is forked at once
        self.orders: Optional[_socket.socket] = None
        self.poll, self.starved = select.poll(), select.poll()  # the second hears of orders that nobody takes, too
        self.layer: Optional[Layer] = None
        self.temp = ""
        self.wake, self.woken = _pipe()  # written to by the kernel when a child has ended
        self.taken, self.take = _pipe()  # written to by a spare that takes an order; nobody waits there, but for
        self.timer = self.kernel.timer() if self.kernel else -1  # that the spare sets
        # A Python handler has to be there for the descriptor to be written.
        self.former = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self.woken, warn_on_full_buffer=False)

    def run(self) -> None:
        for poll in self.poll, self.starved:
            for descriptor in (self.control.fileno(), self.requests.fileno(), self.wake, self.timer):
                poll.register(descriptor, select.POLLIN)
        abi = self.kernel.landlock_abi() if self.kernel else 0
        self._say({"ready": {"refused": self._refusal(), "landlock": abi}})
        while True:
            ready = self._wait()
            if self.timer in ready:
                self._notice()
                self.due = bool(self.spares)  # with none left, the two that run come first
            if self.wake in ready:
                self._look()
            if self.requests.fileno() in ready and not self._answer():
                return
            if self.control.fileno() in ready and not self._obey():
                return
            if self.orders is not None and len(self.spares) < _SPARES:
                self.due = self.due or not ready or self.orders.fileno() in ready
                if self.due:
                    self._fork()

    def _wait(self) -> Set[int]:
        """The descriptors that have something to read; none when it is time to fork."""
        poll, pause = self.poll, None
        if self.orders is not None and len(self.spares) < _SPARES:
            poll = self.poll if self.spares else self.starved
            pause = 0 if self.due else _PAUSE
        return {descriptor for descriptor, _ in self.host.wait(lambda: poll.poll(pause))}

    def _refusal(self) -> str:
        """Why executions would not be as fresh as a new process, or ""."""
        if self.kernel is None:
            return "this Python has no ctypes, which confining an execution takes"
        if "threading" in sys.modules and sys.modules["threading"].active_count() > 1:
            return "it starts threads while it is imported, and a fork leaves them behind"
        if _read_early:
            return "it reads {} while it is imported, which is another for every run".format(", ".join(sorted(_read_early)))
        known = {self.control.fileno(), self.requests.fileno(), self.answers.fileno(), self.timer}
        known.update((self.wake, self.woken, self.taken, self.take))
        for descriptor in range(3, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _MOST_DESCRIPTORS)):
            kind = "" if descriptor in known else _kind_of(descriptor)
            if kind:
                return "it opens a {} while it is imported, which its runs would share".format(kind)
        return ""

    def _say(self, message: Dict[str, Any]) -> None:
        self.control.send(json.dumps(message).encode())

    def _answer(self) -> bool:
        """Answer one command of the contract; False at the end of the input."""
        line = self.requests.readline()
        if line:
            self.answers.write(self.host.answer(line))
        return bool(line)

    def _obey(self) -> bool:
        """Do what the agent says; False when it is gone."""
        order, descriptors = _receive(self.control)
        self._notice()
        if "place" in order:
            self._place(order["place"], descriptors[0])
        elif order.get("pid") in self.executions:
            _signal(order["pid"], order["signal"])
        return bool(order)

    def _place(self, place: Dict[str, Any], orders: int) -> None:
        """Learn where executions live and where they get their orders; from now on they are forked."""
        self.orders = _socket.socket(fileno=orders)
        self.starved.register(orders, select.POLLIN)
        self.temp = place["temp"]
        if self.kernel and place["layer"]:
            self.layer = Layer(self.kernel, place["layer"])
        _rehearse(self.kernel, self.temp)
        gc.collect()
        gc.freeze()  # the collector of an execution leaves these pages alone, so they stay shared

    def _fork(self) -> None:
        if self.layer:
            self.layer.prepare()
        pid = os.fork()
        if pid == 0:
            _Execution(self).become()
        self.spares.add(pid)

    def _look(self) -> None:
        """See what became of the processes that were forked."""
        _drain(self.wake)
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.spares:
                self._notice()
            self._ended(pid, status, usage)

    def _notice(self) -> None:
        """See which spares have taken an order."""
        if self.kernel:
            self.kernel.set_timer(self.timer, 0)  # before the look: who takes one after it sets it again
        for (pid,) in _TAKEN.iter_unpack(_drain(self.taken)):
            self.spares.remove(pid)
            self.executions.add(pid)
            self.due = False

    def _ended(self, pid: int, status: int, usage: resource.struct_rusage) -> None:
        if pid in self.spares:
            raise OSError("a process that waited for an order ended with status {}".format(status))
        if pid not in self.executions:
            return  # what an execution had left behind, and the agent ended
        # Not through json, which would touch a dozen pages more while the agent waits.
        told = b'{"ended":%d,"status":%d,"user":%f,"system":%f,"maxrss":%d}'
        self.control.send(told % (pid, status, usage.ru_utime, usage.ru_stime, usage.ru_maxrss))
        self.executions.remove(pid)
        self.due = True
        try:
            _remove(os.path.join(self.temp, str(pid)))
        except (OSError, RecursionError) as error:
            self._say({"worn": "the scratch directory of a run cannot be removed: {}".format(error)})


class _Execution:
    """A process that was just forked: a spare, and then, for one command, the plugin."""

    def __init__(self, zygote: _Zygote) -> None:
        self.zygote = zygote
        self.temp = os.path.join(zygote.temp, str(os.getpid()))

    def become(self) -> None:
        """Wait, execute, end; never returns."""
        code = _CANNOT_BEGIN
        try:
            self._leave()
            os.mkdir(self.temp, 0o700)
            if self.zygote.layer:
                self.zygote.layer.allow(self.temp, _kernel.WRITE)
            if not self._wanted():
                _rehearse(self.zygote.kernel, self.temp)
            order, streams = self._await()
            self._settle(order, streams[2])
            code = 1
            with open(streams[0], "rb") as requests, open(streams[1], "wb", buffering=0) as answers:
                if not self.zygote.host.execute(lambda line: _begin(line, self.temp), requests, answers):
                    os._exit(0)  # it was no run of the plugin, as above
            code = 0
        except BaseException:  # this is the last frame of a process: it ends as the interpreter would end it
            traceback.print_exc()
        finally:
            _finish()
            os._exit(code)

    def _leave(self) -> None:
        """Let go of what is the zygote's alone."""
        zygote = self.zygote
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if zygote.former is None else zygote.former)
        zygote.requests.close()
        zygote.answers.close()
        os.close(zygote.wake)
        os.close(zygote.taken)
        if zygote.kernel:
            zygote.kernel.adopt_orphans()

    def _wanted(self) -> bool:
        """Whether an order waits already."""
        assert self.zygote.orders is not None
        orders = select.poll()  # not one of the zygote's, where what was closed here is always ready
        orders.register(self.zygote.orders, select.POLLIN)
        return bool(orders.poll(0))

    def _await(self) -> Tuple[Dict[str, Any], List[int]]:
        """Take one order. From here on the process does not belong to the zygote's session any more."""
        zygote = self.zygote
        assert zygote.orders is not None
        order, streams = _receive(zygote.orders)
        if not order:  # the agent is gone
            os._exit(0)
        os.write(zygote.take, _TAKEN.pack(os.getpid()))
        if zygote.kernel:
            zygote.kernel.set_timer(zygote.timer, _PAUSE)
        zygote.control.send(b'{"hello":%d,"pid":%d}' % (order["start"], os.getpid()))  # the kernel adds who says it
        os.setsid()
        for end in (zygote.orders, zygote.control):
            end.close()
        for descriptor in (zygote.woken, zygote.take, zygote.timer):
            os.close(descriptor)
        return order, streams

    def _settle(self, order: Dict[str, Any], log: int) -> None:
        """Take the place that the agent gave this execution, and give up what lies outside."""
        os.dup2(log, 2)
        os.dup2(log, 1)
        os.close(log)
        _limit(order)
        if self.zygote.layer:
            self.zygote.layer.allow(order["given"], _kernel.READ)
            self.zygote.layer.enter()
        _forget()


def _receive(socket: _socket.socket) -> Tuple[Dict[str, Any], List[int]]:
    """The next order and the descriptors that came with it; an empty one when the agent is gone."""
    space = _socket.CMSG_SPACE(3 * _DESCRIPTOR.size)
    data, ancillary, _, _ = socket.recvmsg(_MAX_ORDER, space, _socket.MSG_CMSG_CLOEXEC)
    descriptors = [descriptor for _, _, packed in ancillary for descriptor, in _DESCRIPTOR.iter_unpack(packed)]
    return (json.loads(data) if data else {}), descriptors


def _signal(pid: int, number: int) -> None:
    """Signal the group of an execution. Its number is its own until it is reaped, which only the caller does."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:  # it has not yet become a group
        os.kill(pid, number)


def _limit(order: Dict[str, Any]) -> None:
    """Take the limits that an order gives."""
    for number, soft, hard in order["limits"]:
        resource.setrlimit(number, (soft, hard))


def _begin(line: bytes, temp: str) -> Optional[_agent.Agent]:
    """Take the environment that a line gives, and find the agent by it."""
    told = json.loads(line)
    os.environ.update(told["environment"], TMPDIR=temp)
    for name in told["without"]:
        os.environ.pop(name, None)
    return _agent.from_environment()


# An order and what comes after it, with what is each one's own left out.
_REHEARSED_ORDER = b'{"start": 0, "limits": [[%d, %d, %d]], "given": ""}' % (
    resource.RLIMIT_CORE,
    *resource.getrlimit(resource.RLIMIT_CORE),
)
_REHEARSED_LINES = (
    b'{"environment": {"STAVILY_REHEARSED": "1"}, "without": ["STAVILY_REHEARSED"]}\n'
    b'{"action": "execute_action", "action_request": {"id": "0", "type": "execute", "parameters": {}, "timeout": 60.0,'
    b' "context": {"workflow": ""}, "metadata": {"idempotency_key": "0", "attempt": 1}}}\n'
)


def _rehearse(kernel: Optional[_kernel.Kernel], temp: str) -> None:
    """Go the way of an execution with a plugin that does nothing, so that what it touches is in memory."""
    host = Host(Handler("action", lambda: None), None)
    host.answer(b'{"action": "initialize", "config": {}}\n')
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    ours.send(_REHEARSED_ORDER)
    order, _ = _receive(theirs)
    ours.send(_TAKEN.pack(os.getpid()))
    ours.send(b'{"hello":%d,"pid":%d}' % (order["start"], os.getpid()))
    if kernel:
        timer = kernel.timer()
        kernel.set_timer(timer, _PAUSE)
        os.close(timer)
    _limit(order)
    _forget()
    commands, answered = os.pipe(), os.pipe()
    os.write(commands[1], _REHEARSED_LINES)
    for end in (ours, theirs):
        end.close()
    with open(commands[0], "rb") as requests, open(answered[1], "wb", buffering=0) as answers:
        host.execute(lambda line: _begin(line, temp), requests, answers)
    os.close(commands[1])
    os.close(answered[0])
    sys.stdout.flush()
    sys.stderr.flush()


def _pipe() -> Tuple[int, int]:
    """A pipe whose ends do not block."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def _drain(descriptor: int) -> bytes:
    """What a pipe holds."""
    try:
        return os.read(descriptor, 4096)
    except BlockingIOError:
        return b""


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
            getattr(sys.modules["threading"], "_shutdown")()  # waits for threads, as a program's end does
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # as above: whatever an exit function raises ends here
        traceback.print_exc()
