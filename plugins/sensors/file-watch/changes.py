"""Changes of files, as the kernel tells them or as looking again and again finds them.

Both have `wait`, which returns (path, created | modified | deleted) for each
change, and `lost`, whether some were missed since it was last asked.
"""

import ctypes
import os
import select
import stat
import struct
import time

import stavily

# inotify(7).
MODIFY, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
OVERFLOW, IGNORED, ONLY_DIRECTORY, DONT_FOLLOW, IS_DIRECTORY = 0x4000, 0x8000, 0x1000000, 0x2000000, 0x40000000
CHANGES = MODIFY | MOVED_FROM | MOVED_TO | CREATE | DELETE
EVENT = struct.Struct("iIII")


class Inotify:
    """Changes below directories from inotify(7). PermissionError where the sandbox does not let it watch."""

    def __init__(self, directories, recursive, most):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._recursive, self._most = recursive, most
        self._paths, self._top, self._lost = {}, set(directories), False
        self._files = set()  # the kernel does not say whether what was moved here took the place of another
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise stavily.Failed("cannot watch: {}: raise fs.inotify.max_user_instances".format(os.strerror(ctypes.get_errno())))
        try:
            for directory in directories:
                self._watch(directory)
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._fd)

    def lost(self):
        lost, self._lost = self._lost, False
        return lost

    def wait(self, timeout):
        if not select.select([self._fd], [], [], timeout)[0]:
            return []
        data, at, found = os.read(self._fd, 1 << 16), 0, []
        while at < len(data):
            number, mask, _, length = EVENT.unpack_from(data, at)
            name = data[at + EVENT.size : at + EVENT.size + length].rstrip(b"\0")
            at += EVENT.size + length
            found += self._event(number, mask, os.fsdecode(name))
        return found

    def _event(self, number, mask, name):
        if mask & OVERFLOW:
            self._lost = True
            return []
        if mask & IGNORED:
            path = self._paths.pop(number, "")
            if path in self._top:
                raise stavily.Failed("{} is gone: it is watched again when the agent starts this sensor anew".format(path))
            return []
        path = os.path.join(self._paths.get(number, ""), name)
        if mask & IS_DIRECTORY:
            if self._recursive and mask & (CREATE | MOVED_TO):
                return self._watch(path)
            return []
        if mask & (DELETE | MOVED_FROM):
            self._files.discard(path)
            return [(path, "deleted")]
        kind = "modified" if path in self._files else "created"
        self._files.add(path)
        return [(path, kind)]

    def _watch(self, directory):
        """Watch a directory and what is below it; returns the files that are there already."""
        number = self._libc.inotify_add_watch(self._fd, os.fsencode(directory), CHANGES | ONLY_DIRECTORY | DONT_FOLLOW)
        if number < 0:
            error = ctypes.get_errno()
            if directory not in self._top:
                return []  # gone again
            if error in (1, 13) and os.access(directory, os.R_OK | os.X_OK):
                raise PermissionError(error, os.strerror(error))
            raise stavily.Failed("cannot watch {}: {}".format(directory, reason(error)))
        self._paths[number] = directory
        if len(self._paths) > self._most:
            raise too_many(self._most)
        found = []
        for path, is_directory in listing(directory):
            if not is_directory:
                found.append((path, "created"))
                self._files.add(path)
            elif self._recursive:
                found += self._watch(path)
        return found


class Polling:
    """Changes below directories from looking at all files every so many seconds."""

    def __init__(self, directories, recursive, most, seconds):
        self._directories, self._recursive, self._most, self._seconds = directories, recursive, most, seconds
        self._before, self._next = self._look(), time.monotonic() + seconds

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def lost(self):
        return False

    def wait(self, timeout):
        now = time.monotonic()
        if timeout is not None and now + timeout < self._next:
            time.sleep(timeout)
            return []
        time.sleep(max(0.0, self._next - now))
        before, self._before = self._before, self._look()
        self._next = time.monotonic() + self._seconds
        found = [(path, "created" if path not in before else "modified") for path, sign in self._before.items() if before.get(path) != sign]
        return found + [(path, "deleted") for path in before if path not in self._before]

    def _look(self):
        files, pending, count = {}, list(self._directories), 0
        while pending:
            directory = pending.pop()
            count += 1
            if count > self._most:
                raise too_many(self._most)
            if directory in self._directories and not os.path.isdir(directory):
                raise stavily.Failed("cannot watch {}: {}".format(directory, reason(2)))
            for path, is_directory in listing(directory):
                if is_directory:
                    pending += [path] if self._recursive else []
                    continue
                try:
                    info = os.lstat(path)
                except OSError:
                    continue
                files[path] = (info.st_ino, info.st_size, info.st_mtime_ns)
        return files


def listing(directory):
    """Files and directories in a directory, as (path, is it a directory); links are followed to neither."""
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        path = os.path.join(directory, name)
        try:
            yield path, stat.S_ISDIR(os.lstat(path).st_mode)
        except OSError:
            continue


def reason(error):
    """Why a directory cannot be watched, and what to do."""
    known = {
        2: "it is not there, or not granted: see `directories`, and `read` in the plugin's file in config/plugins",
        13: "permission denied: see that the agent's user may read it",
        20: "it is not a directory: name the one that it is in, and its name under `pattern`",
        28: "too many are watched on this host: raise fs.inotify.max_user_watches",
    }
    return known.get(error, os.strerror(error))


def too_many(most):
    """The error about more directories than allowed."""
    return stavily.Failed("there are more than {} directories: raise max_directories or watch fewer".format(most))
