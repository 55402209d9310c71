"""langchain-qdrant against the server at a URL: ``python -m tests.clients.with_langchain URL``."""

from __future__ import annotations

import sys

from langchain_core.documents import Document  # type: ignore[import-not-found]
from langchain_core.embeddings import Embeddings  # type: ignore[import-not-found]
from langchain_qdrant import (  # type: ignore[import-not-found]
    QdrantVectorStore,
    RetrievalMode,
    SparseEmbeddings,
    SparseVector,
)
from qdrant_client import models

from tests.clients.words import TEXTS, dense, sparse


class Dense(Embeddings):  # type: ignore[misc]
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [dense(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return dense(text)


class Sparse(SparseEmbeddings):  # type: ignore[misc]
    def embed_documents(self, texts: list[str]) -> list[SparseVector]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> SparseVector:
        indices, values = sparse(text)
        return SparseVector(indices=indices, values=values)


def main(url: str) -> None:
    for mode in RetrievalMode:
        store = QdrantVectorStore.from_texts(
            TEXTS,
            Dense(),
            metadatas=[{"number": number} for number in range(len(TEXTS))],
            url=url,
            collection_name=f"langchain-{mode.value}",
            retrieval_mode=mode,
            sparse_embedding=Sparse(),
            force_recreate=True,
        )
        use(store, dense_too=mode is not RetrievalMode.SPARSE)
        again = QdrantVectorStore.from_existing_collection(
            f"langchain-{mode.value}", Dense(), url=url, retrieval_mode=mode, sparse_embedding=Sparse()
        )
        assert again.similarity_search("lighthouse rocks", k=1)[0].page_content == TEXTS[0]
        store.client.delete_collection(f"langchain-{mode.value}")


def use(store: QdrantVectorStore, *, dense_too: bool) -> None:
    found = store.similarity_search("honey from bees", k=2)
    assert [document.page_content for document in found] == [TEXTS[1], TEXTS[4]], found
    not_bees = models.Filter(
        must_not=[models.FieldCondition(key="metadata.number", match=models.MatchValue(value=1))],
    )
    (only, score), *_ = store.similarity_search_with_score("honey from bees", k=1, filter=not_bees)
    assert only.page_content == TEXTS[4] and score > 0, (only, score)
    if dense_too:
        diverse = store.max_marginal_relevance_search("honey ships", k=3, fetch_k=5)
        assert len({document.page_content for document in diverse}) == 3, diverse
    (identifier,) = store.add_documents([Document("a compass points north", metadata={"number": 9})])
    assert store.get_by_ids([identifier])[0].page_content == "a compass points north"
    assert store.delete([identifier])
    assert store.get_by_ids([identifier]) == []
    retrieved = store.as_retriever(search_kwargs={"k": 1}).invoke("train to the coast")
    assert retrieved[0].page_content == TEXTS[2], retrieved


if __name__ == "__main__":
    main(sys.argv[1])
