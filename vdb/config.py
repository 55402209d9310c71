"""Settings of the server, and the defaults that collections start from.

``HnswConfig``, ``OptimizersConfig`` and ``WalConfig`` are one type for two users: the server's defaults, and the
resolved configuration that a collection keeps and answers over REST. Field names are REST's; files and environment may
also spell the sizes as Qdrant's file does, with ``_kb`` at the end.

Precedence, highest first: flags, ``VDB__SECTION__KEY``, ``QDRANT__SECTION__KEY``, later files, earlier files, the
defaults of the structs. Every layer is checked by itself, so that the message names the layer that is wrong.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import yaml

from vdb.errors import Misconfigured

Tree = dict[str, Any]

Unsigned = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Memory = Literal["cold", "cached", "pinned"]


class HnswConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of the HNSW graph. ``full_scan_threshold`` is in KiB of vectors."""

    m: Unsigned = 16
    ef_construct: Annotated[int, msgspec.Meta(ge=4)] = 100
    full_scan_threshold: Unsigned = 10_000
    max_indexing_threads: Unsigned = 0
    on_disk: bool | None = None
    memory: Memory | None = None
    payload_m: Unsigned | None = None
    inline_storage: bool | None = None


class OptimizersConfig(msgspec.Struct, frozen=True, kw_only=True):
    """When segments are merged, indexed and cleaned.

    ``max_segment_size``, ``memmap_threshold`` and ``indexing_threshold`` are in KiB of vectors.
    """

    deleted_threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
    vacuum_min_vector_number: Annotated[int, msgspec.Meta(ge=100)] = 1000
    default_segment_number: Unsigned = 0
    max_segment_size: Positive | None = None
    memmap_threshold: Unsigned | None = None
    indexing_threshold: Unsigned | None = 20_000
    flush_interval_sec: Unsigned = 5
    max_optimization_threads: Unsigned | None = None
    prevent_unoptimized: bool | None = None


class WalConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the log is kept behind the last checkpoint."""

    wal_capacity_mb: Positive = 32
    wal_segments_ahead: Unsigned = 0
    wal_retain_closed: Positive = 1


class PerformanceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How many CPUs searching and building may take."""

    max_search_threads: Unsigned = 0
    optimizer_cpu_budget: int = 0

    def search_threads(self, cpus: int) -> int:
        """Threads that search on a machine of ``cpus`` CPUs, at least 1."""
        return self.max_search_threads or max(1, cpus)

    def optimizer_cpus(self, cpus: int) -> int:
        """CPUs that builds may take on a machine of ``cpus`` CPUs, at least 1."""
        if self.optimizer_cpu_budget > 0:
            return self.optimizer_cpu_budget
        return max(1, cpus + (self.optimizer_cpu_budget or -1))


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP door."""

    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    http_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 6333
    max_request_size_mb: Positive = 32


class StorageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how safely everything is kept, and what new collections start from."""

    storage_path: Annotated[str, msgspec.Meta(min_length=1)] = "./storage"
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    on_disk_payload: bool = True
    wal: WalConfig = WalConfig()
    optimizers: OptimizersConfig = OptimizersConfig()
    hnsw_index: HnswConfig = HnswConfig()
    performance: PerformanceSettings = PerformanceSettings()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an operator can set. ``config.yaml`` says why one would."""

    log_level: Literal["DEBUG", "INFO", "WARN", "ERROR"] = "INFO"
    service: ServiceSettings = ServiceSettings()
    storage: StorageSettings = StorageSettings()


# Qdrant's file spells these with their unit, REST without; both are the same field.
KB_SPELLED: Final[Mapping[type[msgspec.Struct], frozenset[str]]] = {
    OptimizersConfig: frozenset({"max_segment_size", "memmap_threshold", "indexing_threshold"}),
    HnswConfig: frozenset({"full_scan_threshold"}),
}

# The first is the weaker.
ENVIRONMENT_PREFIXES: Final = ("QDRANT__", "VDB__")


def load_settings(
    files: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings in force.

    ``files`` go from the weakest to the strongest, ``flags`` maps dotted keys (``service.http_port``) to values, where
    None means that the flag was not given. Raises Misconfigured, which names the layer and the key.
    """
    merged: Tree = {}
    for path in files:
        _overlay(merged, _from_file(path))
    for prefix in ENVIRONMENT_PREFIXES:
        _overlay(merged, _from_environment(environment or {}, prefix))
    given = {tuple(key.split(".")): value for key, value in (flags or {}).items() if value is not None}
    _overlay(merged, _checked(_nested(given.items()), "command line"))
    return msgspec.convert(merged, Settings)


def _from_file(path: Path) -> Tree:
    try:
        plain = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise Misconfigured(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    return _checked({} if plain is None else plain, str(path))


def _from_environment(environment: Mapping[str, str], prefix: str) -> Tree:
    """The variables that start with ``prefix``, as one tree of typed values."""
    tree: Tree = {}
    for variable in sorted(environment):
        if not variable.upper().startswith(prefix):
            continue
        keys = tuple(variable[len(prefix) :].lower().split("__"))
        kind = _field_type(keys, variable)
        try:
            value = msgspec.convert(environment[variable], kind, strict=False)
        except msgspec.ValidationError as error:
            raise Misconfigured(f"{variable}: {error}") from error
        _overlay(tree, _checked(_nested([(keys, value)]), variable))
    return tree


def _field_type(keys: Sequence[str], source: str) -> Any:
    """The type of the setting under ``keys``; raises Misconfigured."""
    kind: Any = Settings
    for depth, key in enumerate(keys):
        known = _fields(kind) if _is_section(kind) else {}
        if key not in known:
            raise _unknown(source, keys[: depth + 1], known)
        kind = known[key].type
    if _is_section(kind):
        raise Misconfigured(f"{source}: {'.'.join(keys)} is a section, not a setting")
    return kind


def _checked(plain: Any, source: str, kind: type[msgspec.Struct] = Settings, place: tuple[str, ...] = ()) -> Tree:
    """``plain`` under the names of the structs, every key known and every value of its type; raises Misconfigured."""
    if not isinstance(plain, dict):
        what = ".".join(place) or "the file"
        raise Misconfigured(f"{source}: {what} must be a section of keys, not `{plain}`")
    known = _fields(kind)
    tree: Tree = {}
    for key, value in plain.items():
        field = known.get(key)
        here = (*place, str(key))
        if field is None:
            raise _unknown(source, here, known)
        if field.name in tree:
            raise Misconfigured(f"{source}: {'.'.join(here)} is given twice, with and without its unit")
        if _is_section(field.type):
            # A section with all its keys commented out reads as null.
            tree[field.name] = _checked({} if value is None else value, source, field.type, here)
            continue
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError as error:
            raise Misconfigured(f"{source}: {'.'.join(here)}: {error}") from error
        tree[field.name] = value
    return tree


def _fields(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of a section by every spelling that a file may use."""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    return fields | {f"{name}_kb": fields[name] for name in KB_SPELLED.get(kind, ())}


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _unknown(source: str, keys: Sequence[str], known: Iterable[str]) -> Misconfigured:
    message = f"{source}: unknown setting {'.'.join(keys)}"
    close = difflib.get_close_matches(keys[-1], known, n=1)
    if close:
        message += f" (did you mean {'.'.join((*keys[:-1], close[0]))}?)"
    return Misconfigured(message)


def _nested(leaves: Iterable[tuple[tuple[str, ...], Any]]) -> Tree:
    tree: Tree = {}
    for keys, value in leaves:
        section = tree
        for key in keys[:-1]:
            section = section.setdefault(key, {})
        section[keys[-1]] = value
    return tree


def _overlay(below: Tree, above: Tree) -> None:
    """Writes the values of ``above`` over those of ``below``, section by section."""
    for key, value in above.items():
        if isinstance(value, dict):
            _overlay(below.setdefault(key, {}), value)
        else:
            below[key] = value
