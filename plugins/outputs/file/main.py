"""Appends messages to a file as lines of JSON, and keeps it from growing without end."""

import fcntl
import json
import os
import stat
import time
from contextlib import contextmanager

import stavily

# Seconds between two looks at a lock that another run has.
LOOK = 0.05


@stavily.output
def file(message, ctx):
    """Append the message to the file, which is put aside first when it would become too large."""
    config = ctx.config
    line = json.dumps(record(message), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    if len(line) > config.max_bytes:
        raise stavily.Refused("the message has {} bytes, and a file has at most {}: raise max_bytes".format(len(line), config.max_bytes))
    try:
        with locked(config.directory, ctx) as directory:
            rotated = rotate(directory, config, len(line))
            written = append(directory, config.name, line, config.sync)
    except OSError as error:
        told = "cannot write {}: {}: see that the directory is there and the agent's user may write it"
        raise stavily.Failed(told.format(os.path.join(config.directory, config.name), error.strerror)) from error
    return {"path": os.path.join(config.directory, config.name), "bytes": written, "rotated": rotated}


def record(message):
    """What is written of a message."""
    whole = message.as_dict()
    if whole.get("content") is None:
        raise stavily.Refused("the message has no content")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"time": whole.get("timestamp") or now, "id": whole.get("id"), "type": whole.get("type"), "content": whole["content"]}


@contextmanager
def locked(path, ctx):
    """The directory, open and for this run alone: others wait."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while True:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if ctx.cancelled or ctx.remaining <= LOOK:
                    raise stavily.Cancelled("another run was writing for all of the time") from None
                ctx.sleep(LOOK)
        yield directory
    finally:
        os.close(directory)


def rotate(directory, config, more):
    """Put the file aside if it would become too large with so many bytes more: name.1 is the newest, and so on."""
    try:
        size = os.stat(config.name, dir_fd=directory, follow_symlinks=False).st_size
    except FileNotFoundError:
        return False
    if size + more <= config.max_bytes:
        return False
    aside = [config.name] + ["{}.{}".format(config.name, number) for number in range(1, config.keep + 1)]
    for older, newer in zip(reversed(aside), reversed(aside[:-1])):
        try:
            os.rename(newer, older, src_dir_fd=directory, dst_dir_fd=directory)
        except FileNotFoundError:  # there are not so many yet
            continue
    if config.keep == 0:
        os.unlink(config.name, dir_fd=directory)
    return True


def append(directory, name, line, sync):
    """Append a line and return its length. What a crash left without an end is ended first."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(name, flags, 0o640, dir_fd=directory)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise stavily.Refused("{} is not a file".format(name))
        if info.st_size and os.pread(descriptor, 1, info.st_size - 1) != b"\n":
            line = b"\n" + line
        left = line
        while left:
            left = left[os.write(descriptor, left) :]
        if sync:
            os.fsync(descriptor)
            if not info.st_size:  # it may be new
                os.fsync(directory)
    finally:
        os.close(descriptor)
    return len(line)


if __name__ == "__main__":
    stavily.run()
