"""A collection with every kind of vector and distance, in vdb and in qdrant-client's local mode.

Local mode is used through its public methods only. What it does otherwise than the server is left out of the calls:

- Thresholds of discover, context and best_score are compared as distances in local mode where the distance is one;
  scores of several examples are larger for better points everywhere.
- A single prefetch that stands without its list and has prefetches of its own is run twice (qdrant-client issue 1397):
  prefetches stand in lists here.
- Groups of a query with prefetches: local mode lengthens the prefetches, and so does Qdrant, which counts as a bug
  there (qdrant issue 9764). Prefetches are as long as the collection here.
- Relevance feedback over sparse vectors and multivectors, and a dense vector as a multivector of one token, raise
  errors in local mode.
"""

from __future__ import annotations

import random
from typing import Any, Final

from qdrant_client import QdrantClient, models

from tests.congruence.worlds import same_hits

DIM: Final = 6
COUNT: Final = 90
CITIES: Final = ("Berlin", "Paris", "Rome", "Oslo")

DISTANCES: Final = {
    "dot": models.Distance.DOT,
    "cosine": models.Distance.COSINE,
    "euclid": models.Distance.EUCLID,
    "manhattan": models.Distance.MANHATTAN,
}
DENSE: Final = tuple(DISTANCES)
SPARSE: Final = ("sparse", "idf")
MULTI: Final = tuple(f"multi-{name}" for name in DISTANCES)
NAMES: Final = (*DENSE, *SPARSE, *MULTI)
KINDS: Final = (DENSE, SPARSE, MULTI)
DIMENSIONS: Final = (0, 3, 7, 8, 9, 40, 41, 1_000, 70_000, 2**31, 2**32 - 1)

Vector = list[float] | list[list[float]] | models.SparseVector


class World:
    """The same points in both databases; ``others`` is a second collection with the same vectors under other ids."""

    def __init__(self, url: str, name: str, seed: int) -> None:
        self.random = random.Random(seed)
        self.name, self.others = name, f"{name}-others"
        self.server, self.local = QdrantClient(url=url, timeout=60), QdrantClient(":memory:")
        self.lacking: dict[str, set[int]] = {vector: set() for vector in NAMES}
        multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        config = {}
        for vector, distance in DISTANCES.items():
            config[vector] = models.VectorParams(size=DIM, distance=distance)
            config[f"multi-{vector}"] = models.VectorParams(size=DIM, distance=distance, multivector_config=multi)
        sparse = {
            "sparse": models.SparseVectorParams(),
            "idf": models.SparseVectorParams(modifier=models.Modifier.IDF),
        }
        points = [self._point(i) for i in range(COUNT)]
        others = [
            models.PointStruct(id=i, vector={vector: self.vector(vector) for vector in NAMES}, payload={"other": i})
            for i in range(0, COUNT, 2)
        ]
        for client in (self.server, self.local):
            for collection, content in ((self.name, points), (self.others, others)):
                client.create_collection(collection, vectors_config=config, sparse_vectors_config=sparse)
                client.upsert(collection, content, wait=True)
        kinds = models.PayloadSchemaType
        for key, schema in (("rank", kinds.INTEGER), ("price", kinds.FLOAT), ("city", kinds.KEYWORD)):
            self.server.create_payload_index(self.name, key, field_schema=schema, wait=True)

    def close(self) -> None:
        for collection in (self.name, self.others):
            self.server.delete_collection(collection)
        self.server.close()
        self.local.close()

    def _point(self, i: int) -> models.PointStruct:
        payload: dict[str, Any] = {
            "rank": i,
            "price": round(self.random.uniform(0.5, 99), 2),
            "city": self.random.choice(CITIES),
            "tags": self.random.sample([*CITIES, 1, 2, 3], self.random.randrange(4)),
            "place": {"lat": round(self.random.uniform(-80, 80), 4), "lon": round(self.random.uniform(-170, 170), 4)},
            "made": f"20{self.random.randrange(10, 26)}-0{self.random.randrange(1, 9)}-11T10:0{i % 10}:00Z",
            "single": [i / 4],
        }
        if self.random.random() < 0.5:
            payload["stars"] = self.random.randrange(1, 6)
        vectors: dict[str, Any] = {}
        for name in NAMES:
            if self.random.random() < 0.9:
                vectors[name] = self.vector(name)
            else:
                self.lacking[name].add(i)
        return models.PointStruct(id=i, vector=vectors, payload=payload)

    def vector(self, name: str) -> Vector:
        if name in SPARSE:
            indices = self.random.sample(DIMENSIONS, self.random.randrange(1, 6))
            return models.SparseVector(indices=indices, values=self._numbers(len(indices)))
        if name in MULTI:
            return [self._numbers(DIM) for _ in range(self.random.randrange(1, 5))]
        return self._numbers(DIM)

    def _numbers(self, count: int) -> list[float]:
        return [round(self.random.uniform(-2, 2), 6) for _ in range(count)]

    def id_with(self, name: str) -> int:
        return self.random.choice([i for i in range(COUNT) if i not in self.lacking[name]])

    def example(self, name: str) -> Any:
        """A vector, or the id of a point that has one."""
        return self.vector(name) if self.random.random() < 0.5 else self.id_with(name)

    def examples(self, name: str, least: int = 0) -> list[Any]:
        return [self.example(name) for _ in range(self.random.randrange(least, 4))]

    def filter(self) -> models.Filter | None:
        """Half of the time none."""
        match self.random.randrange(6):
            case 0:
                cities = self.random.sample(CITIES, 2)
                return models.Filter(must=[models.FieldCondition(key="city", match=models.MatchAny(any=cities))])
            case 1:
                bounds = models.Range(gte=self.random.uniform(0, 60))
                return models.Filter(must=[models.FieldCondition(key="price", range=bounds)])
            case 2:
                empty = models.IsEmptyCondition(is_empty=models.PayloadField(key="stars"))
                return models.Filter(must_not=[empty])
        return None

    def pairs(self, name: str, least: int = 0) -> list[models.ContextPair]:
        count = self.random.randrange(least, 4)
        return [models.ContextPair(positive=self.example(name), negative=self.example(name)) for _ in range(count)]

    def vector_query(self, name: str) -> Any:
        """Any kind of query that compares vectors."""
        match self.random.randrange(7 if name in DENSE else 6):
            case 0:
                return self.example(name)
            case 1:
                mmr = models.Mmr(
                    diversity=round(self.random.random(), 2), candidates_limit=self.random.randrange(1, 40)
                )
                return models.NearestQuery(nearest=self.example(name), mmr=mmr)
            case 2 | 3:
                return self.recommend(name)
            case 4:
                target = self.example(name)
                return models.DiscoverQuery(discover=models.DiscoverInput(target=target, context=self.pairs(name)))
            case 5:
                return models.ContextQuery(context=self.pairs(name, 1))
            case _:
                return self.feedback(name)

    def recommend(self, name: str) -> models.RecommendQuery:
        strategy = self.random.choice([None, *models.RecommendStrategy])
        needs_positive = strategy in (None, models.RecommendStrategy.AVERAGE_VECTOR)
        positive = self.examples(name, 1 if needs_positive else 0)
        negative = self.examples(name, 0 if positive else 1)
        return models.RecommendQuery(
            recommend=models.RecommendInput(positive=positive, negative=negative, strategy=strategy)
        )

    def feedback(self, name: str) -> models.RelevanceFeedbackQuery:
        items = [
            models.FeedbackItem(example=self.vector(name), score=round(self.random.random(), 2))
            for _ in range(self.random.randrange(1, 5))
        ]
        naive = models.NaiveFeedbackStrategyParams(
            a=round(self.random.uniform(0, 2), 2), b=self.random.choice([0, 0.5, 1, 2]), c=self.random.uniform(-1, 2)
        )
        return models.RelevanceFeedbackQuery(
            relevance_feedback=models.RelevanceFeedbackInput(
                target=self.vector(name), feedback=items, strategy=models.NaiveFeedbackStrategy(naive=naive)
            )
        )

    def prefetch(self, depth: int = 0) -> models.Prefetch:
        """Any query with a filter, a limit and perhaps prefetches of its own."""
        name = self.random.choice(NAMES)
        limit = self.random.choice([None, 3, 8, 25])
        if depth < 2 and self.random.random() < 0.4:
            inner = [self.prefetch(depth + 1) for _ in range(self.random.randrange(1, 3))]
            return models.Prefetch(
                prefetch=inner, query=self.example(name), using=name, filter=self.filter(), limit=limit
            )
        return models.Prefetch(query=self.example(name), using=name, filter=self.filter(), limit=limit)

    def prefetches(self, least: int = 1) -> list[models.Prefetch]:
        return [self.prefetch() for _ in range(self.random.randrange(least, 4))]

    def same(self, **request: Any) -> list[models.ScoredPoint]:
        """What both answer to one query, which must agree."""
        print(request)  # noqa: T201 - the trace of a failing seed
        ours, theirs = (client.query_points(self.name, **request).points for client in (self.server, self.local))
        same_hits(ours, theirs)
        return ours

    def both(self, method: str, **arguments: Any) -> tuple[Any, Any]:
        server, local = (getattr(client, method)(self.name, **arguments) for client in (self.server, self.local))
        return server, local
