"""``vdb serve`` with two more routes, which show what HTTP alone costs. Takes its flags for folder and address.

========================================== ==========================================================================
route                                      what it does
========================================== ==========================================================================
POST /collections/{name}/points/floor      goes through everything that a search goes through in the API layer (route,
                                           wrapper, decoding of the request) and answers a constant
POST /bare                                 a plain Quart handler: parses the JSON, makes the vector an array, answers a
                                           constant
========================================== ==========================================================================

The constant is the answer of middle length among the first real ones, with or without payloads as the request asks, so
that floor and search move the same bytes. Both live in the same process as the search: whatever slows one slows all.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

import numpy as np
import orjson
from quart import Response, request
from quart_trio import QuartTrio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vdb import server, telemetry
from vdb.api import search
from vdb.api.app import JSON
from vdb.api.routing import Call, Encoded
from vdb.config import Settings, load_settings
from vdb.files import resource
from vdb.model.params import ReadParams
from vdb.model.points_results import QueryResponse
from vdb.model.queries import QueryRequest
from vdb.registry import Registry

SAMPLES: Final = 101  # answers among which the constant is chosen

samples: dict[bool, list[Encoded]] = {False: [], True: []}
constants: dict[bool, Encoded] = {}


@search.routes.add(
    "POST",
    "/collections/{collection_name}/points/floor",
    summary="What a query costs without searching",
    access="read",
    filtered=True,
    body=QueryRequest,
    params=ReadParams,
    result=QueryResponse,
    documented=False,
)
async def floor(call: Call) -> Encoded:
    wanted = bool(call.body.with_payload)
    if wanted in constants:
        return constants[wanted]
    answer: Encoded = await search.query_points(call)
    samples[wanted].append(answer)
    if len(samples[wanted]) == SAMPLES:
        constants[wanted] = sorted(samples[wanted], key=len)[SAMPLES // 2]
    return answer


async def bare() -> Response:
    body = orjson.loads(await request.get_data(cache=False))
    np.array(body["query"], dtype=np.float32)
    answer = constants[bool(body.get("with_payload"))]
    return Response(b'{"result":%b,"status":"ok","time":0.000000001}' % answer, content_type=JSON)


def parts() -> tuple[server.OpenRegistry, server.CreateApp]:
    from vdb.api.app import create_app
    from vdb.registry import open_registry

    def create(registry: Registry, settings: Settings) -> QuartTrio:
        app = create_app(registry, settings)
        app.add_url_rule("/bare", view_func=bare, methods=["POST"])
        return app

    return open_registry, create


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--storage-path", required=True)
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    flags = {
        "storage.storage_path": given.storage_path,
        "service.host": given.host,
        "service.http_port": given.port,
    }
    settings = load_settings([resource("config.yaml")], os.environ, flags)
    telemetry.configure_logging(settings.log_level)
    return server.run(settings, parts)


if __name__ == "__main__":
    server.leave(main())
