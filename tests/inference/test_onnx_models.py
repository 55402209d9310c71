"""Models from a folder: what a tiny one answers is known by hand; and a server that was told of it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.http.client import Client
from tests.http.running_server import RunningServer
from tests.inference.conftest import document
from tests.inference.tiny_model import write_model
from vdb.config import OnnxModelSettings
from vdb.errors import BadRequest, Busy, Misconfigured
from vdb.inference.bm25 import dimension
from vdb.inference.embedders import Embedders
from vdb.inference.onnx_process import BATCH_TEXTS, OnnxEmbedder
from vdb.model.inference import Document
from vdb.model.sparse import SparseVector

# Looked for and not imported: onnxruntime crashes a process that has usearch.
if not all(map(importlib.util.find_spec, ("onnx", "onnxruntime", "tokenizers"))):
    pytest.skip("needs the extra `onnx`", allow_module_level=True)

NAME = "Tiny/colours"
Load = Callable[..., OnnxEmbedder]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def load() -> Iterator[Load]:
    """Starts models, and ends their processes after the test."""
    started: list[OnnxEmbedder] = []

    def load(folder: Path, **settings: Any) -> OnnxEmbedder:
        started.append(OnnxEmbedder(OnnxModelSettings(name=NAME, path=str(folder), **settings)))
        return started[-1]

    yield load
    for model in started:
        model.close()


def vectors(model: OnnxEmbedder, *texts: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.stack([np.asarray(vector) for vector in model.embed(texts, "document", None)])


def test_a_text_is_the_mean_of_its_tokens_at_length_one(folder: Path, load: Load) -> None:
    # [CLS] red warm [SEP]: (0,0,1) + (2,0,0) + (1,0,0) + (0,0,1) = (3,0,2), of length √13.
    assert load(folder).dim == 3
    assert vectors(load(folder), "Red warm") == pytest.approx(np.array([[3, 0, 2]]) / 13**0.5)


def test_padding_does_not_count(folder: Path, load: Load) -> None:
    model = load(folder, normalize=False)
    # green: ((0,0,1) + (0,2,0) + (0,0,1)) / 3, beside a text of six tokens that makes it padded.
    assert vectors(model, "red warm red warm", "green")[1] == pytest.approx([0, 2 / 3, 2 / 3])


def test_cls_takes_the_first_token(folder: Path, load: Load) -> None:
    assert vectors(load(folder, pooling="cls"), "red", "green") == pytest.approx(np.array([[0, 0, 1], [0, 0, 1]]))


def test_a_model_that_pools_itself_is_taken_at_its_word(tmp_path: Path, load: Load) -> None:
    model = load(write_model(tmp_path / "pooled", pooled=True), normalize=False)
    assert vectors(model, "red green") == pytest.approx(np.array([[2, 2, 2]]))


def test_a_long_text_is_cut_to_the_tokens_of_the_model(folder: Path, load: Load) -> None:
    # Three tokens: [CLS] red [SEP].
    assert vectors(load(folder, max_tokens=3), "red green cold") == pytest.approx(np.array([[2, 0, 2]]) / 8**0.5)


def test_many_texts_come_back_in_their_order(folder: Path, load: Load) -> None:
    texts = ["red " * (number % 7) + "green" for number in range(3 * BATCH_TEXTS + 1)]
    model = load(folder)
    together = vectors(model, *texts)
    assert together == pytest.approx(np.concatenate([vectors(model, text) for text in texts]))


def test_texts_for_several_models_come_back_in_their_order(folder: Path, load: Load) -> None:
    embedders = Embedders([load(folder)])
    texts = [("red", NAME), ("red", "Qdrant/bm25"), ("green", NAME.lower())]
    made = embedders.embed([Document(text=text, model=model) for text, model in texts], "document")
    assert made[0] == pytest.approx(np.array([2, 0, 2]) / 8**0.5)
    assert isinstance(made[1], SparseVector)
    assert made[1].indices.tolist() == [dimension("red")]
    assert made[2] == pytest.approx(np.array([0, 2, 2]) / 8**0.5)


def test_a_model_has_no_options(folder: Path, load: Load) -> None:
    with pytest.raises(BadRequest, match="`lang`"):
        load(folder).embed(["red"], "query", {"lang": "en"})


def test_a_folder_that_is_no_model_is_named(tmp_path: Path, folder: Path, load: Load) -> None:
    with pytest.raises(Misconfigured, match=rf"{NAME}.*model\.onnx"):
        load(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"no graph")
    (broken / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    with pytest.raises(Misconfigured, match=NAME):
        load(broken)
    with pytest.raises(Misconfigured, match="pixels"):
        load(write_model(tmp_path / "images", extra_input=True))


def test_two_models_of_one_name_are_refused(folder: Path, load: Load) -> None:
    one = load(folder)
    with pytest.raises(Misconfigured, match="already"):
        Embedders([one, load(folder)])


def test_a_process_that_died_is_started_again(folder: Path, load: Load) -> None:
    model = load(folder)
    before = vectors(model, "red")
    assert model._process is not None
    model._process.kill()
    with pytest.raises(Busy, match=NAME):
        model.embed(["red"], "query", None)
    assert vectors(model, "red") == pytest.approx(before)


@contextlib.contextmanager
def server_with(models: list[dict[str, Any]], place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``vdb serve`` with ``models`` in its configuration; its log is ``place/log``."""
    config = place / "config.yaml"
    config.write_text(yaml.safe_dump({"inference": {"models": models}}), encoding="utf-8")
    command = [sys.executable, "-m", "vdb", "serve", "--config", str(config), "--port", "0"]
    command += ["--storage-path", str(place / "storage")]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("VDB__", "QDRANT__"))}
    with (
        (place / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=inherited) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def test_a_server_searches_texts_by_meaning_and_by_words(folder: Path, tmp_path: Path) -> None:
    with server_with([{"name": NAME, "path": str(folder)}], tmp_path) as process:
        client = Client(RunningServer(tmp_path / "storage", process, tmp_path / "log").url)
        dense = {"": {"size": 3, "distance": "Cosine"}}
        collection = client.create("colours", vectors=dense[""], sparse_vectors={"words": {"modifier": "idf"}})
        for point_id, text in enumerate(["red", "green", "cold"], start=1):
            vector = {"": {"text": text, "model": NAME}, "words": document(text)}
            collection.upsert({"id": point_id, "vector": vector})
        collection.upsert({"id": 4, "vector": {"text": "warm warm", "model": NAME}})
        # Warm is red's direction: red (2,0,2)/√8, warm warm (2,0,2)/√8.
        hits = collection.query(query={"text": "warm", "model": NAME.lower()}, limit=2)
        assert {hit["id"] for hit in hits} == {1, 4}
        prefetch = [{"query": {"text": "warm", "model": NAME}}, {"query": document("cold"), "using": "words"}]
        assert {hit["id"] for hit in collection.query(prefetch=prefetch, query={"fusion": "rrf"})} == {1, 2, 3, 4}
        message = collection.refusal(
            400, "PUT", "", {"points": [{"id": 9, "vector": {"words": {"text": "x", "model": NAME}}}]}
        )
        assert "makes dense ones" in message
        message = collection.refusal(400, "POST", "/query", {"query": {"text": "x", "model": "other"}})
        assert NAME in message
        client.close()


def test_a_server_whose_model_is_missing_does_not_start(tmp_path: Path) -> None:
    with server_with([{"name": NAME, "path": str(tmp_path / "nowhere")}], tmp_path) as process:
        assert process.wait(30) == 1
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert f"`{NAME}`" in log.splitlines()[-1]
    assert "model.onnx" in log.splitlines()[-1]
    assert "Traceback" not in log
