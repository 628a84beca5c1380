from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

from tests.export.faults import change_initializer
from u2net.export.calibration import make_tensors
from u2net.export.fp16 import FP16_MAX, convert_fp16, find_hot_values, find_islands, lower_to_fp16, scan_ranges
from u2net.export.graph import open_graph, read_artifact, read_graph, write_graph
from u2net.export.rounding import round_like_fp16
from u2net.runtime.errors import ExportError
from u2net.runtime.preprocess import FloatArray

Images = dict[str, npt.NDArray[np.uint8]]

HOT_NODE = "stage1d.rebnconv3d.conv_s1"
NEXT_NODE = "stage1d.rebnconv2d.conv_s1"


@pytest.fixture(scope="module")
def tensors(tiny_onnx: Path, photographs: Images) -> list[FloatArray]:
    artifact = read_artifact(read_graph(tiny_onnx), tiny_onnx)
    return make_tensors(artifact, list(photographs.values()))


@pytest.fixture
def overflowing(tiny_onnx: Path, tensors: list[FloatArray]) -> ir.Model:
    """A graph in which one layer's output exceeds FP16's range on real images; the next layer divides it back.

    The masks stay those of the original graph, because ReLU and Resize pass a positive factor on.
    """
    model = read_graph(tiny_onnx)
    factor = np.float32(4 * FP16_MAX / scan_ranges(model, tensors)[f"{HOT_NODE}:0"])
    change_initializer(model, f"{HOT_NODE}.weight", lambda weight: weight * factor)
    change_initializer(model, f"{HOT_NODE}.bias", lambda bias: bias * factor)
    value = model.graph.initializers[f"{HOT_NODE}.weight"].const_value
    assert value is not None
    grown = value.numpy()
    assert np.abs(grown).max() < FP16_MAX, "the weights must still fit, so that only activations overflow"
    # Half of the next layer's inputs are the hot maps.
    back = np.repeat([1 / factor, np.float32(1)], len(grown)).reshape(-1, 1, 1)
    change_initializer(model, f"{NEXT_NODE}.weight", lambda weight: weight * back)
    return model


def _iou(first: FloatArray, second: FloatArray) -> float:
    wanted, found = first > 0.5, second > 0.5
    return float((wanted & found).sum() / (wanted | found).sum())


def test_conversion_halves_the_file_and_adds_only_two_casts(tiny_onnx: Path, tiny_fp16: Path) -> None:
    model = read_graph(tiny_fp16)
    assert sum(node.op_type == "Cast" for node in model.graph) == 2
    assert len(model.graph) == 367
    onnx.checker.check_model(onnx.load(tiny_fp16), full_check=True)
    assert tiny_fp16.stat().st_size < 0.55 * tiny_onnx.stat().st_size
    artifact = read_artifact(model, tiny_fp16)
    assert (artifact.precision, artifact.fp32_nodes) == ("fp16", ())


def test_edges_are_fp32_and_inside_is_fp16(tiny_fp16: Path) -> None:
    graph = read_graph(tiny_fp16).graph
    assert {value.dtype for value in (*graph.inputs, *graph.outputs)} == {ir.DataType.FLOAT}
    assert [value.name for value in graph.outputs] == ["d0"]
    kinds = {name.rpartition(".")[0].rpartition(".")[2]: value.dtype for name, value in graph.initializers.items()}
    assert kinds["weight"] == kinds["bias"] == ir.DataType.FLOAT16
    scales = [value for name, value in graph.initializers.items() if "float" in name or name.startswith("scales")]
    resized = [node.inputs[2] for node in graph if node.op_type == "Resize"]
    assert all(value is not None and value.dtype == ir.DataType.FLOAT for value in (*scales, *resized))


def test_probabilities_change_by_rounding_only(tiny_onnx: Path, tiny_fp16: Path, tensors: list[FloatArray]) -> None:
    exact, rounded = open_graph(read_graph(tiny_onnx)), open_graph(round_like_fp16(read_graph(tiny_fp16)))
    for tensor in tensors:
        wanted, found = exact.infer(tensor)["d0"], rounded.infer(tensor)["d0"]
        assert 0 < np.abs(wanted - found).max() < 0.05
        assert np.abs(wanted - found).mean() < 1e-3


def test_naive_conversion_overflows_and_the_range_scan_prevents_it(
    overflowing: ir.Model, tiny_onnx: Path, tensors: list[FloatArray]
) -> None:
    wanted = open_graph(read_graph(tiny_onnx)).infer(tensors[0])["d0"]
    islands = find_islands(overflowing, find_hot_values(overflowing, tensors))
    naive, saved = (ir.from_proto(ir.to_proto(overflowing)) for _ in range(2))
    lower_to_fp16(naive)
    lower_to_fp16(saved, islands)
    broken = open_graph(round_like_fp16(naive), optimize=False).infer(tensors[0])["d0"]
    found = open_graph(round_like_fp16(saved), optimize=False).infer(tensors[0])["d0"]
    assert np.isnan(broken).any()
    assert np.isfinite(found).all()
    assert _iou(wanted, found) > 0.99
    assert np.abs(wanted - found).max() < 0.05
    assert np.abs(wanted - found).mean() < 1e-3
    assert HOT_NODE in islands
    assert len(islands) < 60, "only the nodes that need it stay in FP32"


def test_islands_are_the_nodes_that_compute_or_read_hot_values(tiny_onnx: Path) -> None:
    model = read_graph(tiny_onnx)
    assert find_islands(model, {f"{HOT_NODE}:0"}) == {HOT_NODE, "stage1d.rebnconv3d.relu_s1"}
    lower_to_fp16(model, {HOT_NODE, "stage1d.rebnconv3d.relu_s1"})
    casts = sum(node.op_type == "Cast" for node in model.graph)
    assert casts == 4, "two at the edges of the graph and two at the edges of the island"


def test_metadata_names_the_islands(overflowing: ir.Model, tiny_onnx: Path, tmp_path: Path) -> None:
    artifact = read_artifact(read_graph(tiny_onnx), tiny_onnx)
    write_graph(overflowing, tmp_path / "hot.onnx", artifact, 0.0)
    stage = convert_fp16(str(tmp_path / "hot.onnx"), str(tmp_path / "hot.fp16.onnx"))
    assert HOT_NODE in stage.artifact.fp32_nodes
    onnx.checker.check_model(onnx.load(stage.path), full_check=True)


def test_weight_beyond_the_range_stays_in_fp32(tiny_onnx: Path, tensors: list[FloatArray]) -> None:
    model = read_graph(tiny_onnx)
    change_initializer(model, "side6.bias", lambda bias: np.full_like(bias, 1e6))
    assert "side6" in find_islands(model, find_hot_values(model, tensors[:1]))


def test_converting_twice_is_refused(tiny_fp16: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="fp16 already"):
        convert_fp16(tiny_fp16, tmp_path / "again.onnx")
