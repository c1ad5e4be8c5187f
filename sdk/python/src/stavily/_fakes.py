"""What stands in for the agent, the clock and the host in tests; public as `stavily.testing`."""

import contextlib
import json
import logging
import os
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Union

from ._agent import Agent, AgentError
from ._clock import timestamp
from ._streams import LineFormatter

Event = Dict[str, Any]
Answer = Dict[str, Any]

# The agent's bounds on what a plugin keeps, in bytes of JSON.
_MAX_VALUE = 64 << 10
_MAX_STATE = (1 << 20) - (1 << 10)


class FakeAgent:
    """An agent's answers to one plugin: records what it is told, accepts it or refuses.

    events    the params of each report_trigger, with their event_id
    progress  the params of each progress
    state     what the plugin keeps, by key
    refuse    set it to a message to refuse all calls with it
    """

    def __init__(self, state: Optional[Mapping[str, Any]] = None) -> None:
        self.events: List[Dict[str, Any]] = []
        self.progress: List[Dict[str, Any]] = []
        self.state: Dict[str, Any] = through_json(dict(state or {}))
        self.refuse: Optional[str] = None
        self._methods: Dict[str, Callable[[Dict[str, Any]], Answer]] = {
            "ping": lambda params: {},
            "report_trigger": self._report_trigger,
            "progress": self._progress,
            "get_state": self._get_state,
            "set_state": self._set_state,
            "delete_state": self._delete_state,
        }

    def answer(self, method: str, params: Dict[str, Any]) -> Answer:
        """The result of a call; AgentError where it is refused."""
        if self.refuse is not None:
            raise AgentError(self.refuse)
        if method not in self._methods:
            raise AgentError("there is no method {!r}".format(method))
        return self._methods[method](params)

    def _report_trigger(self, params: Dict[str, Any]) -> Answer:
        event_id = "event-{}".format(len(self.events) + 1)
        self.events.append({**params, "event_id": event_id})
        return {"accepted": True, "event_id": event_id}

    def _progress(self, params: Dict[str, Any]) -> Answer:
        self.progress.append(params)
        return {}

    def _get_state(self, params: Dict[str, Any]) -> Answer:
        if "key" in params:
            return {"value": self.state.get(params["key"])}
        return {"state": dict(self.state)}

    def _set_state(self, params: Dict[str, Any]) -> Answer:
        if len(json.dumps(params["value"])) > _MAX_VALUE:
            raise AgentError("not kept: the value of {!r} has more than {} bytes".format(params["key"], _MAX_VALUE))
        changed = {**self.state, params["key"]: params["value"]}
        if len(json.dumps(changed)) > _MAX_STATE:
            raise AgentError("not kept: all values together have more than {} bytes".format(_MAX_STATE))
        self.state = changed
        return {}

    def _delete_state(self, params: Dict[str, Any]) -> Answer:
        self.state.pop(params["key"], None)
        return {}


class DirectAgent(Agent):
    """A FakeAgent in the same process, with no socket between."""

    def __init__(self, fake: FakeAgent) -> None:
        super().__init__("")
        self._fake = fake

    def call(self, method: str, params: Mapping[str, Any]) -> Answer:
        """As over the socket: what cannot cross it is an error here as well."""
        try:
            return dict(through_json(self._fake.answer(method, through_json(params))))
        except AgentError as error:
            raise AgentError("the agent refused {}: {}".format(method, error)) from None


def event_of(params: Mapping[str, Any]) -> Event:
    """An event as workflows see it, from the params of report_trigger."""
    event = {
        "id": params["event_id"],
        "type": params["trigger_name"],
        "timestamp": timestamp(),
        "severity": params["severity"],
        "data": params["payload"],
    }
    return {**event, "key": params["key"]} if "key" in params else event


def through_json(value: Any) -> Any:
    """What is left of a value after the wire; TypeError or ValueError for what cannot cross it."""
    return json.loads(json.dumps(value, allow_nan=False))


class Clock:
    """A clock that only `advance` and `time.sleep` move, for all of Python's `time` in a `with` block.

        with testing.Clock() as clock:
            plugin.check()
            clock.advance(3600)
            plugin.check()

    `now` is what `time.time()` tells, at first 2026-01-02T03:04:05Z. What takes
    the time from elsewhere goes on: `datetime.now()`, and names that a module
    imported with `from time import …` before the block.
    """

    def __init__(self, now: float = 1767323045.0) -> None:
        self.now = now
        self._monotonic = 1000.0
        self._real: Dict[str, Any] = {}

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if seconds < 0:
            raise ValueError("time does not go back: advance by 0 seconds or more, not {!r}".format(seconds))
        self.now += seconds
        self._monotonic += seconds

    def __enter__(self) -> "Clock":
        fake: Dict[str, Callable[..., Any]] = {
            "time": lambda: self.now,
            "time_ns": lambda: int(self.now * 1e9),
            "monotonic": lambda: self._monotonic,
            "monotonic_ns": lambda: int(self._monotonic * 1e9),
            "perf_counter": lambda: self._monotonic,
            "sleep": self.advance,
        }
        for name, function in fake.items():
            self._real[name] = getattr(time, name)
            setattr(time, name, function)
        return self

    def __exit__(self, *_: Any) -> None:
        for name, function in self._real.items():
            setattr(time, name, function)


_HOST_DIRECTORIES = ("proc", "sys", "etc", "var")


@contextlib.contextmanager
def host_files(files: Mapping[str, Union[str, bytes]]) -> Iterator[str]:
    """A host with these files and no others, for what asks `stavily.host`; yields its root.

        with testing.host_files({"proc/meminfo": "MemTotal: 100 kB\\n"}):
            plugin.check()

    Its /proc, /sys, /etc and /var are there, empty; whatever else a test needs,
    such as links, it makes below the root.
    """
    with tempfile.TemporaryDirectory(prefix="stavily-host-") as root:
        variables = {"HOST_ROOT": root}
        for name in _HOST_DIRECTORIES:
            variables["HOST_" + name.upper()] = os.path.join(root, name)
            os.mkdir(os.path.join(root, name))
        for name, content in files.items():
            path = os.path.join(root, name.lstrip("/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield root
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


class LogRecorder(logging.Handler):
    """Collects log lines as the agent would see them, `warn: message`, while in a `with` block."""

    def __init__(self, lines: List[str]) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(LineFormatter())
        self._lines = lines
        self._level = logging.NOTSET

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        self._lines += self.format(record).split("\n")

    def __enter__(self) -> "LogRecorder":
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(min(logging.INFO, root.level))
        root.addHandler(self)
        return self

    def __exit__(self, *_: Any) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level)
