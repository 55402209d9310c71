"""Settings: precedence between layers, refusals that name the culprit, and config.yaml as the reference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from vdb.config import KB_SPELLED, HnswConfig, PerformanceSettings, Settings, load_settings
from vdb.errors import Misconfigured
from vdb.files import resource

REFERENCE = resource("config.yaml")


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
