"""Puts a text into a file in one step, and keeps what was there before.

Who reads the file sees the old content or the new one, whatever crashes: the new
one is written beside it, made safe on disk, and renamed over it.
"""

import hashlib
import os
import secrets
import stat

import stavily
from stavily.tools.places import granted, opened, parts

# The largest file that is compared and kept, in bytes.
LARGEST = 16 << 20


@stavily.action
def write_file(params, ctx):
    """Write params.content to params.path; returns the SHA-256 of what is there now and was before."""
    name = os.path.basename(params.path)
    if not name or name in (".", ".."):
        raise stavily.Refused("path must name a file, is {!r}".format(params.path))
    folder = granted(os.path.dirname(params.path), ctx.config.roots)
    new = params.content.encode("utf-8", "surrogatepass")
    try:
        with opened(parts(folder)) as directory:
            old, info = current(directory, name)
            check(old, params)
            result = {"path": os.path.join(folder, name), "bytes": len(new), "sha256": digest(new), "before_sha256": old and digest(old)}
            if old == new and wanted_mode(params, info) == stat.S_IMODE(info.st_mode):
                return {**result, "changed": False, "backup": None}
            backup = None
            if params.backup and old is not None:
                backup = name + ".bak"
                replace(directory, backup, old, stat.S_IMODE(info.st_mode), info)
            replace(directory, name, new, wanted_mode(params, info), info)
    except OSError as error:
        raise stavily.Failed("cannot write {}: {}".format(params.path, error.strerror)) from error
    return {**result, "changed": True, "backup": backup and os.path.join(folder, backup)}


def current(directory, name):
    """The content and status of the file, None and None where there is none; Refused for what is not a file."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        return None, None
    with open(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise stavily.Refused("{} is not a file".format(name))
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise stavily.Refused("{} has more than {} bytes: such files are not replaced".format(name, LARGEST))
    return content, info


def check(old, params):
    """See that the file is what the instruction expects."""
    expected = params.get("expected_sha256")
    found = "none" if old is None else digest(old)
    if expected is not None and expected != found:
        raise stavily.Refused("{} has changed: its SHA-256 is {}, expected was {}".format(params.path, found, expected))


def wanted_mode(params, info):
    """The permissions that the file is to have."""
    if params.get("mode"):
        return int(params.get("mode"), 8)
    return stat.S_IMODE(info.st_mode) if info else 0o644


def replace(directory, name, content, mode, like):
    """Put a file with this content in the place of `name`, with the owner of the one before where that can be."""
    temporary = ".{}.{}".format(name[:200], secrets.token_hex(8))
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=directory)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            if like and (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                give(descriptor, like)
            os.fchmod(descriptor, mode)  # by descriptor, which every level of the sandbox allows
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
    try:
        os.fsync(readable)  # so that the new name is on disk, too
    finally:
        os.close(readable)


def give(descriptor, like):
    """Give the new file to the owner of the old one, as far as this user can."""
    for user, group in (like.st_uid, like.st_gid), (-1, like.st_gid):
        try:
            os.fchown(descriptor, user, group)
            return
        except PermissionError:
            continue


def digest(content):
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    stavily.run()
