"""Qdrant's settings that vdb does not have, so that the environment of an existing deployment works.

Most ask for nothing that could be missed (a port for gRPC, threads of a cluster): they are without effect, and the log
says so. Some ask for what vdb cannot do and somebody relies on (a cluster, a log file, snapshots in S3): with those the
server does not start. What is in neither table is unknown, and refused as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vdb.errors import Misconfigured

_OFF: Final = frozenset({"", "0", "false", "no", "off", "null", "none", "~"})

# A setting or a whole section, and why it has no effect.
WITHOUT_EFFECT: Final = {
    "telemetry_disabled": "vdb reports to nobody",
    "service.grpc_port": "vdb speaks REST only",
    "service.max_workers": "one process serves; storage.performance.max_search_threads sets how many threads search",
    "service.enable_static_content": "vdb has no web interface",
    "service.static_content_dir": "vdb has no web interface",
    "service.metrics_prefix": "metrics have the names that Qdrant gives them",
    "service.enable_metrics": "metrics are always there",
    "storage.temp_path": "temporary files are kept beside what they become",
    "storage.snapshots_config": "snapshots are files in storage.snapshots_path",
    "storage.node_type": "one server does everything",
    "storage.update_concurrency": "a collection has one writer",
    "storage.shard_transfer_method": "there is no cluster",
    "storage.handle_collection_load_errors": "a collection that cannot be opened is named, and the others serve",
    "storage.performance.max_optimization_threads": "storage.performance.optimizer_cpu_budget limits builds",
    "storage.performance.update_rate_limit": "there is no cluster",
    "storage.performance.incoming_shard_transfers_limit": "there is no cluster",
    "storage.performance.outgoing_shard_transfers_limit": "there is no cluster",
    "storage.performance.async_scorer": "originals are read through the page cache",
    "storage.performance.load_concurrency": "collections are opened one after another",
    "storage.collection.replication_factor": "there is no cluster",
    "storage.collection.write_consistency_factor": "there is no cluster",
    "storage.collection.shard_number_per_node": "a collection is one shard",
    "storage.collection.vectors": "a collection says itself where its vectors are kept",
    "storage.collection.quantization": "a collection says itself how it is quantised",
    "storage.optimizers_overwrite": "every collection has optimizers of its own",
    "storage.recovery_mode": "collections that cannot be opened are left out by themselves",
    "storage.hnsw_global_config": "graphs are always built anew",
    "cluster": "there is no cluster",
    "gpu": "graphs are built by the CPU",
    "inference": "there is no inference service",
    "feature_flags": "these are switches inside Qdrant",
    "audit": "there is no audit log",
    "logger.log_level": "log_level sets what is logged",
    "logger.span_events": "these are switches inside Qdrant",
    "logger.color": "the log has no colours",
    "logger.on_disk": "everything is logged to stderr",
}

# Settings that must be off, and why; sections stand for all their settings.
REFUSED_WHEN_ON: Final = {
    "cluster.enabled": "vdb runs alone and cannot be part of a cluster",
    "audit.enabled": "vdb writes no audit log",
    "logger.on_disk.enabled": "vdb logs to stderr only",
    "storage.collection.vectors": "vdb has no such default for new collections: give it when creating them",
    "storage.collection.quantization": "vdb has no such default for new collections: give it when creating them",
    "storage.optimizers_overwrite": "vdb cannot overrule the settings of collections",
    "storage.recovery_mode": "vdb has no recovery mode",
}

# Settings that may have one value only, and why.
REFUSED_UNLESS: Final = {
    "storage.snapshots_config.snapshots_storage": ("local", "vdb keeps snapshots in files only"),
    "storage.node_type": ("normal", "vdb answers reads and writes alike"),
}


def reason_without_effect(keys: Sequence[str], value: str, source: str) -> str | None:
    """Why Qdrant's setting under ``keys`` has no effect; None for one that Qdrant does not have either.

    Raises Misconfigured, which names ``source``, for a value that asks for what vdb cannot do.
    """
    names = [".".join(keys[: depth + 1]) for depth in range(len(keys))]
    given = value.strip().casefold()
    for name in names:
        if name in REFUSED_WHEN_ON and given not in _OFF:
            raise Misconfigured(f"{source}: {REFUSED_WHEN_ON[name]}")
        if name in REFUSED_UNLESS:
            allowed, why = REFUSED_UNLESS[name]
            if given not in (allowed, *_OFF):
                raise Misconfigured(f"{source}: {why}")
    return next((WITHOUT_EFFECT[name] for name in names if name in WITHOUT_EFFECT), None)
