"""Multivectors found through a graph over their tokens: as good as comparing all of them, and never short."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from pyroaring import BitMap

from tests.http.client import Client, Collection
from tests.http.running_server import serving, until
from tests.segment.segments import Described, configured, reopened
from vdb.collection.state import SlotView
from vdb.model.collection_config import CollectionConfig
from vdb.model.queries import SearchParams
from vdb.model.vectors import Distance, Floats, VectorSpace, prepare_block
from vdb.query.deadline import Deadline
from vdb.query.max_sim import goodness_of, max_sim
from vdb.query.multi import MultiVectors
from vdb.query.multi_candidates import TokenSearch
from vdb.query.multi_documents import Documents
from vdb.query.nearest import Scored
from vdb.query.view import VectorView, View
from vdb.segment.appendable import AppendableRows
from vdb.segment.builder import Job, JobInput, JobVector, build
from vdb.segment.distance import top
from vdb.segment.recipe import recipe_for
from vdb.segment.rows import RowsView
from vdb.segment.sealed import MaskedRows

DIM, TOKENS, TOPICS = 32, 12, 30
DOCUMENTS = 600
MAX_SIM = {"comparator": "max_sim"}
HNSW = {"m": 8, "ef_construct": 32}
GRAPHS = (Distance.COSINE, Distance.DOT, Distance.EUCLID)
QUANTIZATIONS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "scalar": {"scalar": {"type": "int8", "quantile": 0.99}},
    "binary": {"binary": {}},
    "product": {"product": {"compression": "x4"}},
}


def clustered(
    documents: int, *, topics: int = TOPICS, words: int = 24, seed: int = 1, dim: int = DIM
) -> tuple[Floats, NDArray[np.int64]]:
    """``(documents, TOKENS, dim)``, tokens around the words of the one topic that each document has, and the topics."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(topics, words, dim))
    topic = random.integers(topics, size=documents)
    drawn = random.integers(words, size=(documents, TOKENS))
    values = centres[topic[:, None], drawn] + 0.25 * random.normal(size=(documents, TOKENS, dim))
    return values.astype(np.float32), topic


class Passages:
    """One sealed segment of multivectors with a graph; every fifth has fewer tokens than ``TOKENS``, the first one."""

    def __init__(
        self, folder: Path, distance: Distance, values: Floats, *, threshold_kib: int = 10, **config: Any
    ) -> None:
        self.space = VectorSpace("", values.shape[2], distance, multi=True)
        self.config: CollectionConfig = configured(
            self.space,
            threshold_kib=threshold_kib,
            hnsw_config=HNSW | config.pop("hnsw_config", {}),
            vector={"multivector_config": MAX_SIM},
            **config,
        )
        numbers = np.arange(len(values))
        self.lengths = np.where(numbers % 5 == 0, 1 + numbers % TOKENS, TOKENS)
        self.tokens = [
            prepare_block(self.space, each[:n]) for each, n in zip(values, self.lengths.tolist(), strict=True)
        ]
        self.masked = MaskedRows(self._build(folder))
        self.living = np.ones(len(values), dtype=np.bool_)

    def _build(self, folder: Path) -> Any:
        folder.mkdir()
        matrix, nums = folder.parent / "matrix", folder.parent / "nums"
        rows = np.concatenate(self.tokens)
        rows.tofile(matrix)
        np.repeat(np.arange(len(self.tokens), dtype="<u4"), self.lengths).tofile(nums)
        source = JobInput(str(matrix), "<f4", str(nums), len(rows))
        recipe = recipe_for(self.config, "", len(rows))
        distance = self.space.distance.value
        vector = JobVector(0, "", self.space.dim, distance, "float32", recipe, (source,), multi=True)
        build(Job(str(folder), (vector,)))
        return reopened(folder).rows[0]

    @property
    def view(self) -> RowsView:
        return self.masked.view()

    def kill(self, documents: NDArray[np.int64]) -> None:
        firsts = np.cumsum(self.lengths) - self.lengths
        self.masked.kill(np.concatenate([np.arange(firsts[n], firsts[n] + self.lengths[n]) for n in documents]))
        self.living[documents] = False

    def query(self, number: int) -> Floats:
        """All of one document's tokens, a little off."""
        noise = np.random.default_rng(number).normal(size=self.tokens[number].shape)
        return prepare_block(self.space, (self.tokens[number] * (1 + 0.1 * noise)).astype(np.float32))

    def search(
        self, query: Floats, count: int, allowed: BitMap | None = None, more: Sequence[RowsView] = (), **params: Any
    ) -> Scored:
        view = cast(View, Described(self.config, int(self.living.sum())))
        vectors = MultiVectors(view, VectorView(0, self.space, (self.view, *more)), Deadline())
        return vectors.nearest_to_each([query], count, msgspec.convert(params, SearchParams), allowed, threads=2)[0]

    def candidates(
        self, query: Floats, count: int, allowed: BitMap | None = None, **params: Any
    ) -> NDArray[np.int64] | None:
        """What the graph finds; None where all have to be compared."""
        given = msgspec.convert(params, SearchParams)
        search = TokenSearch(given, self.config.hnsw_for(""), Deadline(), threads=2)
        return search.candidates(Documents.of_segment(self.view, allowed), query, count)

    def exact(self, query: Floats, allowed: BitMap | None = None) -> Floats:
        """The truth: the goodness of all, −∞ where a document does not count."""
        firsts = np.cumsum(self.lengths) - self.lengths
        sums = max_sim(self.space, query, np.concatenate(self.tokens), firsts)
        counts = self.living.copy()
        if allowed is not None:
            counts &= np.isin(np.arange(len(counts)), list(allowed))
        return np.where(counts, goodness_of(self.space.distance, sums), -np.inf)

    def recall(self, numbers: Sequence[int], count: int = 10, allowed: BitMap | None = None, **params: Any) -> float:
        """Mean share of the best that is found; what is as good as the last of them counts."""
        shares = []
        for number in numbers:
            query = self.query(number)
            values = self.exact(query, allowed)
            found = self.search(query, count, allowed, **params)
            assert len(set(found.nums.tolist())) == len(found.nums) == min(count, int(np.isfinite(values).sum()))
            assert np.isfinite(values[found.nums]).all()
            np.testing.assert_allclose(found.goodness, values[found.nums], rtol=1e-3, atol=1e-3)
            tenth = values[top(values, count)][-1]
            shares.append(float(np.mean(values[found.nums] >= tenth - 1e-4 * abs(tenth))))
        return float(np.mean(shares))


LONG = list(range(11, DOCUMENTS, 50))  # documents with all their tokens


@pytest.fixture
def at_any_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph is searched at its default width also where so few documents are compared sooner."""
    monkeypatch.setattr("vdb.query.multi_candidates._GRAPH_STEP_COST", 0.0)


@pytest.fixture(scope="module")
def passages(tmp_path_factory: pytest.TempPathFactory) -> Passages:
    return Passages(tmp_path_factory.mktemp("passages") / "segment", Distance.COSINE, clustered(DOCUMENTS)[0])


@pytest.mark.usefixtures("at_any_cost")
@pytest.mark.parametrize(
    ("distance", "quantization"),
    [*itertools.product(GRAPHS, ("none", "scalar", "binary")), (Distance.COSINE, "product")],
)
def test_a_graph_finds_what_comparing_all_finds(tmp_path: Path, distance: Distance, quantization: str) -> None:
    config: dict[str, Any] = {"quantization_config": QUANTIZATIONS[quantization]}
    world = Passages(tmp_path / "segment", distance, clustered(DOCUMENTS)[0], **config)
    assert world.recall(LONG) >= 0.98
    by_graph = [world.candidates(world.query(number), 10) is not None for number in LONG]
    assert np.mean(by_graph) >= 0.8


@pytest.mark.usefixtures("at_any_cost")
def test_points_are_compared_by_originals_whatever_codes_say(tmp_path: Path) -> None:
    """Also without rescoring: what a dozen codes are off adds up."""
    config: dict[str, Any] = {"quantization_config": QUANTIZATIONS["scalar"]}
    world = Passages(tmp_path / "segment", Distance.DOT, clustered(DOCUMENTS)[0], **config)
    assert world.recall(LONG, quantization={"rescore": False}) >= 0.98
    assert world.recall(LONG, quantization={"ignore": True}) >= 0.98
    few = world.candidates(world.query(11), 10, quantization={"oversampling": 2.0})
    assert few is not None
    assert len(few) == 20


def test_the_default_width_is_taken_where_there_are_many_points(tmp_path: Path) -> None:
    world = Passages(tmp_path / "segment", Distance.COSINE, clustered(5_500, dim=8)[0], hnsw_config={"ef_construct": 8})
    assert world.candidates(world.query(11), 10) is not None
    assert world.recall(LONG) >= 0.98


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.01])
def test_a_filter_never_makes_an_answer_short(passages: Passages, share: float) -> None:
    random = np.random.default_rng(3)
    allowed = BitMap(np.flatnonzero(random.random(DOCUMENTS) < share))
    for width in (None, 8):
        assert passages.recall(LONG, 10, allowed, hnsw_ef=width) >= 0.98
    assert passages.recall(LONG[:3], 300, allowed, hnsw_ef=8) == 1


@pytest.mark.usefixtures("at_any_cost")
def test_a_filter_that_leaves_the_graph_in_place_is_kept_by_it(passages: Passages) -> None:
    allowed = BitMap(range(0, DOCUMENTS, 2))
    found = passages.candidates(passages.query(11), 10, allowed, hnsw_ef=32)
    assert found is not None
    assert passages.recall(LONG, 10, allowed, hnsw_ef=32) >= 0.98


@pytest.mark.usefixtures("at_any_cost")
def test_a_filter_for_what_is_far_from_the_query_is_no_worse(passages: Passages) -> None:
    topics = clustered(DOCUMENTS)[1]
    elsewhere = {number: BitMap(np.flatnonzero(topics != topics[number])) for number in LONG}
    assert np.mean([passages.recall([number], 10, allowed) for number, allowed in elsewhere.items()]) >= 0.98


@pytest.mark.usefixtures("at_any_cost")
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_dead_points_are_not_found_and_others_are(tmp_path: Path, share: float) -> None:
    world = Passages(tmp_path / "segment", Distance.COSINE, clustered(DOCUMENTS)[0])
    world.kill(np.flatnonzero(np.random.default_rng(4).random(DOCUMENTS) < share))
    slot = SlotView(1, "", None, True, {0: world.view})
    assert slot.indexed_vectors_count == world.living.sum()
    assert world.recall(LONG) >= 0.98
    assert world.recall(LONG, 10, BitMap(range(0, DOCUMENTS, 3))) >= 0.98


@pytest.mark.usefixtures("at_any_cost")
def test_points_that_no_search_tells_apart_are_all_compared(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(DOCUMENTS, TOKENS, DIM)).astype(np.float32)
    world = Passages(tmp_path / "segment", Distance.COSINE, values)
    query = prepare_block(world.space, np.random.default_rng(2).normal(size=(32, DIM)).astype(np.float32))
    assert world.candidates(query, 10, hnsw_ef=16) is None
    values = world.exact(query)
    assert world.search(query, 10, hnsw_ef=16).nums.tolist() == top(values, 10).tolist()


@pytest.mark.usefixtures("at_any_cost")
def test_more_points_than_the_graph_finds_are_all_answered(passages: Passages) -> None:
    assert passages.candidates(passages.query(11), 200, hnsw_ef=4) is None
    for count in (200, DOCUMENTS, 999_999_999):
        assert passages.recall([11], count, hnsw_ef=4) == 1


@pytest.mark.usefixtures("at_any_cost")
def test_a_query_of_one_token_and_one_of_thousands_are_answered(passages: Passages) -> None:
    one = passages.query(0)
    assert one.shape == (1, DIM)
    values = passages.exact(one)
    assert passages.search(one, 5).nums.tolist() == top(values, 5).tolist()
    many = np.tile(passages.query(11), (400, 1))
    values = passages.exact(many)
    assert passages.search(many, 5).nums.tolist() == top(values, 5).tolist()


def test_all_points_are_compared_where_that_costs_less_or_is_asked_for(passages: Passages, tmp_path: Path) -> None:
    query = passages.query(11)
    assert passages.candidates(query, 10, hnsw_ef=8) is not None
    assert passages.candidates(query, 10) is None
    assert passages.candidates(query, 10, hnsw_ef=8, exact=True) is None
    assert passages.candidates(query, 10, BitMap(range(50)), hnsw_ef=8) is None
    high = Passages(tmp_path / "high", Distance.COSINE, clustered(DOCUMENTS)[0], threshold_kib=10_000)
    assert high.candidates(query, 10, hnsw_ef=8) is None


@pytest.mark.usefixtures("at_any_cost")
def test_a_graph_of_bits_is_not_searched_where_bits_are_ignored(tmp_path: Path) -> None:
    config: dict[str, Any] = {"quantization_config": QUANTIZATIONS["binary"]}
    world = Passages(tmp_path / "segment", Distance.COSINE, clustered(DOCUMENTS)[0], **config)
    assert world.candidates(world.query(11), 10, quantization={"ignore": True}) is None
    assert world.recall(LONG, quantization={"ignore": True}) == 1


def test_manhattan_has_no_graph_and_is_compared(tmp_path: Path) -> None:
    world = Passages(tmp_path / "segment", Distance.MANHATTAN, clustered(DOCUMENTS)[0])
    assert world.view.rows.graph is None
    assert world.recall(LONG) == 1
    assert len(world.search(world.query(11), 10, indexed_only=True).nums) == 10  # no graph will ever come


def test_indexed_only_leaves_out_what_has_no_graph_yet(passages: Passages) -> None:
    waiting = AppendableRows(passages.space)
    tokens = np.tile(passages.query(11), (20, 1))
    waiting.append(np.full(len(tokens), DOCUMENTS, dtype=np.uint32), tokens)
    more = (waiting.view(),)
    assert passages.search(passages.query(11), 1, more=more).nums.tolist() == [DOCUMENTS]
    assert passages.search(passages.query(11), 1, more=more, indexed_only=True).nums.tolist() == [11]


# The life of a graph in a collection

LIVING = {
    "vectors": {"m": {"size": 8, "distance": "Cosine", "multivector_config": MAX_SIM}},
    "hnsw_config": {"m": 8, "ef_construct": 16, "full_scan_threshold": 10},
    "optimizers_config": {"indexing_threshold": 1, "default_segment_number": 1},
}
POINTS = 400


def indexed(collection: Collection, has_graph: bool) -> bool:
    info = collection.info()
    return (info["status"], info["indexed_vectors_count"] > 0) == ("green", has_graph)


def answers(collection: Collection, values: Floats, **params: Any) -> list[int]:
    """The points nearest to two documents, ten to each."""
    found = []
    for number in (3, 301):
        hits = collection.query(query=values[number].tolist(), using="m", params={"hnsw_ef": 8, **params})
        found += [hit["id"] for hit in hits]
    assert len(found) == 20
    return found


def check_answers(collection: Collection, values: Floats) -> list[int]:
    """The graph may miss one in ten; returns what comparing all finds."""
    truth = answers(collection, values, exact=True)
    found = answers(collection, values)
    assert len(set(found[:10]) & set(truth[:10])) >= 9
    assert len(set(found[10:]) & set(truth[10:])) >= 9
    return truth


def test_a_graph_comes_goes_and_outlives_a_restart(tmp_path: Path) -> None:
    values = clustered(POINTS, dim=8)[0]
    storage = tmp_path / "storage"
    with serving(storage) as server:
        client = Client(server.url)
        collection = client.create("living", **LIVING)
        points = [{"id": n, "vector": {"m": value.tolist()}} for n, value in enumerate(values)]
        collection.upsert(*points)
        until(lambda: indexed(collection, True))
        assert collection.info()["points_count"] == POINTS
        truth = check_answers(collection, values)
        for m in (0, 8):
            client.result("PATCH", collection.path, {"hnsw_config": {"m": m}})
            until(lambda m=m: indexed(collection, m > 0))  # type: ignore[misc]
            assert check_answers(collection, values) == truth
        gone = truth[:3]
        collection.change("POST", "/delete", {"points": gone})
        collection.upsert({"id": truth[10], "vector": {"m": [[0.0] * 7 + [1.0]]}})
        changed = check_answers(collection, values)
        assert not set(gone) & set(changed)
        client.close()
    with serving(storage) as server:
        client = Client(server.url)
        collection = Collection(client, "living")
        until(lambda: indexed(collection, True))
        assert check_answers(collection, values) == changed
        client.close()
