"""Where the bytes of a file are while it is open.

==========  ==========================================================================================================
cold        mapped. The kernel reads the pages that are touched, and none around them
cached      mapped, and read ahead when it is opened. The kernel may take pages back where memory is short
pinned      a copy in the process's own memory
==========  ==========================================================================================================
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from vdb.config import Memory

_READ_BYTES: Final = 4 * 2**20  # at once, without the interpreter lock

Bytes = NDArray[np.uint8]


def open_bytes(path: Path, memory: Memory) -> Bytes:
    """The file's content, read-only, ``(size,)`` uint8; raises OSError. The file may be unlinked while it is used."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return np.empty(0, dtype=np.uint8)
        if memory == "pinned":
            return _copied(file, size)
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        if memory == "cold":
            if hasattr(mmap, "MADV_RANDOM"):
                mapped.madvise(mmap.MADV_RANDOM)
        elif hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, size, os.POSIX_FADV_WILLNEED)
        elif hasattr(mmap, "MADV_WILLNEED"):
            mapped.madvise(mmap.MADV_WILLNEED)
    return np.frombuffer(mapped, dtype=np.uint8)


def open_array(path: Path, memory: Memory, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The file as a read-only array; raises OSError, and ValueError where it is not of that size."""
    return open_bytes(path, memory).view(dtype).reshape(shape)


def open_for_scans(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A cold file once more, for reading it from end to end: pages around the one that is touched are read too."""
    if 0 in shape:
        return np.empty(shape, dtype=dtype)
    # A plain array: numpy's subclass costs at every slice, and the array keeps the map alive anyway.
    return np.memmap(path, dtype=dtype, mode="r", shape=shape).view(np.ndarray)


def _copied(file: BinaryIO, size: int) -> Bytes:
    copy = np.empty(size, dtype=np.uint8)
    view = copy.data
    done = 0
    while done < size:
        count = file.readinto(view[done : done + _READ_BYTES])  # type: ignore[attr-defined]  # a raw or buffered file
        if not count:
            raise OSError(f"{file.name}: ended after {done} of {size} bytes")
        done += count
    if hasattr(os, "posix_fadvise"):  # the copy is what is read from now on
        os.posix_fadvise(file.fileno(), 0, size, os.POSIX_FADV_DONTNEED)
    copy.setflags(write=False)
    return copy
