"""llama-index-vector-stores-qdrant against the server at a URL: ``python -m tests.clients.with_llama_index URL``."""

from __future__ import annotations

import sys

from llama_index.core.schema import TextNode  # type: ignore[import-not-found]
from llama_index.core.vector_stores.types import (  # type: ignore[import-not-found]
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.vector_stores.qdrant import QdrantVectorStore  # type: ignore[import-not-found]
from qdrant_client import QdrantClient

from tests.clients.words import TEXTS, dense, sparse


def main(url: str) -> None:
    client = QdrantClient(url)
    for hybrid in (False, True):
        name = f"llama-index-{'hybrid' if hybrid else 'dense'}"
        store = QdrantVectorStore(
            name,
            client=client,
            enable_hybrid=hybrid,
            sparse_doc_fn=encode if hybrid else None,
            sparse_query_fn=encode if hybrid else None,
        )
        use(store, VectorStoreQueryMode.HYBRID if hybrid else VectorStoreQueryMode.DEFAULT)
        client.delete_collection(name)


def encode(texts: list[str]) -> tuple[list[list[int]], list[list[float]]]:
    encoded = [sparse(text) for text in texts]
    return [indices for indices, _ in encoded], [values for _, values in encoded]


def use(store: QdrantVectorStore, mode: VectorStoreQueryMode) -> None:
    nodes = [
        TextNode(text=text, embedding=dense(text), metadata={"number": number, "odd": str(number % 2)})
        for number, text in enumerate(TEXTS)
    ]
    store.add(nodes)

    def ask(text: str, count: int, filters: MetadataFilters | None = None) -> list[str]:
        query = VectorStoreQuery(
            query_embedding=dense(text),
            query_str=text,
            similarity_top_k=count,
            sparse_top_k=count,
            mode=mode,
            filters=filters,
        )
        return [node.get_content() for node in store.query(query).nodes or ()]

    assert ask("honey from bees", 2)[0] == TEXTS[1]
    even = MetadataFilters(filters=[MetadataFilter(key="odd", value="0")])
    assert ask("honey from bees", 1, even) == [TEXTS[4]]
    above = MetadataFilters(filters=[MetadataFilter(key="number", operator=FilterOperator.GT, value=2)])
    assert set(ask("ships", 2, above)) == {TEXTS[3], TEXTS[4]}
    assert {node.get_content() for node in store.get_nodes(filters=even)} == {TEXTS[0], TEXTS[2], TEXTS[4]}
    store.delete_nodes([nodes[1].node_id])
    assert TEXTS[1] not in ask("honey from bees", 5)
    store.clear()


if __name__ == "__main__":
    main(sys.argv[1])
