"""The application: every route of the table behind one wrapper that decodes, calls, and puts the envelope around."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import trio
from quart import Response, current_app, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.routing import RequestRedirect

from vdb import __version__
from vdb.api import (
    aliases,
    collections,
    distributed,
    indexes,
    issues,
    metrics,
    older_search,
    optimizations,
    points,
    quotas,
    search,
    service,
    slow_requests,
    snapshots,
    telemetry,
)
from vdb.api.access import MANAGE, Access
from vdb.api.auth import ACCESS_KEY, Authenticator, Guard
from vdb.api.compressed import plain_body
from vdb.api.connection import STREAM_KEY, WholeRequest
from vdb.api.cors import Cors
from vdb.api.deadlines import within_deadline
from vdb.api.envelope import accepted, failure, success
from vdb.api.errors import explain_query, explain_validation, named, to_http
from vdb.api.observer import REQUEST_ID, Observed
from vdb.api.openapi import document
from vdb.api.routing import Accepted, Call, Download, Plain, Route
from vdb.api.services import Services
from vdb.api.transfers import Upload, downloaded
from vdb.config import Settings
from vdb.errors import MalformedBody, VdbError
from vdb.model.decode import Decoder
from vdb.model.params import ReadParams, WriteParams
from vdb.model.usage import Usage
from vdb.registry import Registry
from vdb.telemetry import facts

logger = logging.getLogger(__name__)

JSON: Final = "application/json"
OPENAPI_PATH: Final = "/openapi.json"  # needs no key: it says nothing that is not public
INLINE_BYTES_MAX: Final = 256 * 1024  # larger bodies are decoded in a thread: a megabyte takes milliseconds


def all_routes() -> list[Route]:
    """The table of routes."""
    modules = (
        collections,
        optimizations,
        aliases,
        indexes,
        points,
        search,
        older_search,
        snapshots,
        service,
        metrics,
        telemetry,
        slow_requests,
        issues,
        quotas,
        distributed,
    )
    return [route for module in modules for route in module.routes.table]


def create_app(registry: Registry, settings: Settings) -> QuartTrio:
    """The application over an open registry."""
    app = QuartTrio("vdb", static_folder=None)
    app.asgi_http_class = WholeRequest
    app.config["MAX_CONTENT_LENGTH"] = settings.service.max_request_size_mb * 2**20
    app.config["BODY_TIMEOUT"] = None
    app.config["RESPONSE_TIMEOUT"] = None  # requests bring their own
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    services = Services(registry, settings)
    routes = all_routes()
    for route in routes:
        app.add_url_rule(
            _rule(route.path),
            endpoint=f"{route.method} {route.path}",
            view_func=_view(route, services),
            methods=[route.method],
            provide_automatic_options=False,
        )
    openapi = msgspec.json.encode(document(routes, __version__))
    app.add_url_rule(OPENAPI_PATH, view_func=lambda: Response(openapi, content_type=JSON), methods=["GET"])
    app.register_error_handler(HTTPException, _unrouted(services))
    app.register_error_handler(Exception, _unexpected)
    door: Any = app.asgi_app
    if settings.service.has_keys:
        open_paths = {route.path for route in routes if route.access == "open"} | {OPENAPI_PATH}
        door = Guard(door, Authenticator(settings.service, registry), open_paths, services.observer)
    door = _Slashes(door)
    app.asgi_app = Cors(door) if settings.service.enable_cors else door  # type: ignore[method-assign]
    return app


def _rule(path: str) -> str:
    """``/collections/{name}`` in the router's notation."""
    return path.replace("{", "<").replace("}", ">")


def _view(route: Route, services: Services) -> Any:
    """The view function of one route."""
    decoder: Decoder[Any] | None = None if route.body is None else Decoder(route.body)
    decode = None if route.streamed else route.decode or (None if decoder is None else decoder.decode)

    observer, strict_mode = services.observer, services.observer.strict_mode
    ended = observer.watching(route)
    limited = issubclass(route.params, ReadParams | WriteParams)
    writes = issubclass(route.params, WriteParams)

    async def view(**path: str) -> Response:
        observed = observer.begin(request.headers.get(REQUEST_ID))
        try:
            response = await answer(path, observed)
        except HTTPException as error:
            response = await _http_error(error)
        except Exception as error:
            refused = named(error)
            if refused is None:
                response = await _unexpected(error, observed.id)
            else:
                refused.__cause__ = error
                response = _refusal(refused, observed.started, observed.id)
        response.headers[REQUEST_ID] = observed.id
        ended(observed, path.get("collection_name"), response.status_code)
        return response

    async def answer(path: dict[str, str], observed: Observed) -> Response:
        started = observed.started
        try:
            access: Access = request.scope.get(ACCESS_KEY, MANAGE)  # type: ignore[assignment]
            only = access.check(route.access, path.get("collection_name"), services.registry.resolve)
            if only is not None and not route.filtered:
                access.check_whole(route.access, path["collection_name"], services.registry.resolve)
            if limited and (name := path.get("collection_name")) is not None:
                # What was checked is what is used: an alias may be given to another collection while the body arrives.
                path = {**path, "collection_name": services.registry.resolve(name)}
            params = _params(route)
            decoded: Any = None
            if route.streamed:
                decoded = Upload(request.headers, request.scope[STREAM_KEY])  # type: ignore[typeddict-item]
            elif decode is not None:
                decoded = await _body(route, decode, services)
            observed.body = decoded
            if writes:
                services.quotas.check(decoded)
            if limited and (name := path.get("collection_name")) is not None:
                limits = strict_mode.limits(name)
                if limits is not None:
                    await strict_mode.check(limits, name, params, decoded)
            call = Call(services, path, params, decoded, access, only, observed.meter)
            result = await within_deadline(route, call)
            if isinstance(result, Plain):
                return Response(result.body, status=result.status, content_type=result.content_type)
            if isinstance(result, Accepted):
                return Response(accepted(started), status=202, content_type=JSON)
            if isinstance(result, Download):
                return downloaded(result)
            meter = observed.meter
            usage = Usage(hardware=meter.usage()) if meter is not None and meter.measured else None
            return Response(success(result, started, usage), content_type=JSON)
        except VdbError as error:
            return _refusal(error, started, observed.id)

    return view


async def _body(route: Route, decode: Callable[[bytes], Any], services: Services) -> Any:
    """The decoded body; None where there is none and none is needed."""
    body = await request.get_data(cache=False, as_text=False)
    assert isinstance(body, bytes)
    if encoding := request.headers.get("Content-Encoding"):
        size_max: int = current_app.config["MAX_CONTENT_LENGTH"]
        # In a thread whatever its size: a small body may become a large one.
        body = await trio.to_thread.run_sync(plain_body, body, encoding, size_max, limiter=services.decoding)
    if not body and route.body_optional:
        return None
    if len(body) <= INLINE_BYTES_MAX:
        return _decode(decode, body, route.body)
    return await trio.to_thread.run_sync(_decode, decode, body, route.body, limiter=services.decoding)


def _decode(decode: Callable[[bytes], Any], body: bytes, kind: Any) -> Any:
    """The body as the route's type; raises MalformedBody and OutOfBounds."""
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise explain_validation(error, body, kind) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedBody(str(error)) from error
    except RecursionError:
        raise MalformedBody("the body is nested too deeply") from None


def _params(route: Route) -> Any:
    """The query parameters as the route's struct; raises MalformedQuery and OutOfBounds."""
    if not request.query_string:
        return route.params()
    given = request.args.to_dict()
    try:
        return msgspec.convert(given, route.params, strict=False)
    except msgspec.ValidationError as error:
        raise explain_query(error, given) from error


def _refusal(error: VdbError, started: float, request_id: str) -> Response:
    status, message, headers = to_http(error)
    if status >= 500 and error.__cause__ is not None:
        logger.error("%s %s: %s", request.method, request.path, message, extra=facts(request_id=request_id))
    return Response(failure(message, started), status=status, content_type=JSON, headers=headers)


def _unrouted(services: Services) -> Any:
    """What answers requests that no route serves."""

    async def unrouted(error: HTTPException) -> Response:
        observer = services.observer
        observed = observer.begin(request.headers.get(REQUEST_ID))
        response = await _http_error(error)
        response.headers[REQUEST_ID] = observed.id
        observer.unrouted(request.method, request.path, observed, response.status_code)
        return response

    return unrouted


async def _http_error(error: HTTPException) -> Response:
    """Errors of the HTTP layer itself (unknown route, wrong method, too large) in the envelope."""
    status = error.code or 500
    started = time.perf_counter()
    message = {
        404: f"Not found: no such route: {request.path}",
        405: f"Method not allowed: {request.method} {request.path}",
        413: "Payload too large: the request is larger than service.max_request_size_mb allows",
    }.get(status, error.description or error.name)
    headers = {}
    if isinstance(error, RequestEntityTooLarge):
        headers["Connection"] = "close"  # what is left of the body is not read
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        headers["Allow"] = ", ".join(sorted(allowed))
    if isinstance(error, RequestRedirect):
        status, message = 404, f"Not found: no such route: {request.path}"
    return Response(failure(message, started), status=status, content_type=JSON, headers=headers)


async def _unexpected(error: Exception, request_id: str | None = None) -> Response:
    """A fault of vdb's own: logged once, with its traceback."""
    logger.error("%s %s failed", request.method, request.path, exc_info=error, extra=facts(request_id=request_id))
    return Response(
        failure(f"Service error: {type(error).__name__}: {error}", time.perf_counter()), status=500, content_type=JSON
    )


class _Slashes:
    """Doubled and trailing slashes are the same path without them."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if "//" in path or (len(path) > 1 and path.endswith("/")):
                scope = dict(scope)
                scope["path"] = "/" + "/".join(part for part in path.split("/") if part)
        await self._app(scope, receive, send)
