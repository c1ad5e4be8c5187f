"""Change modes and times of files by their descriptors.

Without namespaces the sandbox refuses to change what a path names. Every interpreter of
a build imports this first: pip copies files with their modes and times.
"""
import os


def by_descriptor(call):
    def changed(path, *args, follow_symlinks=True, **keywords):
        if not isinstance(path, int) and not follow_symlinks and os.path.islink(path):
            return  # a link has neither
        file = path if isinstance(path, int) else os.open(path, os.O_RDONLY)
        try:
            call(file, *args, **keywords)
        finally:
            if file is not path:
                os.close(file)

    return changed


if hasattr(os, "fchmod"):
    os.chmod, os.utime = by_descriptor(os.chmod), by_descriptor(os.utime)
