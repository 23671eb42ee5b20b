"""Small ONNX files that are not what they should be, and some that are."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

PIXELS = ("pixels", TensorProto.FLOAT, ["n", 1, 16, 16])
TIME = ("time", TensorProto.FLOAT, ["n"])
LABEL = ("label", TensorProto.INT64, ["n"])
Input = tuple[str, int, list[str | int]]


def graph(
    nodes: Sequence[onnx.NodeProto], inputs: Sequence[Input], constants: Sequence[onnx.TensorProto] = ()
) -> bytes:
    """Return a graph whose last node's output is the answer."""
    made = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(*put) for put in inputs],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        initializer=list(constants),
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def echo(inputs: Sequence[Input] = (PIXELS, TIME, LABEL)) -> bytes:
    """Answer with the first input: the flow of a generator that draws nothing."""
    return graph([helper.make_node("Identity", [inputs[0][0]], ["out"])], inputs)


def mean() -> bytes:
    """Answer with one number, which is no velocity."""
    return graph([helper.make_node("ReduceMean", ["pixels"], ["out"], keepdims=0)], (PIXELS, TIME, LABEL))


def infinite() -> bytes:
    """Answer with what is no number: zero divided by zero."""
    nodes = [
        helper.make_node("Sub", ["pixels", "pixels"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["out"]),
    ]
    return graph(nodes, (PIXELS, TIME, LABEL))


def outside(location: str) -> bytes:
    """Ask for weights in another file."""
    weight = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    add = helper.make_node("Add", ["pixels", "weight"], ["out"])
    return graph([add], (PIXELS, TIME, LABEL), [weight])
