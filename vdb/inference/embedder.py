"""The one interface of models: texts in, vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from vdb.model.inference import Options
from vdb.model.sparse import SparseVector
from vdb.model.vectors import Floats

Embedding = SparseVector | Floats
# A stored text and a text that is searched for may become different vectors.
Purpose = Literal["document", "query"]


class Embedder(Protocol):
    """A model. It is called from several threads at once, never from the event loop."""

    @property
    def name(self) -> str:
        """What requests call it; case does not matter."""
        ...

    @property
    def dim(self) -> int | None:
        """The dimension of its vectors; None where they are sparse."""
        ...

    def embed(self, texts: Sequence[str], purpose: Purpose, options: Options | None) -> Sequence[Embedding]:
        """One vector a text, sparse ones or ``(dim,)`` float32; raises BadRequest for options that it cannot follow."""
        ...
