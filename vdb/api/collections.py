"""Collections: create, change, delete, describe."""

from __future__ import annotations

import msgspec

from vdb.api.routing import Call, Routes
from vdb.api.strict_mode import refuse_unenforceable
from vdb.errors import CollectionNotFound
from vdb.hosting import Running
from vdb.model.collection_config import CreateCollection, UpdateCollection, decode, resolve
from vdb.model.collection_results import (
    CollectionDescription,
    CollectionExistence,
    CollectionInfo,
    CollectionsResponse,
    CollectionStatus,
    OptimizersFailed,
    UpdateQueueInfo,
    UpdateResult,
)
from vdb.model.field_index import index_info
from vdb.model.params import TimeoutParams, WriteParams
from vdb.model.strict_mode import with_defaults
from vdb.model.vector_params import VectorNameConfig

routes = Routes("Collections")


@routes.add("GET", "/collections", summary="The names of all collections", access="listed", result=CollectionsResponse)
async def get_collections(call: Call) -> CollectionsResponse:
    registry = call.services.registry
    names = [name for name in registry.names() if call.access.lists(name, registry.resolve)]
    return CollectionsResponse(collections=[CollectionDescription(name) for name in names])


@routes.add(
    "GET",
    "/collections/{collection_name}",
    summary="State and configuration of a collection",
    access="read",
    result=CollectionInfo,
)
async def get_collection(call: Call) -> CollectionInfo:
    return describe(call.services.registry.running(call.path["collection_name"]))


@routes.add(
    "GET",
    "/collections/{collection_name}/exists",
    summary="Whether a collection or alias of this name exists",
    access="read",
    filtered=True,
    result=CollectionExistence,
)
async def collection_exists(call: Call) -> CollectionExistence:
    return CollectionExistence(exists=call.services.registry.exists(call.path["collection_name"]))


@routes.add(
    "PUT",
    "/collections/{collection_name}",
    summary="Create a collection",
    access="manage",
    body=CreateCollection,
    params=TimeoutParams,
)
async def create_collection(call: Call) -> bool:
    create: CreateCollection = call.body
    registry = call.services.registry
    storage = call.services.settings.storage
    strict_mode = with_defaults(create.strict_mode_config, storage.collection.strict_mode)
    refuse_unenforceable(strict_mode)
    config = resolve(msgspec.structs.replace(create, strict_mode_config=strict_mode), storage)
    source = None
    if create.init_from is not None:
        if not registry.exists(create.init_from.collection):
            raise CollectionNotFound(create.init_from.collection)
        source = registry.get(create.init_from.collection)
    await registry.create(call.path["collection_name"], config, copy_from=source)
    return True


@routes.add(
    "PATCH",
    "/collections/{collection_name}",
    summary="Change parameters of a living collection",
    access="manage",
    body=UpdateCollection,
    params=TimeoutParams,
)
async def update_collection(call: Call) -> bool:
    refuse_unenforceable(call.body.strict_mode_config)
    await call.services.registry.update(call.path["collection_name"], call.body)
    return True


@routes.add(
    "DELETE",
    "/collections/{collection_name}",
    summary="Delete a collection and all that is in it",
    access="manage",
    params=TimeoutParams,
)
async def delete_collection(call: Call) -> bool:
    return await call.services.registry.delete(call.path["collection_name"])


@routes.add(
    "PUT",
    "/collections/{collection_name}/vectors/{vector_name}",
    summary="Add a named vector",
    access="manage",
    body=VectorNameConfig,
    params=WriteParams,
    result=UpdateResult,
)
async def create_vector_name(call: Call) -> UpdateResult:
    await call.services.registry.add_vector(call.path["collection_name"], call.path["vector_name"], call.body)
    return _changed(call)


@routes.add(
    "DELETE",
    "/collections/{collection_name}/vectors/{vector_name}",
    summary="Remove a named vector and all that is stored under it",
    access="manage",
    params=WriteParams,
    result=UpdateResult,
)
async def delete_vector_name(call: Call) -> UpdateResult:
    await call.services.registry.remove_vector(call.path["collection_name"], call.path["vector_name"])
    return _changed(call)


def _changed(call: Call) -> UpdateResult:
    """Done and visible; the newest operation's number, as the configuration is not in the log."""
    seq = call.collection().view.seq
    return UpdateResult(operation_id=max(seq, 0), status="completed" if call.params.wait else "acknowledged")


def describe(running: Running) -> CollectionInfo:
    """Collection info, told from the View and the optimizer as they are now. Red lasts as long as its reason."""
    collection, optimizer = running.collection, running.optimizer
    if collection is None or optimizer is None:
        return CollectionInfo(
            status="red",
            optimizer_status=OptimizersFailed(error=str(running.failure)),
            indexed_vectors_count=0,
            points_count=0,
            segments_count=0,
            config=decode(running.entry.config),
            payload_schema={},
            update_queue=UpdateQueueInfo(length=0),
        )
    view, failure = collection.view, collection.actor.failure
    indexed = sum(slot.indexed_vectors_count for slot in collection.slots)
    pending = optimizer.pending() is not None or bool(view.building)
    trouble = failure or collection.actor.trouble
    error = str(trouble) if trouble is not None else optimizer.error
    status: CollectionStatus
    if error is not None:
        status = "red"
    elif pending:
        status = "yellow" if optimizer.enabled else "grey"
    else:
        status = "green"
    return CollectionInfo(
        status=status,
        optimizer_status="ok" if error is None else OptimizersFailed(error=error),
        indexed_vectors_count=indexed,
        points_count=view.points_count,
        segments_count=len(collection.slots),
        config=view.config,
        payload_schema={
            **{path: index_info(schema, 0) for path, schema in view.building.items()},
            **{path: index_info(snapshot.schema, snapshot.points()) for path, snapshot in view.fields.items()},
        },
        update_queue=UpdateQueueInfo(length=len(collection.actor.mailbox)),
    )
