"""What a collection, an alias or a vector may be called."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from vdb.errors import BadRequest, OutOfBounds, RequestPart

COLLECTION_NAME_LENGTH_MAX: Final = 255
# What some file system or other takes for a separator or a wildcard, as in Qdrant.
COLLECTION_NAME_FORBIDDEN: Final = '<>:"/\\|?*'
# A vector's name is part of file names, with a suffix, and file systems end a name at 255 bytes.
VECTOR_NAME_BYTES_MAX: Final = 200
# Vectors are called after models, so that a colon is allowed: ``nomic-embed-text:v1.5``.
VECTOR_NAME_FORBIDDEN: Final = "/\\"


def validate_collection_name(name: str, field: str | None = None) -> None:
    """Raises OutOfBounds for a name that a new collection or alias cannot have.

    ``field`` is where it stands in the body; None where it is the path's ``collection_name``.
    """
    part: RequestPart = "path parameters" if field is None else "JSON body"
    place = field or "collection_name"
    _refuse_characters(name, COLLECTION_NAME_FORBIDDEN, place, "collection name", part)
    if not 1 <= len(name) <= COLLECTION_NAME_LENGTH_MAX:
        reason = f'value "{name[:80]}" invalid, must be from 1 to {COLLECTION_NAME_LENGTH_MAX} characters'
        raise OutOfBounds(place, reason, part)


def validate_vector_name(name: str, field: str) -> None:
    """Raises OutOfBounds on ``field`` for a name that could not be part of a file's name; ``""`` is one."""
    _refuse_characters(name, VECTOR_NAME_FORBIDDEN, field, "vector name")
    if len(name.encode()) > VECTOR_NAME_BYTES_MAX:
        raise OutOfBounds(field, f"vector name is longer than {VECTOR_NAME_BYTES_MAX} bytes")


def validate_vector_names(dense: Iterable[str], sparse: Iterable[str]) -> None:
    """Raises OutOfBounds and BadRequest for names that vectors of one collection cannot have together."""
    dense = dict.fromkeys(dense)
    for name in dense:
        validate_vector_name(name, f"vectors.{name}")
    for name in sparse:
        validate_vector_name(name, f"sparse_vectors.{name}")
        if not name:
            raise OutOfBounds("sparse_vectors", "sparse vector name cannot be empty")
        if name in dense:
            raise BadRequest(f"Vector name `{name}` is given to a dense and to a sparse vector")


def _refuse_characters(name: str, forbidden: str, field: str, what: str, part: RequestPart = "JSON body") -> None:
    """Refuses ``forbidden``, control characters, lone surrogates, and the names of folders that every folder has.

    Also U+FFFD: bytes of a path that are not UTF-8 arrive as it, and two different ones would be the same name.
    """
    if name in (".", ".."):
        raise OutOfBounds(field, f'{what} cannot be "{name}"', part)
    for character in name:
        if character in forbidden:
            raise OutOfBounds(field, f'{what} cannot contain "{character}" char', part)
        if character < " " or character in ("\x7f", "\ufffd") or "\ud800" <= character <= "\udfff":
            raise OutOfBounds(field, f'{what} cannot contain "{ascii(character)[1:-1]}" char', part)
