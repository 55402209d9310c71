"""The models that a server has, by name, and what they make of the inputs of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from vdb.config import InferenceSettings
from vdb.errors import BadRequest, Misconfigured
from vdb.inference import bm25
from vdb.inference.bm25 import Bm25Embedder
from vdb.inference.embedder import Embedder, Embedding, Purpose
from vdb.inference.onnx_process import OnnxEmbedder
from vdb.model.inference import Document, Image, InferenceInput, InferenceObject

_KINDS: Final[dict[type[InferenceInput], str]] = {Image: "images", InferenceObject: "objects"}


class Embedders:
    """``Qdrant/bm25`` and the models that are configured. Immutable; raises Misconfigured for a name given twice."""

    def __init__(self, configured: Sequence[Embedder] = ()) -> None:
        self._by_name: dict[str, Embedder] = {}
        for embedder in (Bm25Embedder(), *configured):
            if self._by_name.setdefault(embedder.name.lower(), embedder) is not embedder:
                raise Misconfigured(f"inference.models: there is a model `{embedder.name}` already")

    def embed(self, inputs: Sequence[InferenceInput], purpose: Purpose) -> list[Embedding]:
        """One vector for each input. Raises BadRequest for inputs and models that the server does not have.

        Takes milliseconds and more: for a thread, not for the event loop.
        """
        texts: dict[tuple[str, bytes], list[int]] = {}
        documents = [self._document(given) for given in inputs]
        for position, document in enumerate(documents):
            group = (document.model.lower(), msgspec.json.encode(document.options))
            texts.setdefault(group, []).append(position)
        vectors: dict[int, Embedding] = {}
        for (name, _), positions in texts.items():
            options = documents[positions[0]].options
            made = self._by_name[name].embed([documents[position].text for position in positions], purpose, options)
            vectors.update(zip(positions, made, strict=True))
        return [vectors[position] for position in range(len(documents))]

    def _document(self, given: InferenceInput) -> Document:
        """``given`` as a text for a model that is there; raises BadRequest that says what to do instead."""
        if not isinstance(given, Document):
            raise BadRequest(
                f"Inference over {_KINDS[type(given)]} is not supported (model `{given.model}`): send the vector itself"
            )
        if given.model.lower() not in self._by_name:
            others = [embedder.name for embedder in self._by_name.values() if embedder.name != bm25.NAME]
            known = "".join(f", or one of {', '.join(f'`{name}`' for name in others)}" if others else "")
            raise BadRequest(
                f"Model `{given.model}` is not on this server: send the vector itself, use `{bm25.NAME}` for sparse "
                f"vectors{known}, or configure a local model in `inference.models`"
            )
        return given


BUILT_IN: Final = Embedders()


def load_embedders(settings: InferenceSettings) -> Embedders:
    """The models that ``settings`` name, each loaded in a process of its own; raises Misconfigured."""
    if not settings.models:
        return BUILT_IN
    return Embedders([OnnxEmbedder(model) for model in settings.models])
