"""Directories that the host's owner allowed, reached so that nobody can lead elsewhere on the way."""

import os
from contextlib import contextmanager
from typing import Iterable, Iterator, List, Optional, Sequence

from .._errors import Failed, Refused


def granted(path: str, roots: Sequence[str]) -> str:
    """The real path of the directory `path`, if it is in one of the roots or is one; Refused otherwise."""
    if os.unlink not in os.supports_dir_fd:
        raise Refused("this system cannot reach a file by its name in an open directory, the only safe way")
    if not os.path.isabs(path):
        raise Refused("path must be absolute, is {!r}".format(path))
    real = os.path.realpath(path)
    if not any(os.path.commonpath([root, real]) == root for root in [os.path.realpath(root) for root in roots]):
        raise Refused("{} is outside of what this host allows: {}".format(real, ", ".join(roots) or "nothing"))
    if not os.path.isdir(real):
        raise Failed("{} is not a directory on this host".format(real))
    return real


@contextmanager
def opened(names: Iterable[str], start: Optional[int] = None) -> Iterator[int]:
    """The directory that `names` lead to from the open one `start`, or from the root; OSError at a symbolic link."""
    # O_PATH, where there is one, needs no right to list the directories on the way.
    flags = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW
    directory = os.open("/", flags) if start is None else os.dup(start)
    try:
        for name in names:
            below = os.open(name, flags, dir_fd=directory)
            os.close(directory)
            directory = below
        yield directory
    finally:
        os.close(directory)


def parts(path: str) -> List[str]:
    """The names that lead to an absolute path."""
    return [name for name in path.split("/") if name]
