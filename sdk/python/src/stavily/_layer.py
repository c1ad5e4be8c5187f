"""The Landlock domain of an execution that a zygote forked."""

import os
import stat
import sys
from typing import Any, Dict, List, Tuple

from . import _kernel

# Descriptors from here on are places that rules name, so that one call closes them.
_HIGH = 200


class Layer:
    """The Landlock domain of each execution: what the sandbox grants, with no sibling's directories in it."""

    def __init__(self, kernel: _kernel.Kernel, order: Dict[str, Any]) -> None:
        self._kernel = kernel
        own = [path for path in _own_paths() if not any(_is_below(hidden, path) for hidden in order["hidden"])]
        self._rules: List[Tuple[int, int]] = []  # places, as descriptors from _HIGH on, and rights
        for paths, rights in (
            (order["read"] + own, _kernel.READ),
            (order["devices"], _kernel.DEVICE),
            (order["write"], _kernel.WRITE),
        ):
            for path in paths:
                self._rules += _rule(path, rights, _HIGH + len(self._rules))
        self._ruleset = -1
        self.prepare()

    def prepare(self) -> None:
        """Make the ruleset of the next execution, without what is that one's alone."""
        if self._ruleset >= 0:
            os.close(self._ruleset)
        self._ruleset = self._kernel.ruleset()
        for place, rights in self._rules:
            self._kernel.allow(self._ruleset, place, rights)

    def allow(self, path: str, rights: int) -> None:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        self._kernel.allow(self._ruleset, place, rights)
        os.close(place)

    def enter(self) -> None:
        self._kernel.restrict(self._ruleset)
        os.close(self._ruleset)
        os.closerange(_HIGH, _HIGH + len(self._rules))


def _rule(path: str, rights: int, number: int) -> List[Tuple[int, int]]:
    """A rule for a place, which may be one that the sandbox does not show; `number` is its descriptor."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return []
    if not stat.S_ISDIR(os.fstat(place).st_mode):
        rights &= _kernel.OF_A_FILE
    os.dup2(place, number, inheritable=False)
    os.close(place)
    return [(number, rights)]


def _own_paths() -> List[str]:
    """Where this interpreter finds its modules; the sandbox has granted all of it."""
    return sorted({os.path.realpath(path) for path in [sys.prefix, sys.base_prefix, *sys.path]})


def _is_below(path: str, parent: str) -> bool:
    return (path + "/").startswith(parent.rstrip("/") + "/")
