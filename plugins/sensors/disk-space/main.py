"""Tells when a filesystem is nearly full, and when it has room again."""

import os
import re

import stavily

# Filesystems that hold no files on a disk of this host, or that are full by nature.
VIRTUAL = frozenset(
    "autofs bpf cgroup cgroup2 debugfs devpts devtmpfs efivarfs erofs fusectl hugetlbfs iso9660 mqueue nsfs overlay"
    " proc pstore ramfs securityfs squashfs sysfs tmpfs tracefs udf".split()
)
# Asking a file server that is away how full it is can hang for ever. Name its mount in `mounts` to ask all the same.
REMOTE = re.compile(r"^(nfs|cifs|smb|9p|afs|ceph|gfs2|glusterfs|lustre|fuse\.)")


@stavily.sensor(interval=60)
def disk_space(config, emit, state, log):
    """Emit disk.space.high for each filesystem above config.threshold percent, disk.space.ok when it has room again."""
    for mount, device, kind in watched(config):
        try:
            usage = measure(seen(config.root, mount))
        except OSError as error:
            log.warning("cannot ask how full %s is: %s", mount, error.strerror)
            continue
        if usage is None:
            continue
        data = {"mount": mount, "device": device, "filesystem": kind, **usage, "threshold": config.threshold}
        high = state.get(mount, False)
        # The state follows the event: what could not be emitted is tried again at the next check.
        if usage["percent"] > config.threshold and not high:
            emit("disk.space.high", data=data, severity="high", key=mount)
            state[mount] = True
        elif usage["percent"] <= config.threshold * config.recover_percent / 100 and high:
            emit("disk.space.ok", data=data, severity="low", key=mount)
            state[mount] = False


def watched(config):
    """The (mount point, device, type) of each filesystem to look at, by mount point."""
    try:
        mounts = read_mounts()
    except OSError as error:
        if not config.mounts:
            raise stavily.Failed("cannot list the host's mounts, so name them in `mounts`: {}".format(error)) from error
        mounts = []
    if config.mounts:
        known = {mount: (device, kind) for mount, device, kind in mounts}
        return [(mount,) + known.get(mount, ("", "")) for mount in config.mounts]
    return once_per_device(
        [entry for entry in mounts if entry[2] not in VIRTUAL and not REMOTE.match(entry[2])], config.root
    )


def read_mounts():
    """The host's mounts, as (mount point, device, type).

    Where the host's /proc is another one, process 1 there sees the host's
    mounts; this one would see its container's.
    """
    path = stavily.host.proc("1", "mounts") if stavily.host.proc() != "/proc" else "/proc/mounts"
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return [parse(line) for line in file]


def parse(line):
    """One line of mounts, see proc(5): a space in a name is written as \\040, and so on."""
    device, mount, kind = (
        re.sub(r"\\([0-7]{3})", lambda code: chr(int(code.group(1), 8)), field) for field in line.split(" ")[:3]
    )
    return mount, device, kind


def once_per_device(mounts, root):
    """Of the mounts of one filesystem only that with the shortest path: a bind mount is as full as its origin."""
    chosen = {}
    for entry in sorted(mounts, key=lambda entry: (len(entry[0]), entry[0])):
        try:
            chosen.setdefault(os.stat(seen(root, entry[0])).st_dev, entry)
        except OSError:  # not visible to this process
            continue
    return sorted(chosen.values())


def seen(root, mount):
    """Where this process finds a mount point of the host, which the owner or the sandbox shows elsewhere."""
    return stavily.host.root(mount) if root == "/" else os.path.join(root, mount.lstrip("/"))


def measure(path):
    """How full the filesystem at `path` is, in bytes and in percent as df counts them; None when it has no size.

    What is reserved for root counts as used up: other users cannot have it.
    """
    info = os.statvfs(path)
    used, free = info.f_blocks - info.f_bfree, info.f_bavail
    if used + free == 0:
        return None
    return {
        "percent": round(100 * used / (used + free), 1),
        "used_bytes": used * info.f_frsize,
        "free_bytes": free * info.f_frsize,
        "total_bytes": info.f_blocks * info.f_frsize,
    }


if __name__ == "__main__":
    stavily.run()
