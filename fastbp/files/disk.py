"""Functions that flush a file to the disk, and replace one file by another. Operating systems differ in both tasks."""

import errno
import os
import sys
import time

if sys.platform != "win32":
    import fcntl

_WINDOWS = os.name == "nt"
_TRIES, _PAUSE = 20, 0.05  # one second in total: virus scanners and indexers open files that were just written


def flush_to_disk(descriptor: int) -> None:
    """Flush a file to the disk.

    On macOS, this also flushes the disk's own write cache, which `fsync` alone does not flush.
    """
    full = None if _WINDOWS else getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(descriptor, full)
        except OSError as error:  # network file systems and some external disks do not support it
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
        else:
            return
    os.fsync(descriptor)


def replace_file(draft: str, target: str) -> None:
    """Replace `target` with `draft`; on Windows, retry for one second while another process has the target open.

    Windows refuses to replace a file that is mapped, or that a process has opened without `FILE_SHARE_DELETE`.
    """
    for left in reversed(range(_TRIES)):
        try:
            os.replace(draft, target)
        except PermissionError:
            if not _WINDOWS or left == 0:
                raise
            time.sleep(_PAUSE)
        else:
            return
