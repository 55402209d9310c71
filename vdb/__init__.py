"""vdb: Qdrant's REST API over plain SQLite files and memory-mapped usearch indexes."""

import os

# Read when numpy is first imported. Searches are parallel already: threads of the linear algebra beneath numpy would
# spin on the cores that other searches need.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
