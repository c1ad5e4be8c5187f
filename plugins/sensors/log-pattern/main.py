"""Follows a log file over rotations and restarts and tells when lines match a pattern."""

import os
import zlib

import stavily
from stavily.tools.bounded import Limit, TooSlow, compiled

# Seconds for one line, and for all that were given up in one check.
MATCHING, PATIENCE = 0.25, 2.0
# A line longer than this is taken in parts, in bytes.
LONGEST = 1 << 16
# What an event repeats: so many lines, and so many characters of each.
LINES, CHARACTERS = 10, 500
# How much of a file's beginning tells it from another one with its number, in bytes.
HEAD = 256


@stavily.sensor(interval=10)
def log_pattern(config, emit, state, log):
    """Emit log.match with the number of lines since the last check that match config.pattern, and the first of them."""
    pattern = compiled("pattern", config.pattern)
    ignore = compiled("ignore", config.get("ignore")) if config.get("ignore") else None
    path = os.path.join(config.directory, config.file)
    pieces, place = read(config.directory, path, state.get("place"), config, log)
    count, first, slow = matching(pieces, pattern, ignore)
    if count >= config.min_count:
        data = {"path": path, "count": count, "lines": first, "given_up": slow}
        emit("log.match", data=data, severity=config.severity, key=path)
    # After the event: what could not be emitted is read again.
    state["place"] = place
    if slow:
        told = "{} lines took more than {} seconds each and were given up: make `pattern` or `ignore` simpler"
        raise stavily.Failed(told.format(slow, MATCHING))


def read(directory, path, place, config, log):
    """What was written since `place`, as bytes of each file that it is in, and the new place."""
    try:
        file = open(path, "rb")
    except OSError as error:
        told = "cannot read {}: {}: see that the agent's user may, and that directory and file are right"
        raise stavily.Failed(told.format(path, error.strerror)) from error
    with file:
        info = os.fstat(file.fileno())
        if place is None:
            offset = 0 if config.from_start else last_line(file, info.st_size)
            return piece(file, info, offset, config.max_bytes)
        if same(file, info, place):
            return piece(file, info, place["offset"], config.max_bytes)
        with_rest = rest(directory, place, config.max_bytes, log)
        if with_rest is not None and with_rest[1]["offset"] > place["offset"] + config.max_bytes - LONGEST:
            return with_rest  # there is more of the old one: the new one comes after it
        pieces, place = piece(file, info, 0, config.max_bytes)
        return (with_rest[0] if with_rest else []) + pieces, place


def last_line(file, size):
    """Where the last line begins that is not finished; the end, when all are."""
    start = max(0, size - LONGEST)
    file.seek(start)
    tail = file.read(size - start)
    return start + tail.rfind(b"\n") + 1 if b"\n" in tail else size


def same(file, info, place):
    """Whether a file is the one that was read to `place`, neither replaced nor begun anew."""
    if (info.st_dev, info.st_ino) != (place["device"], place["inode"]) or info.st_size < place["offset"]:
        return False
    file.seek(0)
    return zlib.crc32(file.read(place["head_bytes"])) == place["head"]


def piece(file, info, offset, most):
    """The finished lines from `offset` on, at most so many bytes, and the place after them."""
    file.seek(offset)
    content = file.read(most)
    end = content.rfind(b"\n") + 1
    if len(content) - end >= LONGEST:  # a line without an end does not wait for ever
        end = len(content)
    file.seek(0)
    head = file.read(min(HEAD, offset + end))
    place = {"device": info.st_dev, "inode": info.st_ino, "offset": offset + end, "head": zlib.crc32(head), "head_bytes": len(head)}
    return [content[:end]], place


def rest(directory, place, most, log):
    """What was written to the file before it was rotated away, as `piece` gives it; None when it is not to be found."""
    for name in os.listdir(directory):
        try:
            found = os.path.join(directory, name)
            if os.lstat(found).st_ino != place["inode"]:
                continue
            with open(found, "rb") as file:
                info = os.fstat(file.fileno())
                if same(file, info, place):
                    return piece(file, info, place["offset"], most)
        except OSError:  # rotated on
            continue
    log.warning("the file was replaced or begun anew, and its last lines are not to be found in %s", directory)
    return None


def matching(pieces, pattern, ignore):
    """How many lines match, the first of them, and how many were given up."""
    count, first, slow, limit = 0, [], 0, Limit(MATCHING)
    for line in lines(pieces):
        try:
            with limit:
                found = pattern.search(line) and not (ignore and ignore.search(line))
        except TooSlow:
            slow += 1
            if slow * MATCHING >= PATIENCE:
                break
            continue
        if found:
            count += 1
            if len(first) < LINES:
                first.append(line[:CHARACTERS])
    return count, first, slow


def lines(pieces):
    """The lines of some bytes, long ones in parts."""
    for content in pieces:
        for line in content.split(b"\n"):
            for at in range(0, len(line), LONGEST):
                yield line[at : at + LONGEST].decode("utf-8", "replace").rstrip("\r")


if __name__ == "__main__":
    stavily.run()
