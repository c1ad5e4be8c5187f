"""What a plugin remembers from one check or run to the next, over restarts."""

import json
from typing import Any, Dict, Iterator, MutableMapping, Optional

from ._agent import Agent


class State(MutableMapping[str, Any]):
    """A dict that the agent keeps: of one monitor, or of all runs of an action or output.

    Values are JSON: 64 KiB each, 1 MiB in all. They are read when the plugin
    first looks at one, and what changed, also inside a value, is kept when the
    check or run ends, whether or not it failed. `save` keeps it at once, which
    a sensor that waits for its events does after each of them. One that is
    killed in the middle finds what was last kept.

    Runs of an action that overlap share it: for each key the last to save wins.
    Without an agent (a process started by hand or by a test) it lasts as long
    as the process.
    """

    __slots__ = ("_agent", "_kept", "_values")

    def __init__(self, agent: Optional[Agent]) -> None:
        self._agent = agent
        self._values: Optional[Dict[str, Any]] = None  # None until it is looked at
        self._kept: Dict[str, str] = {}  # what the agent has, as JSON

    def _all(self) -> Dict[str, Any]:
        if self._values is None:
            values = {} if self._agent is None else self._agent.call("get_state", {})["state"]
            self._kept = {key: _text(key, value) for key, value in values.items()}
            self._values = values
        return self._values

    def __getitem__(self, key: str) -> Any:
        return self._all()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str) or not key:
            raise TypeError("a key of the state is text, is {!r}".format(key))
        self._all()[key] = value

    def __delitem__(self, key: str) -> None:
        del self._all()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return "<state: {}>".format(", ".join(sorted(self._values or {})))

    def save(self) -> None:
        """Keep what has changed; when it returns, that is on the agent's disk.

        TypeError or ValueError for what is not JSON, AgentError for what the
        agent does not take: then it is tried again the next time.
        """
        if self._values is None:
            return
        for key, value in self._values.items():
            text = _text(key, value)
            if self._kept.get(key) != text:
                if self._agent is not None:
                    self._agent.call("set_state", {"key": key, "value": value})
                self._kept[key] = text
        for key in [key for key in self._kept if key not in self._values]:
            if self._agent is not None:
                self._agent.call("delete_state", {"key": key})
            del self._kept[key]


def _text(key: str, value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)("state[{!r}] is not JSON: {}".format(key, error)) from None
