"""Detectors in ONNX files, run by ONNX Runtime: what `detector.convert` writes, and what Ultralytics exports."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto

from glowplug.errors import InvalidInput
from glowplug.workloads.detection.boxes import Array, Found, Letterbox, best_class, chosen, corners
from glowplug.workloads.detection.class_names import checked_names
from glowplug.workloads.detection.engine import Box, whole_size

if TYPE_CHECKING:
    from PIL import Image as PillowImage

SMALLEST_SIDE, LARGEST_SIDE = 32, 4096
LARGEST_BYTES = 1 << 31
MOST_PLACES = 1 << 20
"""Where things may be, in a picture: three times as many as there are in the largest."""
ENDLESS = frozenset({"Loop", "Scan"})
"""No detector needs them, and a run inside the library hears of no cancellation."""
ANSWERS = ("tensor(float)", "tensor(float16)", "tensor(double)")
_HOW = "give what detector.convert or Ultralytics' export writes for a detector, without a built-in NMS"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a network is talked to: class names, picture size (`fixed` or free), its boxes, and where pictures lie.

    Those whose boxes are `centres` are Ultralytics', where a box is of its best class alone.
    """

    names: tuple[str, ...]
    imgsz: int
    fixed: bool
    boxes: Literal["corners", "centres"]
    pad: Literal["topleft", "center"]
    batched: bool

    @classmethod
    def of(cls, said: Mapping[str, str], shape: Sequence[object]) -> Layout:
        """Read it from the file's metadata and the shape of its input. Raises `InvalidInput`."""
        names = _names(said.get("names", ""))
        side = shape[2] if len(shape) == 4 and shape[2] == shape[3] and isinstance(shape[2], int) else None
        if not names or len(shape) != 4 or shape[1] != 3 or said.get("task", "detect") != "detect":
            raise _wrong(f"the network is no detector: input {list(shape)}, {len(names)} class names in its metadata")
        if side is not None and not SMALLEST_SIDE <= side <= LARGEST_SIDE:
            raise _wrong(f"the network wants pictures of {side} pixels; {SMALLEST_SIDE} to {LARGEST_SIDE} are possible")
        if any(isinstance(length, int) for length in shape[2:]) and side is None:
            raise _wrong(f"the network wants pictures of {list(shape[2:])} pixels, not squares")
        foreign = said.get("author") == "Ultralytics"
        if not foreign and said.get("model_family") != "yolo9":
            raise _wrong("its metadata do not say that it is YOLOv9 as trained here, or a network of Ultralytics")
        return cls(
            names=names,
            imgsz=side or _side(said.get("imgsz", "640")),
            fixed=side is not None,
            boxes="centres" if foreign else "corners",
            pad="center" if foreign or said.get("letterbox_pad") == "center" else "topleft",
            batched=not isinstance(shape[0], int),
        )


class OnnxFinder:
    """An opened network."""

    def __init__(self, session: Any, layout: Layout) -> None:
        self._session = session
        self._layout = layout
        self._input = session.get_inputs()[0].name
        self._output = session.get_outputs()[0].name
        self.names = layout.names
        self.imgsz = layout.imgsz
        self.fixed = layout.fixed

    def find(self, images: Sequence[PillowImage.Image], conf: float, iou: float, imgsz: int) -> Sequence[Sequence[Box]]:
        """Return what is in each picture, most confident first. A network of one size alone sees pictures in that."""
        side = self.imgsz if self.fixed else whole_size(imgsz)
        rounded = self._layout.boxes == "centres"
        frames = [Letterbox.of(*image.size, side, self._layout.pad, rounded=rounded) for image in images]
        filled = [
            frame.filled(np.asarray(image.convert("RGB")), side) for frame, image in zip(frames, images, strict=True)
        ]
        answers = [answer for part in self._parts(filled) for answer in self._answers(part)]
        return [self._boxes(answer, conf, iou, frame) for answer, frame in zip(answers, frames, strict=True)]

    def _parts(self, filled: Sequence[Array]) -> Iterator[Array]:
        if self._layout.batched and filled:
            yield np.stack(filled)
        else:
            yield from (one[np.newaxis] for one in filled)

    def _answers(self, part: Array) -> Array:
        try:
            answers: Array = self._session.run([self._output], {self._input: part})[0]
        except Exception as error:
            raise _wrong(f"ONNX Runtime cannot run it: {str(error).partition(chr(10))[0][:200]}") from error
        if answers.ndim != 3 or answers.shape[:2] != (len(part), 4 + len(self.names)) or answers.shape[2] > MOST_PLACES:
            raise _wrong(
                f"the network answers {list(answers.shape)}, not a box and {len(self.names)} scores for each place"
            )
        if np.isnan(answers).any():
            raise _wrong("the network answers what are no numbers (NaN); its weights are damaged")
        return answers

    def _boxes(self, answer: Array, conf: float, iou: float, frame: Letterbox) -> list[Box]:
        rows = answer.T
        if self._layout.boxes == "centres":
            at, scores = corners(rows[:, :4]), best_class(rows[:, 4:])
            return _shown(chosen(at, scores, conf, iou, frame, cut_first=False), self.names)
        return _shown(chosen(rows[:, :4], rows[:, 4:], conf, iou, frame), self.names)


def is_onnx(path: Path) -> bool:
    """Say whether a file may be ONNX and is no weights of ours, by its first bytes."""
    with path.open("rb") as stream:
        head = stream.read(9)
    # A safetensors file begins with a length and a brace, a pickle with 0x80, a zip with PK.
    return head[8:9] != b"{" and head[:1] != b"\x80" and head[:2] != b"PK"


def opened(path: Path, device: str = "cpu", threads: int = 0) -> OnnxFinder:
    """Open a detector that is an ONNX file.

    Raises:
        InvalidInput: it is another kind of file, another kind of network, or its tensors are elsewhere.
    """
    data = path.read_bytes()
    _check(data)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=_providers(device))
    except Exception as error:
        # ONNX Runtime's errors have no base but this one.
        raise _wrong(f"ONNX Runtime cannot open it: {str(error).partition(chr(10))[0][:200]}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)" or outputs[0].type not in ANSWERS:
        raise _wrong(f"the network is no detector: {len(inputs)} inputs, {len(outputs)} outputs")
    said = session.get_modelmeta().custom_metadata_map or {}
    return OnnxFinder(session, Layout.of(said, inputs[0].shape))


def _check(data: bytes) -> None:
    if len(data) >= LARGEST_BYTES:
        raise _wrong(f"the file has {len(data)} bytes, more than ONNX can hold in one file")
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        # Protobuf's own error, whose module is no public one.
        raise _wrong("neither weights that detector.train writes nor an ONNX file, or cut off") from error
    if not model.graph.node:
        raise _wrong("neither weights that detector.train writes nor an ONNX file, or cut off")
    parts = [inner for part in (model.graph, *model.functions) for inner in _graphs(part)]
    if any(node.op_type in ENDLESS for part in parts for node in part.node):
        raise _wrong("the network has loops, which may never end and cannot be stopped")
    held = [tensor for part in parts for tensor in _tensors(part)]
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in held):
        raise _wrong("its tensors are in other files, which are not opened; write it as one file")


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph or function, and every graph in it."""
    yield graph
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        for inner in (one for one in (attribute.g, *attribute.graphs) if one.ByteSize()):
            yield from _graphs(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield every tensor that stands in a graph or function itself."""
    sparse = list(getattr(graph, "sparse_initializer", ()))
    yield from getattr(graph, "initializer", ())
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        sparse += (attribute.sparse_tensor, *attribute.sparse_tensors)
    for one in sparse:
        yield from (one.values, one.indices)


def _providers(device: str) -> list[str]:
    usual = ["CPUExecutionProvider"]
    cuda = "CUDAExecutionProvider"
    return [cuda, *usual] if device.startswith("cuda") and cuda in onnxruntime.get_available_providers() else usual


def _names(text: str) -> tuple[str, ...]:
    """Return class names in the order of their numbers, as JSON or as Python writes a dict."""
    for read in (json.loads, ast.literal_eval):
        try:
            said = read(text)
            numbered = sorted((int(number), str(name)) for number, name in said.items())
        except (ValueError, SyntaxError, AttributeError, TypeError, MemoryError, RecursionError):
            continue
        try:
            return checked_names([name for _, name in numbered])
        except ValueError as error:
            raise _wrong(str(error)) from error
    return ()


def _side(text: str) -> int:
    number = re.search(r"\d{1,5}", text)
    return min(max(int(number[0]) if number else 640, SMALLEST_SIDE), LARGEST_SIDE)


def _shown(found: Found, names: Sequence[str]) -> list[Box]:
    rows = zip(found.labels.tolist(), found.confidences.tolist(), found.boxes.tolist(), strict=True)
    return [Box(names[label], score, (at[0], at[1], at[2], at[3])) for label, score, at in rows]


def _wrong(what: str) -> InvalidInput:
    return InvalidInput(f"model_path: {what}; {_HOW}", fields=["model_path"])
