"""`emit`: how a sensor reports an event."""

import os
from typing import Any, Dict, List, Mapping, Optional

from ._agent import Agent
from ._clock import timestamp

_SEVERITIES = ("low", "medium", "high", "critical")


class Emitter:
    """Reports events to the agent. Safe for use by several threads."""

    def __init__(self, agent: Optional[Agent]) -> None:
        self._agent = agent
        self._held: List[Dict[str, Any]] = []

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
        the event is held and goes into the answer to detect_triggers.
        """
        if not isinstance(type, str) or not type:
            raise ValueError("type of an event must be a dotted name such as disk.space.high, is {!r}".format(type))
        if severity not in _SEVERITIES:
            raise ValueError("severity must be one of {}, is {!r}".format(", ".join(_SEVERITIES), severity))
        if self._agent is not None:
            params: Dict[str, Any] = {"trigger_name": type, "payload": dict(data or {}), "severity": severity}
            if key is not None:
                params["key"] = key
            return str(self._agent.call("report_trigger", params)["event_id"])
        event_id = os.urandom(16).hex()
        event = {"id": event_id, "type": type, "timestamp": timestamp(), "severity": severity, "data": dict(data or {})}
        self._held.append(event if key is None else {**event, "key": key})
        return event_id

    def take(self) -> List[Dict[str, Any]]:
        """Hand over the events held since the last call; empty where there is an agent."""
        held, self._held = self._held, []
        return held
