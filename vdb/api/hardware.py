"""What requests take of the machine, measured where the work is done: ``service.hardware_reporting`` turns it on.

CPU time is that of the search thread. On Linux the thread's own counters tell what it read: by calls, which is SQLite,
and by touching mapped pages that were not in memory. Other systems do not tell, and these stay 0.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vdb.model.operations import PointOperation, UpdateVectors, Upsert, size_bytes
from vdb.model.usage import HardwareUsage

_THREAD_IO: Final = Path("/proc/thread-self/io")
_ID_BYTES: Final = 16  # that ``size_bytes`` counts for each id


class Meter:
    """Owned by one request; its searches run one after another."""

    __slots__ = ("cpu_us", "measured", "payload_read", "payload_written", "vector_read", "vector_written")

    def __init__(self) -> None:
        self.measured = False
        self.cpu_us = 0
        self.payload_read = 0
        self.payload_written = 0
        self.vector_read = 0
        self.vector_written = 0

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Counts what this thread takes within the block."""
        cpu_ns, read, faults = time.thread_time_ns(), _bytes_read(), _major_faults()
        try:
            yield
        finally:
            self.cpu_us += (time.thread_time_ns() - cpu_ns) // 1_000
            self.payload_read += _bytes_read() - read
            self.vector_read += (_major_faults() - faults) * _PAGE_BYTES
            self.measured = True

    def wrote(self, operation: PointOperation) -> None:
        """Counts what an operation put into the log."""
        size = size_bytes(operation) - _ID_BYTES * len(operation.ids)
        payloads = size
        match operation:
            case Upsert(payloads=texts):
                payloads = sum(len(text or b"") for text in texts)
            case UpdateVectors():
                payloads = 0
        self.payload_written += payloads
        self.vector_written += size - payloads
        self.measured = True

    def add(self, other: Meter) -> None:
        self.cpu_us += other.cpu_us
        self.payload_read += other.payload_read
        self.payload_written += other.payload_written
        self.vector_read += other.vector_read
        self.vector_written += other.vector_written

    def usage(self) -> HardwareUsage:
        return HardwareUsage(
            cpu=self.cpu_us,
            payload_io_read=self.payload_read,
            payload_io_write=self.payload_written,
            payload_index_io_read=0,
            payload_index_io_write=0,
            vector_io_read=self.vector_read,
            vector_io_write=self.vector_written,
        )


if sys.platform == "linux":
    import resource

    _PAGE_BYTES: Final = resource.getpagesize()

    def _bytes_read() -> int:
        return int(_THREAD_IO.read_bytes().split(None, 2)[1])

    def _major_faults() -> int:
        return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt

else:
    _PAGE_BYTES: Final = 0

    def _bytes_read() -> int:
        return 0

    def _major_faults() -> int:
        return 0
