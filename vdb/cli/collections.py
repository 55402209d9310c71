"""``vdb collections`` and ``vdb info``: what a server has."""

from __future__ import annotations

from typing import Any

import click

from vdb.cli.client import Client, Server, ServerError, collection_path, server_options
from vdb.cli.output import json_option, print_facts, print_json, print_table


@click.command()
@server_options
@json_option
def collections(server: Server, as_json: bool) -> None:
    """List the collections of a server, with what each holds."""
    with server.connect() as client:
        names = sorted(entry["name"] for entry in client.get("/collections")["collections"])
        infos = {name: _describe(client, name) for name in names}
    if as_json:
        print_json([{"name": name, **info} for name, info in infos.items()])
        return
    print_table(
        ["collection", "status", "points", "indexed", "segments", "vectors"],
        [
            (
                name,
                info["status"],
                info.get("points_count"),
                info.get("indexed_vectors_count"),
                info.get("segments_count"),
                _vectors_text(info),
            )
            for name, info in infos.items()
        ],
    )


@click.command()
@click.argument("collection", required=False)
@server_options
@json_option
def info(collection: str | None, server: Server, as_json: bool) -> None:
    """Show COLLECTION with its configuration and indexes; without it, the server."""
    with server.connect() as client:
        if collection is None:
            _print_server(client, as_json)
            return
        found = client.get(collection_path(collection))
        aliases = [alias["alias_name"] for alias in client.get(f"{collection_path(collection)}/aliases")["aliases"]]
    if as_json:
        print_json({"name": collection, "aliases": aliases, **found})
        return
    config = found["config"]
    problem = found["optimizer_status"]
    print_facts(
        [
            ("collection", collection),
            ("aliases", ", ".join(aliases) or None),
            ("status", found["status"] if problem == "ok" else f"{found['status']}: {problem['error']}"),
            ("points", found["points_count"]),
            ("indexed vectors", found["indexed_vectors_count"]),
            ("segments", found["segments_count"]),
            ("vectors", _vectors_text(found)),
            ("quantization", ", ".join(config.get("quantization_config") or ()) or None),
            ("payload on disk", config["params"].get("on_disk_payload", False)),
        ]
    )
    schema = found.get("payload_schema") or {}
    if schema:
        print_table(
            ["indexed field", "type", "points"],
            [(path, index["data_type"], index.get("points")) for path, index in sorted(schema.items())],
        )


def _print_server(client: Client, as_json: bool) -> None:
    names = [entry["name"] for entry in client.get("/collections")["collections"]]
    version = client.version()
    if as_json:
        print_json({**version, "url": client.url, "collections": sorted(names)})
        return
    print_facts(
        [
            ("server", client.url),
            ("title", version.get("title")),
            ("version", version.get("vdb_version") or version.get("version")),
            ("Qdrant's API", version.get("version")),
            ("collections", len(names)),
        ]
    )


def _describe(client: Client, name: str) -> dict[str, Any]:
    """Collection info; of one that cannot be opened, its status and why."""
    try:
        found: dict[str, Any] = client.get(collection_path(name))
    except ServerError as error:
        if error.status < 500:
            raise
        return {"status": "broken", "error": str(error)}
    return found


def _vectors_text(info: dict[str, Any]) -> str:
    """``384 Cosine``, or ``image 512 Dot, words sparse``."""
    if "config" not in info:
        return str(info.get("error", ""))
    params = info["config"]["params"]
    dense = params.get("vectors") or {}
    if "size" in dense and not isinstance(dense["size"], dict):
        dense = {"": dense}
    texts = [
        " ".join(
            filter(
                None, [name, str(one["size"]), one["distance"], "multivector" if one.get("multivector_config") else ""]
            )
        )
        for name, one in dense.items()
    ]
    return ", ".join([*texts, *(f"{name} sparse" for name in params.get("sparse_vectors") or {})]) or "none"
