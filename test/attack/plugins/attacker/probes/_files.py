"""What probes of several themes do with a file."""

import os


def read(path, dir_fd=None):
    """The first bytes of a file."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK, dir_fd=dir_fd)
    try:
        return os.read(fd, 200)
    finally:
        os.close(fd)


def can_write(path):
    """Opens for writing, and writes nothing: the file may be the host's."""
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    return "opened for writing: " + path


def can_create(path):
    """Creates a file, and takes it away again where it is the host's."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return path


def scratch(name):
    """A path in the private directory."""
    return os.path.join(os.environ["TMPDIR"], name)
