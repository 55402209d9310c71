"""Every limit of strict mode: what is beyond it is refused with 400, what is within it is served."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from tests.strict_mode.conftest import VECTOR, Create, points, refusal

FILTER = models.Filter(must=[models.FieldCondition(key="a", match=models.MatchValue(value="x"))])
Read = Callable[[QdrantClient, str, int], Any]

READS_BY_LIMIT: dict[str, Read] = {
    "query": lambda client, name, limit: client.query_points(name, query=VECTOR, limit=limit),
    "prefetch": lambda client, name, limit: client.query_points(
        name, prefetch=models.Prefetch(query=VECTOR, limit=limit), query=VECTOR, limit=1
    ),
    "scroll": lambda client, name, limit: client.scroll(name, limit=limit),
    "matrix": lambda client, name, limit: client.search_matrix_pairs(name, sample=2, limit=limit // 2),
    "groups": lambda client, name, limit: client.query_points_groups(
        name, group_by="a", query=VECTOR, limit=limit // 2, group_size=2
    ),
    "batch": lambda client, name, limit: client.query_batch_points(
        name, [models.QueryRequest(query=VECTOR, limit=1), models.QueryRequest(query=VECTOR, limit=limit)]
    ),
}


@pytest.mark.parametrize("read", READS_BY_LIMIT.values(), ids=READS_BY_LIMIT)
def test_the_largest_limit(qdrant: QdrantClient, create: Create, read: Read) -> None:
    name = create(max_query_limit=4)
    qdrant.upsert(name, points(3), wait=True)
    read(qdrant, name, 4)
    message = refusal(lambda: read(qdrant, name, 6))
    assert message == (
        'Bad request: Limit exceeded 6 > 4 for "limit". Help: Reduce the "limit" parameter to or below 4.'
    )


def test_a_limit_that_is_left_out_counts_as_its_default(qdrant: QdrantClient, create: Create) -> None:
    name = create(max_query_limit=4)
    assert "10 > 4" in refusal(
        lambda: qdrant.http.search_api.query_points(name, query_request=models.QueryRequest(query=VECTOR))
    )


def test_the_longest_timeout(qdrant: QdrantClient, create: Create) -> None:
    name = create(max_timeout=5)
    qdrant.query_points(name, query=VECTOR, timeout=5)
    assert '"timeout"' in refusal(lambda: qdrant.query_points(name, query=VECTOR, timeout=6))


def test_exact_searches(qdrant: QdrantClient, create: Create) -> None:
    name = create(search_allow_exact=False)
    exact = models.SearchParams(exact=True)
    qdrant.query_points(name, query=VECTOR)
    assert "Exact search disabled" in refusal(lambda: qdrant.query_points(name, query=VECTOR, search_params=exact))


def test_the_width_of_a_graph_search_and_oversampling(qdrant: QdrantClient, create: Create) -> None:
    name = create(search_max_hnsw_ef=64, search_max_oversampling=2.0)

    def search(ef: int, oversampling: float) -> Any:
        quantization = models.QuantizationSearchParams(oversampling=oversampling)
        params = models.SearchParams(hnsw_ef=ef, quantization=quantization)
        prefetch = models.Prefetch(query=VECTOR, params=params)
        return qdrant.query_points(name, prefetch=prefetch, query=VECTOR)

    search(64, 2.0)
    assert '65 > 64 for "hnsw_ef"' in refusal(lambda: search(65, 2.0))
    assert '2.5 > 2 for "oversampling"' in refusal(lambda: search(64, 2.5))


def test_searches_in_one_batch(qdrant: QdrantClient, create: Create) -> None:
    name = create(search_max_batchsize=2)
    request = models.QueryRequest(query=VECTOR)
    qdrant.query_batch_points(name, [request] * 2)
    assert "3 > 2" in refusal(lambda: qdrant.query_batch_points(name, [request] * 3))


def test_points_in_one_upsert(qdrant: QdrantClient, create: Create) -> None:
    name = create(upsert_max_batchsize=2)
    upsert = models.UpsertOperation(upsert=models.PointsList(points=points(3)))
    vectors = [models.PointVectors(id=number, vector=VECTOR) for number in range(3)]
    columns = models.Batch(ids=[1, 2, 3], vectors=[VECTOR] * 3)
    qdrant.upsert(name, points(2), wait=True)
    for beyond in (
        lambda: qdrant.upsert(name, points(3)),
        lambda: qdrant.upsert(name, columns),
        lambda: qdrant.batch_update_points(name, [upsert]),
        lambda: qdrant.update_vectors(name, vectors),
    ):
        assert "3 > 2" in refusal(beyond)
    assert qdrant.count(name).count == 2


def test_conditions_of_a_filter_and_their_size(qdrant: QdrantClient, create: Create) -> None:
    name = create(filter_max_conditions=2, condition_max_size=3)

    def condition(*values: str) -> models.FieldCondition:
        return models.FieldCondition(key="a", match=models.MatchAny(any=list(values)))

    def nested(*conditions: models.FieldCondition) -> models.Filter:
        return models.Filter(must=[models.Filter(should=[condition]) for condition in conditions])

    qdrant.count(name, nested(condition("1", "2", "3"), condition("1")))
    assert "3 > 2" in refusal(lambda: qdrant.count(name, nested(*[condition("1")] * 3)))
    assert "4 > 3" in refusal(lambda: qdrant.count(name, nested(condition("1", "2", "3", "4"))))
    ids = models.Filter(must=[models.HasIdCondition(has_id=[1, 2, 3, 4])])
    assert "4 > 3" in refusal(lambda: qdrant.delete(name, models.FilterSelector(filter=ids)))


def test_field_indexes_of_a_collection(qdrant: QdrantClient, create: Create) -> None:
    name = create(max_payload_index_count=1)
    qdrant.create_payload_index(name, "a", models.PayloadSchemaType.KEYWORD, wait=True)
    qdrant.create_payload_index(name, "a", models.PayloadSchemaType.KEYWORD, wait=True)
    assert "(1)" in refusal(lambda: qdrant.create_payload_index(name, "b", models.PayloadSchemaType.KEYWORD))
    qdrant.delete_payload_index(name, "a", wait=True)
    qdrant.create_payload_index(name, "b", models.PayloadSchemaType.KEYWORD, wait=True)


def test_points_of_a_collection(qdrant: QdrantClient, create: Create) -> None:
    name = create(max_points_count=4)
    qdrant.upsert(name, points(4), wait=True)
    assert "limit of 4 reached" in refusal(lambda: qdrant.upsert(name, points(1, start=4)))
    qdrant.upsert(name, points(4), wait=True)  # these are there
    qdrant.delete(name, [0], wait=True)
    qdrant.upsert(name, points(1, start=4), wait=True)
    assert qdrant.count(name).count == 4


def test_bytes_of_vectors(qdrant: QdrantClient, create: Create) -> None:
    name = create(max_collection_vector_size_bytes=4 * 16)
    qdrant.upsert(name, points(3), wait=True)
    qdrant.upsert(name, points(1, start=3), wait=True)
    assert "limit of 64 bytes reached: there are 64" in refusal(lambda: qdrant.upsert(name, points(1)))
    qdrant.delete(name, [0], wait=True)
    qdrant.upsert(name, points(1), wait=True)


def test_bytes_of_sparse_vectors_count_too(qdrant: QdrantClient, create: Create) -> None:
    name = create(vectors={}, sparse={"s": models.SparseVectorParams()}, max_collection_vector_size_bytes=16)
    vector: Any = {"s": models.SparseVector(indices=[1, 2], values=[1, 2])}
    qdrant.upsert(name, [models.PointStruct(id=1, vector=vector)], wait=True)
    assert "there are 16" in refusal(partial(qdrant.upsert, name, [models.PointStruct(id=2, vector=vector)]))


def test_bytes_of_payloads(qdrant: QdrantClient, create: Create) -> None:
    name = create(max_collection_payload_size_bytes=100)
    qdrant.upsert(name, points(1, payload={"text": "x" * 100}), wait=True)
    assert "Max payload storage size limit of 100 bytes reached" in refusal(lambda: qdrant.upsert(name, points(1, 1)))
    assert "payload" in refusal(lambda: qdrant.set_payload(name, {"a": 1}, [0]))
    qdrant.clear_payload(name, [0], wait=True)
    qdrant.upsert(name, points(1, 1), wait=True)


def test_rows_of_a_multivector_and_entries_of_a_sparse_vector(qdrant: QdrantClient, create: Create) -> None:
    multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    name = create(
        vectors={"m": models.VectorParams(size=2, distance=models.Distance.DOT, multivector_config=multi)},
        sparse={"s": models.SparseVectorParams()},
        multivector_config={"m": models.StrictModeMultivector(max_vectors=2)},
        sparse_config={"s": models.StrictModeSparse(max_length=2)},
    )

    def vectors(rows: int, entries: int) -> Any:
        sparse = models.SparseVector(indices=list(range(entries)), values=[1.0] * entries)
        return {"m": [[1.0, 2.0]] * rows, "s": sparse}

    qdrant.upsert(name, [models.PointStruct(id=1, vector=vectors(2, 2))], wait=True)
    for rows, entries in ((3, 2), (2, 3)):
        point = models.PointStruct(id=1, vector=vectors(rows, entries))
        assert "3 > 2" in refusal(partial(qdrant.upsert, name, [point]))
        operation = models.UpsertOperation(upsert=models.PointsList(points=[point]))
        assert "3 > 2" in refusal(partial(qdrant.batch_update_points, name, [operation]))
        moved = models.PointVectors(id=1, vector=vectors(rows, entries))
        assert "3 > 2" in refusal(partial(qdrant.update_vectors, name, [moved]))


def test_memory_of_the_process(qdrant: QdrantClient, create: Create) -> None:
    generous = create(max_resident_memory_percent=100)
    qdrant.upsert(generous, points(1), wait=True)
    assert qdrant.get_collection(generous).config.strict_mode_config.max_resident_memory_percent == 100  # type: ignore[union-attr]


def test_reads_by_fields_without_an_index(qdrant: QdrantClient, create: Create) -> None:
    name = create(unindexed_filtering_retrieve=False)
    qdrant.upsert(name, points(1, payload={"a": "x"}), wait=True)
    by_formula = models.FormulaQuery(formula=models.SumExpression(sum=["$score", FILTER.must[0]]))  # type: ignore[index]
    reads: list[Callable[[], Any]] = [
        lambda: qdrant.query_points(name, query=VECTOR, query_filter=FILTER),
        lambda: qdrant.query_points(name, prefetch=models.Prefetch(query=VECTOR, filter=FILTER), query=VECTOR),
        lambda: qdrant.query_points(name, prefetch=models.Prefetch(query=VECTOR), query=by_formula),
        lambda: qdrant.scroll(name, FILTER),
        lambda: qdrant.count(name, FILTER),
        lambda: qdrant.search_matrix_pairs(name, FILTER),
    ]
    for read in reads:
        assert refusal(read) == (
            'Bad request: Index required but not found for "a" of one of the following types: [keyword]. '
            "Help: Create an index for this key or use a different filter."
        )
    qdrant.delete(name, models.FilterSelector(filter=FILTER), wait=True)  # writes have a limit of their own
    qdrant.create_payload_index(name, "a", models.PayloadSchemaType.KEYWORD, wait=True)
    for read in reads:
        read()


def test_writes_by_fields_without_an_index(qdrant: QdrantClient, create: Create) -> None:
    name = create(unindexed_filtering_update=False)
    qdrant.upsert(name, points(1, payload={"a": "x"}), wait=True)
    selector = models.FilterSelector(filter=FILTER)
    writes: list[Callable[[], Any]] = [
        lambda: qdrant.set_payload(name, {"b": 1}, selector),
        lambda: qdrant.delete_payload(name, ["b"], selector),
        lambda: qdrant.delete_vectors(name, [""], selector),
        lambda: qdrant.batch_update_points(name, [models.DeleteOperation(delete=selector)]),
        lambda: qdrant.delete(name, selector),
    ]
    for write in writes:
        assert "Index required" in refusal(write)
    assert qdrant.count(name, FILTER).count == 1
    qdrant.create_payload_index(name, "a", models.PayloadSchemaType.KEYWORD, wait=True)
    for write in writes:
        write()


@pytest.mark.parametrize(
    ("condition", "wrong", "right"),
    [
        ({"match": {"value": 1}}, "keyword", "integer"),
        ({"range": {"gt": 1.5}}, {"type": "integer", "range": False, "lookup": True}, "float"),
        ({"match": {"phrase": "a b"}}, "text", {"type": "text", "phrase_matching": True}),
        ({"match": {"text": "a"}}, "keyword", "text"),
        ({"geo_radius": {"center": {"lon": 1, "lat": 1}, "radius": 1}}, "float", "geo"),
    ],
)
def test_an_index_of_another_type_does_not_serve(
    qdrant: QdrantClient, create: Create, condition: dict[str, Any], wrong: Any, right: Any
) -> None:
    name = create(unindexed_filtering_retrieve=False)
    request = models.CountRequest(filter={"must": [{"key": "f", **condition}]})  # type: ignore[arg-type]

    def count() -> Any:
        return qdrant.http.points_api.count_points(name, count_request=request)

    qdrant.create_payload_index(name, "f", wrong, wait=True)
    assert 'not found for "f"' in refusal(count)
    qdrant.delete_payload_index(name, "f", wait=True)
    qdrant.create_payload_index(name, "f", right, wait=True)
    count()
