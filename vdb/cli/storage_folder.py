"""A storage folder looked at from outside, without a server: which it is, what is in it, and whether it is whole."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from vdb.errors import Misconfigured

T = TypeVar("T")

CATALOG: Final = "catalog"  # what a finding about catalog.sqlite is filed under
_ATTEMPTS: Final = 5


class Checked(msgspec.Struct, frozen=True):
    """One collection, or the catalog; ``findings`` is empty where it is whole."""

    name: str
    folder: str
    points: int
    segments: int
    field_files: int
    findings: list[Any]

    @property
    def truth_is_damaged(self) -> bool:
        return any(finding.kind == "truth" for finding in self.findings)


def storage_options(command: Callable[..., T]) -> Callable[..., T]:
    """Adds ``--storage-path`` and ``--config``; the command receives the folder as ``storage``."""

    @click.option("--storage-path", help="The folder; as `vdb serve` would find it unless given.")
    @click.option("--config", type=click.Path(path_type=Path), help="YAML file of settings that names it.")
    @functools.wraps(command)
    def with_storage(*args: Any, storage_path: str | None, config: Path | None, **kwargs: Any) -> T:
        from vdb.config import load_settings
        from vdb.files import resource

        files = [resource("config.yaml"), *([config] if config else [])]
        settings = load_settings(files, os.environ, {"storage.storage_path": storage_path})
        return command(*args, storage=Path(settings.storage.storage_path), **kwargs)

    return with_storage


def check_storage(storage: Path, only: str | None, *, content: bool) -> Iterator[Checked]:
    """The catalog, then each collection; ``only`` names one. Raises Misconfigured where there is no storage."""
    from vdb.collection.check import Finding, check_collection
    from vdb.errors import Corrupt
    from vdb.files import resource
    from vdb.hosting import COLLECTIONS_NAME
    from vdb.model import collection_config
    from vdb.registry import CATALOG_NAME
    from vdb.storage import catalog, integrity
    from vdb.storage.integrity import Disturbed, inspecting
    from vdb.storage.migrate import load_migrations

    path = storage / CATALOG_NAME
    if not path.exists():
        raise Misconfigured(f"{storage} is no storage folder: it has no {CATALOG_NAME}")
    entries: list[catalog.CatalogEntry] = []
    for _ in range(_ATTEMPTS):
        try:
            with inspecting(path) as connection:
                errors = integrity.file_errors(connection)
                errors += integrity.schema_errors(connection, load_migrations(resource("migrations/catalog")))
                entries = [] if errors else catalog.read_collections(connection)
            break
        except Corrupt as error:
            errors = [error.why]
            break
        except Disturbed:
            errors = ["cannot be read: servers start and stop all the time"]
    findings = [Finding("truth", str(path), error) for error in errors]
    yield Checked(CATALOG, str(path), len(entries), 0, 0, findings)
    if only is not None:
        entries = [entry for entry in entries if entry.name == only]
        if not entries and not findings:
            raise Misconfigured(f"{storage} has no collection `{only}`")
    for entry in entries:
        folder = storage / COLLECTIONS_NAME / entry.folder
        try:
            config = collection_config.decode(entry.config)
        except msgspec.DecodeError as error:
            finding = Finding("truth", str(path), f"the configuration of `{entry.name}` cannot be read: {error}")
            yield Checked(entry.name, str(folder), 0, 0, 0, [finding])
            continue
        report = check_collection(folder, config, content=content)
        yield Checked(entry.name, str(folder), report.points, report.segments, report.field_files, report.findings)
