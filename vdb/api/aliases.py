"""Aliases: other names of collections."""

from __future__ import annotations

from vdb.api.routing import Call, Routes
from vdb.model.collection_results import ChangeAliasesOperation, CollectionsAliasesResponse
from vdb.model.params import TimeoutParams

routes = Routes("Aliases")


@routes.add(
    "POST",
    "/collections/aliases",
    summary="Create, delete and rename aliases, all or none",
    access="manage",
    body=ChangeAliasesOperation,
    params=TimeoutParams,
)
async def update_aliases(call: Call) -> bool:
    await call.services.registry.change_aliases(call.body.actions)
    return True


@routes.add("GET", "/aliases", summary="All aliases", access="listed", result=CollectionsAliasesResponse)
async def get_collections_aliases(call: Call) -> CollectionsAliasesResponse:
    registry = call.services.registry
    return CollectionsAliasesResponse(
        aliases=[alias for alias in registry.aliases() if call.access.lists(alias.collection_name, registry.resolve)]
    )


@routes.add(
    "GET",
    "/collections/{collection_name}/aliases",
    summary="The aliases of a collection",
    access="read",
    filtered=True,
    result=CollectionsAliasesResponse,
)
async def get_collection_aliases(call: Call) -> CollectionsAliasesResponse:
    return CollectionsAliasesResponse(aliases=call.services.registry.aliases(call.collection().name))
