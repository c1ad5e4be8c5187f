"""The agent's socket: JSON-RPC 2.0, one object a line, over a Unix socket.

The agent gives every plugin process a socket of its own and names it in
STAVILY_AGENT_SOCKET, so it knows who calls. One call is one connection: calls
are rare, need no lock between threads, and never meet a connection gone stale.
"""

import json
import os
import time
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional

if TYPE_CHECKING:
    import socket

# An event is on disk before its call is answered. A disk that takes longer
# than this for one fsync is broken, and the plugin had better say so.
_TIMEOUT_SECONDS = 30.0

# The longest line of either side, in bytes.
_MAX_LINE = 1 << 20


class AgentError(Exception):
    """The agent refused a call, or gave no answer: then it may or may not have taken effect."""


class Agent:
    """The agent at the other end of a socket. Safe for use by several threads."""

    def __init__(self, path: str) -> None:
        self._path = path

    def call(self, method: str, params: Mapping[str, Any]) -> Dict[str, Any]:
        """Call a method and return its result, which is an object.

        Raises AgentError when the agent refuses or does not answer within 30
        seconds; TypeError or ValueError when the parameters are not JSON.
        """
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        line = json.dumps(request, allow_nan=False).encode() + b"\n"
        try:
            answer = json.loads(self._exchange(line))
        except (OSError, ValueError) as error:
            raise AgentError("the agent did not answer {}: {}".format(method, error)) from error
        if "error" in answer:
            raise AgentError("the agent refused {}: {}".format(method, answer["error"].get("message", answer["error"])))
        return dict(answer.get("result") or {})

    def _exchange(self, line: bytes) -> bytes:
        import socket  # 2 ms that a plugin which never calls the agent does not pay

        family = getattr(socket, "AF_UNIX", None)
        if family is None:
            raise OSError("this Python has no Unix sockets")
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT_SECONDS)
            _connect(connection, self._path)
            connection.sendall(line)
            with connection.makefile("rb") as answers:
                answer = answers.readline(_MAX_LINE)
        if not answer.endswith(b"\n"):
            raise OSError("the answer was cut short after {} bytes".format(len(answer)))
        return answer


def _connect(connection: "socket.socket", path: str) -> None:
    """Connect, waiting for room in the agent's queue: a socket with a time limit is refused at once there (EAGAIN, connect(2))."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        try:
            return connection.connect(path)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.005)


def from_environment() -> Optional[Agent]:
    """The agent that started this process; None when it was started by hand or by a test."""
    path = os.environ.get("STAVILY_AGENT_SOCKET")
    return Agent(path) if path else None
