"""Tells at once when files in a directory are made, changed or removed."""

import fnmatch
import os
import time

import stavily
from changes import Inotify, Polling

# Severities of the three events.
SEVERITIES = {"created": "low", "modified": "medium", "deleted": "medium"}
# Seconds after which an event that could not be stored is tried again, and between two lines about it.
AGAIN = 5.0


@stavily.sensor(push=True)
def file_watch(config, emit, log):
    """Emit file.created, file.modified and file.deleted for files whose name matches config.pattern."""
    pending = {}  # path → (was there before, is there now, when it last changed)
    with source(config, log) as changes:
        while True:
            for path, there in changes.wait(patience(pending, config.settle_seconds)):
                if fnmatch.fnmatchcase(os.path.basename(path), config.pattern):
                    note(pending, path, there, time.monotonic())
            if changes.lost():
                emit("file.changes.lost", data={"directories": list(config.directories)}, severity="high")
            tell(pending, time.monotonic() - config.settle_seconds, emit, log)


def source(config, log):
    """What tells of changes: the kernel or, where it may not, looking again and again."""
    arguments = list(config.directories), config.recursive, config.max_directories
    try:
        return Inotify(*arguments)
    except PermissionError:
        log.info("the kernel does not tell of changes here (sandbox level confined): looking every %s seconds", config.poll_seconds)
        return Polling(*arguments, config.poll_seconds)


def patience(pending, settle):
    """Seconds until the next file can be told of; None when nothing is waiting."""
    if not pending:
        return None
    return max(0.0, min(last for _, _, last in pending.values()) + settle - time.monotonic())


def note(pending, path, there, now):
    """Note a change: `there` is created, modified or deleted."""
    before = pending[path][0] if path in pending else there != "created"
    pending[path] = before, there != "deleted", now


def tell(pending, until, emit, log):
    """Tell of the files to which nothing has happened since `until`, each once."""
    for path, (before, after, last) in list(pending.items()):
        if last > until:
            continue
        try:
            if before or after:  # else it came and went
                kind = "modified" if before and after else "created" if after else "deleted"
                data = {"path": path, "directory": os.path.dirname(path), "size_bytes": size(path)}
                emit("file." + kind, data=data, severity=SEVERITIES[kind], key=path)
            del pending[path]
        except stavily.AgentError as error:
            log.warning("%s: %s; again in %s seconds", path, error, AGAIN)
            pending[path] = before, after, time.monotonic() + AGAIN
            return


def size(path):
    """The size of a file in bytes, None when it is gone."""
    try:
        return os.lstat(path).st_size
    except OSError:
        return None


if __name__ == "__main__":
    stavily.run()
