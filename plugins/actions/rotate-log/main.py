"""Puts a log file aside when it is large or old, keeps some, and compresses them."""

import os
import re
import secrets
import stat
import zlib

import stavily
from stavily.tools.places import granted, opened, parts

# What is copied at a time, in bytes.
CHUNK = 1 << 18


@stavily.action
def rotate_log(params, ctx):
    """Rotate params.path; returns what was put aside, and what is kept."""
    name = os.path.basename(params.path)
    if not name or name in (".", ".."):
        raise stavily.Refused("path must name a file, is {!r}".format(params.path))
    folder = granted(os.path.dirname(params.path), ctx.config.roots)
    try:
        with opened(parts(folder)) as directory:
            log = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
            try:
                return rotate(directory, name, log, params, ctx)
            finally:
                os.close(log)
    except OSError as error:
        raise stavily.Failed("cannot rotate {}: {}".format(params.path, error.strerror)) from error


def rotate(directory, name, log, params, ctx):
    """Rotate an open log of a directory."""
    info = os.fstat(log)
    if not stat.S_ISREG(info.st_mode):
        raise stavily.Refused("{} is not a file".format(name))
    if info.st_size == 0 or info.st_size < params.min_bytes:
        return {"rotated": False, "bytes": info.st_size, "kept": sorted(kept(directory, name).values())}
    aside = make_aside(directory, name, log, info, params, ctx)
    shift(directory, name, params.keep)
    newest = name + (".1.gz" if params.compress else ".1")
    os.rename(aside, newest, src_dir_fd=directory, dst_dir_fd=directory)
    return {"rotated": True, "bytes": info.st_size, "newest": newest, "kept": sorted(kept(directory, name).values())}


def make_aside(directory, name, log, info, params, ctx):
    """The log's content under a temporary name, and the log empty or gone."""
    aside = ".{}.{}".format(name[:200], secrets.token_hex(8))
    if params.method == "rename":
        moved = aside + ".log"
        os.rename(name, moved, src_dir_fd=directory, dst_dir_fd=directory)
        if not params.compress:
            return moved
        try:
            copy(directory, log, aside, info, True, ctx)
        except BaseException:  # nothing is lost: it gets its name back
            os.rename(moved, name, src_dir_fd=directory, dst_dir_fd=directory)
            raise
        os.unlink(moved, dir_fd=directory)
        return aside
    copied = copy(directory, log, aside, info, params.compress, ctx)
    if os.fstat(log).st_size != copied:
        ctx.log.warning("%d bytes were written while the log was emptied: they may be lost", os.fstat(log).st_size - copied)
    os.ftruncate(log, 0)
    return aside


def copy(directory, log, to, info, compress, ctx):
    """Copy all of the log to a new file, which is safe on disk then; returns how much that was."""
    target = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=directory)
    try:
        with open(target, "wb") as file:
            packer = zlib.compressobj(6, zlib.DEFLATED, 31) if compress else None  # 31: in the form of gzip
            done = 0
            while True:
                chunk = os.pread(log, CHUNK, done)
                if not chunk:
                    break
                file.write(packer.compress(chunk) if packer else chunk)
                done += len(chunk)
                if ctx.cancelled:
                    raise stavily.Cancelled("cancelled: the log is as it was")
                ctx.progress(min(99, 100 * done / max(info.st_size, 1)), "{} bytes copied".format(done))
            if packer:
                file.write(packer.flush())
            os.fchmod(target, stat.S_IMODE(info.st_mode))
            file.flush()
            os.fsync(target)
        return done
    except BaseException:
        os.unlink(to, dir_fd=directory)
        raise


def kept(directory, name):
    """The old logs, by their number; of two with one number, the compressed."""
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
    try:
        names = sorted(os.listdir(readable))
    finally:
        os.close(readable)
    form = re.compile(re.escape(name) + r"\.([1-9][0-9]{0,3})(\.gz)?$")
    return {int(match.group(1)): match.group(0) for match in map(form.match, names) if match}


def shift(directory, name, keep):
    """Give each old log the next number, and remove those beyond `keep`."""
    old = kept(directory, name)
    for number in sorted(old, reverse=True):
        if number >= keep:
            os.unlink(old[number], dir_fd=directory)
        else:
            suffix = ".gz" if old[number].endswith(".gz") else ""
            os.rename(old[number], "{}.{}{}".format(name, number + 1, suffix), src_dir_fd=directory, dst_dir_fd=directory)


if __name__ == "__main__":
    stavily.run()
