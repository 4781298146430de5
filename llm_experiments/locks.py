"""A folder that one process at a time computes, however many work on the same grid.

What is promised: of all processes that ask for a folder one gets it, and it is free again the moment that process ends,
however it ends. It is the operating system's lock (flock) on an empty file in the folder, which its holder's death
releases; nothing is written that could be stale. On one machine this holds on every file system that has locks.
Between machines it reaches as far as the shared file system carries flock: NFS version 4 and version 3 with lockd,
Lustre mounted with `flock`, GPFS and CephFS do; NFS mounted with `nolock` or `local_lock` does not tell one machine of
another. There a cell may be computed twice, to the same numbers. A machine that vanishes from NFS keeps its folder
until the server gives up on it, a minute or two. Only processes of one machine have been tested.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simulations.results import LOCK, UserError

try:
    import fcntl
except ImportError:  # Windows: one process at a time, that is, no promise
    fcntl = None  # type: ignore[assignment]

POLL = 1.0  # seconds between looks at folders that other processes hold


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold `folder`, which is made if need be, within the block; False at once if another process holds it.

    Args:
        wait: until it is free, instead.

    Raises:
        UserError: the file system knows no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)  # NFS locks only what is open for writing
    try:
        yield _lock(handle, folder, wait)
    finally:
        os.close(handle)  # which releases it


def _lock(handle: int, folder: Path, wait: bool) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            f"{folder}: this file system knows no locks ({error.strerror.lower()}); choose an --output on another one"
        ) from None
    return True
