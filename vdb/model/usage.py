"""What a request cost, as it stands beside its result."""

from __future__ import annotations

import msgspec

from vdb.model.bounds import Count


class HardwareUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a request took of the machine, as far as that is measured.

    ``cpu`` is in microseconds of CPU time in the threads that search; the rest is in bytes. ``payload_io_read`` is what
    SQLite read, ``vector_io_read`` what came from the disk because mapped pages were touched; ``payload_io_write`` and
    ``vector_io_write`` are what was written to the log. Field indexes are in memory and read and write nothing.
    """

    cpu: Count
    payload_io_read: Count
    payload_io_write: Count
    payload_index_io_read: Count
    payload_index_io_write: Count
    vector_io_read: Count
    vector_io_write: Count


class ModelUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What one inference model was given."""

    tokens: Count


class InferenceUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What inference cost, by the model's name."""

    models: dict[str, ModelUsage]


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a request cost, where that was measured."""

    hardware: HardwareUsage | None = None
    inference: InferenceUsage | None = None
