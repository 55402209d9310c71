"""A collection's configuration on its way to another server: what REST reports, as what REST takes.

It stands beside exported points as ``NAME.collection.json``::

    {"collection": name, "create": body of PUT /collections/{name}, "strict_mode_config": …,
     "indexes": {path: schema}}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import orjson

from vdb.cli.client import Client, ServerError, collection_path
from vdb.errors import Misconfigured
from vdb.files import write_atomically

_SAME: Final = ("hnsw_config", "wal_config", "quantization_config", "metadata")
_OF_PARAMS: Final = ("sparse_vectors", "on_disk_payload", "payload")
SUFFIX: Final = ".collection.json"

DISTANCES: Final = ("Cosine", "Dot", "Euclid", "Manhattan")
Distance = Literal["Cosine", "Dot", "Euclid", "Manhattan"]


class CollectionSettings(msgspec.Struct, frozen=True):
    """``strict_mode_config`` comes last, and indexes after the points: neither shall hinder the copy."""

    collection: str
    create: dict[str, Any]
    indexes: dict[str, Any] = {}
    strict_mode_config: dict[str, Any] | None = None

    def vector_kinds(self) -> dict[str, Literal["dense", "multi", "sparse"]]:
        """The kind of each vector by name; ``""`` is the unnamed one."""
        dense = self.create.get("vectors") or {}
        if "size" in dense and not isinstance(dense["size"], dict):
            dense = {"": dense}
        kinds: dict[str, Literal["dense", "multi", "sparse"]] = {
            name: "multi" if one.get("multivector_config") else "dense" for name, one in dense.items()
        }
        kinds.update(dict.fromkeys(self.create.get("sparse_vectors") or {}, "sparse"))
        return kinds


def read_settings(client: Client, collection: str) -> tuple[CollectionSettings, int]:
    """The settings of a server's collection, and how many points it has. Raises ServerError.

    Shards and replicas are left out: how many a server has is its own affair.
    """
    info = client.get(collection_path(collection))
    config = info["config"]
    params = config["params"]
    create = {
        "vectors": params.get("vectors") or {},
        **{key: params.get(key) for key in _OF_PARAMS},
        **{key: config.get(key) for key in _SAME},
        "optimizers_config": config.get("optimizer_config"),
    }
    indexes = {
        path: index.get("params") or index["data_type"] for path, index in (info.get("payload_schema") or {}).items()
    }
    strict_mode = _without_nulls(config.get("strict_mode_config"))
    settings = CollectionSettings(collection, _without_nulls(create), _without_nulls(indexes), strict_mode or None)
    return settings, int(info.get("points_count") or 0)


def create_collection(client: Client, collection: str, settings: CollectionSettings) -> bool:
    """False where a collection of that name is there already: it stays as it is. Raises ServerError."""
    if exists(client, collection):
        return False
    client.call("PUT", collection_path(collection), settings.create)
    return True


def finish_collection(client: Client, collection: str, settings: CollectionSettings) -> None:
    """Adds what a copy is better off without: indexes, and then limits. Raises ServerError."""
    for path, schema in settings.indexes.items():
        body = {"field_name": path, "field_schema": schema}
        client.call("PUT", f"{collection_path(collection)}/index", body, wait="true")
    if settings.strict_mode_config:
        client.call("PATCH", collection_path(collection), {"strict_mode_config": settings.strict_mode_config})


def exists(client: Client, collection: str) -> bool:
    try:
        client.get(collection_path(collection))
    except ServerError as error:
        if error.status == 404:
            return False
        raise
    return True


def settings_path(points: Path) -> Path:
    """``points.jsonl.gz`` and ``points.npy`` → ``points.collection.json``."""
    return points.with_name(stem(points) + SUFFIX)


def stem(points: Path) -> str:
    """The name without what says the format: ``a.b.jsonl.gz`` → ``a.b``."""
    name = points.name.removesuffix(".gz")
    return name[: -len(suffix)] if (suffix := Path(name).suffix) else name


def save(points: Path, settings: CollectionSettings) -> None:
    """Raises OSError."""
    content = msgspec.json.format(msgspec.json.encode(settings), indent=2)
    write_atomically(settings_path(points), content + b"\n")


def load(points: Path) -> CollectionSettings | None:
    """What stands beside a file of points; None where nothing does. Raises Misconfigured."""
    path = settings_path(points)
    try:
        return msgspec.json.decode(path.read_bytes(), type=CollectionSettings)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise Misconfigured(f"{path}: {error}") from error


def guess_settings(collection: str, body: bytes, distance: str) -> CollectionSettings:
    """Settings that the first points fit; raises Misconfigured where they have nothing to tell a size by."""
    dense: dict[str, dict[str, Any]] = {}
    sparse: dict[str, dict[str, Any]] = {}
    unnamed: dict[str, Any] | None = None
    for point in orjson.loads(body)["points"]:
        vector = point.get("vector")
        if isinstance(vector, list) and vector:
            unnamed = _params(vector, distance)
            continue
        for name, value in (vector or {}).items():
            if isinstance(value, dict):
                sparse[name] = {}
            elif value:
                dense[name] = _params(value, distance)
    if unnamed is not None and "" not in dense and not dense:
        return CollectionSettings(collection, {"vectors": unnamed, **({"sparse_vectors": sparse} if sparse else {})})
    return CollectionSettings(collection, {"vectors": dense, **({"sparse_vectors": sparse} if sparse else {})})


def _params(vector: list[Any], distance: str) -> dict[str, Any]:
    if isinstance(vector[0], list):
        size = len(vector[0])
        return {"size": size, "distance": distance, "multivector_config": {"comparator": "max_sim"}}
    return {"size": len(vector), "distance": distance}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return value
