"""The attacks, one function each, by theme; `python3 -m probes` lists them as JSON."""

from . import devices, disk, execution, files, ipc, kernel, mounts, network, paths, privilege, processes, trees, victims, warm, writing
from ._probe import PROBES, attempt

__all__ = [
    "PROBES",
    "attempt",
    "devices",
    "disk",
    "execution",
    "files",
    "ipc",
    "kernel",
    "mounts",
    "network",
    "privilege",
    "processes",
    "trees",
    "victims",
    "warm",
]
