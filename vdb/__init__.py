"""vdb: Qdrant's REST API over plain SQLite files and memory-mapped usearch indexes."""

__version__ = "0.1.0"
