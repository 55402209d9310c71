"""qdrant-haystack against the server at a URL: ``python -m tests.clients.with_haystack URL``."""

from __future__ import annotations

import sys

from haystack.dataclasses import Document, SparseEmbedding  # type: ignore[import-not-found]
from haystack.document_stores.types import DuplicatePolicy  # type: ignore[import-not-found]
from haystack_integrations.components.retrievers.qdrant import (  # type: ignore[import-not-found]
    QdrantEmbeddingRetriever,
    QdrantHybridRetriever,
    QdrantSparseEmbeddingRetriever,
)
from haystack_integrations.document_stores.qdrant import QdrantDocumentStore  # type: ignore[import-not-found]

from tests.clients.words import DIM, TEXTS, dense, sparse


def main(url: str) -> None:
    store = QdrantDocumentStore(
        url=url,
        index="haystack",
        embedding_dim=DIM,
        use_sparse_embeddings=True,
        recreate_index=True,
        wait_result_from_api=True,
        payload_fields_to_index=[{"field_name": "meta.number", "field_schema": "integer"}],
    )
    documents = [
        Document(content=text, embedding=dense(text), sparse_embedding=words(text), meta={"number": number})
        for number, text in enumerate(TEXTS)
    ]
    assert store.write_documents(documents) == len(TEXTS)
    assert store.count_documents() == len(TEXTS)
    assert store.write_documents(documents[:2], DuplicatePolicy.SKIP) == 0

    by_meaning = QdrantEmbeddingRetriever(store, top_k=2).run(query_embedding=dense("honey from bees"))
    assert contents(by_meaning) == [TEXTS[1], TEXTS[4]], by_meaning
    by_words = QdrantSparseEmbeddingRetriever(store, top_k=1).run(query_sparse_embedding=words("lighthouse"))
    assert contents(by_words) == [TEXTS[0]], by_words
    by_both = QdrantHybridRetriever(store, top_k=1).run(
        query_embedding=dense("train coast"), query_sparse_embedding=words("train coast")
    )
    assert contents(by_both) == [TEXTS[2]], by_both

    above = {"field": "meta.number", "operator": ">", "value": 2}
    assert {document.content for document in store.filter_documents(above)} == {TEXTS[3], TEXTS[4]}
    assert store.count_documents_by_filter(above) == 2
    assert store.get_metadata_field_min_max("number") == {"min": 0, "max": 4}
    assert "number" in store.get_metadata_fields_info()
    assert store.update_by_filter(above, {"checked": True}) == 2
    assert store.delete_by_filter(above) == 2
    store.delete_documents([documents[0].id])
    assert store.count_documents() == 2
    store.delete_all_documents()
    assert store.count_documents() == 0


def words(text: str) -> SparseEmbedding:
    indices, values = sparse(text)
    return SparseEmbedding(indices=indices, values=values)


def contents(answer: dict[str, list[Document]]) -> list[str | None]:
    return [document.content for document in answer["documents"]]


if __name__ == "__main__":
    main(sys.argv[1])
