"""The process that computes one ONNX model: ``python -m vdb.inference.onnx_worker SETTINGS``, started by the server.

A process of its own, because importing onnxruntime (1.31.1; not yet 1.22) into one that has usearch crashes it. A model
that crashes later ends nothing but itself, too.

::

    frame     length (u32, little-endian), MessagePack
    stdin     Texts, Texts, …                 at the end of it the process leaves
    stdout    Vectors once the model is loaded and tried, then one Vectors for each Texts

The folder holds ``model.onnx`` and ``tokenizer.json``, as sentence-transformers models are published. A model that
answers one vector a token is pooled: the mean of the tokens of a text, or the first one. Nothing is ever downloaded.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from vdb.config import OnnxModelSettings
from vdb.model.vectors import Floats, normalise

MODEL_FILE: Final = "model.onnx"
TOKENIZER_FILE: Final = "tokenizer.json"
_INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
_LENGTH: Final = struct.Struct("<I")

T = TypeVar("T")


class Texts(msgspec.Struct, frozen=True):
    texts: list[str]


class Vectors(msgspec.Struct, frozen=True, kw_only=True):
    """``block`` is row-major float32 of ``dim`` columns, or ``error`` says why there is none."""

    dim: int = 0
    block: bytes = b""
    error: str | None = None


class OnnxModel:
    """A loaded model. Raises ImportError without the extra ``onnx``, OSError and the libraries' own errors."""

    def __init__(self, settings: OnnxModelSettings) -> None:
        # By name: without the extra there is nothing that type checkers could read.
        onnxruntime, tokenizers = import_module("onnxruntime"), import_module("tokenizers")
        folder = Path(settings.path)
        for name in (MODEL_FILE, TOKENIZER_FILE):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"there is no file {name}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # fatal: errors are raised as well, and warnings are about the model's making
        self._settings = settings
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        self._tokenizer.enable_truncation(settings.max_tokens)
        self._tokenizer.enable_padding()
        self._session = onnxruntime.InferenceSession(
            str(folder / MODEL_FILE), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [given.name for given in self._session.get_inputs()]
        self._output = self._session.get_outputs()[0].name
        if unknown := set(self._inputs) - set(_INPUTS):
            raise ValueError(f"it needs inputs that a text does not give: {', '.join(sorted(unknown))}")

    def vectors(self, texts: list[str]) -> Floats:
        """``(n, dim)`` float32; raises ValueError for an output that is neither vectors nor tokens of vectors."""
        encodings = self._tokenizer.encode_batch(texts)
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        given = {
            "input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64),
            "attention_mask": mask,
            "token_type_ids": np.array([encoding.type_ids for encoding in encodings], dtype=np.int64),
        }
        output = self._session.run([self._output], {name: given[name] for name in self._inputs})[0]
        pooled = self._pooled(np.asarray(output, dtype=np.float32), mask)
        return normalise(pooled) if self._settings.normalize else pooled

    def _pooled(self, output: NDArray[np.float32], mask: NDArray[np.int64]) -> Floats:
        match output.ndim, self._settings.pooling:
            case 2, _:
                return output
            case 3, "cls":
                return output[:, 0]
            case 3, _:
                tokens = np.maximum(mask.sum(axis=1, dtype=np.float32), 1.0)[:, None]
                mean: Floats = np.einsum("ntd,nt->nd", output, mask.astype(np.float32)) / tokens
                return mean
        raise ValueError(f"its output has {output.ndim} dimensions, expected (texts, dim) or (texts, tokens, dim)")


def write_frame(stream: BinaryIO, message: Texts | Vectors) -> None:
    content = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(content)) + content)
    stream.flush()


def read_frame(stream: BinaryIO, kind: type[T]) -> T:
    """The next message; raises EOFError at the end of the stream."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return msgspec.msgpack.decode(content, type=kind)


def serve(settings: OnnxModelSettings, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers until ``requests`` ends; a model that cannot be loaded is answered as an error."""
    try:
        model = OnnxModel(settings)
        dim = int(model.vectors(["a"]).shape[1])
    except ImportError as error:
        write_frame(answers, Vectors(error=f"it needs the extra `onnx`: pip install 'vdb[onnx]' ({error})"))
        return
    except Exception as error:  # Both libraries raise plain Exception and types of their own for a bad file.
        write_frame(answers, Vectors(error=str(error)))
        return
    write_frame(answers, Vectors(dim=dim))
    while True:
        try:
            asked = read_frame(requests, Texts)
        except EOFError:
            return
        try:
            block = np.ascontiguousarray(model.vectors(asked.texts), dtype="<f4")
            write_frame(answers, Vectors(dim=block.shape[1], block=block.tobytes()))
        except Exception as error:  # As above, for a text that the model has no answer to.
            write_frame(answers, Vectors(error=str(error)))


def main() -> None:
    # Ctrl+C reaches every process of a terminal; the server decides when this one leaves.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever a library prints goes to the log, not between the frames.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(msgspec.json.decode(sys.argv[1], type=OnnxModelSettings), sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
