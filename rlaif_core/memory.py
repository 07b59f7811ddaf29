"""Memory that one step has freed is kept for the next one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

# From glibc's malloc.h: from how many free bytes on the heap shrinks, and how large a block is no part of it any more.
TRIM, MAP = -1, -3
LARGEST = 32 << 20  # bytes; where glibc's own adjusting of MAP ends, of which TRIM is then twice as much
PLENTY = 1 << 30
OWN_CHOICE = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


@contextlib.contextmanager
def reused() -> Iterator[None]:
    """Inside, what is freed of the CPU's memory waits for its next user, up to `PLENTY` bytes; after it, it is free.

    A step allocates and frees the same hundreds of megabytes every time. glibc hands them back to the kernel at once,
    which then has to clear each page anew: about 5 % of a step of a small model. The setting is the process's: it
    speaks for everything that happens meanwhile. Other C libraries are left alone, and so is one that the environment
    has told something else.
    """
    libc = None if sys.platform != "linux" or any(map(os.environ.get, OWN_CHOICE)) else ctypes.CDLL(None)
    if libc is None or not all(hasattr(libc, name) for name in ("mallopt", "malloc_trim")):
        yield
        return
    libc.mallopt(MAP, LARGEST)
    libc.mallopt(TRIM, PLENTY)
    try:
        yield
    finally:
        libc.mallopt(TRIM, 2 * LARGEST)
        libc.malloc_trim(ctypes.c_size_t(0))
