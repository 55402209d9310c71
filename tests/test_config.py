"""Settings: precedence between layers, refusals that name the culprit, and config.yaml as the reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from vdb import qdrant_settings
from vdb.cli.serve import serve
from vdb.config import (
    KB_SPELLED,
    HnswConfig,
    PerformanceSettings,
    ServiceSettings,
    Settings,
    load_settings,
    without_effect,
)
from vdb.errors import Misconfigured
from vdb.files import resource

REFERENCE = resource("config.yaml")
PROJECT = Path(__file__).resolve().parents[1]


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def leaves(kind: Any, value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every setting under the name that the file uses, with its default."""
    for field in msgspec.structs.fields(kind):
        inner = getattr(value, field.name)
        name = field.name + ("_kb" if field.name in KB_SPELLED.get(kind, ()) else "")
        if isinstance(inner, msgspec.Struct):
            yield from leaves(type(inner), inner, (*place, name))
        else:
            yield ".".join((*place, name)), inner


def flattened(tree: dict[str, Any], place: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flattened(value, (*place, key))
        else:
            yield ".".join((*place, key)), value


def test_the_reference_file_lists_every_setting_at_its_default() -> None:
    assert list(flattened(yaml.safe_load(REFERENCE.read_text(encoding="utf-8")))) == list(leaves(Settings, Settings()))
    assert load_settings([REFERENCE]) == Settings()


def test_every_setting_in_the_reference_file_has_a_comment() -> None:
    lines = [line for line in REFERENCE.read_text(encoding="utf-8").splitlines() if line.strip()]
    settings = [line for line in lines if not line.lstrip().startswith("#") and not line.rstrip().endswith(":")]
    assert [line for line in settings if "  # " not in line] == []


def test_flags_beat_vdb_variables_beat_qdrant_variables_beat_files(tmp_path: Path) -> None:
    file = written(tmp_path, "service: {http_port: 1, host: file, max_request_size_mb: 1}\nlog_level: ERROR\n")
    environment = {
        "QDRANT__SERVICE__HTTP_PORT": "2",
        "QDRANT__SERVICE__HOST": "qdrant",
        "QDRANT__LOG_LEVEL": "WARN",
        "VDB__SERVICE__HTTP_PORT": "3",
        "VDB__SERVICE__HOST": "vdb",
        "HOME": "/nowhere",
    }
    settings = load_settings([REFERENCE, file], environment, {"service.http_port": 4, "service.host": None})
    assert settings.service.http_port == 4
    assert settings.service.host == "vdb"
    assert settings.log_level == "WARN"
    assert settings.service.max_request_size_mb == 1


def test_a_layer_changes_only_what_it_names(tmp_path: Path) -> None:
    settings = load_settings([written(tmp_path, "storage: {hnsw_index: {m: 8}}")])
    assert settings.storage.hnsw_index == HnswConfig(m=8)
    assert msgspec.structs.replace(settings.storage, hnsw_index=HnswConfig()) == Settings().storage


def test_a_section_whose_keys_are_all_commented_out_is_empty(tmp_path: Path) -> None:
    assert load_settings([written(tmp_path, "service:\n  # http_port: 1\n")]) == Settings()
    assert load_settings([written(tmp_path, "# nothing\n")]) == Settings()


@pytest.mark.parametrize("spelling", ["indexing_threshold", "indexing_threshold_kb"])
def test_sizes_may_be_spelled_as_in_the_file_or_as_over_rest(tmp_path: Path, spelling: str) -> None:
    file = written(tmp_path, f"storage: {{optimizers: {{{spelling}: 7}}}}")
    assert load_settings([file]).storage.optimizers.indexing_threshold == 7
    variable = f"VDB__STORAGE__OPTIMIZERS__{spelling.upper()}"
    assert load_settings([file], {variable: "8"}).storage.optimizers.indexing_threshold == 8


def test_a_setting_spelled_both_ways_in_one_file_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "storage: {optimizers: {indexing_threshold: 7, indexing_threshold_kb: 8}}")
    with pytest.raises(Misconfigured, match=r"storage\.optimizers\.indexing_threshold_kb is given twice"):
        load_settings([file])


def test_variables_are_read_as_the_type_of_their_setting() -> None:
    environment = {
        "VDB__STORAGE__ON_DISK_PAYLOAD": "false",
        "VDB__STORAGE__HNSW_INDEX__ON_DISK": "true",
        "VDB__STORAGE__OPTIMIZERS__INDEXING_THRESHOLD": "null",
        "VDB__STORAGE__OPTIMIZERS__DELETED_THRESHOLD": "0.5",
        "VDB__STORAGE__STORAGE_PATH": "12",
    }
    storage = load_settings((), environment).storage
    assert storage.on_disk_payload is False
    assert storage.hnsw_index.on_disk is True
    assert storage.optimizers.indexing_threshold is None
    assert storage.optimizers.deleted_threshold == 0.5
    assert storage.storage_path == "12"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("service: {http_prot: 1}", r"unknown setting service\.http_prot \(did you mean service\.http_port\?\)"),
        ("cluster: {enabled: true}", r"unknown setting cluster"),
        ("1: 2", r"unknown setting 1"),
        ("service: {http_port: '6333'}", r"service\.http_port: Expected `int`, got `str`"),
        ("service: {http_port: 65536}", r"service\.http_port: Expected `int` <= 65535"),
        ("service: {http_port: null}", r"service\.http_port: Expected `int`, got `null`"),
        ("service: 6333", r"service must be a section of keys, not `6333`"),
        ("- service", r"the file must be a section of keys"),
        ("storage: {synchronous: OFF}", r"storage\.synchronous: Expected `str`, got `bool`"),
        ("storage: {hnsw_index: {ef_construct: 3}}", r"storage\.hnsw_index\.ef_construct: Expected `int` >= 4"),
        ("service: {", r"not YAML: "),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(Misconfigured, match=rf"^{tmp_path}/settings\.yaml: {complaint}") as refusal:
        load_settings([written(tmp_path, text)])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("VDB__SERVICE__HTTP_PORT", "many", r"Expected `int`, got `str`"),
        ("VDB__SERVICE__HTTP_PORT", "-1", r"Expected `int` >= 0"),
        ("VDB__SERVICE__HTTP_PORT__X", "1", r"unknown setting service\.http_port\.x"),
        ("VDB__SERVICE", "1", r"service is a section, not a setting"),
        ("VDB__SERVICES__HOST", "h", r"unknown setting services \(did you mean service\?\)"),
        ("QDRANT__SERVICE__API_KEY_2", "secret", r"unknown setting service\.api_key_2"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_own_name(variable: str, value: str, complaint: str) -> None:
    with pytest.raises(Misconfigured, match=f"^{variable}: {complaint}"):
        load_settings((), {variable: value})


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"absent\.yaml: No such file or directory"):
        load_settings([tmp_path / "absent.yaml"])


@pytest.mark.parametrize(
    ("budget", "cpus", "taken"), [(0, 1, 1), (0, 2, 1), (0, 8, 7), (-2, 8, 6), (-9, 8, 1), (3, 8, 3)]
)
def test_the_cpu_budget_leaves_at_least_one_cpu_to_builds(budget: int, cpus: int, taken: int) -> None:
    assert PerformanceSettings(optimizer_cpu_budget=budget).optimizer_cpus(cpus) == taken


def test_there_is_one_search_thread_a_cpu_unless_set() -> None:
    assert PerformanceSettings().search_threads(4) == 4
    assert PerformanceSettings(max_search_threads=3).search_threads(8) == 3


def test_a_usual_deployment_of_qdrants_starts_and_is_told_what_is_without_effect() -> None:
    environment = {
        "QDRANT__SERVICE__API_KEY": "secret",
        "QDRANT__SERVICE__ENABLE_TLS": "0",
        "QDRANT__SERVICE__GRPC_PORT": "6334",
        "QDRANT__LOG_LEVEL": "info",
        "QDRANT__CLUSTER__ENABLED": "false",
        "QDRANT__CLUSTER__P2P__PORT": "6335",
        "QDRANT__TELEMETRY_DISABLED": "true",
        "QDRANT__STORAGE__NODE_TYPE": "Normal",
        "QDRANT__STORAGE__SNAPSHOTS_CONFIG__SNAPSHOTS_STORAGE": "local",
        "QDRANT__STORAGE__COLLECTION__QUANTIZATION": "null",
        "QDRANT__TLS__CERT_TTL": "60",
        "QDRANT_URL": "http://elsewhere",
    }
    settings = load_settings([REFERENCE], environment)
    assert (settings.service.api_key, settings.log_level, settings.tls.cert_ttl) == ("secret", "INFO", 60)
    lines = without_effect(environment)
    assert "QDRANT__SERVICE__GRPC_PORT is without effect: vdb speaks REST only" in lines
    assert [line.split()[0] for line in lines] == sorted(
        name for name in environment if "__" in name and not name.endswith(("KEY", "TLS", "LEVEL", "TTL"))
    )


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("QDRANT__CLUSTER__ENABLED", "true", "vdb runs alone"),
        ("QDRANT__CLUSTER__ENABLED", "1", "vdb runs alone"),
        ("QDRANT__STORAGE__SNAPSHOTS_CONFIG__SNAPSHOTS_STORAGE", "s3", "files only"),
        ("QDRANT__STORAGE__NODE_TYPE", "Listener", "reads and writes"),
        ("QDRANT__STORAGE__OPTIMIZERS_OVERWRITE__DELETED_THRESHOLD", "0.5", "cannot overrule"),
        ("QDRANT__AUDIT__ENABLED", "true", "no audit log"),
        ("QDRANT__CLUSTERS__ENABLED", "false", "unknown setting clusters"),
        ("VDB__SERVICE__GRPC_PORT", "6334", r"unknown setting service\.grpc_port"),
        ("VDB__TELEMETRY_DISABLED", "true", "unknown setting telemetry_disabled"),
    ],
)
def test_what_vdb_cannot_do_or_does_not_know_is_refused(variable: str, value: str, complaint: str) -> None:
    with pytest.raises(Misconfigured, match=f"^{variable}: .*{complaint}"):
        load_settings((), {variable: value})


def test_lists_maps_and_sections_are_written_as_json_in_the_environment() -> None:
    environment = {
        "VDB__STORAGE__HNSW_INDEX": '{"m": 32, "full_scan_threshold_kb": 7}',
        "VDB__STORAGE__HNSW_INDEX__EF_CONSTRUCT": "200",
        "VDB__STORAGE__COLLECTION__STRICT_MODE__SPARSE_CONFIG": '{"words": {"max_length": 3}}',
        "VDB__SERVICE__API_KEY": "{not json",
    }
    settings = load_settings((), environment)
    assert settings.storage.hnsw_index == HnswConfig(m=32, full_scan_threshold=7, ef_construct=200)
    sparse = settings.storage.collection.strict_mode.sparse_config
    assert sparse is not None
    assert sparse["words"].max_length == 3
    assert settings.service.api_key == "{not json"
    with pytest.raises(Misconfigured, match=r"^VDB__STORAGE__HNSW_INDEX: unknown setting storage\.hnsw_index\.mm"):
        load_settings((), {"VDB__STORAGE__HNSW_INDEX": '{"mm": 32}'})


def test_words_may_be_written_in_any_letters(tmp_path: Path) -> None:
    file = written(tmp_path, "storage: {synchronous: normal}")
    settings = load_settings([file], {"VDB__LOG_LEVEL": "Debug"})
    assert (settings.storage.synchronous, settings.log_level) == ("NORMAL", "DEBUG")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("service: {jwt_rbac: true}", r"jwt_rbac needs service\.api_key"),
        ("service: {jwt_rbac: true, read_only_api_key: k}", r"jwt_rbac needs service\.api_key"),
        ("service: {api_key: k, read_only_api_key: k}", "is the same as a key that may write"),
        ("service: {enable_tls: true}", r"needs tls\.cert and tls\.key"),
        ("service: {verify_https_client_certificate: true}", r"needs service\.enable_tls and tls\.ca_cert"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(Misconfigured, match=complaint):
        load_settings([written(tmp_path, text)])


@pytest.mark.parametrize("key", ["", " key", "key ", "key\n", "clé"])
def test_a_key_that_no_header_could_carry_is_refused(key: str) -> None:
    with pytest.raises(Misconfigured, match=r"^VDB__SERVICE__API_KEY: "):
        load_settings((), {"VDB__SERVICE__API_KEY": key})


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_hosts_that_only_this_machine_reaches_are_known(host: str, is_loopback: bool) -> None:
    assert ServiceSettings(host=host).is_loopback is is_loopback


def test_documentation_names_settings_that_exist() -> None:
    known = {name for name, _ in leaves(Settings, Settings())}
    sections = {name.rpartition(".")[0] for name in known}
    qdrants = {*qdrant_settings.WITHOUT_EFFECT, *qdrant_settings.REFUSED_WHEN_ON, *qdrant_settings.REFUSED_UNLESS}
    for page in ("README.md", "docs/configuration.md", "docs/security.md"):
        text = (PROJECT / page).read_text(encoding="utf-8")
        roots = "|".join(sorted({name.partition(".")[0] for name in known if "." in name}))
        named = set(re.findall(rf"`((?:{roots})\.[a-z_.]+)`", text))
        assert named - known - sections - qdrants == set(), page


def test_documentation_names_every_setting_of_qdrants_that_vdb_has_an_answer_to() -> None:
    text = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")
    tables = (qdrant_settings.WITHOUT_EFFECT, qdrant_settings.REFUSED_WHEN_ON, qdrant_settings.REFUSED_UNLESS)
    assert [name for table in tables for name in table if f"`{name}`" not in text] == []
    assert not {name for table in tables for name in table} & {name for name, _ in leaves(Settings, Settings())}


def test_documentation_names_every_flag() -> None:
    text = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert [flag for option in serve.params for flag in option.opts if f"`{flag}`" not in text] == []
