"""`emit`: how a sensor reports an event."""

import os
from typing import Any, Callable, Dict, List, Mapping, Optional

from ._agent import Agent
from ._clock import timestamp

_SEVERITIES = ("low", "medium", "high", "critical")


class Emitter:
    """Reports events to the agent. Safe for use by several threads."""

    def __init__(self, agent: Optional[Agent]) -> None:
        self._agent = agent
        self._held: List[Dict[str, Any]] = []
        self._push: Optional[Callable[[Dict[str, Any]], None]] = None

    def push_by(self, push: Callable[[Dict[str, Any]], None]) -> None:
        """Send what would be held by this from now on."""
        self._push = push

    def __call__(
        self,
        type: str,
        *,
        data: Optional[Mapping[str, Any]] = None,
        severity: str = "medium",
        key: Optional[str] = None
    ) -> str:
        """Report an event and return its id.

        `type` is a dotted name such as `disk.space.high`. `data` is what
        workflows read as `event.data`: a JSON object; the whole event may have
        64 KiB. `severity` is low, medium, high or critical. `key` names what
        the event is about (a mount, a path), so that workflows tell several
        apart and recognise one again.

        When it returns, the event is on the agent's disk and will reach the
        orchestrator, whatever crashes next. When it raises AgentError the
        event may be lost: leave `state` as it was, so that the next check
        tries again. Without an agent (a process started by hand or by a test)
        the event is held and goes into the answer to detect_triggers; one of a
        sensor with push=True is sent at once, and nobody says that it arrived.
        """
        if not isinstance(type, str) or not type:
            raise ValueError("type of an event must be a dotted name such as disk.space.high, is {!r}".format(type))
        if severity not in _SEVERITIES:
            raise ValueError("severity must be one of {}, is {!r}".format(", ".join(_SEVERITIES), severity))
        if self._agent is not None:
            params = {"trigger_name": type, "payload": dict(data or {}), "severity": severity}
            if key is not None:
                params["key"] = key
            return str(self._agent.call("report_trigger", params)["event_id"])
        event = {"type": type, "severity": severity, "data": dict(data or {})}
        return self._keep(event if key is None else {**event, "key": key})

    def _keep(self, event: Dict[str, Any]) -> str:
        """Give an event an id here and now, where no agent does."""
        event_id = os.urandom(16).hex()
        event.update(id=event_id, timestamp=timestamp())
        if self._push is not None:
            self._push(event)
        else:
            self._held.append(event)
        return event_id

    def take(self) -> List[Dict[str, Any]]:
        """Hand over the events held since the last call; empty where there is an agent."""
        held, self._held = self._held, []
        return held
