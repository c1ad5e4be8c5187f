"""Directories that the host's owner allowed, reached so that nobody can lead elsewhere on the way."""

import os
from contextlib import contextmanager

import stavily


def granted(path, roots):
    """The real path of the directory `path`, if it is in one of the roots or is one; Refused otherwise."""
    if os.unlink not in os.supports_dir_fd:
        raise stavily.Refused("this system cannot reach a file by its name in an open directory, the only safe way")
    if not os.path.isabs(path):
        raise stavily.Refused("path must be absolute, is {!r}".format(path))
    real = os.path.realpath(path)
    if not any(os.path.commonpath([root, real]) == root for root in map(os.path.realpath, roots)):
        raise stavily.Refused("{} is outside of what this host allows: {}".format(real, ", ".join(roots) or "nothing"))
    if not os.path.isdir(real):
        raise stavily.Failed("{} is not a directory on this host".format(real))
    return real


@contextmanager
def opened(names, start=None):
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


def parts(path):
    """The names that lead to an absolute path."""
    return [name for name in path.split("/") if name]
