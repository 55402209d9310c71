"""A model small enough to work its answers out by hand, built with the ``onnx`` package: nothing is downloaded.

It has four words; a token's vector is the word's row of ``ROWS``. A text is the tokens ``[CLS]``, its words, ``[SEP]``.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Final

import numpy as np

VOCABULARY: Final = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "red": 4, "green": 5, "warm": 6, "cold": 7}
ROWS: Final = np.array(
    [[9, 9, 9], [0, 0, 0], [0, 0, 1], [0, 0, 1], [2, 0, 0], [0, 2, 0], [1, 0, 0], [0, 1, 0]], dtype=np.float32
)


def write_model(folder: Path, *, extra_input: bool = False, pooled: bool = False) -> Path:
    """A folder with ``model.onnx`` and ``tokenizer.json``; ``pooled`` answers the tokens' sum, one vector a text."""
    onnx = import_module("onnx")  # not there without the extra, nor are types for it
    helper, kind = onnx.helper, onnx.TensorProto
    folder.mkdir()
    names = ["input_ids", "attention_mask", *(["pixels"] if extra_input else [])]
    inputs = [helper.make_tensor_value_info(name, kind.INT64, ["texts", "tokens"]) for name in names]
    nodes = [helper.make_node("Gather", ["rows", "input_ids"], ["tokens"])]
    shape: list[str | int] = ["texts", "tokens", 3]
    if pooled:
        nodes.append(helper.make_node("ReduceSum", ["tokens", "axis"], ["sum"], keepdims=0))
        shape = ["texts", 3]
    output = helper.make_tensor_value_info("sum" if pooled else "tokens", kind.FLOAT, shape)
    constants = [onnx.numpy_helper.from_array(ROWS, "rows"), onnx.numpy_helper.from_array(np.array([1]), "axis")]
    graph = helper.make_graph(nodes, "tiny", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()), encoding="utf-8")
    return folder


def _tokenizer() -> dict[str, object]:
    """Words at spaces, in lower case, between ``[CLS]`` and ``[SEP]``."""
    special = [{"id": name, "ids": [VOCABULARY[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")]
    first, last = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]"))
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, text, last],
            "pair": [first, text, last],
            "special_tokens": {entry["id"]: entry for entry in special},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": VOCABULARY, "unk_token": "[UNK]"},
    }
