"""The contract `stdio`: commands in, one answer each, a JSON object a line.

    get_info ─▶ initialize ─▶ start ─▶ detect_triggers | execute_action | send_output … ─▶ stop

Commands are answered in order; one that has an `id` gets it back. Whatever a
line holds or the plugin raises, there is an answer and the process lives on.
It ends at the end of its input, and at SIGTERM:

    waiting, or in a sensor       at once
    in an action or an output     `ctx.cancelled` becomes true; it ends after its answer

A sensor that waits for its events by itself has a thread for this: see _push.
"""

import json
import logging
import math
import os
import signal
import time
from typing import Any, BinaryIO, Callable, Dict, NamedTuple, Optional, TypeVar

from . import _agent, _handler, _streams
from ._clock import timestamp
from ._context import Context
from ._emitter import Emitter
from ._errors import Cancelled, PluginError, describe
from ._settings import Settings
from ._state import State

# The longest line of either side, in bytes, without its newline.
MAX_LINE = 1 << 20

# Announced in get_info: this contract, with the id of a command in its answer.
PROTOCOL = 2

# Manifests and the wire say trigger where people say sensor.
_WIRE_KINDS = {"sensor": "trigger", "action": "action", "output": "output"}

Request = Dict[str, Any]
Answer = Dict[str, Any]
_T = TypeVar("_T")


class Stop(BaseException):
    """Ends a sensor or a wait for input at SIGTERM; not an Exception, so that plugins let it pass."""


class _Malformed(Exception):
    """The agent's command cannot be understood; the message says why."""


class _Outcome(NamedTuple):
    """How one run of the handler ended: `status` is completed, failed or cancelled."""

    status: str
    result: Any
    error: str


class Host:
    """One plugin, answering its agent's commands. Belongs to one thread."""

    def __init__(self, handler: _handler.Handler, agent: Optional[_agent.Agent]) -> None:
        self._handler = handler
        self._agent = agent
        self._home = os.path.dirname(os.path.abspath(handler.function.__code__.co_filename))
        self._config: Optional[Settings] = None  # None until initialize
        self._emit = Emitter(agent)
        self._state = State(agent)  # of a sensor
        self._status = "created"
        self._health = _Health()
        self._context: Optional[Context] = None  # of the run that is going on
        self._interruptible = False  # whether a signal may end what is going on
        self._stopping = False  # a signal has come
        self._commands = self._commands_of(handler.kind)

    def _commands_of(self, kind: str) -> Dict[str, Callable[[Request], Answer]]:
        commands = {
            "get_info": self._get_info,
            "initialize": self._initialize,
            "start": self._start,
            "stop": lambda request: self._enter("stopped"),
            "get_status": lambda request: _success(self._status),
            "get_health": lambda request: _success(self._health.report()),
        }
        commands["get_{}_config".format(_WIRE_KINDS[kind])] = self._get_schema
        if kind == "sensor":
            commands["detect_triggers"] = self._detect_triggers
        elif kind == "action":
            commands["execute_action"] = self._execute_action
        else:
            commands["send_output"] = self._send_output
        return commands

    @property
    def running(self) -> bool:
        """Whether the agent has said start and not yet stop."""
        return self._status == "running"

    def serve(self, requests: BinaryIO, answers: BinaryIO, commands: float = math.inf) -> bool:
        """Answer commands until the input ends or a signal asks to stop, and then return False.

        `answers` has no buffer. True after as many commands as were asked for.
        """
        try:
            while commands > 0:
                commands -= 1
                self._interruptible = True  # before the look at _stopping, or a signal between the two would be lost
                line = b"" if self._stopping else read_line(requests)
                if not line:
                    return False
                self._interruptible = self._handler.kind == "sensor"
                answer = self.answer(line)
                self._interruptible = False  # an answer is written whole
                write_line(answers, answer)
        except (Stop, BrokenPipeError):
            return False
        return True

    def watch(self, push: Callable[[Dict[str, Any]], None]) -> str:
        """Run a sensor that waits for its events until it ends; returns why it failed, or "".

        `push` sends an event where there is no agent to accept it.
        """
        self._emit.push_by(push)
        self._health.begin()
        try:
            return self.wait(self._sense).error
        except Stop:
            return self._outcome(self._state.save).error

    def execute(
        self, begin: Callable[[bytes], Optional[_agent.Agent]], requests: BinaryIO, answers: BinaryIO
    ) -> bool:
        """Answer the one command that this process was forked for; False where it is not even begun.

        `begin` gets the line that comes before the command, and gives the agent.
        """
        try:
            line = self.wait(lambda: read_line(requests))
        except Stop:
            return False
        if not line:
            return False
        self._agent = begin(line)
        self.serve(requests, answers, commands=1)
        return True

    def wait(self, wait: Callable[[], _T]) -> _T:
        """Call `wait`, which Stop leaves when a signal asks to end; as serve does, which waits for input."""
        self._interruptible = True  # before the look, as above
        try:
            if self._stopping:
                raise Stop
            return wait()
        finally:
            self._interruptible = False

    def on_signal(self, signum: int, frame: object) -> None:
        """Signal handler: end what may be ended at once, tell an action to end."""
        self._stopping = True
        if self._context is not None:
            self._context.cancel()
        elif self._interruptible:
            self._interruptible = False  # once, so that cleaning up is not interrupted
            raise Stop

    def answer(self, line: bytes) -> bytes:
        """The answer to one line of input, as a line."""
        head: Answer = {"action": ""}
        try:
            request = _parse(line)
            head.update((key, request[key]) for key in ("action", "id") if key in request)
            body = self._command(request)(request)
        except _Malformed as error:
            body = _failure(str(error))
        return _encode(head, body)

    def _command(self, request: Request) -> Callable[[Request], Answer]:
        action = request.get("action")
        if not isinstance(action, str) or action not in self._commands:
            known = ", ".join(sorted(self._commands))
            raise _Malformed("there is no command {!r} for this plugin: it has {}".format(action, known))
        return self._commands[action]

    def _get_info(self, request: Request) -> Answer:
        info = {
            "id": os.environ.get("STAVILY_PLUGIN_ID", ""),
            "type": _WIRE_KINDS[self._handler.kind],
            "protocol": PROTOCOL,
        }
        if self._handler.interval is not None:
            info["interval"] = self._handler.interval
        if self._handler.push:
            info["push"] = True
        return _success(info)

    def _initialize(self, request: Request) -> Answer:
        config = Settings("config", _object(request, "config"))
        try:
            self._handler.prepare(config)  # a dataclass that does not fit is told before anything runs
        except PluginError as error:
            return _failure(str(error))
        self._config = config
        return self._enter("initialized")

    def _get_schema(self, request: Request) -> Answer:
        """What the code says of its configuration and parameters; the manifest's, which the agent has, is to agree."""
        from . import manifest

        try:
            return _success(manifest.sections(self._handler))
        except TypeError as error:
            return _failure(str(error))

    def _start(self, request: Request) -> Answer:
        if self._handler.push:
            self._initialized()  # it runs from now on
        return self._enter("running")

    def _enter(self, status: str) -> Answer:
        self._status = status
        return _success(None)

    def _initialized(self) -> Settings:
        if self._config is None:
            raise _Malformed("there is no configuration: initialize must come first")
        return self._config

    def _detect_triggers(self, request: Request) -> Answer:
        if self._handler.push:
            return _success(None)
        outcome = self._sense()
        if outcome.status == "completed" and outcome.result is not None:
            wrong = "a sensor reports with emit(), but this one returned {}".format(type(outcome.result).__name__)
            outcome = _Outcome("failed", None, wrong)
        # Without an agent's socket the events go here, also those from before a failure.
        return _ended(outcome, self._emit.take() or None)

    def _sense(self) -> _Outcome:
        return self._attempt(self._state, emit=self._emit)

    def _execute_action(self, request: Request) -> Answer:
        work = _object(request, "action_request")
        return self._run(work, "params", _object(work, "parameters"))

    def _send_output(self, request: Request) -> Answer:
        message = _object(request, "output")
        return self._run(message, "message", message)

    def _run(self, work: Request, argument: str, value: Dict[str, Any]) -> Answer:
        context = Context(
            instruction_id=str(work.get("id") or os.environ.get("STAVILY_INSTRUCTION_ID", "")),
            idempotency_key=str(_object(work, "metadata").get("idempotency_key") or ""),
            config=self._initialized(),
            timeout=_seconds(work.get("timeout")),
            agent=self._agent,
        )
        started_at, begin = timestamp(), time.monotonic()
        self._context = context
        if self._stopping:  # the signal came before there was a context to cancel
            context.cancel()
        outcome = self._attempt(State(self._agent), **{argument: Settings(argument, value), "ctx": context})
        self._context = None
        return _ended(
            outcome,
            {
                "id": context.instruction_id,
                "status": outcome.status,
                "data": outcome.result,
                "error": outcome.error,
                "started_at": started_at,
                "completed_at": timestamp(),
                "duration": round(time.monotonic() - begin, 6),  # seconds
            },
        )

    def _attempt(self, state: State, **offered: Any) -> _Outcome:
        """Call the plugin's function once and keep what it remembers, however it ended."""
        offered.update(config=self._initialized(), state=state, log=logging.getLogger("plugin"))
        outcome = self._outcome(lambda: self._handler.call(offered))
        saved = self._outcome(state.save)
        if outcome.status == "completed" and saved.error:
            outcome = saved
        self._health.record(outcome)
        return outcome

    def _outcome(self, work: Callable[[], Any]) -> _Outcome:
        try:
            return _Outcome("completed", work(), "")
        except Cancelled as error:
            return _Outcome("cancelled", error.result, str(error))
        except PluginError as error:
            return _Outcome("failed", error.result, str(error))
        except (Exception, SystemExit) as error:  # a plugin may raise anything; to its agent that is an answer
            return _Outcome("failed", None, describe(error, self._home))


class _Health:
    """What get_health tells: how the runs went."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._runs = 0
        self._errors = 0
        self._last_run: Optional[str] = None
        self._last_error = ""
        self._waits = False

    def begin(self) -> None:
        """It has begun to wait for events: from now on it is well as long as it lives."""
        self._waits = True

    def record(self, outcome: _Outcome) -> None:
        self._runs += 1
        self._errors += outcome.status == "failed"
        self._last_run = timestamp()
        self._last_error = outcome.error

    def report(self) -> Dict[str, Any]:
        """`uptime` is in seconds; degraded means that the last run did not complete."""
        if self._runs == 0:
            status = "healthy" if self._waits else "unknown"
        else:
            status = "degraded" if self._last_error else "healthy"
        return {
            "status": status,
            "message": self._last_error if self._runs else "waits for events" if self._waits else "has not run yet",
            "last_check": self._last_run,
            "uptime": round(time.monotonic() - self._begin, 3),
            "error_count": self._errors,
            "metrics": {"runs": self._runs},
        }


def _success(data: Any) -> Answer:
    return {"success": True, "data": data}


def _failure(error: str, data: Any = None) -> Answer:
    return {"success": False, "error": error, "data": data}


def _ended(outcome: _Outcome, data: Any) -> Answer:
    return _success(data) if outcome.status == "completed" else _failure(outcome.error, data)


def read_line(requests: BinaryIO) -> bytes:
    """The next line, without its newline if it is too long, and then cut; b"" at the end."""
    line = rest = requests.readline(MAX_LINE + 1)
    while len(rest) > MAX_LINE and not rest.endswith(b"\n"):
        rest = requests.readline(MAX_LINE + 1)
    return line


def write_line(answers: BinaryIO, line: bytes) -> None:
    while line:
        line = line[answers.write(line) :]


def _parse(line: bytes) -> Request:
    if len(line) > MAX_LINE and not line.endswith(b"\n"):
        raise _Malformed("the line is longer than {} bytes".format(MAX_LINE))
    try:
        request = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # RecursionError: nested too deeply
        raise _Malformed("the line is not JSON: {}".format(error)) from None
    if not isinstance(request, dict):
        raise _Malformed("the line is not a JSON object")
    return request


def _object(parent: Request, key: str) -> Dict[str, Any]:
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _Malformed("{} must be an object, is {}".format(key, type(value).__name__))
    return value


def _seconds(timeout: Any) -> Optional[float]:
    """A timeout of the wire, in seconds; None, and 0, mean without a limit."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise _Malformed("timeout must be a number of seconds, is {!r}".format(timeout))
    return float(timeout)


def _encode(head: Answer, body: Answer) -> bytes:
    try:
        line = json.dumps({**head, **body}, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return _encode(head, _failure("the plugin's result is not JSON: {}".format(error)))
    if len(line) > MAX_LINE:
        return _encode(head, _failure("the plugin's result has {} bytes; {} are allowed".format(len(line), MAX_LINE)))
    return line + b"\n"


def run() -> None:
    """Be a plugin: serve the agent that started this process until it says stop.

    The last line of main.py, below `if __name__ == "__main__":`. RuntimeError
    unless exactly one function is decorated.
    """
    handler = _handler.sole()
    requests, answers = _streams.claim()
    _streams.log_to_stderr()
    zygote = os.environ.pop("STAVILY_ZYGOTE_FD", None)
    host = Host(handler, None if zygote else _agent.from_environment())
    _on_signals(host.on_signal)
    if not zygote:
        requests = _streams.until_signal(requests, _ENDING)
    try:
        _serve(host, handler, zygote, requests, answers)
    finally:
        # It ends by itself now. The interpreter takes its handlers away before it has ended:
        # without this, another signal would cut short what is written then.
        _on_signals(signal.SIG_IGN)


_ENDING = (signal.SIGTERM, signal.SIGINT)


def _on_signals(what: Any) -> None:
    for number in _ENDING:
        signal.signal(number, what)


def _serve(
    host: Host, handler: _handler.Handler, zygote: Optional[str], requests: BinaryIO, answers: BinaryIO
) -> None:
    if handler.push:
        from . import _push  # with threading, which no other plugin pays for

        _push.serve(host, requests, answers)
    elif zygote is None:
        host.serve(requests, answers)
    else:
        from . import _zygote  # Linux only, and only for the process that others are forked from

        _zygote.serve(host, int(zygote), requests, answers)
