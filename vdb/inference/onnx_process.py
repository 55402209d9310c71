"""Texts as dense vectors, by an ONNX model that a process of its own computes (see ``onnx_worker``).

Guarantees
    Requests take turns in the order in which they come, a batch a turn: a query waits for one batch of an upsert.
    A process that died is started again by the next request. It leaves when the server does, however that ends.
Assumes
    It is called from threads; starting and embedding block.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final, cast

import msgspec
import numpy as np

from vdb.config import OnnxModelSettings
from vdb.errors import BadRequest, Busy, Misconfigured
from vdb.inference.embedder import Embedding, Purpose
from vdb.inference.onnx_worker import Texts, Vectors, read_frame, write_frame
from vdb.model.inference import Options
from vdb.model.vectors import Floats

# Texts that are computed at once: more gain nothing on a few CPUs, and a query waits for so many at most.
BATCH_TEXTS: Final = 16


class OnnxEmbedder:
    """One model in its process. Raises Misconfigured for a model that is not there or does not work."""

    def __init__(self, settings: OnnxModelSettings) -> None:
        self.name = settings.name
        self._settings = settings
        self._turns = _Turns()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.dim = self._start()
        except _Failed as error:
            raise Misconfigured(f"inference.models: `{settings.name}` in {settings.path}: {error}") from error

    def embed(self, texts: Sequence[str], purpose: Purpose, options: Options | None) -> Sequence[Embedding]:
        """``(dim,)`` float32 vectors. Raises BadRequest for options, because the model has none; Busy when it died."""
        if options:
            raise BadRequest(f"Model `{self.name}` takes no options, got {', '.join(f'`{name}`' for name in options)}")
        # Padding makes short texts as long as the longest beside them: texts of a length are put together.
        order = sorted(range(len(texts)), key=lambda position: len(texts[position]))
        vectors: dict[int, Floats] = {}
        for start in range(0, len(order), BATCH_TEXTS):
            positions = order[start : start + BATCH_TEXTS]
            with self._turns.take():
                block = self._ask([texts[position] for position in positions])
            vectors.update(zip(positions, block, strict=True))
        return [vectors[position] for position in range(len(texts))]

    def close(self) -> None:
        """Ends the process."""
        with self._turns.take():
            self._stop()

    def _ask(self, texts: list[str]) -> Floats:
        """``(n, dim)`` float32; called in turn."""
        try:
            if self._process is None:
                self._start()
            answer = self._exchange(Texts(texts))
        except _Failed as error:
            raise Busy(f"Model `{self.name}` is not there, and will be started again: {error}") from error
        if answer.error is not None:
            raise BadRequest(f"Model `{self.name}` has no answer to this text: {answer.error}")
        return np.frombuffer(answer.block, dtype="<f4").reshape(-1, answer.dim)

    def _start(self) -> int:
        """Starts the process and waits for the model, whose dimension is returned; raises _Failed."""
        if getattr(sys, "frozen", False):
            raise _Failed("models need vdb as a Python package, an executable has no room for onnxruntime")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vdb.inference.onnx_worker", msgspec.json.encode(self._settings).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        answer = self._exchange(None)
        if answer.error is not None:
            self._stop()
            raise _Failed(answer.error)
        return answer.dim

    def _exchange(self, message: Texts | None) -> Vectors:
        assert self._process is not None
        try:
            if message is not None:
                write_frame(cast(BinaryIO, self._process.stdin), message)
            return read_frame(cast(BinaryIO, self._process.stdout), Vectors)
        except (EOFError, OSError) as error:
            raise _Failed(f"its process left with {self._stop()}") from error

    def _stop(self) -> int | None:
        """Ends the process where there is one; its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.close()
        except OSError:  # What was not written yet has nobody to read it.
            process.kill()
        code = process.wait()
        process.stdout.close()
        return code


class _Failed(Exception):
    """The process did not start, or is gone."""


class _Turns:
    """A lock that is given in the order in which it is asked for: an upsert of many batches must not keep it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._given_out = 0
        self._now = 0

    @contextmanager
    def take(self) -> Iterator[None]:
        with self._changed:
            mine = self._given_out
            self._given_out += 1
            self._changed.wait_for(lambda: self._now == mine)
        try:
            yield
        finally:
            with self._changed:
                self._now += 1
                self._changed.notify_all()
