"""Tensors from JSON and from bytes, and back."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.errors import InvalidInput
from glowplug.gateway.inference.shapes import RequestTensor
from glowplug.gateway.inference.tensors import FORMATS, Tensor, packed, read, written


def one(datatype: str, shape: list[int], data: Any = None, **parameters: Any) -> RequestTensor:
    return RequestTensor("x", shape, datatype, parameters, data)


def values(tensor: RequestTensor, binary: bytes = b"") -> list[Any]:
    (made,) = read([tensor], binary)
    return list(made.values)


class TestFromJson:
    @pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
    def test_flat_or_nested(self, data: Any) -> None:
        (made,) = read([one("INT64", [2, 2], data)], b"")
        assert (list(made.values), made.rows()) == ([1, 2, 3, 4], [[1, 2], [3, 4]])

    @pytest.mark.parametrize(
        ("datatype", "data", "expected"),
        [
            ("FP32", [1.5, 2], [1.5, 2]),
            ("UINT8", [0, 255], [0, 255]),
            ("BOOL", [True, False], [True, False]),
            ("BYTES", ["a", "ü"], [b"a", b"\xc3\xbc"]),
        ],
    )
    def test_each_kind_of_value(self, datatype: str, data: Any, expected: Any) -> None:
        assert values(one(datatype, [2], data)) == expected

    @pytest.mark.parametrize(
        ("datatype", "value"),
        [("INT64", 1.5), ("INT64", "1"), ("INT64", True), ("FP32", "x"), ("FP32", None), ("BOOL", 1), ("BYTES", 3)],
    )
    def test_values_of_another_kind_are_refused(self, datatype: str, value: Any) -> None:
        with pytest.raises(InvalidInput, match="input 'x'"):
            read([one(datatype, [1], [value])], b"")

    @pytest.mark.parametrize("data", [[1], [1, 2, 3], [], None, "12", {"a": 1}])
    def test_the_shape_has_to_hold_them(self, data: Any) -> None:
        with pytest.raises(InvalidInput, match="does not hold"):
            read([one("INT64", [2], data)], b"")

    @pytest.mark.parametrize("shape", [[], [-1], [2, -3], [1] * 9, [5000, 5000], [1, 10**9, 0], [10**9, 0]])
    def test_a_shape_that_is_none_is_refused(self, shape: list[int]) -> None:
        with pytest.raises(InvalidInput, match=r"axes|values"):
            read([one("INT64", shape, [1])], b"")

    def test_an_unknown_datatype_is_refused_with_the_known_ones(self) -> None:
        with pytest.raises(InvalidInput, match="BYTES, BOOL, UINT8"):
            read([one("BF16", [1], [1])], b"")

    def test_shared_memory_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="shared memory"):
            read([one("INT64", [1], shared_memory_region="r")], b"")

    def test_deep_nesting_is_no_way_in(self) -> None:
        deep: Any = 1
        for _ in range(500):
            deep = [deep]
        with pytest.raises(InvalidInput):
            read([one("INT64", [1], deep)], b"")


class TestFromBytes:
    @pytest.mark.parametrize("datatype", sorted(FORMATS))
    def test_each_datatype(self, datatype: str) -> None:
        data = struct.pack(f"<2{FORMATS[datatype]}", 0, 1)
        assert values(one(datatype, [2], binary_data_size=len(data)), data) == [0, 1]

    def test_strings_have_their_length_in_front(self) -> None:
        data = struct.pack("<I", 2) + b"ab" + struct.pack("<I", 0)
        assert values(one("BYTES", [2], binary_data_size=len(data)), data) == [b"ab", b""]

    def test_one_tensor_after_the_other(self) -> None:
        given = [one("INT8", [2], binary_data_size=2), one("INT8", [1], [7]), one("INT8", [1], binary_data_size=1)]
        assert [list(made.values) for made in read(given, b"\1\2\3")] == [[1, 2], [7], [3]]

    @pytest.mark.parametrize(
        ("tensor", "data"),
        [
            (one("INT64", [1], binary_data_size=9), b"12345678"),
            (one("INT64", [1], binary_data_size=-1), b""),
            (one("INT64", [1], binary_data_size="8"), b"12345678"),
            (one("INT64", [1], binary_data_size=7), b"1234567"),
            (one("INT64", [2], binary_data_size=8), b"12345678"),
            (one("INT64", [1], [1]), b"more"),
            (one("BYTES", [1], binary_data_size=3), b"\1\0\0"),
            (one("BYTES", [1], binary_data_size=5), b"\2\0\0\0a"),
            (one("BYTES", [1], binary_data_size=8), b"\xff\xff\xff\xffaaaa"),
        ],
    )
    def test_bytes_that_do_not_add_up_are_refused(self, tensor: RequestTensor, data: bytes) -> None:
        with pytest.raises(InvalidInput):
            read([tensor], data)

    @given(st.binary(max_size=64), st.sampled_from(["BYTES", *FORMATS]), st.integers(0, 9), st.integers(0, 70))
    @settings(max_examples=200, deadline=None)
    def test_whatever_comes_is_read_or_refused(self, data: bytes, datatype: str, count: int, size: int) -> None:
        try:
            assert len(values(one(datatype, [count], binary_data_size=size), data)) == count
        except InvalidInput:
            return


class TestWriting:
    @pytest.mark.parametrize(
        "tensor",
        [
            Tensor("y", "FP64", (2, 1), [1.5, 2.5]),
            Tensor("y", "INT64", (1, 2), [-1, 2**62]),
            Tensor("y", "BOOL", (2,), [True, False]),
            Tensor("y", "BYTES", (2,), ["ü".encode(), b""]),
            Tensor("y", "FP64", (0, 3), []),
        ],
    )
    def test_what_is_written_is_read_again(self, tensor: Tensor) -> None:
        head, data = packed(tensor)
        assert head.parameters == {"binary_data_size": len(data)}
        assert head.data is None
        again = RequestTensor(head.name, head.shape, head.datatype, head.parameters)
        assert read([again], data) == [tensor]
        shown = written(tensor)
        assert read([RequestTensor(shown.name, shown.shape, shown.datatype, {}, shown.data)], b"") == [tensor]

    def test_rows_of_a_tensor(self) -> None:
        assert Tensor("y", "INT8", (2, 1, 2), [1, 2, 3, 4]).rows() == [[[1, 2]], [[3, 4]]]
        assert Tensor("y", "INT8", (2,), [1, 2]).rows() == [1, 2]
        assert Tensor("y", "INT8", (0,), []).rows() == []
