"""Points over HTTP: written and read back."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.http.client import Collection, Create

UUID_TEXT = "550e8400-e29b-41d4-a716-446655440000"

# What a client may write, and what it reads back.
IDS: list[tuple[Any, int | str]] = [
    (0, 0),
    (2**63 - 1, 2**63 - 1),
    (2**63, 2**63),
    (10**19 - 1, 10**19 - 1),
    (10**19, 10**19),
    (2**64 - 1, 2**64 - 1),
    (UUID_TEXT, UUID_TEXT),
    (UUID_TEXT.upper(), UUID_TEXT),
    (UUID(UUID_TEXT).hex, UUID_TEXT),
    (f"urn:uuid:{UUID_TEXT}", UUID_TEXT),
]

WRONG_IDS: list[Any] = [
    -1,
    2**64,
    10**30,
    "",
    "1",
    "x",
    UUID_TEXT[:-1],
    "{" + UUID_TEXT + "}",
    1.5,
    1.0,
    True,
    None,
    [1],
]


@pytest.mark.parametrize(("sent", "answered"), IDS)
def test_an_id_has_one_spelling_in_answers_and_many_in_requests(create: Create, sent: Any, answered: int | str) -> None:
    collection = create()
    collection.upsert({"id": sent, "vector": [1, 2, 3, 4]})
    whole: dict[str, Any] = {"id": answered, "payload": {}, "vector": [1.0, 2.0, 3.0, 4.0]}
    assert collection.get(sent) == collection.get(answered) == whole
    assert collection.points("POST", "", {"ids": [sent]}) == [{"id": answered, "payload": {}}]
    assert [hit["id"] for hit in collection.query(query=[1, 1, 1, 1])] == [answered]
    assert collection.query(query=sent) == []
    assert collection.points("POST", "/scroll", {"offset": sent})["points"][0]["id"] == answered
    collection.change("POST", "/payload", {"points": [sent], "payload": {"a": 1}})
    assert collection.get(answered)["payload"] == {"a": 1}
    collection.change("POST", "/delete", {"points": [sent]})
    assert collection.count() == 0


@pytest.mark.parametrize("wrong", WRONG_IDS, ids=repr)
def test_a_wrong_id_is_refused_wherever_it_stands_and_changes_nothing(plain: Collection, wrong: Any) -> None:
    good = {"id": 77, "vector": [1, 2, 3, 4]}
    with plain.unchanged():
        messages = [
            plain.refusal(400, "PUT", "", {"points": [good, {"id": wrong, "vector": [1, 2, 3, 4]}]}),
            plain.refusal(400, "PUT", "", {"batch": {"ids": [77, wrong], "vectors": [[1, 2, 3, 4]] * 2}}),
            plain.refusal(400, "PUT", "/vectors", {"points": [{"id": wrong, "vector": [1, 2, 3, 4]}]}),
            plain.refusal(400, "POST", "/vectors/delete", {"points": [1, wrong], "vector": [""]}),
            plain.refusal(400, "POST", "/delete", {"points": [1, wrong]}),
            plain.refusal(400, "POST", "/payload", {"points": [1, wrong], "payload": {"a": 1}}),
            plain.refusal(400, "PUT", "/payload", {"points": [1, wrong], "payload": {"a": 1}}),
            plain.refusal(400, "POST", "/payload/delete", {"points": [1, wrong], "keys": ["city"]}),
            plain.refusal(400, "POST", "/payload/clear", {"points": [1, wrong]}),
            plain.refusal(400, "POST", "", {"ids": [1, wrong]}),
        ]
        if wrong is not None:
            messages.append(plain.refusal(400, "POST", "/scroll", {"offset": wrong}))
    assert all(message.startswith("Format error in JSON body: ") for message in messages), messages
    if type(wrong) in (int, str):
        tail = f"value {wrong} is not a valid point ID, valid values are either an unsigned integer or a UUID"
        assert all(message.endswith(tail) for message in messages), messages


@pytest.mark.parametrize("wrong", ["-1", str(2**64), "1" * 400, "x", "1.0", "%31x", UUID_TEXT[1:]])
def test_a_wrong_id_in_the_path_is_refused(plain: Collection, wrong: str) -> None:
    assert plain.refusal(400, "GET", f"/{wrong}").startswith("Wrong input: ")


def test_a_missing_point_is_404_with_its_id(plain: Collection) -> None:
    assert plain.refusal(404, "GET", "/99") == "Not found: No point with id 99 found"
    assert plain.refusal(404, "GET", f"/{UUID_TEXT}") == f"Not found: No point with id {UUID_TEXT} found"


def test_upsert_replaces_the_point_whole(plain: Collection) -> None:
    plain.upsert({"id": 1, "vector": [5, 6, 7, 8]})
    assert plain.get(1) == {"id": 1, "payload": {}, "vector": [5.0, 6.0, 7.0, 8.0]}
    plain.upsert({"id": 2, "vector": {}, "payload": {"new": True}})
    assert plain.get(2) == {"id": 2, "payload": {"new": True}, "vector": {}}
    assert plain.count() == 3


def test_upsert_drops_the_named_vectors_that_it_does_not_name(named: Collection) -> None:
    named.upsert({"id": 1, "vector": {"text": [7, 8]}})
    assert named.get(1) == {"id": 1, "payload": {}, "vector": {"text": [7.0, 8.0]}}
    assert named.query(query=[1, 1, 1, 1], using="image") == []


def test_the_unnamed_vector_may_be_called_by_its_empty_name(plain: Collection) -> None:
    plain.upsert({"id": 1, "vector": {"": [5, 6, 7, 8]}})
    assert plain.get(1)["vector"] == [5.0, 6.0, 7.0, 8.0]


def test_points_by_columns_are_the_same_as_points_by_rows(create: Create) -> None:
    rows, columns = create(), create()
    rows.upsert(
        {"id": 1, "vector": [1, 2, 3, 4], "payload": {"a": 1}},
        {"id": UUID_TEXT, "vector": [5, 6, 7, 8]},
    )
    batch = {"ids": [1, UUID_TEXT], "vectors": [[1, 2, 3, 4], [5, 6, 7, 8]], "payloads": [{"a": 1}, None]}
    columns.change("PUT", "", {"batch": batch})
    assert columns.all() == rows.all()
    columns.change("PUT", "", {"batch": {"ids": [1], "vectors": [[1, 2, 3, 4]]}})
    assert columns.get(1)["payload"] == {}


def test_named_vectors_by_columns(named: Collection) -> None:
    vectors = {"image": [[1, 0, 0, 0], [0, 1, 0, 0]], "text": [[1, 2], [3, 4]]}
    named.change("PUT", "", {"batch": {"ids": [1, 9], "vectors": vectors}})
    assert named.get(9)["vector"] == {"image": [0.0, 1.0, 0.0, 0.0], "text": [3.0, 4.0]}
    assert named.count() == 4


@pytest.mark.parametrize(
    "batch",
    [
        {"ids": [1]},
        {"vectors": [[1, 2, 3, 4]]},
        {"ids": [1], "vectors": [[1, 2, 3, 4]], "payloads": [7]},
        {"ids": [1], "vectors": [1, 2, 3, 4]},
    ],
)
def test_columns_that_are_missing_or_hold_something_else_are_refused_and_change_nothing(
    plain: Collection, batch: dict[str, Any]
) -> None:
    with plain.unchanged():
        plain.refusal(400, "PUT", "", {"batch": batch})


def test_ids_decide_where_a_filter_is_given_too(plain: Collection) -> None:
    filter = {"must": [{"key": "city", "match": {"value": "Rome"}}]}
    plain.change("POST", "/payload/clear", {"points": [1], "filter": filter})
    assert [plain.get(id)["payload"] == {} for id in (1, 2)] == [True, False]
    plain.change("POST", "/delete", {"points": [1], "filter": filter})
    plain.points("POST", "/batch", {"operations": [{"delete": {"points": [3], "filter": filter}}]}, wait="true")
    assert [point["id"] for point in plain.all()] == [2]


@pytest.mark.parametrize("columns", [False, True])
def test_of_an_id_that_stands_several_times_the_last_one_counts(create: Create, columns: bool) -> None:
    collection = create()
    if columns:
        batch = {
            "ids": [5, 6, 5],
            "vectors": [[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]],
            "payloads": [{"a": 1}, {}, None],
        }
        collection.change("PUT", "", {"batch": batch})
    else:
        collection.upsert(
            {"id": 5, "vector": [1, 1, 1, 1], "payload": {"a": 1}},
            {"id": 6, "vector": [2, 2, 2, 2]},
            {"id": 5, "vector": [3, 3, 3, 3]},
        )
    assert collection.all() == [
        {"id": 5, "payload": {}, "vector": [3.0, 3.0, 3.0, 3.0]},
        {"id": 6, "payload": {}, "vector": [2.0, 2.0, 2.0, 2.0]},
    ]
    assert [(hit["id"], hit["score"]) for hit in collection.query(query=[1, 0, 0, 0])] == [(5, 3.0), (6, 2.0)]
    assert collection.info()["points_count"] == 2


def test_an_id_twice_in_other_requests_counts_once(plain: Collection) -> None:
    assert len(plain.points("POST", "", {"ids": [1, 2]})) == 2
    plain.change("POST", "/payload", {"points": [1, 1], "payload": {"x": 1}})
    plain.change("PUT", "/vectors", {"points": [{"id": 1, "vector": [7, 7, 7, 7]}, {"id": 1, "vector": [8, 8, 8, 8]}]})
    assert plain.get(1)["vector"] == [8.0, 8.0, 8.0, 8.0]
    plain.change("POST", "/vectors/delete", {"points": [1, 1], "vector": ["", ""]})
    plain.change("POST", "/delete", {"points": [1, 1, 1]})
    assert plain.count() == 2


def test_retrieve_answers_the_points_that_exist(named: Collection) -> None:
    assert named.points("POST", "", {"ids": [2, 99]}) == [{"id": 2, "payload": {"n": 2}}]
    assert named.points("POST", "", {"ids": []}) == []
    assert named.points("POST", "", {"ids": [2], "with_payload": False}) == [{"id": 2}]
    assert named.points("POST", "", {"ids": [1], "with_payload": False, "with_vector": ["text"]}) == [
        {"id": 1, "vector": {"text": [1.0, 2.0]}}
    ]


def test_cosine_vectors_come_back_normalised_and_zero_stays_zero(create: Create) -> None:
    collection = create(vectors={"size": 2, "distance": "Cosine"})
    collection.upsert({"id": 1, "vector": [3, 4]}, {"id": 2, "vector": [0, 0]})
    assert collection.get(1)["vector"] == pytest.approx([0.6, 0.8])
    assert collection.get(2)["vector"] == [0.0, 0.0]
    assert [(hit["id"], hit["score"]) for hit in collection.query(query=[1, 0])] == [(1, pytest.approx(0.6)), (2, 0.0)]


def test_float32_prints_in_its_shortest_form(create: Create) -> None:
    collection = create(vectors={"size": 2, "distance": "Dot"})
    collection.upsert({"id": 1, "vector": [0.19, 1e-7]})
    text = collection.client.send("GET", f"{collection.path}/points/1").text
    assert '"vector":[0.19,1e-7]' in text.replace("1e-07", "1e-7")


def test_deleting_what_is_not_there_is_fine(plain: Collection) -> None:
    plain.change("POST", "/delete", {"points": [99, 1, UUID_TEXT]})
    assert [point["id"] for point in plain.all()] == [2, 3]


def test_a_deleted_point_can_be_written_again(plain: Collection) -> None:
    plain.change("POST", "/delete", {"points": [1]})
    plain.refusal(404, "GET", "/1")
    plain.upsert({"id": 1, "vector": [4, 4, 4, 4]})
    assert plain.get(1) == {"id": 1, "payload": {}, "vector": [4.0, 4.0, 4.0, 4.0]}


def test_update_vectors_leaves_payload_and_other_vectors(named: Collection) -> None:
    named.change("PUT", "/vectors", {"points": [{"id": 1, "vector": {"text": [9, 9]}}]})
    point = named.get(1)
    assert point["payload"] == {"n": 1}
    assert point["vector"] == {"image": pytest.approx([0.6, 0, 0.8, 0]), "text": [9.0, 9.0]}
    named.change("PUT", "/vectors", {"points": [{"id": 3, "vector": {"image": [1, 0, 0, 0]}}]})
    assert named.get(3)["vector"] == {"image": [1.0, 0.0, 0.0, 0.0]}
    assert {hit["id"] for hit in named.query(query=[1, 0, 0, 0], using="image")} == {1, 3}


def test_deleted_vectors_are_no_longer_found_and_may_come_back(named: Collection) -> None:
    named.change("POST", "/vectors/delete", {"points": [1], "vector": ["image"]})
    assert named.get(1)["vector"] == {"text": [1.0, 2.0]}
    assert named.query(query=[1, 0, 0, 0], using="image") == []
    named.change("POST", "/vectors/delete", {"points": [1], "vector": ["image"]})
    named.change("PUT", "/vectors", {"points": [{"id": 1, "vector": {"image": [0, 0, 1, 0]}}]})
    assert [hit["id"] for hit in named.query(query=[1, 0, 0, 0], using="image")] == [1]


def test_a_batch_of_operations_is_applied_in_order(plain: Collection) -> None:
    operations = [
        {"upsert": {"points": [{"id": 10, "vector": [1, 1, 1, 1], "payload": {"a": 1}}]}},
        {"upsert": {"batch": {"ids": [11], "vectors": [[2, 2, 2, 2]]}}},
        {"set_payload": {"points": [10], "payload": {"b": 2}}},
        {"overwrite_payload": {"points": [11], "payload": {"c": 3, "d": 4}}},
        {"delete_payload": {"points": [11], "keys": ["d"]}},
        {"clear_payload": {"points": [1]}},
        {"update_vectors": {"points": [{"id": 10, "vector": [5, 5, 5, 5]}]}},
        {"delete_vectors": {"points": [11], "vector": [""]}},
        {"delete": {"points": [2]}},
    ]
    answers = plain.points("POST", "/batch", {"operations": operations}, wait="true")
    assert [answer["status"] for answer in answers] == ["completed"] * len(operations)
    ids = [answer["operation_id"] for answer in answers]
    assert ids == sorted(set(ids))
    assert plain.all() == [
        {"id": 1, "payload": {}, "vector": [1.0, 0.0, 0.0, 0.0]},
        {"id": 3, "payload": {}, "vector": [0.0, 0.0, 3.0, 0.0]},
        {"id": 10, "payload": {"a": 1, "b": 2}, "vector": [5.0, 5.0, 5.0, 5.0]},
        {"id": 11, "payload": {"c": 3}, "vector": {}},
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"upsert": {}},
        {"drop": {}},
        {"delete": {"points": [-1]}},
        {"upsert": {"points": [{"id": 1, "vector": [1, 2]}]}},
        {"set_payload": {"points": [1]}},
        {"delete_vectors": {"points": [1], "vector": ["x"]}},
    ],
    ids=str,
)
def test_one_wrong_operation_refuses_the_whole_batch(plain: Collection, wrong: dict[str, Any]) -> None:
    with plain.unchanged():
        plain.refusal(400, "POST", "/batch", {"operations": [{"delete": {"points": [1]}}, wrong]}, wait="true")


def test_writes_are_acknowledged_or_completed_and_numbered(plain: Collection) -> None:
    first = plain.points("POST", "/delete", {"points": [99]})
    second = plain.points("POST", "/delete", {"points": [99]}, wait="true", ordering="strong", timeout=10)
    third = plain.points("POST", "/delete", {"points": [99]}, wait="false", ordering="weak")
    assert [answer["status"] for answer in (first, second, third)] == ["acknowledged", "completed", "acknowledged"]
    assert first["operation_id"] < second["operation_id"] < third["operation_id"]


def test_a_read_after_an_acknowledged_write_sees_it(create: Create) -> None:
    collection = create()
    for number in range(50):
        collection.points("PUT", "", {"points": [{"id": number, "vector": [number, 0, 0, 1]}]})
        assert collection.count() == number + 1
        assert collection.get(number)["vector"][0] == number


def test_the_version_of_a_point_is_the_operation_that_last_changed_it(plain: Collection) -> None:
    answer = plain.points("POST", "/payload", {"points": [2], "payload": {"a": 1}}, wait="true")
    versions = dict(plain.versions())
    assert versions[2] == answer["operation_id"] > versions[1] == versions[3]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/payload", {"points": [1, 99], "payload": {"a": 1}}),
        ("PUT", "/payload", {"points": [1, 99], "payload": {"a": 1}}),
        ("POST", "/payload/delete", {"points": [1, 99], "keys": ["city"]}),
        ("POST", "/payload/clear", {"points": [1, 99]}),
        ("PUT", "/vectors", {"points": [{"id": 1, "vector": [9, 9, 9, 9]}, {"id": 99, "vector": [9, 9, 9, 9]}]}),
        ("POST", "/vectors/delete", {"points": [1, 99], "vector": [""]}),
    ],
)
def test_changing_a_missing_point_is_404_and_changes_nothing(
    plain: Collection, method: str, path: str, body: dict[str, Any]
) -> None:
    with plain.unchanged():
        assert plain.refusal(404, method, path, body, wait="true") == "Not found: No point with id 99 found"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "", {"points": []}),
        ("PUT", "", {"batch": {"ids": [], "vectors": []}}),
        ("POST", "/delete", {"points": []}),
        ("POST", "/payload", {"points": [], "payload": {"a": 1}}),
        ("PUT", "/payload", {"points": [], "payload": {"a": 1}}),
        ("POST", "/payload/delete", {"points": [], "keys": ["a"]}),
        ("POST", "/payload/clear", {"points": []}),
        ("POST", "/vectors/delete", {"points": [], "vector": [""]}),
        ("POST", "/batch", {"operations": [{"delete": {"points": [1]}}, {"upsert": {"points": []}}]}),
    ],
    ids=str,
)
def test_a_write_that_names_no_point_is_refused(
    plain: Collection, method: str, path: str, body: dict[str, Any]
) -> None:
    with plain.unchanged():
        assert plain.refusal(400, method, path, body, wait="true") == "Wrong input: Empty update request"


def test_a_large_upsert_with_payloads_that_look_like_points_arrives_whole(create: Create) -> None:
    """Bodies above a quarter of a megabyte are decoded slice by slice, cut between two points."""
    collection = create()
    payload = {"points": [{"id": 1, "vector": [1]}, {"id": 2}], "text": '}, {"id": 3, "vector": [9, 9, 9, 9]}', "n": 0}
    points = [{"id": i, "vector": [i, 1, 2, 3], "payload": payload | {"n": i}} for i in range(4000)]
    collection.upsert(*points)
    stored = collection.all()
    assert [point["id"] for point in stored] == list(range(4000))
    assert all(point["payload"] == payload | {"n": point["id"]} for point in stored)
    assert all(point["vector"] == [point["id"], 1.0, 2.0, 3.0] for point in stored)
