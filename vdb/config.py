"""Settings of the server, and the defaults that collections start from.

``HnswConfig``, ``OptimizersConfig`` and ``WalConfig`` are one type for two users: the server's defaults, and the
resolved configuration that a collection keeps and answers over REST. Field names are REST's; files and environment may
also spell the sizes as Qdrant's file does, with ``_kb`` at the end.

Precedence, highest first: flags, ``VDB__SECTION__KEY``, ``QDRANT__SECTION__KEY``, later files, earlier files, the
defaults of the structs. Every layer is checked by itself, so that the message names the layer that is wrong; what
settings say together is checked at the end.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec
import yaml

from vdb.errors import Misconfigured
from vdb.qdrant_settings import reason_without_effect

Tree = dict[str, Any]

Unsigned = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Memory = Literal["cold", "cached", "pinned"]
# A header carries it: printable ASCII, and no space at an end, where it would be lost on the way.
Key = Annotated[str, msgspec.Meta(pattern=r"^[!-~]([ -~]*[!-~])?\Z")]
FilePath = Annotated[str, msgspec.Meta(min_length=1)]


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


Limit = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
LimitFromOne = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class StrictModeMultivector(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    max_vectors: LimitFromOne | None = None


class StrictModeSparse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    max_length: LimitFromOne | None = None


class StrictModeConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits to what clients may ask of a collection, of which None sets none.

    Rates are operations a minute, ``max_timeout`` is in seconds.
    """

    enabled: bool | None = None
    max_query_limit: LimitFromOne | None = None
    max_timeout: LimitFromOne | None = None
    unindexed_filtering_retrieve: bool | None = None
    unindexed_filtering_update: bool | None = None
    search_max_hnsw_ef: Limit | None = None
    search_allow_exact: bool | None = None
    search_max_oversampling: float | None = None
    upsert_max_batchsize: Limit | None = None
    search_max_batchsize: Limit | None = None
    max_collection_vector_size_bytes: Limit | None = None
    read_rate_limit: LimitFromOne | None = None
    write_rate_limit: LimitFromOne | None = None
    max_collection_payload_size_bytes: Limit | None = None
    max_points_count: LimitFromOne | None = None
    filter_max_conditions: Limit | None = None
    condition_max_size: Limit | None = None
    multivector_config: dict[str, StrictModeMultivector] | None = None
    sparse_config: dict[str, StrictModeSparse] | None = None
    max_payload_index_count: Limit | None = None
    max_resident_memory_percent: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None


class CollectionDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """What new collections start from, where their request says nothing."""

    strict_mode: StrictModeConfig = StrictModeConfig()


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


class LoggerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a line of the log looks like, and whether every request gets one."""

    format: Literal["text", "json"] = "text"
    access_log: bool = False


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP door."""

    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    http_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 6333
    api_key: Key | None = None
    alt_api_key: Key | None = None
    read_only_api_key: Key | None = None
    jwt_rbac: bool = False
    enable_tls: bool = False
    verify_https_client_certificate: bool = False
    enable_cors: bool = False
    max_request_size_mb: Positive = 32
    max_header_size_kb: Positive = 32
    max_connections: Positive = 1000
    header_timeout_sec: Positive = 10
    transfer_timeout_sec: Positive = 30
    keep_alive_timeout_sec: Positive = 75
    slow_query_secs: Annotated[float, msgspec.Meta(ge=0)] = 0.3
    hardware_reporting: bool = False

    @property
    def has_keys(self) -> bool:
        """Whether a client needs a key."""
        return any((self.api_key, self.alt_api_key, self.read_only_api_key))

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Files in PEM form; ``cert_ttl`` is in seconds."""

    cert: FilePath | None = None
    key: FilePath | None = None
    ca_cert: FilePath | None = None
    cert_ttl: Positive | None = 3600


class StorageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how safely everything is kept, and what new collections start from."""

    storage_path: Annotated[str, msgspec.Meta(min_length=1)] = "./storage"
    snapshots_path: Annotated[str, msgspec.Meta(min_length=1)] = "./snapshots"
    snapshots_allow_http: bool = False
    snapshots_max_size_mb: Positive | None = None
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    on_disk_payload: bool = True
    wal: WalConfig = WalConfig()
    optimizers: OptimizersConfig = OptimizersConfig()
    hnsw_index: HnswConfig = HnswConfig()
    collection: CollectionDefaults = CollectionDefaults()
    max_collections: Positive | None = None
    performance: PerformanceSettings = PerformanceSettings()


class OnnxModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A folder with ``model.onnx`` and ``tokenizer.json``, and how its output becomes one vector a text."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    path: Annotated[str, msgspec.Meta(min_length=1)]
    pooling: Literal["mean", "cls"] = "mean"
    normalize: bool = True
    max_tokens: Positive = 256
    threads: Positive = 1


class InferenceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Models that turn texts into vectors, beside the one that is built in."""

    models: list[OnnxModelSettings] = []


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an operator can set. ``config.yaml`` says why one would."""

    log_level: Literal["DEBUG", "INFO", "WARN", "ERROR"] = "INFO"
    logger: LoggerSettings = LoggerSettings()
    service: ServiceSettings = ServiceSettings()
    tls: TlsSettings = TlsSettings()
    storage: StorageSettings = StorageSettings()
    inference: InferenceSettings = InferenceSettings()


# Qdrant's file spells these with their unit, REST without; both are the same field.
KB_SPELLED: Final[Mapping[type[msgspec.Struct], frozenset[str]]] = {
    OptimizersConfig: frozenset({"max_segment_size", "memmap_threshold", "indexing_threshold"}),
    HnswConfig: frozenset({"full_scan_threshold"}),
}

QDRANT_PREFIX: Final = "QDRANT__"

# The first is the weaker.
ENVIRONMENT_PREFIXES: Final = (QDRANT_PREFIX, "VDB__")


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
    settings = msgspec.convert(merged, Settings)
    _check_together(settings)
    return settings


def without_effect(environment: Mapping[str, str]) -> list[str]:
    """A line for each variable of the environment that sets what only Qdrant has."""
    lines = []
    for variable, keys in _variables(environment, QDRANT_PREFIX):
        if not _is_known(keys):
            reason = reason_without_effect(keys, environment[variable], variable)
            lines.append(f"{variable} is without effect: {reason}")
    return lines


def _check_together(settings: Settings) -> None:
    """Raises Misconfigured for settings that contradict each other."""
    service, tls = settings.service, settings.tls
    if service.jwt_rbac and service.api_key is None:
        raise Misconfigured("service.jwt_rbac needs service.api_key, which tokens are signed with")
    if service.read_only_api_key is not None and service.read_only_api_key in (service.api_key, service.alt_api_key):
        raise Misconfigured("service.read_only_api_key is the same as a key that may write")
    if service.enable_tls and (tls.cert is None or tls.key is None):
        raise Misconfigured("service.enable_tls needs tls.cert and tls.key")
    if service.verify_https_client_certificate and not (service.enable_tls and tls.ca_cert is not None):
        raise Misconfigured("service.verify_https_client_certificate needs service.enable_tls and tls.ca_cert")


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
    for variable, keys in _variables(environment, prefix):
        text = environment[variable]
        if prefix == QDRANT_PREFIX and not _is_known(keys) and reason_without_effect(keys, text, variable) is not None:
            continue
        value = _from_text(text, _field_type(keys, variable), variable, keys)
        _overlay(tree, _checked(_nested([(keys, value)]), variable))
    return tree


def _variables(environment: Mapping[str, str], prefix: str) -> list[tuple[str, tuple[str, ...]]]:
    """Names of variables that start with ``prefix``, and the keys that they stand for."""
    names = [name for name in sorted(environment) if name.upper().startswith(prefix)]
    return [(name, tuple(name[len(prefix) :].lower().split("__"))) for name in names]


def _from_text(text: str, kind: Any, variable: str, keys: Sequence[str]) -> Any:
    """The value of a variable: a word or a number, or JSON for a list, a map or a whole section."""
    structured: Any = None
    if text.lstrip().startswith(("{", "[")):
        with suppress(ValueError):  # a text that only starts like JSON
            structured = json.loads(text)
    if _is_section(kind):
        if isinstance(structured, dict):
            return structured
        raise Misconfigured(f"{variable}: {'.'.join(keys)} is a section, not a setting")
    try:
        return msgspec.convert(_spelled(text, kind), kind, strict=False)
    except msgspec.ValidationError as error:
        if structured is not None:
            return structured
        raise Misconfigured(f"{variable}: {error}") from error


def _is_known(keys: Sequence[str]) -> bool:
    try:
        _field_type(keys, "")
    except Misconfigured:
        return False
    return True


def _field_type(keys: Sequence[str], source: str) -> Any:
    """The type of the setting under ``keys``; raises Misconfigured."""
    kind: Any = Settings
    for depth, key in enumerate(keys):
        known = _fields(kind) if _is_section(kind) else {}
        if key not in known:
            raise _unknown(source, keys[: depth + 1], known)
        kind = known[key].type
    return kind


def _checked(plain: Any, source: str, kind: type[msgspec.Struct] = Settings, place: tuple[str, ...] = ()) -> Tree:
    """``plain`` under the names of the structs, every key known and every value of its type; raises Misconfigured."""
    if not isinstance(plain, dict):
        what = ".".join(place) or "the file"
        raise Misconfigured(f"{source}: {what} must be a section of keys, not `{plain}`")
    known = _fields(kind)
    tree: Tree = {}
    for key, given in plain.items():
        field = known.get(key)
        here = (*place, str(key))
        if field is None:
            raise _unknown(source, here, known)
        if field.name in tree:
            raise Misconfigured(f"{source}: {'.'.join(here)} is given twice, with and without its unit")
        if _is_section(field.type):
            # A section with all its keys commented out reads as null.
            tree[field.name] = _checked({} if given is None else given, source, field.type, here)
            continue
        value = _spelled(given, field.type)
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


def _spelled(value: Any, kind: Any) -> Any:
    """One of a few words in the letters that ``kind`` has for it: ``info`` is INFO."""
    if isinstance(value, str) and get_origin(kind) is Literal:
        return next((word for word in get_args(kind) if word.casefold() == value.casefold()), value)
    return value


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
