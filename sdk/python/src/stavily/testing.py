"""Tests of plugins, with nothing but Python.

In memory, the handler is called as the agent would call it; what it raises is
raised to the test:

    events = stavily.testing.run_sensor(main.queue_long, {"queue": "mail", "limit": 10})
    result = stavily.testing.run_action(main.clean, {"path": "/var/tmp/x"}, config={"roots": ["/var/tmp"]})

As a process, `Session` runs main.py as an agent would, over its pipes and with
a socket to emit to:

    with stavily.testing.Session("main.py", config={"queue": "mail", "limit": 10}) as plugin:
        events = plugin.detect()

Neither reads plugin.yaml, so a test gives the values that have a default there too.
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
from typing import Any, Callable, Dict, List, Mapping, Optional

from . import _handler
from ._context import Context
from ._emitter import Emitter
from ._settings import Settings

Event = Dict[str, Any]


def run_sensor(
    function: Callable[..., Any], config: Optional[Mapping[str, Any]] = None, *, state: Optional[Dict[str, Any]] = None
) -> List[Event]:
    """Check once and return the events: dicts of id, type, timestamp, severity, data and, if given, key.

    Give the same `state` dict to several calls to test what is remembered.
    """
    emit = Emitter(None)
    _handler.of(function).call(
        {
            "config": Settings("config", config or {}),
            "emit": emit,
            "state": {} if state is None else state,
            "log": logging.getLogger("plugin"),
        }
    )
    return [_through_json(event) for event in emit.take()]


def run_action(
    function: Callable[..., Any],
    params: Optional[Mapping[str, Any]] = None,
    *,
    config: Optional[Mapping[str, Any]] = None,
    timeout: Optional[float] = None,
    cancelled: bool = False
) -> Any:
    """Run an action once and return its result; `cancelled` is what it sees from the start."""
    return _run(function, {"params": Settings("params", params or {})}, config, timeout, cancelled)


def run_output(
    function: Callable[..., Any],
    message: Optional[Mapping[str, Any]] = None,
    *,
    config: Optional[Mapping[str, Any]] = None,
    timeout: Optional[float] = None,
    cancelled: bool = False
) -> Any:
    """Deliver one message (`id`, `type`, `content` …) and return the output's result."""
    return _run(function, {"message": Settings("message", message or {})}, config, timeout, cancelled)


def _run(
    function: Callable[..., Any],
    arguments: Dict[str, Any],
    config: Optional[Mapping[str, Any]],
    timeout: Optional[float],
    cancelled: bool,
) -> Any:
    context = Context(instruction_id="test-instruction", config=Settings("config", config or {}), timeout=timeout)
    if cancelled:
        context.cancel()
    return _through_json(_handler.of(function).call({**arguments, "ctx": context}))


def _through_json(value: Any) -> Any:
    """What is left of a value after the wire; TypeError or ValueError for what cannot cross it."""
    return json.loads(json.dumps(value, allow_nan=False))


class AgentSocket:
    """The agent's end of the socket of one plugin: records what it is told, accepts it or refuses.

    `events` are the params of report_trigger, with their event_id; `progress`
    those of progress. Set `refuse` to a message to refuse all calls with it.
    """

    def __init__(self, path: str) -> None:
        self.events: List[Dict[str, Any]] = []
        self.progress: List[Dict[str, Any]] = []
        self.refuse: Optional[str] = None
        self._server = _UnixServer(path, self._answer)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        """Stop listening; returns when the last call is answered."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, request: Dict[str, Any]) -> Dict[str, Any]:
        if self.refuse is not None:
            return {"error": {"code": -32000, "message": self.refuse}}
        if request["method"] == "report_trigger":
            event_id = "event-{}".format(len(self.events) + 1)
            self.events.append({**request["params"], "event_id": event_id})
            return {"result": {"accepted": True, "event_id": event_id}}
        if request["method"] == "progress":
            self.progress.append(request["params"])
            return {"result": {}}
        return {"error": {"code": -32601, "message": "method not found"}}


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
        timeout: float = 10.0
    ) -> None:
        self._timeout = timeout
        self._config = dict(config or {})
        self._directory = tempfile.mkdtemp(prefix="stavily-")
        self._log = open(os.path.join(self._directory, "log"), "w+b")
        self.agent: Optional[AgentSocket] = None
        env = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        env["PYTHONPATH"] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        env["STAVILY_PLUGIN_ID"] = os.path.basename(os.path.dirname(os.path.abspath(main)))
        if hasattr(socket, "AF_UNIX"):
            env["STAVILY_AGENT_SOCKET"] = os.path.join(self._directory, "agent")
            self.agent = AgentSocket(env["STAVILY_AGENT_SOCKET"])
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
