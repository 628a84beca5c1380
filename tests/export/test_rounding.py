from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from u2net.export.execution import GraphRunner
from u2net.export.graph import read_graph
from u2net.export.rounding import round_like_fp16


def _doubling_graph() -> ir.Model:
    """A graph with FP32 edges that doubles its input twice in FP16."""
    nodes = [
        helper.make_node("Cast", ["input"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Add", ["half", "half"], ["twice"], name="first"),
        helper.make_node("Add", ["twice", "twice"], ["fourfold"], name="second"),
        helper.make_node("Cast", ["fourfold"], ["d0"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "doubling",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 2, 2])],
        [helper.make_tensor_value_info("d0", TensorProto.FLOAT, [1, 3, 2, 2])],
        value_info=[
            helper.make_tensor_value_info(name, TensorProto.FLOAT16, [1, 3, 2, 2])
            for name in ("half", "twice", "fourfold")
        ],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))


def _run(value: float) -> float:
    tensor = np.full((1, 3, 2, 2), value, np.float32)
    return float(GraphRunner(round_like_fp16(_doubling_graph()), optimize=False)(tensor)["d0"][0, 0, 0, 0])


def test_overflow_becomes_infinite() -> None:
    assert _run(16000.0) == 64000.0
    assert _run(17000.0) == np.inf


def test_each_result_is_rounded_to_fp16() -> None:
    value = 0.1
    half = np.float16(value)
    assert _run(value) == float(np.float16(np.float16(half + half) * 2))
    assert _run(value) != 4 * value


def test_original_graph_is_not_changed(tiny_fp16: Path) -> None:
    model = read_graph(tiny_fp16)
    before = len(model.graph)
    rounded = round_like_fp16(model)
    assert len(model.graph) == before
    assert not any(value.dtype == ir.DataType.FLOAT16 for value in rounded.graph.initializers.values())
