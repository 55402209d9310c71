"""Field indexes made: one by its type, or several at once from the payloads of a whole collection."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final

import xxhash

from vdb import __version__
from vdb.model.field_index import PayloadFieldSchema, TextIndexParams, schema_params, schema_type
from vdb.segment.fields.index import Change, FieldIndex
from vdb.segment.fields.numbers import NumberIndex
from vdb.segment.fields.positions import PositionIndex
from vdb.segment.fields.terms import TermIndex
from vdb.segment.fields.text_analysis import analyzer
from vdb.segment.fields.texts import TextIndex

_KINDS: Final[dict[str, type[FieldIndex]]] = {
    "keyword": TermIndex,
    "uuid": TermIndex,
    "bool": TermIndex,
    "integer": NumberIndex,
    "float": NumberIndex,
    "datetime": NumberIndex,
    "geo": PositionIndex,
    "text": TextIndex,
}
# Words that stemmers, foldings and tokenizers treat in ways of their own.
_PROBE: Final = (
    "Running generously, the relational flies were happily organised: élèves naïves mangeaient, Häuser größerer "
    "Städte, niños corriendo rápidamente, бегущие красивые слова, özgürlüğümüzün, juoksentelisin, løbende, κείμενα, "
    "世界 ไทย"
)


def new_index(path: str, schema: PayloadFieldSchema) -> FieldIndex:
    """An empty index; raises InvalidJsonPath, or BadRequest for stopwords that there are none of."""
    return _KINDS[schema_type(schema)](path, schema)


def recipe(schema: PayloadFieldSchema) -> str:
    """What an index's content depends on beside the payloads: the same text means that the same comes out.

    Stemmers and Unicode's tables come with other packages, and change with them.
    """
    params = schema_params(schema)
    cut = "\n".join(analyzer(params).words(_PROBE)) if isinstance(params, TextIndexParams) else ""
    digest = xxhash.xxh3_64_hexdigest(cut.encode())
    return f"vdb {__version__}, {sys.byteorder} endian, Unicode {unicodedata.unidata_version}, words {digest}"


def build_indexes(
    schemas: Mapping[str, PayloadFieldSchema], items: Iterable[tuple[int, Mapping[str, Any]]]
) -> dict[str, FieldIndex]:
    """Indexes by path, filled from ``(num, payload)`` in one pass. Keeps a thread busy: a second for 50,000 points."""
    indexes = {path: new_index(path, schema) for path, schema in schemas.items()}
    changes: dict[str, list[Change]] = {path: [] for path in schemas}
    fields = [(indexes[path].values_in, changes[path].append) for path in schemas]
    for num, payload in items:
        for values_in, add in fields:
            values = values_in(payload)
            if values:
                add((num, values))
    for path, index in indexes.items():
        index.apply(changes.pop(path))
    return indexes
