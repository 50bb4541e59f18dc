"""What systems do differently when a file is to survive a crash, or to replace another."""

import errno
import os
import sys
import time

if sys.platform != "win32":
    import fcntl

_WINDOWS = os.name == "nt"
_TRIES, _PAUSE = 20, 0.05  # a second in all: virus scanners and indexers open what was just written


def flush_to_disk(descriptor: int) -> None:
    """Return when a file's content is on the disk: on macOS `fsync` leaves it in the disk's own memory."""
    full = None if _WINDOWS else getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(descriptor, full)
        except OSError as error:  # network file systems and some external disks know no such flush
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
        else:
            return
    os.fsync(descriptor)


def replace_file(draft: str, target: str) -> None:
    """Move a file to another's place; on Windows, try again for a second while the other is open somewhere.

    Windows replaces no file that is open without `FILE_SHARE_DELETE`, or mapped.
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
