"""Damage to derived files, chosen by a seed: whatever a bad disk, a bad copy or a bad script does to them.

A prepared collection has every kind of file: matrices, row numbers, graphs, codes, centres, factors, codebooks,
manifests, and the files of field indexes. A mutation changes one of them, or exchanges two.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vdb.collection.field_files import FIELDS_NAME
from vdb.collection.recovery import SEGMENTS_NAME
from vdb.segment.manifest import MANIFEST_NAME
from vdb.segment.verified import VERIFIED_NAME

DIM: Final = 8
# A graph from 1 KiB of vectors on, and every kind of quantised copy with the files that it needs.
CONFIG: Final[dict[str, Any]] = {
    "vectors": {
        "plain": {"size": DIM, "distance": "Dot"},
        "int8": {
            "size": DIM,
            "distance": "Cosine",
            "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99}},
        },
        "bits": {"size": DIM, "distance": "Dot", "quantization_config": {"binary": {"always_ram": True}}},
        "product": {"size": DIM, "distance": "Euclid", "quantization_config": {"product": {"compression": "x8"}}},
    },
    "optimizers_config": {"indexing_threshold": 1, "default_segment_number": 2},
    "hnsw_config": {"full_scan_threshold": 10},
}
INDEXES: Final = {"word": "keyword", "number": "integer", "text": "text"}


@dataclass(frozen=True, slots=True)
class Mutation:
    """``segment`` is the folder of the segment whose file it was, ``index`` True for a field index's file."""

    what: str
    path: Path
    folders: frozenset[str]
    index: bool
    harmless: bool  # a file that nobody reads: the database's copy of the manifest is the one that counts


def derived_files(folder: Path) -> list[Path]:
    """Every derived file of a collection's folder."""
    segments = [path for path in (folder / SEGMENTS_NAME).glob("*/*") if path.is_file()]
    return sorted([*segments, *(folder / FIELDS_NAME).glob("*"), folder / VERIFIED_NAME])


def mutate(folder: Path, chance: random.Random) -> Mutation:
    """Damages one file of ``folder``, and says what it did."""
    path = chance.choice([path for path in derived_files(folder) if path.exists() and path.stat().st_size])
    while True:
        kind = chance.choice(list(KINDS))
        if (touched := KINDS[kind](path, chance, folder)) is not None:
            break
    in_segments = [one for one in touched if one.parent.parent.name == SEGMENTS_NAME]
    matters = [one for one in in_segments if one.name != MANIFEST_NAME]
    return Mutation(
        f"{kind}: {', '.join(str(one.relative_to(folder)) for one in touched)}",
        path,
        frozenset(one.parent.name for one in matters),
        any(one.parent.name == FIELDS_NAME for one in touched),
        not matters and all(one.parent.name != FIELDS_NAME for one in touched),
    )


Damage = Callable[[Path, random.Random, Path], "list[Path] | None"]


def flip_bits(path: Path, chance: random.Random, folder: Path) -> list[Path]:
    content = bytearray(path.read_bytes())
    for position in chance.sample(range(len(content)), min(len(content), chance.choice((1, 1, 3, 40)))):
        content[position] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    return [path]


def zero_the_tail(path: Path, chance: random.Random, folder: Path) -> list[Path] | None:
    """What a file system leaves that knew the length and lost the data; None where the tail is zeros already."""
    content = path.read_bytes()
    start = chance.randrange(len(content))
    if not any(content[start:]):
        return None
    path.write_bytes(content[:start] + bytes(len(content) - start))
    return [path]


def truncate(path: Path, chance: random.Random, folder: Path) -> list[Path]:
    with path.open("r+b") as file:
        file.truncate(chance.randrange(path.stat().st_size))
    return [path]


def append(path: Path, chance: random.Random, folder: Path) -> list[Path]:
    with path.open("ab") as file:
        file.write(chance.randbytes(chance.randint(1, 100)))
    return [path]


def remove(path: Path, chance: random.Random, folder: Path) -> list[Path]:
    path.unlink()
    return [path]


def exchange(path: Path, chance: random.Random, folder: Path) -> list[Path] | None:
    """Two files of the same kind, or of any: each is whole, and in the wrong place."""
    others = [
        one
        for one in derived_files(folder)
        if one != path and one.exists() and one.read_bytes() != path.read_bytes() and one.name != VERIFIED_NAME
    ]
    alike = [one for one in others if one.suffix == path.suffix]
    if path.name == VERIFIED_NAME or not others:
        return None
    other = chance.choice(alike or others)
    kept = path.with_name("kept")
    path.rename(kept)
    other.rename(path)
    kept.rename(other)
    return [path, other]


def older_version(path: Path, chance: random.Random, folder: Path) -> list[Path] | None:
    """Another format version, where the file has one in readable form."""
    content = path.read_bytes()
    changed = content.replace(b'"format":', b'"format":9', 1)
    if changed == content:
        return None
    path.write_bytes(changed)
    return [path]


def a_folder_in_its_place(path: Path, chance: random.Random, folder: Path) -> list[Path] | None:
    if path.name == VERIFIED_NAME:
        return None
    path.unlink()
    path.mkdir()
    return [path]


def remove_the_whole_folder(path: Path, chance: random.Random, folder: Path) -> list[Path] | None:
    if path.name == VERIFIED_NAME or chance.random() < 0.5:
        return None
    gone = [one for one in path.parent.iterdir() if one.is_file()]
    shutil.rmtree(path.parent)
    return gone


def lie_about_what_was_verified(path: Path, chance: random.Random, folder: Path) -> list[Path] | None:
    """The list of verified files says other numbers than the operating system: it must not be believed."""
    path = folder / VERIFIED_NAME
    if not path.exists():
        return None
    known = json.loads(path.read_bytes())
    known["files"] = {name: [number + 1 for number in numbers] for name, numbers in known["files"].items()}
    path.write_text(json.dumps(known))
    return [path]


KINDS: Final[dict[str, Damage]] = {
    "bits flipped": flip_bits,
    "tail zeroed": zero_the_tail,
    "truncated": truncate,
    "longer": append,
    "missing": remove,
    "exchanged": exchange,
    "another version": older_version,
    "a folder": a_folder_in_its_place,
    "folder missing": remove_the_whole_folder,
    "list of verified files": lie_about_what_was_verified,
}
