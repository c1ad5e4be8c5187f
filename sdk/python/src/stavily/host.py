"""Where the host's own directories are, also for an agent that runs in a container.

    with open(stavily.host.proc("meminfo")) as file: ...
    os.statvfs(stavily.host.root("/srv"))

An agent in a container has the host's /proc mounted elsewhere and says so in
HOST_PROC; the sandbox may do the same. HOST_SYS, HOST_ETC, HOST_VAR and HOST_ROOT
are alike. Where a variable is not set and the host is mounted below /host, that
counts; else it is the directory itself. Each call looks anew, so that tests can
set the variables: `stavily.testing.host_files` does.
"""

import os
from typing import Tuple

# Where images for monitoring mount the host by custom; a file that only a proc has tells.
_MOUNT = "/host"
_SIGN = "proc/uptime"


def proc(*parts: str) -> str:
    """A path below the host's /proc: proc("net", "dev")."""
    return _place("HOST_PROC", "/proc", parts)


def sys(*parts: str) -> str:
    """A path below the host's /sys."""
    return _place("HOST_SYS", "/sys", parts)


def etc(*parts: str) -> str:
    """A path below the host's /etc."""
    return _place("HOST_ETC", "/etc", parts)


def var(*parts: str) -> str:
    """A path below the host's /var."""
    return _place("HOST_VAR", "/var", parts)


def root(*parts: str) -> str:
    """Any path of the host, for its size and file system: what is granted by `stat` is seen there."""
    return _place("HOST_ROOT", "/", parts)


def _place(variable: str, plain: str, parts: Tuple[str, ...]) -> str:
    base = os.environ.get(variable)
    if not base:
        mounted = _MOUNT + plain
        found = os.path.exists(os.path.join(_MOUNT, _SIGN)) and os.path.exists(mounted)
        base = mounted if found else plain
    # A part may be written from the root, as people write paths: it stays below all the same.
    return os.path.join(base, *(part.lstrip("/") for part in parts)) if parts else base
