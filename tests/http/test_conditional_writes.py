"""Writes that say which points they are about by a filter, and writes that depend on what is there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.client import Collection, Create

RED = {"must": [{"key": "color", "match": {"value": "red"}}]}


@pytest.fixture(params=[False, True], ids=["scanned", "indexed"])
def colors(create: Create, request: pytest.FixtureRequest) -> Collection:
    """Points 1 to 6, of which 1, 3 and 5 are red; vectors are one and two, and point 6 has none of one."""
    collection = create(vectors={name: {"size": 2, "distance": "Dot"} for name in ("one", "two")})
    collection.upsert(
        *(
            {
                "id": i,
                "vector": {"one": [i, 0], "two": [0, i]} if i < 6 else {"two": [0, i]},
                "payload": {"color": "red" if i % 2 else "blue", "n": i, "deep": {"x": i}},
            }
            for i in range(1, 7)
        )
    )
    if request.param:
        body = {"field_name": "color", "field_schema": "keyword"}
        collection.client.result("PUT", f"{collection.path}/index", body, wait="true")
    return collection


def payloads(collection: Collection) -> dict[int, Any]:
    return {point["id"]: point["payload"] for point in collection.all()}


def vectors(collection: Collection) -> dict[int, Any]:
    return {point["id"]: point["vector"] for point in collection.all()}


def test_points_are_deleted_by_filter(colors: Collection) -> None:
    colors.change("POST", "/delete", {"filter": RED})
    assert list(payloads(colors)) == [2, 4, 6]
    colors.change("POST", "/delete", {"filter": RED})
    assert colors.count() == 3


def test_payload_operations_by_filter_change_the_matching_points_and_nothing_else_of_them(colors: Collection) -> None:
    before, versions, kept = payloads(colors), dict(colors.versions()), vectors(colors)
    colors.change("POST", "/payload", {"filter": RED, "payload": {"y": 1}, "key": "deep"})
    colors.change("POST", "/payload", {"filter": RED, "payload": {"new": True}})
    expected = {
        i: {**payload, "deep": {"x": i, "y": 1}, "new": True} if i % 2 else payload for i, payload in before.items()
    }
    assert payloads(colors) == expected
    colors.change("POST", "/payload/delete", {"filter": RED, "keys": ["deep.x", "n"]})
    assert payloads(colors)[3] == {"color": "red", "deep": {"y": 1}, "new": True}
    colors.change("PUT", "/payload", {"filter": RED, "payload": {"color": "red", "only": 1}})
    assert payloads(colors) == {i: {"color": "red", "only": 1} if i % 2 else before[i] for i in before}
    colors.change("POST", "/payload/clear", {"filter": RED})
    assert payloads(colors) == {i: {} if i % 2 else before[i] for i in before}
    assert vectors(colors) == kept
    after = dict(colors.versions())
    assert [i for i in after if after[i] != versions[i]] == [1, 3, 5]


def test_a_write_that_changes_what_it_is_about_sees_the_state_before_it(colors: Collection) -> None:
    colors.change("POST", "/payload", {"filter": RED, "payload": {"color": "blue"}})
    assert {payload["color"] for payload in payloads(colors).values()} == {"blue"}
    colors.change("POST", "/payload", {"filter": RED, "payload": {"color": "green"}})
    assert {payload["color"] for payload in payloads(colors).values()} == {"blue"}


def test_vectors_are_deleted_by_filter(colors: Collection) -> None:
    colors.change("POST", "/vectors/delete", {"filter": RED, "vector": ["one"]})
    assert {i: sorted(found) for i, found in vectors(colors).items()} == {
        i: ["two"] if i % 2 or i == 6 else ["one", "two"] for i in range(1, 7)
    }
    assert {hit["id"] for hit in colors.query(query=[1, 0], using="one")} == {2, 4}
    assert colors.points("POST", "/count", {"filter": {"must": [{"has_vector": "one"}]}}) == {"count": 2}


def test_where_ids_and_a_filter_are_given_the_ids_decide(colors: Collection) -> None:
    colors.change("POST", "/payload", {"points": [2], "filter": RED, "payload": {"n": 0}})
    assert [i for i, payload in payloads(colors).items() if payload["n"] == 0] == [2]


def test_vectors_are_updated_only_where_the_filter_matches(colors: Collection) -> None:
    points = [{"id": i, "vector": {"one": [9, 9]}} for i in (1, 2, 3)]
    colors.change("PUT", "/vectors", {"points": points, "update_filter": RED})
    assert [vectors(colors)[i]["one"] for i in (1, 2, 3)] == [[9.0, 9.0], [2.0, 0.0], [9.0, 9.0]]


def written(collection: Collection) -> list[int]:
    return [i for i, payload in payloads(collection).items() if payload.get("mark")]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, [1, 2, 7]),
        ({"update_mode": "upsert"}, [1, 2, 7]),
        ({"update_mode": "insert_only"}, [7]),
        ({"update_mode": "update_only"}, [1, 2]),
        ({"update_filter": RED}, [1, 7]),
        ({"update_filter": RED, "update_mode": "upsert"}, [1, 7]),
        ({"update_filter": RED, "update_mode": "update_only"}, [1]),
        ({"update_filter": RED, "update_mode": "insert_only"}, [7]),
    ],
    ids=str,
)
def test_an_upsert_lets_in_the_points_that_its_mode_and_filter_allow(
    colors: Collection, how: dict[str, Any], expected: list[int]
) -> None:
    points = [{"id": i, "vector": {"two": [7, 7]}, "payload": {"mark": True}} for i in (1, 2, 7)]
    before = colors.all()
    colors.change("PUT", "", {"points": points, **how})
    assert written(colors) == expected
    untouched = [point for point in before if point["id"] not in expected]
    assert [point for point in colors.all() if point["id"] not in expected] == untouched
    columns = {"ids": [1, 2, 7], "vectors": {"two": [[7, 7]] * 3}, "payloads": [{"mark": 2}] * 3}
    colors.change("PUT", "", {"batch": columns, **({**how, "update_filter": None} if "update_filter" in how else how)})
    assert 7 in written(colors) or how.get("update_mode") == "update_only"


@pytest.mark.parametrize(
    "how", [{"update_mode": "sometimes"}, {"update_mode": 1}, {"update_filter": {"most": []}}], ids=str
)
def test_a_mode_that_is_none_is_refused(colors: Collection, how: dict[str, Any]) -> None:
    with colors.unchanged():
        colors.refusal(400, "PUT", "", {"points": [{"id": 1, "vector": {}}], **how})


def test_operations_of_a_batch_see_those_before_them(colors: Collection) -> None:
    blue = {"must": [{"key": "color", "match": {"value": "blue"}}]}
    operations: list[dict[str, Any]] = [
        {"set_payload": {"payload": {"color": "blue"}, "points": [1]}},
        {"set_payload": {"payload": {"seen": True}, "filter": blue}},
        {"upsert": {"points": [{"id": 8, "vector": {}, "payload": {"color": "blue"}}]}},
        {"overwrite_payload": {"payload": {"color": "black"}, "filter": {"must": [{"has_id": [2, 8]}]}}},
        {"delete": {"filter": {"must": [{"key": "color", "match": {"value": "black"}}, {"has_id": [2]}]}}},
        {"delete_payload": {"keys": ["n"], "filter": RED}},
        {"delete_vectors": {"vector": ["two"], "filter": RED}},
        {"update_vectors": {"points": [{"id": 3, "vector": {"two": [1, 1]}}], "update_filter": RED}},
        {"clear_payload": {"filter": {"must": [{"has_id": [6]}]}}},
    ]
    results = colors.points("POST", "/batch", {"operations": operations}, wait="true")
    ids = [result["operation_id"] for result in results]
    assert ids == [*range(ids[0], ids[0] + len(operations))]
    found = payloads(colors)
    assert {i: payload.get("seen") for i, payload in found.items()} == {
        1: True,
        3: None,
        4: True,
        5: None,
        6: None,
        8: None,
    }
    assert found[8] == {"color": "black"}
    assert found[6] == {}
    assert "n" not in found[3]
    kept = vectors(colors)
    assert kept[3] == {"one": [3.0, 0.0], "two": [1.0, 1.0]}
    assert kept[5] == {"one": [5.0, 0.0]}


def test_a_write_about_nothing_changes_nothing_and_is_fine(colors: Collection) -> None:
    nothing = {"must": [{"key": "color", "match": {"value": "pink"}}]}
    before = colors.all(), colors.versions()
    colors.change("POST", "/payload", {"filter": nothing, "payload": {"x": 1}})
    colors.change("POST", "/payload/clear", {"filter": nothing})
    colors.change("POST", "/vectors/delete", {"filter": nothing, "vector": ["one"]})
    colors.change("POST", "/delete", {"filter": nothing})
    assert (colors.all(), colors.versions()) == before


@pytest.mark.parametrize("on_disk", [True, False])
def test_payloads_are_the_same_in_memory_and_on_disk(create: Create, on_disk: bool) -> None:
    """What a write has done is in the very next answer, wherever payloads are kept, and after they moved."""
    collection = create(vectors={"size": 1, "distance": "Dot"}, on_disk_payload=on_disk)
    for i in range(20):
        collection.upsert({"id": i, "vector": [i], "payload": {"n": i, "text": "Grüße"}})
        assert collection.get(i)["payload"] == {"n": i, "text": "Grüße"}
    collection.change(
        "POST", "/payload", {"filter": {"must": [{"key": "n", "range": {"lt": 10}}]}, "payload": {"n": -1}}
    )
    for _ in range(2):
        assert [point["payload"]["n"] for point in collection.all()] == [-1] * 10 + [*range(10, 20)]
        hits = collection.query(query=[1], filter={"must": [{"key": "n", "match": {"value": -1}}]}, with_payload=True)
        assert [hit["payload"] for hit in hits] == [{"n": -1, "text": "Grüße"}] * 10
        mixed = {
            "must": [{"key": "n", "match": {"value": -1}}],
            "should": [{"has_id": [3, 15]}, {"is_empty": {"key": "n"}}],
        }
        assert [hit["id"] for hit in collection.query(filter=mixed)] == [3]
        collection.change("POST", "/payload/clear", {"points": [19]})
        assert collection.get(19)["payload"] == {}
        collection.change("PUT", "/payload", {"points": [19], "payload": {"n": 19}})
        on_disk = not on_disk
        collection.client.result("PATCH", collection.path, {"params": {"on_disk_payload": on_disk}})
