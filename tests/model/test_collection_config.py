"""Configurations of collections: what is accepted, refused, kept, changed and reported."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client.http import models

from vdb.config import HnswConfig, StorageSettings
from vdb.errors import BadRequest, OutOfBounds, UnknownVectorName
from vdb.model import collection_results as results
from vdb.model.collection_config import (
    CollectionConfig,
    CreateCollection,
    UpdateCollection,
    add_vector,
    apply_update,
    decode,
    encode,
    refuse_unsupported,
    remove_vector,
    resolve,
)
from vdb.model.decode import convert, decode_hook
from vdb.model.field_index import PayloadIndexInfo, TextIndexParams
from vdb.model.names import validate_collection_name
from vdb.model.vector_params import SparseVectorParams, VectorNameConfig, VectorParams
from vdb.model.vectors import Datatype, Distance, VectorSpace

DEFAULTS = StorageSettings()
IMAGE: dict[str, Any] = {"size": 4, "distance": "Dot"}


def create(**body: Any) -> CollectionConfig:
    return resolve(msgspec.json.decode(json.dumps(body), type=CreateCollection, dec_hook=decode_hook), DEFAULTS)


def update(config: CollectionConfig, **body: Any) -> CollectionConfig:
    return apply_update(config, convert(body, UpdateCollection))


def vector_named(body: Any) -> VectorNameConfig:
    kind: Any = VectorNameConfig
    return cast(VectorNameConfig, convert(body, kind))


def reported(config: CollectionConfig) -> Any:
    return json.loads(encode(config))


# What is reported


def test_a_single_vector_is_reported_as_qdrant_reports_it() -> None:
    assert reported(create(vectors={"size": 384, "distance": "Cosine"})) == {
        "params": {
            "vectors": {"size": 384, "distance": "Cosine"},
            "shard_number": 1,
            "replication_factor": 1,
            "write_consistency_factor": 1,
            "on_disk_payload": True,
        },
        "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000, "max_indexing_threads": 0},
        "optimizer_config": {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 0,
            "max_segment_size": None,
            "memmap_threshold": None,
            "indexing_threshold": DEFAULTS.optimizers.indexing_threshold,
            "flush_interval_sec": 5,
            "max_optimization_threads": None,
        },
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1},
        "quantization_config": None,
    }


def test_everything_that_was_given_is_reported_as_it_was_given() -> None:
    vectors = {
        "image": {
            "size": 4,
            "distance": "Euclid",
            "hnsw_config": {"m": 32, "on_disk": True},
            "quantization_config": {"product": {"compression": "x16", "always_ram": True}},
            "on_disk": True,
            "datatype": "float16",
        },
        "tokens": {
            "size": 128,
            "distance": "Manhattan",
            "memory": "cold",
            "multivector_config": {"comparator": "max_sim"},
        },
    }
    sparse = {"words": {"index": {"full_scan_threshold": 10, "on_disk": True, "datatype": "uint8"}, "modifier": "idf"}}
    strict = {"enabled": True, "max_query_limit": 10, "sparse_config": {"words": {"max_length": 5}}}
    given = reported(
        create(
            vectors=vectors,
            sparse_vectors=sparse,
            sharding_method="auto",
            on_disk_payload=False,
            payload={"memory": "cached"},
            hnsw_config={"m": 0, "payload_m": 16, "memory": "pinned"},
            wal_config={"wal_capacity_mb": 1},
            optimizers_config={"max_optimization_threads": 2, "indexing_threshold": 0},
            quantization_config={"scalar": {"type": "int8", "quantile": 0.99, "memory": "pinned"}},
            strict_mode_config=strict,
            metadata={"owner": {"name": "x"}, "nothing": None},
        )
    )
    assert list(given["params"]["vectors"]) == ["image", "tokens"]
    assert given["params"] == {
        "vectors": vectors,
        "shard_number": 1,
        "sharding_method": "auto",
        "replication_factor": 1,
        "write_consistency_factor": 1,
        "on_disk_payload": False,
        "payload": {"memory": "cached"},
        "sparse_vectors": sparse,
    }
    assert given["hnsw_config"] == {
        "m": 0,
        "ef_construct": 100,
        "full_scan_threshold": 10000,
        "max_indexing_threads": 0,
        "memory": "pinned",
        "payload_m": 16,
    }
    assert given["optimizer_config"]["max_optimization_threads"] == 2
    assert given["optimizer_config"]["indexing_threshold"] == 0
    assert given["wal_config"] == {"wal_capacity_mb": 1, "wal_segments_ahead": 0, "wal_retain_closed": 1}
    assert given["quantization_config"] == {"scalar": {"type": "int8", "quantile": 0.99, "memory": "pinned"}}
    assert given["strict_mode_config"] == strict
    assert given["metadata"] == {"owner": {"name": "x"}, "nothing": None}


@pytest.mark.parametrize("body", [{}, {"vectors": {}}, {"vectors": None}])
def test_a_collection_without_vectors_reports_an_empty_map(body: dict[str, Any]) -> None:
    config = create(**body)
    assert reported(config)["params"]["vectors"] == {}
    assert config.vectors() == {}


def test_a_binary_quantisation_without_parameters_stays_an_empty_object() -> None:
    assert reported(create(vectors=IMAGE, quantization_config={"binary": {}}))["quantization_config"] == {"binary": {}}


def test_a_vector_may_be_called_size() -> None:
    assert list(create(vectors={"size": IMAGE, "distance": IMAGE}).vectors()) == ["size", "distance"]


def test_defaults_of_the_server_are_kept_in_the_collection() -> None:
    defaults = StorageSettings(hnsw_index=HnswConfig(m=8, on_disk=True), on_disk_payload=False)
    config = resolve(CreateCollection(), defaults)
    assert reported(config)["hnsw_config"]["m"] == 8
    assert reported(config)["hnsw_config"]["on_disk"] is True
    assert config.params.on_disk_payload is False


def test_older_clients_may_name_a_collection_to_start_from() -> None:
    body = convert({"vectors": IMAGE, "init_from": {"collection": "old"}, "unknown": 1}, CreateCollection)
    assert body.init_from is not None
    assert body.init_from.collection == "old"


# What the engine asks


def test_a_vector_prefers_its_own_graph_and_quantisation() -> None:
    config = create(
        vectors={"own": IMAGE | {"hnsw_config": {"m": 4}, "quantization_config": {"binary": {}}}, "plain": IMAGE},
        hnsw_config={"ef_construct": 50},
        quantization_config={"scalar": {"type": "int8"}},
    )
    assert (config.hnsw_for("own").m, config.hnsw_for("own").ef_construct) == (4, 50)
    assert (config.hnsw_for("plain").m, config.hnsw_for("plain").ef_construct) == (16, 50)
    own, plain = config.quantization_for("own"), config.quantization_for("plain")
    assert own is not None
    assert own.binary is not None
    assert plain is not None
    assert plain.scalar is not None
    with pytest.raises(UnknownVectorName, match="Not existing vector name error: x"):
        config.hnsw_for("x")


def test_the_unnamed_vector_has_the_empty_name() -> None:
    config = create(vectors=IMAGE | {"datatype": "uint8"}, sparse_vectors={"words": {"modifier": "idf"}})
    assert config.vector("").space("") == VectorSpace("", 4, Distance.DOT, Datatype.UINT8)
    assert config.sparse_vectors()["words"].idf


@pytest.mark.parametrize(
    ("params", "cold"),
    [
        ({}, False),
        ({"on_disk": True}, True),
        ({"on_disk": True, "memory": "cached"}, False),
        ({"memory": "cold"}, True),
    ],
)
def test_memory_outranks_the_older_on_disk_flag(params: dict[str, Any], cold: bool) -> None:
    assert create(vectors=IMAGE | params).vector("").cold is cold


def test_memory_of_the_payload_outranks_on_disk_payload() -> None:
    assert create().params.cold_payload is True
    assert create(on_disk_payload=False).params.cold_payload is False
    assert create(on_disk_payload=False, payload={"memory": "cold"}).params.cold_payload is True


def test_memory_of_a_quantisation_outranks_always_ram() -> None:
    def in_memory(**scalar: Any) -> bool | None:
        config = create(quantization_config={"scalar": {"type": "int8", **scalar}}).quantization_config
        assert config is not None
        return config.in_memory

    assert in_memory() is None
    assert in_memory(always_ram=True) is True
    assert in_memory(always_ram=True, memory="cold") is False


# What is refused


@pytest.mark.parametrize("size", [0, -1, 65537, 2**70])
@pytest.mark.parametrize(("name", "place"), [("", "vectors.size"), ("image", "vectors.image.size")])
def test_a_vector_size_out_of_range_is_refused_by_its_place(size: int, name: str, place: str) -> None:
    params = {"size": size, "distance": "Dot"}
    with pytest.raises(OutOfBounds) as refusal:
        create(vectors={name: params} if name else params)
    assert str(refusal.value) == f"[{place}: value {size} invalid, must be from 1 to 65536]"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"vectors": {"size": 4}}, "Object missing required field `distance` - at `$.vectors`"),
        ({"vectors": {"size": 4, "distance": "x"}}, "Invalid enum value 'x' - at `$.vectors.distance`"),
        ({"vectors": {"a": {"size": "4", "distance": "Dot"}}}, "Expected `int`, got `str` - at `$.vectors.a.size`"),
        ({"vectors": {"a": 1}}, "Expected `object`, got `int` - at `$.vectors.a`"),
        ({"vectors": [1]}, "Expected `object`, got `list` - at `$.vectors`"),
        (
            {"vectors": {"a": IMAGE | {"hnsw_config": {"ef_construct": 3}}}},
            "Expected `int` >= 4 - at `$.vectors.a.hnsw_config.ef_construct`",
        ),
        ({"shard_number": 0}, "Expected `int` >= 1 - at `$.shard_number`"),
        ({"hnsw_config": {"full_scan_threshold": 9}}, "Expected `int` >= 10 - at `$.hnsw_config.full_scan_threshold`"),
        ({"wal_config": {"wal_capacity_mb": 2**63}}, "Expected `int` <= 9223372036854775807"),
        ({"optimizers_config": {"deleted_threshold": 1.1}}, "Expected `float` <= 1.0"),
        ({"optimizers_config": {"max_optimization_threads": "all"}}, "Invalid enum value 'all'"),
        ({"quantization_config": {"scalar": {"type": "int8", "quantile": 0.4}}}, "Expected `float` >= 0.5"),
        ({"quantization_config": {"scalar": {"type": "int4"}}}, "Invalid enum value 'int4'"),
        ({"quantization_config": {}}, "Expected exactly one of `scalar`, `product`, `binary`, `turbo`"),
        (
            {"quantization_config": {"binary": {}, "scalar": {"type": "int8"}}},
            "Expected exactly one of `scalar`, `product`, `binary`, `turbo` - at `$.quantization_config`",
        ),
        ({"strict_mode_config": {"max_resident_memory_percent": 101}}, "Expected `int` <= 100"),
        ({"strict_mode_config": {"sparse_config": {"a": {"max_length": 0}}}}, "Expected `int` >= 1"),
    ],
)
def test_what_breaks_the_schema_is_refused_with_its_place(body: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refusal:
        create(**body)
    assert message in str(refusal.value)


UNSUPPORTED: list[tuple[dict[str, Any], str]] = [
    ({"shard_number": 2}, "shard_number 2 "),
    ({"replication_factor": 2}, "replication_factor 2 "),
    ({"write_consistency_factor": 3}, "write_consistency_factor 3 "),
    ({"sharding_method": "custom"}, "sharding_method `custom`"),
    ({"optimizers_config": {"prevent_unoptimized": True}}, "prevent_unoptimized"),
    ({"hnsw_config": {"inline_storage": True}}, "inline_storage"),
    ({"vectors": IMAGE | {"datatype": "turbo4"}}, "Datatype `turbo4`"),
    ({"sparse_vectors": {"s": {"index": {"datatype": "turbo4"}}}}, "Datatype `turbo4`"),
    ({"quantization_config": {"turbo": {"bits": "bits2"}}}, "Quantization `turbo`"),
    ({"vectors": {"a": IMAGE | {"quantization_config": {"turbo": {}}}}}, "Quantization `turbo`"),
    ({"quantization_config": {"binary": {"encoding": "two_bits"}}}, "Binary quantization with encoding `two_bits`"),
    ({"quantization_config": {"binary": {"encoding": "one_and_half_bits"}}}, "encoding `one_and_half_bits`"),
    ({"quantization_config": {"binary": {"query_encoding": "scalar4bits"}}}, "query encoding `scalar4bits`"),
    ({"quantization_config": {"binary": {"query_encoding": "scalar8bits"}}}, "query encoding `scalar8bits`"),
]


@pytest.mark.parametrize(("body", "what"), UNSUPPORTED)
def test_what_the_server_cannot_do_is_refused_by_name(body: dict[str, Any], what: str) -> None:
    with pytest.raises(BadRequest, match=r"is not supported by this server$") as refusal:
        create(**body)
    assert what in str(refusal.value)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"params": {"replication_factor": 2}}, "replication_factor 2"),
        ({"params": {"write_consistency_factor": 2}}, "write_consistency_factor 2"),
        ({"quantization_config": {"turbo": {}}}, "Quantization `turbo`"),
        ({"vectors": {"": {"quantization_config": {"binary": {"encoding": "two_bits"}}}}}, "encoding `two_bits`"),
        ({"sparse_vectors": {"words": {"index": {"datatype": "turbo4"}}}}, "Datatype `turbo4`"),
    ],
)
def test_an_update_cannot_bring_in_what_the_server_cannot_do(body: dict[str, Any], what: str) -> None:
    with pytest.raises(BadRequest, match=what):
        update(create(vectors=IMAGE, sparse_vectors={"words": {}}), **body)


def test_everyday_settings_are_supported() -> None:
    refuse_unsupported(
        create(
            vectors=IMAGE,
            shard_number=1,
            quantization_config={"binary": {"encoding": "one_bit", "query_encoding": "default"}},
        )
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"vectors": IMAGE | {"memory": "pinned"}}, "vectors.memory"),
        ({"vectors": {"a": IMAGE | {"memory": "pinned"}}}, "vectors.a.memory"),
        ({"payload": {"memory": "pinned"}}, "payload.memory"),
        ({"sparse_vectors": {"": {}}}, "sparse_vectors"),
        ({"vectors": {"a/b": IMAGE}}, "vectors.a/b"),
        ({"vectors": {"..": IMAGE}}, "vectors..."),
        ({"vectors": {"é" * 101: IMAGE}}, "vectors." + "é" * 101),
        ({"sparse_vectors": {"a\nb": {}}}, "sparse_vectors.a\nb"),
    ],
)
def test_what_cannot_be_stored_is_out_of_bounds(body: dict[str, Any], field: str) -> None:
    with pytest.raises(OutOfBounds) as refusal:
        create(**body)
    assert refusal.value.field == field


def test_a_name_is_dense_or_sparse_but_not_both() -> None:
    with pytest.raises(BadRequest, match="Vector name `a` is given to a dense and to a sparse vector"):
        create(vectors={"a": IMAGE}, sparse_vectors={"a": {}})


@pytest.mark.parametrize("name", ["x", "a" * 255, "dotted.name", "ünïcode", "with space", "名", "...", "-"])
def test_a_collection_may_have_most_names(name: str) -> None:
    validate_collection_name(name)


@pytest.mark.parametrize(
    "name", ["", "a" * 256, ".", "..", "a\0", "a\x1f", "a\n", "a\x7f", "\ud800" * 300, *'<>:"/\\|?*']
)
def test_a_collection_name_that_could_not_be_a_file_is_refused(name: str) -> None:
    with pytest.raises(OutOfBounds) as refusal:
        validate_collection_name(name)
    assert refusal.value.field == "collection_name"
    str(refusal.value).encode()


def test_a_refused_character_is_shown() -> None:
    with pytest.raises(OutOfBounds) as slash:
        validate_collection_name("a/b")
    assert str(slash.value) == '[collection_name: collection name cannot contain "/" char]'
    with pytest.raises(OutOfBounds) as nul:
        validate_collection_name("a\0b", "alias_name")
    assert str(nul.value) == '[alias_name: collection name cannot contain "\\x00" char]'


# What PATCH does


def test_an_empty_update_changes_nothing() -> None:
    config = create(vectors={"a": IMAGE}, sparse_vectors={"s": {}}, metadata={"k": 1})
    assert update(config) == config


def test_an_update_changes_the_fields_that_it_names_and_no_others() -> None:
    config = create(vectors=IMAGE, hnsw_config={"m": 8}, optimizers_config={"max_optimization_threads": 3})
    changed = update(
        config,
        hnsw_config={"ef_construct": 200},
        optimizers_config={"indexing_threshold": 5, "deleted_threshold": 0.5},
        params={"on_disk_payload": False, "read_fan_out_factor": 2, "payload": {"memory": "cold"}},
    )
    assert (changed.hnsw_config.m, changed.hnsw_config.ef_construct) == (8, 200)
    assert changed.optimizer_config.indexing_threshold == 5
    assert changed.optimizer_config.deleted_threshold == 0.5
    assert changed.optimizer_config.max_optimization_threads == 3
    assert reported(changed)["params"] == reported(config)["params"] | {
        "on_disk_payload": False,
        "read_fan_out_factor": 2,
        "payload": {"memory": "cold"},
    }
    assert update(changed, params={"payload": {}}).params.payload == changed.params.payload


def test_auto_lets_the_server_choose_the_optimization_threads_again() -> None:
    config = create(optimizers_config={"max_optimization_threads": 0})
    assert config.optimizer_config.max_optimization_threads == 0
    config = update(config, optimizers_config={"max_optimization_threads": "auto"})
    assert config.optimizer_config.max_optimization_threads is None
    assert create(optimizers_config={"max_optimization_threads": "auto"}).optimizer_config == create().optimizer_config


def test_the_unnamed_vector_is_updated_under_the_empty_name() -> None:
    config = create(vectors=IMAGE | {"hnsw_config": {"m": 4}})
    changed = update(config, vectors={"": {"hnsw_config": {"ef_construct": 9}, "on_disk": True, "memory": "cold"}})
    assert reported(changed)["params"]["vectors"] == IMAGE | {
        "hnsw_config": {"m": 4, "ef_construct": 9},
        "on_disk": True,
        "memory": "cold",
    }


def test_an_empty_hnsw_config_removes_the_one_of_the_vector() -> None:
    config = create(vectors={"a": IMAGE | {"hnsw_config": {"m": 4}}, "b": IMAGE})
    changed = update(config, vectors={"a": {"hnsw_config": {}}})
    assert reported(changed)["params"]["vectors"] == {"a": IMAGE, "b": IMAGE}


def test_a_quantisation_is_replaced_and_disabled() -> None:
    config = create(vectors={"a": IMAGE | {"quantization_config": {"binary": {}}}})
    config = update(config, quantization_config={"scalar": {"type": "int8", "always_ram": True}})
    config = update(config, quantization_config={"scalar": {"type": "int8"}})
    assert reported(config)["quantization_config"] == {"scalar": {"type": "int8"}}
    config = update(config, quantization_config="Disabled")
    assert reported(config)["quantization_config"] is None
    assert config.quantization_for("a") is not None
    config = update(config, vectors={"a": {"quantization_config": "Disabled"}})
    assert config.quantization_for("a") is None
    with pytest.raises(msgspec.ValidationError, match="Invalid enum value 'disabled'"):
        update(config, quantization_config="disabled")


def test_a_sparse_vector_is_updated_field_by_field() -> None:
    config = create(sparse_vectors={"s": {"index": {"on_disk": True}, "modifier": "idf"}, "t": {}})
    changed = update(config, sparse_vectors={"s": {"index": {"full_scan_threshold": 7}}, "t": {"modifier": "none"}})
    assert reported(changed)["params"]["sparse_vectors"] == {
        "s": {"index": {"on_disk": True, "full_scan_threshold": 7}, "modifier": "idf"},
        "t": {"modifier": "none"},
    }


@pytest.mark.parametrize("body", [{"vectors": {"x": {}}}, {"sparse_vectors": {"x": {}}}, {"vectors": {"s": {}}}])
def test_an_update_of_an_unknown_vector_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(UnknownVectorName, match="Not existing vector name error: "):
        update(create(vectors=IMAGE, sparse_vectors={"s": {}}), **body)


def test_metadata_is_merged_and_null_removes_a_key() -> None:
    config = create(metadata={"a": 1, "b": {"c": 2}})
    config = update(config, metadata={"a": None, "b": {"d": 3}, "e": [4]})
    assert config.metadata == {"b": {"d": 3}, "e": [4]}
    assert update(create(), metadata={"a": 1, "b": None}).metadata == {"a": 1}


def test_strict_mode_is_merged_field_by_field() -> None:
    config = update(create(), strict_mode_config={"enabled": True, "max_query_limit": 5})
    config = update(config, strict_mode_config={"enabled": False, "max_timeout": 3})
    assert reported(config)["strict_mode_config"] == {"enabled": False, "max_query_limit": 5, "max_timeout": 3}


# What adds and removes vectors


def test_a_vector_is_added_and_removed() -> None:
    before = create(vectors={"a": IMAGE})
    dense = vector_named({"dense": {"size": 2, "distance": "Cosine", "datatype": "uint8"}})
    sparse = vector_named({"sparse": {"modifier": "idf", "datatype": "float16"}})
    after = add_vector(add_vector(before, "b", dense), "s", sparse)
    assert reported(after)["params"]["vectors"] == {
        "a": IMAGE,
        "b": {"size": 2, "distance": "Cosine", "datatype": "uint8"},
    }
    assert reported(after)["params"]["sparse_vectors"] == {"s": {"index": {"datatype": "float16"}, "modifier": "idf"}}
    assert remove_vector(remove_vector(after, "b"), "s").vectors() == before.vectors()
    with pytest.raises(UnknownVectorName):
        remove_vector(before, "b")


def test_adding_a_vector_again_is_fine_as_long_as_it_is_the_same() -> None:
    config = create(vectors={"a": IMAGE | {"datatype": "float32", "on_disk": True}}, sparse_vectors={"s": {}})
    same = vector_named({"dense": IMAGE})
    other = vector_named({"dense": IMAGE | {"size": 5}})
    assert add_vector(config, "a", same) is config
    assert add_vector(config, "s", vector_named({"sparse": {}})) is config
    for name, added in [("a", other), ("s", same), ("s", vector_named({"sparse": {"modifier": "idf"}}))]:
        with pytest.raises(BadRequest, match=f"Vector `{name}` already exists"):
            add_vector(config, name, added)


def test_adding_beside_the_unnamed_vector_makes_a_map_of_both() -> None:
    config = add_vector(create(vectors=IMAGE), "b", vector_named({"dense": IMAGE}))
    assert reported(config)["params"]["vectors"] == {"": IMAGE, "b": IMAGE}
    sparse = add_vector(create(vectors=IMAGE), "s", vector_named({"sparse": {}}))
    assert reported(sparse)["params"]["vectors"] == IMAGE


def test_removing_the_unnamed_vector_leaves_none() -> None:
    assert reported(remove_vector(create(vectors=IMAGE), ""))["params"]["vectors"] == {}


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (
            {"dense": {"size": 65537, "distance": "Dot"}},
            r"\[dense.size: value 65537 invalid, must be from 1 to 65536\]",
        ),
        ({"dense": {"size": 1}}, r"missing required field `distance` - at `\$.dense`"),
        ({"sparse": {"modifier": "Idf"}}, r"Invalid enum value 'Idf' - at `\$.sparse.modifier`"),
        ({}, "Expected an object with `dense` or `sparse`"),
        ([], "Expected an object with `dense` or `sparse`"),
    ],
)
def test_a_malformed_vector_is_not_added(body: Any, refusal: str) -> None:
    with pytest.raises((OutOfBounds, msgspec.ValidationError), match=refusal):
        vector_named(body)


@pytest.mark.parametrize(("name", "body"), [("a/b", {"dense": IMAGE}), ("", {"sparse": {}})])
def test_an_added_vector_needs_a_name_that_can_be_stored(name: str, body: dict[str, Any]) -> None:
    with pytest.raises(OutOfBounds):
        add_vector(create(), name, vector_named(body))


def test_an_added_vector_cannot_have_an_unsupported_datatype() -> None:
    with pytest.raises(BadRequest, match="turbo4"):
        add_vector(create(), "a", vector_named({"dense": IMAGE | {"datatype": "turbo4"}}))


# Properties

counts = st.integers(0, 2**63 - 1)
flags = st.booleans()
memories = st.sampled_from(["cold", "cached"])
names = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="/\\\x7f."), max_size=20)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


hnsw = objects(
    m=counts,
    ef_construct=st.integers(4, 2**40),
    full_scan_threshold=st.integers(10, 2**40),
    on_disk=flags,
    memory=memories,
)
quantizations = st.one_of(
    objects(quantile=st.floats(0.5, 1), always_ram=flags).map(lambda q: {"scalar": {"type": "int8"} | q}),
    st.sampled_from(["x4", "x64"]).map(lambda x: {"product": {"compression": x}}),
    objects(memory=memories, encoding=st.just("one_bit")).map(lambda q: {"binary": q}),
)
vector_params = st.builds(
    lambda size, distance, rest: {"size": size, "distance": distance, **rest},
    st.integers(1, 65536),
    st.sampled_from([distance.value for distance in Distance]),
    objects(
        hnsw_config=hnsw,
        quantization_config=quantizations,
        on_disk=flags,
        memory=memories,
        datatype=st.sampled_from(["float32", "uint8", "float16"]),
        multivector_config=st.just({"comparator": "max_sim"}),
    ),
)
optimizers = objects(
    deleted_threshold=st.floats(0, 1),
    max_segment_size=st.integers(1, 2**40),
    indexing_threshold=counts,
    max_optimization_threads=counts | st.just("auto"),
)
json_values = st.recursive(
    st.none() | flags | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
creations = objects(
    vectors=vector_params | st.dictionaries(names.map(lambda n: f"d{n}"), vector_params, max_size=3),
    sparse_vectors=st.dictionaries(
        names.map(lambda n: f"s{n}"),
        objects(modifier=st.sampled_from(["none", "idf"]), index=objects(on_disk=flags, full_scan_threshold=counts)),
        max_size=2,
    ),
    hnsw_config=hnsw,
    optimizers_config=optimizers,
    wal_config=objects(wal_retain_closed=counts),
    quantization_config=quantizations,
    strict_mode_config=objects(
        enabled=flags, max_points_count=st.integers(1, 9), search_max_oversampling=st.floats(0, 9)
    ),
    metadata=st.dictionaries(st.text(), json_values, max_size=3),
    on_disk_payload=flags,
)


@given(creations)
def test_every_configuration_survives_the_catalog(body: dict[str, Any]) -> None:
    config = create(**body)
    assert decode(encode(config)) == config
    assert reported(config)["params"]["vectors"] == body.get("vectors", {})


@given(creations)
def test_the_client_reads_every_configuration(body: dict[str, Any]) -> None:
    models.CollectionConfig.model_validate(reported(create(**body)))


@given(creations)
def test_creating_is_the_same_as_creating_empty_and_updating(body: dict[str, Any]) -> None:
    whole = create(**body)
    patched = update(
        create(
            vectors=body.get("vectors"), sparse_vectors=body.get("sparse_vectors"), wal_config=body.get("wal_config")
        ),
        **{key: body[key] for key in ("hnsw_config", "optimizers_config", "quantization_config") if key in body},
        **({"params": {"on_disk_payload": body["on_disk_payload"]}} if "on_disk_payload" in body else {}),
    )
    assert patched.params == whole.params
    assert patched.hnsw_config == whole.hnsw_config
    assert patched.optimizer_config == whole.optimizer_config
    assert patched.quantization_config == whole.quantization_config


@given(creations, hnsw, optimizers)
def test_the_same_update_twice_is_the_same_as_once(body: dict[str, Any], graph: Any, optimizing: Any) -> None:
    once = update(create(**body), hnsw_config=graph, optimizers_config=optimizing)
    assert update(once, hnsw_config=graph, optimizers_config=optimizing) == once


def test_keys_of_a_later_version_are_ignored() -> None:
    config = create(vectors={"a": IMAGE})
    stored = reported(config)
    stored["later"] = 1
    stored["params"]["later"] = stored["params"]["vectors"]["a"]["later"] = stored["hnsw_config"]["later"] = {"x": 1}
    assert decode(json.dumps(stored)) == config


def test_a_damaged_configuration_is_not_read() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode("{}")


# What else is answered


def encoded(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))


def test_collection_info_is_what_the_client_reads() -> None:
    info = results.CollectionInfo(
        status="green",
        optimizer_status="ok",
        indexed_vectors_count=0,
        points_count=3,
        segments_count=2,
        config=create(
            vectors={"a": IMAGE}, sparse_vectors={"s": {}}, quantization_config={"product": {"compression": "x8"}}
        ),
        payload_schema={
            "city": PayloadIndexInfo(data_type="keyword", points=3),
            "text": PayloadIndexInfo(data_type="text", params=TextIndexParams(tokenizer="word"), points=0),
        },
    )
    answer = encoded(info)
    config = answer.pop("config")
    assert answer == {
        "status": "green",
        "optimizer_status": "ok",
        "indexed_vectors_count": 0,
        "points_count": 3,
        "segments_count": 2,
        "payload_schema": {
            "city": {"data_type": "keyword", "points": 3},
            "text": {
                "data_type": "text",
                "params": {"type": "text", "tokenizer": "word"},
                "points": 0,
            },
        },
    }
    read = models.CollectionInfo.model_validate(answer | {"config": config})
    assert read.points_count == 3
    assert read.config.params.vectors == {"a": models.VectorParams(size=4, distance=models.Distance.DOT)}
    assert read.config.quantization_config == models.ProductQuantization(
        product=models.ProductQuantizationConfig(compression=models.CompressionRatio.X8)
    )
    broken = msgspec.structs.replace(
        info,
        status="red",
        optimizer_status=results.OptimizersFailed("disk full"),
        warnings=[results.CollectionWarning("careful")],
        update_queue=results.UpdateQueueInfo(length=1),
    )
    assert encoded(broken)["optimizer_status"] == {"error": "disk full"}
    assert encoded(broken)["update_queue"] == {"length": 1}
    assert models.CollectionInfo.model_validate(encoded(broken)).warnings == [
        models.CollectionWarning(message="careful")
    ]


def test_optimizations_are_what_the_client_reads() -> None:
    segment = results.OptimizationSegmentInfo(uuid="5a6f7c1e-0000-4000-8000-000000000001", points_count=7)
    started = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    running = results.Optimization(
        uuid="5a6f7c1e-0000-4000-8000-000000000002",
        optimizer="merge",
        status="optimizing",
        segments=[segment],
        progress=results.ProgressTree(
            name="merge", started_at=started, children=[results.ProgressTree(name="copy", done=1, total=7)]
        ),
    )
    summary = results.OptimizationsSummary(queued_optimizations=0, queued_segments=0, queued_points=0, idle_segments=1)
    answer = encoded(results.OptimizationsResponse(summary=summary, running=[running], idle_segments=[]))
    assert answer == {
        "summary": {"queued_optimizations": 0, "queued_segments": 0, "queued_points": 0, "idle_segments": 1},
        "running": [
            {
                "uuid": "5a6f7c1e-0000-4000-8000-000000000002",
                "optimizer": "merge",
                "status": "optimizing",
                "segments": [{"uuid": "5a6f7c1e-0000-4000-8000-000000000001", "points_count": 7}],
                "progress": {
                    "name": "merge",
                    "started_at": "2026-01-02T03:04:05Z",
                    "children": [{"name": "copy", "done": 1, "total": 7}],
                },
            }
        ],
        "idle_segments": [],
    }
    models.OptimizationsResponse.model_validate(answer)
    failed = msgspec.structs.replace(running, status=results.OptimizationFailed("no memory"))
    assert models.Optimization.model_validate(encoded(failed)).status == models.TrackerStatusOneOf2(error="no memory")


def test_the_cluster_of_one_is_what_the_client_reads() -> None:
    answer = encoded(results.CollectionClusterInfo.standalone(peer_id=1, points_count=5))
    assert answer == {
        "peer_id": 1,
        "shard_count": 1,
        "local_shards": [{"shard_id": 0, "points_count": 5, "state": "Active"}],
        "remote_shards": [],
        "shard_transfers": [],
    }
    models.CollectionClusterInfo.model_validate(answer)


def test_small_answers_encode_as_documented() -> None:
    assert encoded(results.UpdateResult(operation_id=0, status="completed")) == {
        "operation_id": 0,
        "status": "completed",
    }
    assert encoded(results.UpdateResult(status="acknowledged")) == {"status": "acknowledged"}
    assert encoded(results.CollectionsResponse([results.CollectionDescription("a")])) == {
        "collections": [{"name": "a"}]
    }
    assert encoded(results.CollectionExistence(False)) == {"exists": False}
    assert encoded(results.CollectionsAliasesResponse([results.AliasDescription("a", "c")])) == {
        "aliases": [{"alias_name": "a", "collection_name": "c"}]
    }
    assert encoded(results.VersionInfo(title="vdb", version="1.19.0")) == {"title": "vdb", "version": "1.19.0"}
    assert encoded(results.ErrorResponse(status=results.ErrorStatus("no"), time=0.5)) == {
        "status": {"error": "no"},
        "time": 0.5,
    }
    assert encoded(results.ShardKeysResponse()) == {}
    transfer = results.ShardTransferInfo(shard_id=0, source=1, to=2, sync=True)
    assert encoded(transfer) == {"shard_id": 0, "from": 1, "to": 2, "sync": True}


def test_alias_operations_are_told_by_their_keys() -> None:
    body = {
        "actions": [
            {"create_alias": {"collection_name": "c", "alias_name": "a"}},
            {"rename_alias": {"old_alias_name": "a", "new_alias_name": "b"}},
            {"delete_alias": {"alias_name": "b"}},
        ]
    }
    change = convert(body, results.ChangeAliasesOperation)
    assert change.actions == [
        results.CreateAliasOperation(results.CreateAlias(collection_name="c", alias_name="a")),
        results.RenameAliasOperation(results.RenameAlias(old_alias_name="a", new_alias_name="b")),
        results.DeleteAliasOperation(results.DeleteAlias(alias_name="b")),
    ]
    assert encoded(change) == body


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ({"create_alias": {"alias_name": "a"}}, "missing required field `collection_name` in `create_alias`"),
        ({"delete_alias": {"alias_name": 1}}, "Expected `str`, got `int` in `delete_alias.alias_name`"),
        ({"move_alias": {}}, "Expected an object with `create_alias`, `delete_alias` or `rename_alias`"),
        ("x", "Expected an object with `create_alias`, `delete_alias` or `rename_alias`"),
    ],
)
def test_a_malformed_alias_operation_is_refused_with_its_place(action: Any, message: str) -> None:
    good = {"delete_alias": {"alias_name": "b"}}
    with pytest.raises(msgspec.ValidationError) as refusal:
        convert({"actions": [good, action]}, results.ChangeAliasesOperation)
    assert message in str(refusal.value)
    assert str(refusal.value).endswith("- at `$.actions[1]`") or str(refusal.value).endswith("- at `$.actions[...]`")


def test_structs_are_the_plain_values_of_their_unions() -> None:
    config = create(vectors=IMAGE, sparse_vectors={"s": {}})
    assert isinstance(config.params.vectors, VectorParams)
    assert config.sparse_vectors() == {"s": SparseVectorParams()}
