"""Work that several threads share: done once each, in order, and whatever the others are busy with."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb.query import side_by_side as module
from vdb.query.side_by_side import side_by_side

DEADLINE_S = 30.0


@given(st.lists(st.integers()), st.integers(0, 4))
def test_the_results_stand_in_the_order_of_the_items(items: Sequence[int], threads: int) -> None:
    done: list[int] = []

    def work(item: int) -> int:
        done.append(item)
        return item * 2

    assert side_by_side(work, items, threads) == [item * 2 for item in items]
    assert sorted(done) == sorted(items)


def test_items_are_worked_on_at_the_same_time() -> None:
    both = threading.Barrier(2)
    waited = side_by_side(lambda item: both.wait(DEADLINE_S), range(2), 2)
    assert sorted(waited) == [0, 1]


def test_the_asking_thread_does_everything_where_the_others_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_helpers", module._Helpers())  # one of them, as nobody asks for more
    busy, go_on = threading.Barrier(3), threading.Event()  # the thread, its helper and this test

    def keep_busy(item: int) -> None:
        busy.wait(DEADLINE_S)
        go_on.wait(DEADLINE_S)

    blocked = threading.Thread(target=side_by_side, args=(keep_busy, range(2), 2))
    blocked.start()
    try:
        busy.wait(DEADLINE_S)
        assert side_by_side(lambda item: threading.get_ident(), range(8), 2) == [threading.get_ident()] * 8
    finally:
        go_on.set()
        blocked.join(DEADLINE_S)
    assert not blocked.is_alive()


def test_the_first_item_that_fails_is_told_of_after_all_have_ended() -> None:
    ended: list[int] = []

    def work(item: int) -> None:
        ended.append(item)
        if item % 2:
            raise ValueError(str(item))

    with pytest.raises(ValueError, match=r"^1$"):
        side_by_side(work, range(6), 3)
    assert sorted(ended) == list(range(6))
