"""Write plugins for Stavily agents: a decorated function is a plugin.

    import stavily

    @stavily.sensor(interval=30)
    def queue_long(config, emit, state):
        depth = measure(config.queue)
        if depth > config.limit:
            emit("queue.long", data={"depth": depth}, severity="high", key=config.queue)

    if __name__ == "__main__":
        stavily.run()

A handler takes any of these arguments, by name, in any order:

    sensor   config, emit, state, log
    action   params, ctx, config, state, log
    output   message, ctx, config, state, log

What it returns is the result and must be JSON. What it raises is the failure:
`Refused`, `Failed` and `Cancelled` are told as they are, any other exception
with the lines of the plugin that led to it. `print` goes to the plugin's log.

The agent starts the plugin as a process of its own, sends it one command at a
time, and keeps it for the next one. `stavily.testing` does the same in tests.
"""

import os as _os
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ._agent import AgentError
from ._context import Context
from ._contract import run
from ._emitter import Emitter
from ._errors import Cancelled, Failed, PluginError, Refused
from ._handler import action, output, sensor
from ._settings import Settings
from ._state import State

if _TYPE_CHECKING:
    from . import host, testing
    from ._schema import field

if "STAVILY_ZYGOTE_FD" in _os.environ:
    from . import _zygote

    _zygote.watch()

__version__ = "0.1.0"

__all__ = [
    "AgentError",
    "Cancelled",
    "Context",
    "Emitter",
    "Failed",
    "PluginError",
    "Refused",
    "Settings",
    "State",
    "action",
    "field",
    "host",
    "output",
    "run",
    "sensor",
    "testing",
]


def __getattr__(name: str) -> _Any:
    """Import the modules that most plugins do without when they are first asked for."""
    if name in ("host", "testing"):
        import importlib

        return importlib.import_module("." + name, __name__)
    if name == "field":
        from ._schema import field

        return field
    raise AttributeError("module 'stavily' has no {!r}: it has {}".format(name, ", ".join(__all__)))
