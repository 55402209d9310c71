"""The service itself: what it is, and whether it lives."""

from __future__ import annotations

import msgspec

from vdb import __version__
from vdb.api.routing import Call, Plain, Routes
from vdb.model.collection_results import VersionInfo

# The version of Qdrant's API that is served. Clients compare it with their own and warn when they are far apart.
QDRANT_VERSION = "1.19.0"

routes = Routes("Service")


@routes.add("GET", "/", summary="What this server is", access="open", result=VersionInfo, enveloped=False)
async def root(call: Call) -> Plain:
    info = VersionInfo(
        title="vdb - a vector database that speaks Qdrant's API", version=QDRANT_VERSION, vdb_version=__version__
    )
    return Plain(msgspec.json.encode(info), content_type="application/json")


@routes.add("GET", "/healthz", summary="Whether the server answers", access="open", result=str, enveloped=False)
async def healthz(call: Call) -> Plain:
    return Plain(b"healthz check passed")


@routes.add("GET", "/livez", summary="Whether the server answers", access="open", result=str, enveloped=False)
async def livez(call: Call) -> Plain:
    return Plain(b"healthz check passed")


@routes.add(
    "GET", "/readyz", summary="Whether the server has recovered and serves", access="open", result=str, enveloped=False
)
async def readyz(call: Call) -> Plain:
    return Plain(b"all shards are ready")
