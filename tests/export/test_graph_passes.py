from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from u2net.export.graph import read_artifact, read_graph, write_graph
from u2net.export.graph_passes import _exact_scale, declare_opset, make_upsampling_constant
from u2net.runtime.errors import ExportError


@given(st.integers(1, 2048), st.integers(1, 2048))
def test_exact_scale_gives_the_target_size_in_single_and_double_precision(source: int, target: int) -> None:
    scale = _exact_scale(source, target)
    assert int(source * scale) == target
    assert int(np.float32(source) * np.float32(scale)) == target


def test_unexpected_operator_is_refused(tiny_onnx: Path) -> None:
    model = read_graph(tiny_onnx)
    next(node for node in model.graph if node.op_type == "Relu").op_type = "Erf"
    with pytest.raises(ExportError, match="Erf"):
        declare_opset(model, 18)


def test_upsampled_map_of_unknown_size_is_refused(tiny_onnx: Path) -> None:
    model = read_graph(tiny_onnx)
    resize = next(node for node in model.graph if node.op_type == "Resize")
    resize.replace_input_with(2, None)
    resize.outputs[0].shape = None
    with pytest.raises(ExportError, match="upsampled"):
        make_upsampling_constant(model, None)


def test_graph_without_metadata_is_refused(tiny_onnx: Path) -> None:
    model = read_graph(tiny_onnx)
    model.metadata_props.clear()
    with pytest.raises(ExportError, match="not exported by u2net"):
        read_artifact(model, tiny_onnx)


def test_external_weights_are_read_with_the_graph(tiny_onnx: Path, tmp_path: Path) -> None:
    """torch's exporter writes weights into a second file by default."""
    ir.save(read_graph(tiny_onnx), tmp_path / "model.onnx", external_data="model.onnx.data")
    model = read_graph(tmp_path / "model.onnx")
    (tmp_path / "model.onnx.data").unlink()
    assert ir.to_proto(model) == ir.to_proto(read_graph(tiny_onnx))


def test_failed_or_interrupted_write_leaves_the_old_file(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read_graph(tiny_onnx)
    artifact = read_artifact(model, tiny_onnx)
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")

    def stop(_model: ir.Model, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(ExportError, match="cannot be written"):
        write_graph(model, tmp_path / "no" / "model.onnx", artifact, 0.0)
    monkeypatch.setattr(ir, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        write_graph(model, target, artifact, 0.0)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
