"""System calls that Python has no functions for: Landlock, prctl and timers, on Linux."""

import ctypes
import os
import time
from typing import Optional

_PR_SET_CHILD_SUBREAPER = 36

# landlock(7). The numbers are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 3

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST = (1 << 13) - 1  # what the first version handles

READ = _EXECUTE | _READ_FILE | _READ_DIR
DEVICE = _READ_FILE | _WRITE_FILE | _IOCTL_DEV
WRITE = (_FIRST | _REFER | _TRUNCATE | _IOCTL_DEV) & ~(_MAKE_CHAR | _MAKE_BLOCK)
OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV


class _RulesetAttr(ctypes.Structure):
    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"  # Python 3.14 wants it said; it is what _pack_ means
    _fields_ = [("access", ctypes.c_uint64), ("parent", ctypes.c_int32)]


class _Timer(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = [(name, ctypes.c_long) for name in ("interval", "interval_nsec", "seconds", "nsec")]


class Kernel:
    """The calls. OSError where the kernel refuses one."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.syscall.restype = ctypes.c_long
        self._abi = 0
        self._handled = 0

    def landlock_abi(self) -> int:
        """The version of Landlock; 0 where there is none."""
        self._abi = max(0, self._libc.syscall(ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION))
        self._handled = _FIRST
        for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
            if self._abi >= since:
                self._handled |= right
        return self._abi

    def ruleset(self) -> int:
        """A descriptor of a new ruleset, which grants nothing yet."""
        attr, size = _RulesetAttr(fs=self._handled), 8
        if self._abi >= 6:
            attr.scoped, size = _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS, 24
        return self._call("make a Landlock ruleset", _CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(size), 0)

    def allow(self, ruleset: int, place: int, rights: int) -> None:
        attr = _PathBeneath(access=rights & self._handled, parent=place)
        self._call("allow a path by Landlock", _ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(attr), 0)

    def restrict(self, ruleset: int) -> None:
        self._call("restrict by Landlock", _RESTRICT_SELF, ruleset, 0)

    def adopt_orphans(self) -> None:
        """Become the parent of what this process's descendants leave behind, so that they stay below it."""
        none = ctypes.c_ulong(0)
        if self._libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), none, none, none) != 0:
            raise _error("become a subreaper")

    def timer(self) -> int:
        """A descriptor of a timer that everyone shares who inherits it, and that is readable once its time is up."""
        descriptor = int(self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK))
        if descriptor < 0:
            raise _error("make a timer")
        return descriptor

    def set_timer(self, descriptor: int, milliseconds: int) -> None:
        """Start it, or stop it with 0; at once where it runs already: somebody else has started it."""
        before = _Timer()
        after = _Timer(nsec=milliseconds * 1000000)
        self._set(descriptor, after, before)
        if milliseconds and (before.seconds or before.nsec):
            self._set(descriptor, _Timer(nsec=1), before)

    def _set(self, descriptor: int, after: _Timer, before: _Timer) -> None:
        if self._libc.timerfd_settime(descriptor, 0, ctypes.byref(after), ctypes.byref(before)) != 0:
            raise _error("set a timer")

    def _call(self, what: str, number: int, *arguments: object) -> int:
        result = int(self._libc.syscall(ctypes.c_long(number), *arguments))
        if result < 0:
            raise _error(what)
        return result


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, "{}: {}".format(what, os.strerror(number)))


def load() -> Optional[Kernel]:
    """None where the C library cannot be reached."""
    try:
        return Kernel()
    except (OSError, AttributeError):
        return None
