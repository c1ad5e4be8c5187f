"""How a plugin says that it did not work, and how that is told to people.

    PluginError      the plugin's own words: its message is the whole story
    ├── Refused      asked for something that it does not do; nothing was changed
    ├── Failed       it tried, and it did not work
    └── Cancelled    it stopped early because the agent asked it to

Any other exception is a mistake in the plugin, so `describe` adds where.
"""

import os
from typing import Any, List, Mapping, Optional

# Frames told of one failure, innermost first: enough to find the line, short
# enough for one line in a list of runs.
_MAX_FRAMES = 5


class PluginError(Exception):
    """Raised by a plugin on purpose; people see `message` and no traceback.

    `result` says how far it came, as a JSON object, and is recorded with the
    failure: the exit code of a command, the files removed before it stopped.
    """

    def __init__(self, message: str, result: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__(message)
        self.result = result


class Refused(PluginError):
    """The plugin was asked for something that it does not do; nothing was changed."""


class Failed(PluginError):
    """The plugin tried, and it did not work."""


class Cancelled(PluginError):
    """The plugin stopped before it was done because `ctx.cancelled` became true."""


def describe(error: BaseException, home: str) -> str:
    """Tell a failure in one line, with the frames of the plugin that led to it.

    `home` is the plugin's directory. Frames of the SDK, the standard library
    and installed packages are left out: they say nothing about the plugin.

        ZeroDivisionError: division by zero (main.py:12 in share, main.py:31 in check)
    """
    if isinstance(error, PluginError):
        return str(error)
    told = "{}: {}".format(type(error).__name__, error).replace("\n", " ")
    frames = _frames(error, home)
    return "{} ({})".format(told, ", ".join(frames)) if frames else told


def _frames(error: BaseException, home: str) -> List[str]:
    frames = []
    trace = error.__traceback__
    while trace is not None:
        path = os.path.abspath(trace.tb_frame.f_code.co_filename)
        if path.startswith(os.path.join(home, "")) and "site-packages" not in path:
            name = trace.tb_frame.f_code.co_name
            frames.append("{}:{} in {}".format(os.path.relpath(path, home), trace.tb_lineno, name))
        trace = trace.tb_next
    return frames[: -_MAX_FRAMES - 1 : -1]
