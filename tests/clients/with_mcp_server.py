"""mcp-server-qdrant against the server at a URL: ``python -m tests.clients.with_mcp_server URL``.

The real MCP server and its tools, spoken to through FastMCP's client in the same process. Only the embedding is not
its own: FastEmbed would download a model.
"""

from __future__ import annotations

import asyncio
import os
import sys

from fastmcp import Client  # type: ignore[import-not-found]
from mcp_server_qdrant.embeddings.base import EmbeddingProvider  # type: ignore[import-not-found]
from mcp_server_qdrant.mcp_server import QdrantMCPServer  # type: ignore[import-not-found]
from mcp_server_qdrant.settings import QdrantSettings, ToolSettings  # type: ignore[import-not-found]
from qdrant_client import QdrantClient

from tests.clients.words import DIM, TEXTS, dense

COLLECTION = "mcp"


class Words(EmbeddingProvider):  # type: ignore[misc]
    async def embed_documents(self, documents: list[str]) -> list[list[float]]:
        return [dense(document) for document in documents]

    async def embed_query(self, query: str) -> list[float]:
        return dense(query)

    def get_vector_name(self) -> str:
        return "fast-words"

    def get_vector_size(self) -> int:
        return DIM


async def use(url: str) -> None:
    os.environ.update(QDRANT_URL=url, COLLECTION_NAME=COLLECTION, QDRANT_SEARCH_LIMIT="2")
    server = QdrantMCPServer(tool_settings=ToolSettings(), qdrant_settings=QdrantSettings(), embedding_provider=Words())
    async with Client(server) as client:
        tools = {tool.name for tool in await client.list_tools()}
        assert tools == {"qdrant-store", "qdrant-find"}, tools
        assert "Results" not in str(await client.call_tool("qdrant-find", {"query": "honey"}))
        for number, text in enumerate(TEXTS):
            stored = await client.call_tool("qdrant-store", {"information": text, "metadata": {"number": number}})
            assert text in str(stored), stored
        found = str(await client.call_tool("qdrant-find", {"query": "honey from bees"}))
        assert found.index(TEXTS[1]) < found.index(TEXTS[4]), found
        assert TEXTS[0] not in found, found


def main(url: str) -> None:
    asyncio.run(use(url))
    client = QdrantClient(url)
    assert client.count(COLLECTION).count == len(TEXTS)
    client.delete_collection(COLLECTION)


if __name__ == "__main__":
    main(sys.argv[1])
