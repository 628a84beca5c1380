from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from u2net.export.graph import open_graph, read_graph
from u2net.export.rounding import round_like_fp16


def _tripling_graph(*, casts: bool) -> ir.Model:
    """A graph that multiplies its input by three twice in FP16.

    With casts its edges are FP32, as in this project's own files. Without them it is like files of other exporters.
    """
    edge = TensorProto.FLOAT if casts else TensorProto.FLOAT16
    three = numpy_helper.from_array(np.array(3, np.float16))
    nodes = [
        helper.make_node("Constant", [], ["three"], value=three),
        helper.make_node("Mul", ["half" if casts else "input", "three"], ["threefold"], name="first"),
        helper.make_node("Mul", ["threefold", "three"], ["ninefold" if casts else "d0"], name="second"),
    ]
    if casts:
        nodes.insert(0, helper.make_node("Cast", ["input"], ["half"], to=TensorProto.FLOAT16))
        nodes.append(helper.make_node("Cast", ["ninefold"], ["d0"], to=TensorProto.FLOAT))
    source, result = (helper.make_tensor_value_info(name, edge, [1, 3, 2, 2]) for name in ("input", "d0"))
    graph = helper.make_graph(nodes, "tripling", [source], [result])
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))


@pytest.fixture(params=[True, False], ids=["own", "foreign"])
def run(request: pytest.FixtureRequest) -> Callable[[float], float]:
    """Run the rounded copy of the tripling graph on one number."""
    session = open_graph(round_like_fp16(_tripling_graph(casts=request.param)), optimize=False)
    return lambda value: float(session.infer(np.full((1, 3, 2, 2), value, np.float32))["d0"][0, 0, 0, 0])


def test_overflow_becomes_infinite(run: Callable[[float], float]) -> None:
    assert run(7000.0) == 62976.0, "62,976 is the FP16 number nearest to 63,000"
    assert run(7500.0) == np.inf


def test_each_result_is_rounded_to_fp16(run: Callable[[float], float]) -> None:
    first, three = np.float16(0.1), np.float16(3)
    assert run(0.1) == float(first * three * three)
    assert run(0.1) != float(np.float16(9 * float(first))), "the threefold value must be rounded too"


def test_original_graph_is_not_changed(tiny_fp16: Path) -> None:
    model = read_graph(tiny_fp16)
    before = len(model.graph)
    rounded = round_like_fp16(model)
    assert len(model.graph) == before
    assert not any(value.dtype == ir.DataType.FLOAT16 for value in rounded.graph.initializers.values())
