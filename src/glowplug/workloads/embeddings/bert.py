"""BERT encoders as ONNX graphs: for sentence models that are published as safetensors alone.

Shapes: n texts of t tokens, h wide. The weights stay outside the graph, so that they are never copied into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto, helper

from glowplug.errors import SettingsError

OPSET = 20
IR_VERSION = 9
MASKED = -1e4


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a BERT encoder, from its config.json."""

    layers: int
    heads: int
    width: int
    positions: int
    epsilon: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Read the config of a BERT encoder.

        Raises:
            SettingsError: it is of another architecture, or one of its sizes is none.
        """
        kind, act = config.get("model_type"), config.get("hidden_act", "gelu")
        position = config.get("position_embedding_type", "absolute")
        if kind != "bert" or act != "gelu" or position != "absolute":
            raise SettingsError(
                f"a {kind} model ({act}, {position} positions) as safetensors is not supported; "
                "use a folder with onnx/model.onnx, or a BERT encoder"
            )
        return cls(
            layers=_size(config, "num_hidden_layers"),
            heads=_size(config, "num_attention_heads"),
            width=_size(config, "hidden_size"),
            positions=_size(config, "max_position_embeddings"),
            epsilon=config.get("layer_norm_eps", 1e-12),
        )

    def check(self, sizes: Mapping[str, tuple[int, ...]]) -> None:
        """Compare them with the shapes of the weights, before anything is built of so many layers.

        Raises:
            SettingsError: they are not those of these weights.
        """
        if self.layers > len(sizes):
            raise _unlike("num_hidden_layers", self.layers, f"holds {len(sizes)} tensors in all")
        if self.width % self.heads:
            raise _unlike("num_attention_heads", self.heads, f"is {self.width} wide")
        rows, width = (*sizes.get("embeddings.position_embeddings.weight", ()), self.positions, self.width)[:2]
        if width != self.width:
            raise _unlike("hidden_size", self.width, f"is {width} wide")
        if rows < self.positions:
            raise _unlike("max_position_embeddings", self.positions, f"has {rows} positions")


class Graph:
    """Collects the nodes; every method returns the name of what it adds."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.weights: dict[str, None] = {}

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator with one output."""
        name = f"{kind}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, *values: float, kind: int = TensorProto.INT64, scalar: bool = False) -> str:
        """Add a constant: a list, or its only value as a scalar."""
        name = f"constant.{len(self.constants)}"
        self.constants.append(helper.make_tensor(name, kind, [] if scalar else [len(values)], values))
        return name

    def weight(self, name: str) -> str:
        """Name a weight, which is given when the graph is opened."""
        self.weights[name] = None
        return name

    def linear(self, put: str, layer: str) -> str:
        """Add a linear layer over (n·t, h)."""
        return self.add("Gemm", put, self.weight(f"{layer}.weight"), self.weight(f"{layer}.bias"), transB=1)

    def normed(self, put: str, layer: str) -> str:
        """Add a layer norm over the last dimension."""
        scale, bias = self.weight(f"{layer}.weight"), self.weight(f"{layer}.bias")
        return self.add("LayerNormalization", put, scale, bias, axis=-1, epsilon=self.shape.epsilon)

    def embedded(self) -> str:
        """Add the sum of word, position and first-segment embeddings: (n, t, h)."""
        words = self.add("Gather", self.weight("embeddings.word_embeddings.weight"), "input_ids")
        length = self.add("Gather", self.add("Shape", "input_ids"), self.constant(1, scalar=True))
        zero, one = self.constant(0, scalar=True), self.constant(1, scalar=True)
        numbers = self.add("Range", zero, length, one)
        positions = self.add("Gather", self.weight("embeddings.position_embeddings.weight"), numbers)
        segment = self.add("Gather", self.weight("embeddings.token_type_embeddings.weight"), zero)
        summed = self.add("Add", self.add("Add", words, positions), segment)
        return self.normed(summed, "embeddings.LayerNorm")

    def bias(self) -> str:
        """Add what masks padding out of the attention: (n, 1, 1, t)."""
        kept = self.add("Cast", "attention_mask", to=TensorProto.FLOAT)
        one = self.constant(1.0, kind=TensorProto.FLOAT)
        away = self.add("Mul", self.add("Sub", one, kept), self.constant(MASKED, kind=TensorProto.FLOAT))
        return self.add("Unsqueeze", away, self.constant(1, 2))

    def attended(self, put: str, sizes: str, bias: str, layer: str) -> str:
        """Add self-attention over (n·t, h); `sizes` is the shape (n, t, heads, h / heads)."""
        query, key, value = (
            self.add("Reshape", self.linear(put, f"{layer}.self.{name}"), sizes) for name in ("query", "key", "value")
        )
        query = self.add("Transpose", query, perm=[0, 2, 1, 3])
        key = self.add("Transpose", key, perm=[0, 2, 3, 1])
        value = self.add("Transpose", value, perm=[0, 2, 1, 3])
        root = self.constant((self.shape.width / self.shape.heads) ** -0.5, kind=TensorProto.FLOAT)
        scores = self.add("Add", self.add("Mul", self.add("MatMul", query, key), root), bias)
        mixed = self.add("MatMul", self.add("Softmax", scores, axis=-1), value)
        flat = self._flat(self.add("Transpose", mixed, perm=[0, 2, 1, 3]))
        added = self.add("Add", self.linear(flat, f"{layer}.output.dense"), put)
        return self.normed(added, f"{layer}.output.LayerNorm")

    def thought(self, put: str, layer: str) -> str:
        """Add the two wide linear layers over (n·t, h)."""
        wide = self.add("Gelu", self.linear(put, f"{layer}.intermediate.dense"))
        added = self.add("Add", self.linear(wide, f"{layer}.output.dense"), put)
        return self.normed(added, f"{layer}.output.LayerNorm")

    def encoded(self) -> str:
        """Add the whole encoder; the result is (n, t, h)."""
        embedded, bias = self.embedded(), self.bias()
        outer = self.add("Shape", "input_ids")
        head_width = self.shape.width // self.shape.heads
        sizes = self.add("Concat", outer, self.constant(self.shape.heads, head_width), axis=0)
        hidden = self._flat(embedded)
        for number in range(self.shape.layers):
            layer = f"encoder.layer.{number}"
            hidden = self.thought(self.attended(hidden, sizes, bias, f"{layer}.attention"), layer)
        return self.add("Reshape", hidden, self.add("Concat", outer, self.constant(self.shape.width), axis=0))

    def _flat(self, put: str) -> str:
        return self.add("Reshape", put, self.constant(-1, self.shape.width))


def encoder(shape: Shape, sizes: Mapping[str, tuple[int, ...]]) -> tuple[bytes, list[str]]:
    """Return the graph and the names of the weights it wants; `sizes` are the shapes of those at hand.

    Raises:
        SettingsError: a weight is missing, or the weights are not of such a shape.
    """
    shape.check(sizes)
    graph = Graph(shape)
    output = graph.encoded()
    missing = [name for name in graph.weights if name not in sizes]
    if missing:
        raise SettingsError(f"the safetensors file has no {missing[0]} ({len(missing)} weights are missing)")
    names = list(graph.weights)
    made = helper.make_graph(
        graph.nodes,
        "bert",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", "t", shape.width])],
        initializer=[*graph.constants, *(_outside(name, sizes[name]) for name in names)],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return model.SerializeToString(), names


def _outside(name: str, size: tuple[int, ...]) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=size, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights")
    return tensor


def _size(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if isinstance(value, int) and value > 0:
        return value
    raise SettingsError(f"config.json: {name} is {str(value)[:40]!r}, where a size is expected")


def _unlike(name: str, value: int, instead: str) -> SettingsError:
    told = f"config.json: {name} is {value}, and the network in the safetensors file {instead}"
    return SettingsError(f"{told}; take both from one model")
