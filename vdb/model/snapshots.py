"""Snapshots: what the API says of them, and the requests about them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

SnapshotPriority = Literal["no_sync", "snapshot", "replica"]


class SnapshotDescription(msgspec.Struct, frozen=True, kw_only=True):
    """``creation_time`` is UTC without an offset; ``size`` in bytes; ``checksum`` the SHA-256 in hexadecimal."""

    name: str
    creation_time: str | None = None
    size: Annotated[int, msgspec.Meta(ge=0)]
    checksum: str | None = None


class SnapshotRecover(msgspec.Struct, frozen=True, kw_only=True):
    """``location`` is a ``file://`` URL below the snapshots folder, or a URL where the administrator allows it.

    ``priority`` is accepted: with one replica the snapshot always is the truth. ``api_key`` goes to the URL's server.
    """

    location: str
    priority: SnapshotPriority | None = None
    checksum: str | None = None
    api_key: str | None = None


class ShardSnapshotRecover(SnapshotRecover, frozen=True, kw_only=True):
    """As of a collection; ``location`` may also be the name of a snapshot of this shard."""


class SnapshotUpload(msgspec.Struct, frozen=True, kw_only=True):
    """The file of a snapshot, as one field of a form."""

    media_type: ClassVar[str] = "multipart/form-data"

    snapshot: bytes | msgspec.UnsetType = msgspec.UNSET


class SnapshotParams(msgspec.Struct, frozen=True, kw_only=True):
    """``wait=false`` answers at once, and the work goes on."""

    wait: bool = True


class UploadParams(msgspec.Struct, frozen=True, kw_only=True):
    """``checksum`` is the SHA-256 that the file must have; ``priority`` is accepted."""

    wait: bool = True
    priority: SnapshotPriority | None = None
    checksum: str | None = None
