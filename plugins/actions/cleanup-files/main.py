"""Removes files of a directory, the oldest first, and nothing else on the host.

What keeps it inside of the directories that the host's owner granted: the path
is resolved and compared with them; then each directory on the way is opened by
its name in the one before, never through a symbolic link, and a file is removed
by its name in the open directory. Whoever swaps a directory for a link in the
meantime gets an error, not a removal elsewhere.
"""

import fnmatch
import os
import stat
import time
from typing import NamedTuple, Tuple

import stavily
from stavily.tools.places import granted, opened, parts


class File(NamedTuple):
    """A regular file as the survey saw it; `folder` are the names from the top to its directory."""

    modified_ns: int
    folder: Tuple[str, ...]
    name: str
    size: int
    device: int
    inode: int


class Tally:
    """What has been removed so far, and what is left."""

    def __init__(self, files):
        self.kept, self.bytes = len(files), sum(file.size for file in files)
        self.removed = self.freed = self.errors = 0
        self.first_error = ""

    def gone(self, file):
        """Count a file that is not there any more, whoever removed it."""
        self.kept -= 1
        self.bytes -= file.size

    def result(self, dry_run):
        """What the run did or, with dry_run, would have done."""
        return {
            "freed_bytes": self.freed,
            "removed_files": self.removed,
            "kept_files": self.kept,
            "remaining_bytes": self.bytes,
            "dry_run": dry_run,
        }


@stavily.action
def cleanup_files(params, ctx):
    """Remove the oldest matching files below params.path, until they have at most target_bytes."""
    path = granted(params.path, ctx.config.roots)
    if params.get("target_bytes") is None and params.older_than_seconds == 0 and params.pattern == "*":
        raise stavily.Refused("this would remove every file: set target_bytes, older_than_seconds or pattern")
    with opened(parts(path)) as top:
        files = survey(top, ctx)
        tally = Tally(files)
        clean(top, candidates(files, params), tally, params, ctx)
    if tally.errors:
        told = "{} files could not be removed, the first because: {}".format(tally.errors, tally.first_error)
        raise stavily.Failed(told, tally.result(params.dry_run))
    return tally.result(params.dry_run)


def survey(top, ctx):
    """Every regular file below the open directory; Failed after config.max_entries, so that memory is bounded."""
    files, folders, entries = [], [()], 0
    while folders:
        folder = folders.pop()
        try:
            for name, info in listing(top, folder):
                entries += 1
                if entries > ctx.config.max_entries:
                    told = "more than {} entries: raise max_entries or clean a smaller directory"
                    raise stavily.Failed(told.format(ctx.config.max_entries))
                if stat.S_ISDIR(info.st_mode):
                    folders.append(folder + (name,))
                elif stat.S_ISREG(info.st_mode):
                    files.append(File(info.st_mtime_ns, folder, name, info.st_size, info.st_dev, info.st_ino))
        except OSError as error:
            if not folder:
                raise stavily.Failed("the directory cannot be read: {}".format(error.strerror)) from error
            ctx.log.warning("%s cannot be read and is left alone: %s", "/".join(folder), error.strerror)
    return files


def listing(top, folder):
    """Name and status of each entry of a directory, in the directory's order; those that vanish are left out."""
    with opened(folder, top) as directory:
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
        try:
            with os.scandir(readable) as entries:
                for entry in entries:
                    try:
                        info = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    yield entry.name, info
        finally:
            os.close(readable)


def candidates(files, params):
    """The files that may be removed, the oldest first."""
    newest = time.time_ns() - int(params.older_than_seconds * 1e9)
    return sorted(f for f in files if f.modified_ns <= newest and fnmatch.fnmatchcase(f.name, params.pattern))


def clean(top, files, tally, params, ctx):
    """Remove the files in their order, until the target is reached or the agent cancels."""
    target = params.get("target_bytes", -1)
    for done, file in enumerate(files):
        if tally.bytes <= target:
            return
        if ctx.cancelled:
            told = "cancelled after {} of at most {} files".format(tally.removed, len(files))
            raise stavily.Cancelled(told, tally.result(params.dry_run))
        remove(top, file, tally, params.dry_run)
        ctx.progress(100 * done / len(files), "{} files removed, {} bytes freed".format(tally.removed, tally.freed))
        if params.files_per_second:
            ctx.sleep(1 / params.files_per_second)


def remove(top, file, tally, dry_run):
    """Remove one file, unless it is gone or has been written to or replaced since the survey."""
    try:
        with opened(file.folder, top) as directory:
            info = os.stat(file.name, dir_fd=directory, follow_symlinks=False)
            if (info.st_mtime_ns, info.st_dev, info.st_ino) != (file.modified_ns, file.device, file.inode):
                return
            if not dry_run:
                os.unlink(file.name, dir_fd=directory)
    except FileNotFoundError:
        tally.gone(file)
    except OSError as error:
        tally.errors += 1
        tally.first_error = tally.first_error or "{}: {}".format("/".join(file.folder + (file.name,)), error.strerror)
    else:
        tally.gone(file)
        tally.removed += 1
        tally.freed += file.size


if __name__ == "__main__":
    stavily.run()
