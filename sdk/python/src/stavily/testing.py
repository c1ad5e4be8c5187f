"""Tests of plugins, with nothing but Python.

In memory, the handler is called as the agent would call it; what it raises is
raised to the test:

    events = stavily.testing.run_sensor(main.queue_long, {"queue": "mail", "limit": 10})
    result = stavily.testing.run_action(main.clean, {"path": "/var/tmp/x"}, config={"roots": ["/var/tmp"]})

`Plugin` does the same and keeps what came of it: state, log, progress, events. A
`Clock` makes time pass, `host_files` gives `stavily.host` a host of the test's own:

    with testing.Clock() as clock, testing.host_files({"proc/loadavg": "9.0 8.0 7.0 1/2 3"}):
        plugin = testing.Plugin(main.load_high, config={"limit": 4})
        assert plugin.check()[0]["severity"] == "high"
        clock.advance(60)
        assert plugin.check() == []

As a process, `Session` runs main.py as an agent would, over its pipes and with
a socket to emit to:

    with stavily.testing.Session("main.py", config={"queue": "mail", "limit": 10}) as plugin:
        events = plugin.detect()

None of them reads plugin.yaml, so a test gives the values that have a default there too.
"""

import json
import logging
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Callable, Dict, List, Mapping, Optional

from . import _handler
from ._agent import AgentError
from ._context import Context
from ._contract import Stop
from ._emitter import Emitter
from ._fakes import Clock, DirectAgent, Event, FakeAgent, LogRecorder, event_of, host_files, through_json
from ._settings import Settings
from ._state import State

__all__ = [
    "AgentSocket",
    "Clock",
    "Event",
    "FakeAgent",
    "Plugin",
    "Session",
    "host_files",
    "run_action",
    "run_output",
    "run_sensor",
]


class Plugin:
    """A plugin in memory, for one check or run after the other.

    agent  the FakeAgent that answers it: `plugin.agent.refuse = "the spool is full"`
    logs   what it logged: `warn: two\\nlines` are two lines, each with its level

    A new Plugin with the `state` of another is the plugin after a restart.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        config: Optional[Mapping[str, Any]] = None,
        *,
        state: Optional[Mapping[str, Any]] = None
    ) -> None:
        self._handler = _handler.of(function)
        self._config = Settings("config", config or {})
        self.agent = FakeAgent(state)
        self.logs: List[str] = []
        self._state = State(DirectAgent(self.agent))

    @property
    def state(self) -> Dict[str, Any]:
        """What it keeps over restarts."""
        return self.agent.state

    @property
    def events(self) -> List[Event]:
        """All that it emitted: dicts of id, type, timestamp, severity, data and, if given, key."""
        return [event_of(params) for params in self.agent.events]

    @property
    def progress(self) -> List[Dict[str, Any]]:
        """How far it said that it was: dicts of percent and message."""
        return self.agent.progress

    def check(self) -> List[Event]:
        """Let a sensor check once, and return what it emitted."""
        before = len(self.agent.events)
        self._call(self._state, emit=Emitter(DirectAgent(self.agent)))
        return self.events[before:]

    def watch(self, events: int = 1, *, timeout: float = 10.0) -> List[Event]:
        """Let a sensor with push=True wait until it has emitted so many events, and return these.

        It is ended as by the agent, but only from within `emit`. AssertionError
        when it does not emit enough within `timeout` seconds: then it goes on
        waiting, on a thread of its own.
        """
        before = len(self.agent.events)
        emit = _CountedEmitter(DirectAgent(self.agent), events)
        failure: List[BaseException] = []

        def wait() -> None:
            try:
                self._call(self._state, emit=emit)
            except Stop:
                pass
            except BaseException as error:  # is raised below, to the test
                failure.append(error)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        thread.join(timeout)
        if failure:
            raise failure[0]
        got = self.events[before:]
        if len(got) < events:
            how = "is still waiting" if thread.is_alive() else "has returned"
            raise AssertionError("the sensor {} after {} of {} events".format(how, len(got), events))
        return got

    def execute(
        self, params: Optional[Mapping[str, Any]] = None, *, timeout: Optional[float] = None, cancelled: bool = False
    ) -> Any:
        """Run an action once and return its result; `cancelled` is what it sees from the start."""
        return self._run({"params": Settings("params", params or {})}, timeout, cancelled)

    def deliver(
        self, message: Optional[Mapping[str, Any]] = None, *, timeout: Optional[float] = None, cancelled: bool = False
    ) -> Any:
        """Give an output one message (`id`, `type`, `content` …) and return its result."""
        return self._run({"message": Settings("message", message or {})}, timeout, cancelled)

    def _run(self, arguments: Dict[str, Any], timeout: Optional[float], cancelled: bool) -> Any:
        agent = DirectAgent(self.agent)
        context = Context(instruction_id="test-instruction", config=self._config, timeout=timeout, agent=agent)
        if cancelled:
            context.cancel()
        return through_json(self._call(State(agent), ctx=context, **arguments))

    def _call(self, state: State, **offered: Any) -> Any:
        offered.update(config=self._config, state=state, log=logging.getLogger("plugin"))
        with LogRecorder(self.logs):
            try:
                return self._handler.call(offered)
            finally:
                state.save()


class _CountedEmitter(Emitter):
    """Ends the sensor when it has emitted enough."""

    def __init__(self, agent: DirectAgent, events: int) -> None:
        super().__init__(agent)
        self._left = events

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        event_id = super().__call__(*args, **kwargs)
        self._left -= 1
        if self._left <= 0:
            raise Stop
        return event_id


def run_sensor(
    function: Callable[..., Any], config: Optional[Mapping[str, Any]] = None, *, state: Optional[Dict[str, Any]] = None
) -> List[Event]:
    """Check once and return the events: dicts of id, type, timestamp, severity, data and, if given, key.

    Give the same `state` dict to several calls to test what is remembered: it
    holds afterwards what the plugin keeps.
    """
    plugin = Plugin(function, config, state=state)
    try:
        return plugin.check()
    finally:
        if state is not None:
            state.clear()
            state.update(plugin.state)


def run_action(
    function: Callable[..., Any],
    params: Optional[Mapping[str, Any]] = None,
    *,
    config: Optional[Mapping[str, Any]] = None,
    timeout: Optional[float] = None,
    cancelled: bool = False
) -> Any:
    """Run an action once and return its result; `cancelled` is what it sees from the start."""
    return Plugin(function, config).execute(params, timeout=timeout, cancelled=cancelled)


def run_output(
    function: Callable[..., Any],
    message: Optional[Mapping[str, Any]] = None,
    *,
    config: Optional[Mapping[str, Any]] = None,
    timeout: Optional[float] = None,
    cancelled: bool = False
) -> Any:
    """Deliver one message (`id`, `type`, `content` …) and return the output's result."""
    return Plugin(function, config).deliver(message, timeout=timeout, cancelled=cancelled)


class AgentSocket(FakeAgent):
    """A FakeAgent at the other end of a Unix socket, for one plugin that is a process of its own."""

    def __init__(self, path: str, state: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__(state)
        self._server = _UnixServer(path, self._reply)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        """Stop listening; returns when the last call is answered."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _reply(self, request: Dict[str, Any]) -> Dict[str, Any]:
        try:
            return {"result": self.answer(request["method"], request["params"])}
        except AgentError as error:
            return {"error": {"code": -32000, "message": str(error)}}


class _UnixServer(socketserver.TCPServer):
    address_family = getattr(socket, "AF_UNIX", socket.AF_INET)  # so that Windows can import this module

    def __init__(self, path: str, answer: Callable[[Dict[str, Any]], Dict[str, Any]]) -> None:
        self.answer = answer
        super().__init__(path, _Connection)  # type: ignore[arg-type]  # the address of a Unix socket is its path


class _Connection(socketserver.StreamRequestHandler):
    server: _UnixServer

    def handle(self) -> None:
        for line in self.rfile:
            request = json.loads(line)
            answer = {"jsonrpc": "2.0", "id": request["id"], **self.server.answer(request)}
            self.wfile.write(json.dumps(answer).encode() + b"\n")


# What a plugin sees of the environment that the tests run in.
_INHERITED = ("PATH", "SYSTEMROOT", "HOST_PROC", "HOST_SYS", "HOST_ETC", "HOST_VAR", "HOST_ROOT")


class Session:
    """A plugin as a real process that has been told get_info, initialize and start.

    Used in a `with` block, which ends the process. An answer that takes more
    than `timeout` seconds, or a process that ends, is an AssertionError with
    the plugin's log. `environment` is added to the little that an agent gives.
    Where Python has Unix sockets, `agent` is the AgentSocket that the plugin
    emits to; elsewhere it is None.
    """

    def __init__(
        self,
        main: str,
        *,
        config: Optional[Mapping[str, Any]] = None,
        environment: Optional[Mapping[str, str]] = None,
        state: Optional[Mapping[str, Any]] = None,
        timeout: float = 10.0
    ) -> None:
        self._timeout = timeout
        self._config = dict(config or {})
        self._directory = tempfile.mkdtemp(prefix="stavily-")
        self._log = open(os.path.join(self._directory, "log"), "w+b")
        self.agent: Optional[AgentSocket] = None
        env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        env["PYTHONPATH"] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        env["STAVILY_PLUGIN_ID"] = os.path.basename(os.path.dirname(os.path.abspath(main)))
        if hasattr(socket, "AF_UNIX"):
            env["STAVILY_AGENT_SOCKET"] = os.path.join(self._directory, "agent")
            self.agent = AgentSocket(env["STAVILY_AGENT_SOCKET"], state)
        env.update(environment or {})
        self.process = subprocess.Popen(
            [sys.executable, main], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=env
        )

    def __enter__(self) -> "Session":
        try:
            for answer in (
                self.request("get_info"),
                self.request("initialize", config=self._config),
                self.request("start"),
            ):
                assert answer["success"], answer
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """End the process, at the end of its input or by force, and remove all that it left."""
        if self.process.stdin is not None and self.process.stdout is not None:
            self.process.stdin.close()
            self._reap()
            self.process.stdout.close()
        if self.agent is not None:
            self.agent.close()
        self._log.close()
        shutil.rmtree(self._directory)

    def _reap(self) -> int:
        try:
            return self.process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    @property
    def log(self) -> str:
        """What the plugin has written to its log so far."""
        with open(self._log.name, encoding="utf-8", errors="replace") as log:
            return log.read()

    def request(self, action: str, **fields: Any) -> Dict[str, Any]:
        """Send a command and return the answer."""
        return self.exchange(json.dumps({"action": action, **fields}).encode())

    def exchange(self, line: bytes) -> Dict[str, Any]:
        """Send any line, without its newline, and return the answer."""
        self.send(line)
        return self.receive()

    def send(self, line: bytes) -> None:
        """Send a line without waiting for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def receive(self) -> Dict[str, Any]:
        """The next answer."""
        assert self.process.stdout is not None
        timer = threading.Timer(self._timeout, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise AssertionError("the plugin ended with {} and no answer; its log:\n{}".format(self._reap(), self.log))
        answer = json.loads(line)
        assert isinstance(answer, dict), answer
        return answer

    def detect(self) -> List[Dict[str, Any]]:
        """Let a sensor check once and return what it emitted, as AgentSocket records it."""
        before = len(self.agent.events) if self.agent else 0
        answer = self.request("detect_triggers")
        assert answer["success"], answer
        return self.agent.events[before:] if self.agent else answer["data"] or []

    def wait_for_events(self, count: int = 1) -> List[Dict[str, Any]]:
        """Wait until a sensor with push=True has emitted so many events in all, and return them."""
        assert self.agent is not None, "without Unix sockets a test cannot see when events come"
        end = time.monotonic() + self._timeout
        while len(self.agent.events) < count:
            if self.process.poll() is not None or time.monotonic() > end:
                got = len(self.agent.events)
                raise AssertionError("{} of {} events came; its log:\n{}".format(got, count, self.log))
            time.sleep(0.01)
        return self.agent.events

    def execute(self, params: Mapping[str, Any], *, timeout: float = 60.0) -> Dict[str, Any]:
        """Run an action and return its record: status, data, error and times."""
        work = {"id": "test-instruction", "parameters": params, "timeout": timeout}
        return dict(self.request("execute_action", action_request=work)["data"])

    def deliver(self, message: Mapping[str, Any]) -> Dict[str, Any]:
        """Give an output a message and return its record: status, data, error and times."""
        return dict(self.request("send_output", output={"id": "test-message", **message})["data"])

    def terminate(self) -> int:
        """Send SIGTERM (on Windows: end it by force) and return the exit code."""
        self.process.terminate()
        return self._reap()
