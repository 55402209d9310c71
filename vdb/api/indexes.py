"""Field indexes: made, dropped."""

from __future__ import annotations

from vdb.api.routing import Call, Routes
from vdb.model.collection_results import UpdateResult
from vdb.model.field_index import CreateFieldIndex
from vdb.model.json_path import parse_path
from vdb.model.params import WriteParams
from vdb.segment.fields.build import new_index

routes = Routes("Indexes")

_INDEX = "/collections/{collection_name}/index"


@routes.add(
    "PUT",
    _INDEX,
    summary="Index a payload field",
    access="write",
    body=CreateFieldIndex,
    params=WriteParams,
    result=UpdateResult,
)
async def create_field_index(call: Call) -> UpdateResult:
    request: CreateFieldIndex = call.body
    collection = call.collection()
    assert request.field_schema is not None, "decoding refuses a request without it"
    new_index(request.field_name, request.field_schema)  # raises what is wrong with it before anything is written
    seq = await collection.create_index(request.field_name, request.field_schema, wait=call.params.wait)
    return UpdateResult(operation_id=seq, status="completed" if call.params.wait else "acknowledged")


@routes.add(
    "DELETE",
    _INDEX + "/{field_name}",
    summary="Drop the index of a payload field",
    access="write",
    params=WriteParams,
    result=UpdateResult,
)
async def delete_field_index(call: Call) -> UpdateResult:
    collection = call.collection()
    parse_path(call.path["field_name"])
    seq = await collection.delete_index(call.path["field_name"])
    return UpdateResult(operation_id=seq, status="completed" if call.params.wait else "acknowledged")
