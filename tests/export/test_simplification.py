from collections.abc import Callable
from pathlib import Path

import onnx
import onnxsim
import pytest

from u2net.export.graph import read_artifact, read_graph
from u2net.export.simplification import simplify_onnx
from u2net.runtime.errors import ExportError


def test_result_has_no_more_nodes_and_keeps_its_metadata(tiny_onnx: Path, tmp_path: Path) -> None:
    stage = simplify_onnx(str(tiny_onnx), str(tmp_path / "simple.onnx"))
    assert stage.nodes <= 365
    written = read_graph(stage.path)
    assert read_artifact(written, stage.path) == read_artifact(read_graph(tiny_onnx), tiny_onnx)
    assert written.opset_imports == {"": 17}
    assert written.ir_version == 8


def _halve_a_bias(model: onnx.ModelProto) -> None:
    bias = next(each for each in model.graph.initializer if each.name == "outconv.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) * 0.5 + 0.1, bias.name))


def _rename_an_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "other"


def _add_a_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(onnx.helper.make_node("Identity", ["input"], ["unused"]))


def _raise_the_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 21


@pytest.mark.parametrize(
    ("harm", "part"),
    [
        (_halve_a_bias, "changed d0 by"),
        (_rename_an_output, "inputs or outputs"),
        (_add_a_node, "grew the graph"),
        (_raise_the_opset, "opset"),
    ],
)
def test_harmful_simplification_is_refused(
    tiny_onnx: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[onnx.ModelProto], None],
    part: str,
) -> None:
    def simplify(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
        harm(model)
        return model, True

    monkeypatch.setattr(onnxsim, "simplify", simplify)
    with pytest.raises(ExportError, match=part):
        simplify_onnx(tiny_onnx, tmp_path / "simple.onnx")
    assert not list(tmp_path.iterdir())
