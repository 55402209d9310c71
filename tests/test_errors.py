"""Errors as a client sees them: who must act is told by the status."""

from __future__ import annotations

from pathlib import Path

import pytest

from vdb.api.errors import to_http
from vdb.errors import (
    Busy,
    CollectionBroken,
    CollectionClosing,
    CollectionNotFound,
    Corrupt,
    DeadlineExceeded,
    InsufficientStorage,
    OutcomeUnknown,
    StorageFailed,
    VdbError,
    WrongDimension,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (WrongDimension(3, 4), 400),
        (CollectionNotFound("c"), 404),
        (DeadlineExceeded(1.0), 408),
        (Busy("full"), 429),
        (CollectionBroken("it stopped"), 500),
        (Corrupt(Path("file"), "why"), 500),
        (OutcomeUnknown("the disk failed"), 500),
        (CollectionClosing("c"), 503),
        (InsufficientStorage("full"), 507),
        (StorageFailed("read-only"), 507),
    ],
)
def test_an_error_has_a_status(error: VdbError, status: int) -> None:
    assert to_http(error)[0] == status


@pytest.mark.parametrize("error", [Busy("full", retry_after_s=3), CollectionClosing("c")])
def test_a_client_that_may_try_again_is_told_when(error: VdbError) -> None:
    assert int(to_http(error)[2]["Retry-After"]) > 0
