"""Tells when a directory grows beyond its limits, and when it is back below them."""

import os
import stat
import time

import stavily

# What is measured, and the configuration key that limits it.
LIMITS = {"bytes": "max_bytes", "files": "max_files", "oldest_age_seconds": "max_age_seconds"}


@stavily.sensor(interval=60)
def directory_size(config, emit, state, log):
    """Emit directory.size.high when a limit is passed, directory.size.ok once all are kept with room to spare."""
    limits = {name: config[key] for name, key in LIMITS.items() if config.get(key) is not None}
    if not limits:
        raise stavily.Failed("nothing to watch for: set at least one of " + ", ".join(LIMITS.values()))
    measured = measure(config.path, config.max_entries)
    if measured["unreadable"]:
        log.warning("%d directories below %s may not be read and are not counted", measured["unreadable"], config.path)
    exceeded = [name for name, limit in limits.items() if measured[name] > limit]
    recovered = all(measured[name] <= limit * config.recover_percent / 100 for name, limit in limits.items())
    data = {"path": config.path, **measured, "limits": limits, "exceeded": exceeded}
    # The state follows the event: what could not be emitted is tried again at the next check.
    if exceeded and not state.get(config.path):
        emit("directory.size.high", data=data, severity="high", key=config.path)
        state[config.path] = True
    elif recovered and state.get(config.path):
        emit("directory.size.ok", data=data, severity="low", key=config.path)
        state[config.path] = False


def measure(path, max_entries):
    """Bytes and number of the regular files below `path`, and the age of the oldest in seconds (0 without files).

    A file counts with its length. Directories that may not be read are counted
    as `unreadable`.
    """
    unreadable = []
    total = files = 0
    now = oldest = time.time()
    for entry in walk(path, max_entries, unreadable.append):
        try:
            info = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # removed since it was listed
            continue
        if stat.S_ISREG(info.st_mode):
            files += 1
            total += info.st_size
            oldest = min(oldest, info.st_mtime)
    return {"bytes": total, "files": files, "oldest_age_seconds": int(now - oldest), "unreadable": len(unreadable)}


def walk(path, max_entries, unreadable):
    """All that is below `path` and no directory; Failed after `max_entries`, so that time and memory are bounded.

    Symbolic links are not followed. `unreadable` is called with each directory
    that may not be read.
    """
    if os.path.islink(path) or not os.path.isdir(path):
        raise stavily.Failed("{} is not a directory on this host (a symbolic link is not followed)".format(path))
    count = 0
    pending = [path]
    while pending:
        directory = pending.pop()
        try:
            found = os.scandir(directory)
        except PermissionError:
            unreadable(directory)
            continue
        except (FileNotFoundError, NotADirectoryError):  # removed or replaced since it was listed
            continue
        with found:
            for entry in found:
                count += 1
                if count > max_entries:
                    told = "{} has more than {} entries: raise max_entries or watch a smaller directory"
                    raise stavily.Failed(told.format(path, max_entries))
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    yield entry


if __name__ == "__main__":
    stavily.run()
