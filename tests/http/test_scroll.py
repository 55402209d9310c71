"""Scroll and count over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest

from tests.http.client import Collection, Create

NUMBERS = [0, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**19 - 1, 10**19, 2**64 - 1]
UUIDS = [str(UUID(int=number)) for number in (0, 1, 2**64, 2**127, 2**128 - 1)]


@pytest.fixture
def mixed(create: Create) -> Collection:
    """Points whose ids are numbers of all sizes and UUIDs, written in no order."""
    collection = create(vectors={"size": 1, "distance": "Dot"})
    ids: list[Any] = [*NUMBERS, *UUIDS]
    np.random.default_rng(3).shuffle(ids)
    collection.upsert(*({"id": point_id, "vector": [1], "payload": {"id": str(point_id)}} for point_id in ids))
    return collection


@pytest.mark.parametrize("limit", [1, 2, 5, 14, 15])
def test_pages_go_by_id_numbers_first_and_meet_every_point_once(mixed: Collection, limit: int) -> None:
    seen: list[Any] = []
    request: dict[str, Any] = {"limit": limit}
    while True:
        page = mixed.points("POST", "/scroll", request)
        assert len(page["points"]) <= limit
        seen += [point["id"] for point in page["points"]]
        if page["next_page_offset"] is None:
            break
        assert page["next_page_offset"] not in seen
        request["offset"] = page["next_page_offset"]
    assert seen == [*NUMBERS, *UUIDS]


def test_the_offset_is_inclusive_and_need_not_exist(mixed: Collection) -> None:
    def first(offset: Any) -> Any:
        return mixed.points("POST", "/scroll", {"offset": offset, "limit": 1})["points"][0]["id"]

    assert first(2**63) == 2**63
    assert first(2**63 + 1) == 10**19 - 1
    assert first(2) == 2**31
    assert first("00000000000000000000000000000002") == UUIDS[2]
    assert first(str(UUID(int=0))) == UUIDS[0]


def test_an_offset_behind_the_last_point_is_an_empty_page(mixed: Collection, create: Create) -> None:
    mixed.change("POST", "/delete", {"points": [UUIDS[-1]]})
    page = mixed.points("POST", "/scroll", {"offset": UUIDS[-1]})
    assert page == {"points": [], "next_page_offset": None}
    assert create().points("POST", "/scroll", {}) == {"points": [], "next_page_offset": None}


def test_payload_is_on_and_vectors_are_off_by_default(mixed: Collection) -> None:
    page = mixed.points("POST", "/scroll", {"limit": 1})
    assert page == {"points": [{"id": 0, "payload": {"id": "0"}}], "next_page_offset": 1}
    page = mixed.points("POST", "/scroll", {"limit": 1, "with_payload": False, "with_vector": True})
    assert page["points"] == [{"id": 0, "vector": [1.0]}]


def test_ten_points_are_a_page(mixed: Collection) -> None:
    assert len(mixed.points("POST", "/scroll", {})["points"]) == 10


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (422, {"limit": 0}),
        (400, {"limit": -1}),
        (400, {"limit": "10"}),
        (400, {"limit": 1.5}),
        (400, {"offset": "x"}),
        (400, {"with_vector": 3}),
        (400, []),
    ],
    ids=str,
)
def test_a_wrong_scroll_is_refused(mixed: Collection, status: int, body: Any) -> None:
    mixed.refusal(status, "POST", "/scroll", body)


@pytest.mark.parametrize("exact", [True, False])
def test_count_counts_points_whether_they_have_vectors_or_not(named: Collection, exact: bool) -> None:
    assert named.points("POST", "/count", {"exact": exact}) == {"count": 3}
    named.change("POST", "/delete", {"points": [3, 99]})
    assert named.points("POST", "/count", {"exact": exact}) == {"count": 2}
    assert named.info()["points_count"] == 2
