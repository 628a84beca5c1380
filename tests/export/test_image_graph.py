"""A graph that takes images gives the masks of the graph that takes tensors, and the gate catches its faults."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
from PIL import Image

from tests.export.conftest import TINY, restated
from tests.export.faults import change_initializer, inject
from u2net.export.engine import build_engine
from u2net.export.fp16 import convert_fp16
from u2net.export.graph import add_initializer
from u2net.export.image_graph import ImageOptions, fuse_images
from u2net.export.parity import ParityGate, VerifyOptions, verify_models
from u2net.export.parity.sessions import open_for_parity
from u2net.export.simplification import simplify_onnx
from u2net.runtime.artifact import METADATA_KEY, Artifact, ImageIo, InputShape
from u2net.runtime.description import describe_model
from u2net.runtime.device import CPU
from u2net.runtime.errors import ArtifactError, ExportError, InputError
from u2net.runtime.loading import load
from u2net.runtime.postprocess import to_grey
from u2net.runtime.presets import PRESETS
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.profiles import ProfileRequest, SizeSpan, Span

Pixels = npt.NDArray[np.uint8]

LEVEL = 1 / 255


@pytest.fixture(scope="module")
def images(photographs: dict[str, Pixels]) -> dict[str, Pixels]:
    """Images of kinds and sizes that are hard for a resize or a stretch, by name."""
    astronaut = Image.fromarray(photographs["astronaut"])

    def resized(height: int, width: int) -> Pixels:
        return np.asarray(astronaut.resize((width, height)))

    return {
        **photographs,
        "odd": photographs["cat"][:201, :299],
        "one pixel": photographs["cat"][:1, :1],
        "a row": resized(1, 5000),
        "a column": resized(5000, 1),
        "12 megapixels": resized(3000, 4000),
        "flat": np.full((100, 90, 3), 77, np.uint8),
        "black": np.zeros((40, 60, 3), np.uint8),
        "dark": photographs["coffee"] // 30,
    }


@pytest.fixture(scope="module")
def fused(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fuse_images(tiny_onnx, tmp_path_factory.mktemp("fused") / "model.onnx").path


def assert_same_masks(found: npt.NDArray[Any], wanted: npt.NDArray[Any], name: str) -> None:
    """At least 99.9 % of pixels within a grey level, and an IoU of .9995."""
    assert found.shape == wanted.shape and found.dtype == wanted.dtype == np.float32, name
    assert (np.abs(found - wanted) <= LEVEL).mean() >= 0.999, name
    both, either = (found > 0.5) & (wanted > 0.5), (found > 0.5) | (wanted > 0.5)
    assert both.sum() >= 0.9995 * either.sum(), name


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_masks_are_those_of_the_graph_that_takes_tensors(
    images: dict[str, Pixels], tiny_onnx: Path, tiny_fp16: Path, tmp_path: Path, *, half: bool
) -> None:
    source = tiny_fp16 if half else tiny_onnx
    stage = fuse_images(source, tmp_path / "model.onnx")
    onnx.checker.check_model(stage.path, full_check=True)

    with load(source) as apart, load(stage.path) as together:
        assert together.info.precision == apart.info.precision
        for name, image in images.items():
            assert_same_masks(together(image), apart(image), name)


@pytest.mark.parametrize("preset", ["reference", "portrait", "raw"])
@pytest.mark.parametrize("opset", [17, 18])
def test_every_linear_preset_is_built_in(
    photographs: dict[str, Pixels], tiny_onnx: Path, tmp_path: Path, preset: str, opset: int
) -> None:
    source = restated(tiny_onnx, tmp_path / "t.onnx", preset=PRESETS[preset].with_size(*TINY), opset=opset)
    fused = fuse_images(source, tmp_path / "model.onnx").path

    with load(source) as apart, load(fused) as together:
        assert_same_masks(together(photographs["coffee"]), apart(photographs["coffee"]), preset)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"preset": PRESETS["rembg"]},
            "preset 'rembg' resizes with lanczos .* as the presets reference, portrait, raw",
        ),
        ({"preset": PRESETS["cloth"]}, "preset 'cloth' resizes with bicubic"),
        ({"shape": InputShape(None, None, None)}, "export it with a fixed --size"),
        ({"outputs": ("d0", "d1")}, "gives the mask alone; got outputs d0, d1"),
    ],
)
def test_what_cannot_be_fused_is_refused(tiny_onnx: Path, tmp_path: Path, changes: dict[str, Any], found: str) -> None:
    with pytest.raises(InputError, match=found):
        fuse_images(restated(tiny_onnx, tmp_path / "t.onnx", **changes), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_size_of_image_out_of_range_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1 to 16384 pixels high and wide; got \(0, 100\)"):
        fuse_images(tiny_onnx, tmp_path / "model.onnx", ImageOptions((0, 100)))


def test_no_stage_follows(fused: Path, tmp_path: Path) -> None:
    for stage in (fuse_images, convert_fp16, simplify_onnx):
        with pytest.raises(ExportError, match="takes images, so no stage can follow"):
            stage(fused, tmp_path / "model.onnx")


def test_one_source_size_has_constant_weights(photographs: dict[str, Pixels], tiny_onnx: Path, tmp_path: Path) -> None:
    height, width = photographs["cat"].shape[:2]
    fused = fuse_images(tiny_onnx, tmp_path / "model.onnx", ImageOptions(source=(height, width))).path

    assert not {"Range", "Shape"} & {node.op_type for node in onnx.load(fused).graph.node}
    with load(tiny_onnx) as apart, load(fused) as together:
        assert_same_masks(together(photographs["cat"]), apart(photographs["cat"]), "cat")
        with pytest.raises(InputError, match=f"takes images of {height}×{width} pixels, height first; got 512×512"):
            together(photographs["astronaut"])


def test_grey_levels_are_rounded_masks(
    photographs: dict[str, Pixels], fused: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    grey = fuse_images(tiny_onnx, tmp_path / "model.onnx", ImageOptions(mask="uint8")).path

    with load(fused) as exact, load(grey) as rounded:
        image = photographs["rocket"]
        (levels,) = rounded.infer(image[None]).values()
        assert levels.dtype == np.uint8 and levels.shape == (1, *image.shape[:2])
        assert np.array_equal(levels[0], to_grey(exact(image)))
        assert np.array_equal(to_grey(rounded(image)), levels[0])


def test_the_stretch_can_be_left_out_and_not_changed_later(
    photographs: dict[str, Pixels], tiny_onnx: Path, tmp_path: Path
) -> None:
    fused = fuse_images(tiny_onnx, tmp_path / "model.onnx", ImageOptions(stretch=False)).path

    with load(tiny_onnx) as apart, load(fused) as together:
        assert_same_masks(together(photographs["cat"]), apart(photographs["cat"], stretch=False), "cat")
        assert_same_masks(together(photographs["cat"], stretch=False), together(photographs["cat"]), "cat")
        with pytest.raises(InputError, match="has stretch=False built in"):
            together(photographs["cat"], stretch=True)


def test_a_batch_gives_each_image_what_it_gets_alone(photographs: dict[str, Pixels], fused: Path) -> None:
    cat = photographs["cat"]
    images = [photographs["rocket"], cat, cat // 5, photographs["rocket"][::-1], np.zeros_like(cat), cat[::-1]]

    with load(fused) as session:
        for found, image in zip(session.batch(images), images, strict=True):
            assert np.abs(found - session(image)).max() < 1e-6


def test_options_that_are_built_in_are_refused(fused: Path) -> None:
    for options in ({"preset": "raw"}, {"size": (64, 64)}):
        with pytest.raises(InputError, match="its preset 'reference' and its size are built in"):
            load(fused, **options)
    with load(fused) as session, pytest.raises(InputError, match="infer takes a uint8 array N×H×W×3; got float32"):
        session.infer(np.zeros((1, 3, *TINY), np.float32))


def test_nan_shows(fused: Path, photographs: dict[str, Pixels], tmp_path: Path) -> None:
    def damage(model: ir.Model) -> None:
        node = next(node for node in model.graph if node.op_type == "Sigmoid")
        poison = add_initializer(model.graph, "poison", np.array(np.nan, np.float32))
        result = node.outputs[0]
        bad = ir.node("Add", [result, poison])
        ir.convenience.replace_all_uses_with(result, bad.outputs[0])
        bad.replace_input_with(0, result)
        model.graph.insert_after(node, bad)

    with (
        load(inject(fused, damage, tmp_path / "faulty.onnx")) as session,
        pytest.raises(ArtifactError, match="NaN or Inf"),
    ):
        session(photographs["cat"])


def _first(model: ir.Model, part: str, kind: str) -> ir.Node:
    return next(node for node in model.graph if str(node.name).startswith(part) and node.op_type == kind)


def _blue_first(model: ir.Model) -> None:
    (image,) = model.graph.inputs
    order = ir.node("Gather", [image, add_initializer(model.graph, "order", np.array([2, 1, 0]))], {"axis": 3})
    ir.convenience.replace_all_uses_with(image, order.outputs[0])
    order.replace_input_with(0, image)
    model.graph.insert_before(model.graph[0], order)


def _no_maximum(model: ir.Model) -> None:
    (use,) = _first(model, "preprocess", "ReduceMax").outputs[0].uses()
    divisor = use.node.outputs[0]
    ir.convenience.replace_all_uses_with(divisor, add_initializer(model.graph, "d", np.array(255, np.float32)))


def _over_the_batch(part: str, kind: str) -> Callable[[ir.Model], None]:
    def spread(model: ir.Model) -> None:
        node = _first(model, part, kind)
        node.attributes.add(ir.AttrInt64s("axes", [0, *node.attributes["axes"].as_ints()]))

    return spread


def _not_antialiased(model: ir.Model) -> None:
    """Let the triangle be as wide as two pixels of the larger side."""
    wider = _first(model, "preprocess", "Max")
    wider.op_type = "Min"


def _half_a_pixel_off(part: str) -> Callable[[ir.Model], None]:
    def shift(model: ir.Model) -> None:
        odd = _first(model, part, "Add")
        odd.replace_input_with(1, add_initializer(model.graph, f"{part}.even", np.array(0)))

    return shift


def _no_stretch(model: ir.Model) -> None:
    greater = _first(model, "postprocess", "Greater")
    greater.replace_input_with(1, add_initializer(model.graph, "floor", np.array(2, np.float32)))


FAULTS: dict[str, Callable[[ir.Model], None]] = {
    "blue first": _blue_first,
    "no maximum": _no_maximum,
    "maximum over the batch": _over_the_batch("preprocess", "ReduceMax"),
    "stretch over the batch": _over_the_batch("postprocess", "ReduceMax"),
    "no stretch": _no_stretch,
    "not antialiased": _not_antialiased,
    "image half a pixel off": _half_a_pixel_off("preprocess"),
    "mask half a pixel off": _half_a_pixel_off("postprocess"),
}


@pytest.mark.parametrize("options", [ImageOptions(), ImageOptions((120, 160), "uint8", stretch=False)])
def test_a_correct_graph_passes_the_gate(
    gate: ParityGate, tiny_onnx: Path, tiny_fp16: Path, tmp_path: Path, options: ImageOptions
) -> None:
    for source in (tiny_onnx, tiny_fp16):
        result = gate.compare(open_for_parity(fuse_images(source, tmp_path / "model.onnx", options).path, CPU))

        assert result.failures == () and result.outputs == ()
        # Of two FP32 programs the grey levels may agree in each pixel; their values never agree in every bit.
        assert result.mask.probability.largest.value > 0 or (source, options.mask) == (tiny_onnx, "uint8")
        assert ("half a level" in result.note) == (options.mask == "uint8")


@pytest.mark.parametrize("name", FAULTS)
def test_the_gate_catches_a_fault(gate: ParityGate, fused: Path, tmp_path: Path, name: str) -> None:
    assert not gate.compare(open_for_parity(inject(fused, FAULTS[name], tmp_path / "faulty.onnx"), CPU)).passed


@pytest.mark.parametrize("source", [None, (1080, 1920)], ids=["any size", "one size"])
def test_tensorrt_rtx_builds_it(tiny_fp16: Path, tmp_path: Path, source: tuple[int, int] | None) -> None:
    fused = fuse_images(tiny_fp16, tmp_path / "model.onnx", ImageOptions(source)).path
    sizes = () if source else (SizeSpan(Span(32, 1080, 2160), Span(32, 1920, 3840)),)

    stage = build_engine(fused, tmp_path / "model.engine", EngineOptions("tensorrt-rtx", ProfileRequest(sizes=sizes)))

    made = stage.record.artifact
    assert made is not None and made.image is not None and (made.image.height is None) == (source is None)


@pytest.mark.parametrize("options", [{"mask": "int8"}, {"source": 90}, {"source": (90.5, 10)}, {"stretch": "no"}])
def test_options_of_other_kinds_are_refused(tiny_onnx: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"cannot be used: {next(iter(options))} is "):
        fuse_images(tiny_onnx, tmp_path / "model.onnx", ImageOptions(**options))


def test_what_verify_cannot_compare_is_named(fused: Path, tiny_onnx: Path) -> None:
    with pytest.raises(InputError, match="takes images and cannot be the reference"):
        verify_models(fused, [tiny_onnx])
    with pytest.raises(InputError, match="has the preset 'reference' built in; it cannot be compared with 'raw'"):
        verify_models(tiny_onnx, [fused], VerifyOptions(preset=PRESETS["raw"]))


def test_metadata_that_contradict_the_graph_are_refused(fused: Path, tmp_path: Path) -> None:
    model = onnx.load(fused)
    (entry,) = (each for each in model.metadata_props if each.key == METADATA_KEY)
    artifact = Artifact.from_json(entry.value)
    for changed in (replace(artifact, image=None), replace(artifact, image=ImageIo(99, None, "float32"))):
        entry.value = changed.to_json()
        onnx.save(model, tmp_path / "edited.onnx")
        with pytest.raises(ArtifactError, match="its metadata says otherwise; export it again"):
            load(tmp_path / "edited.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "edited.onnx")
    with pytest.raises(ArtifactError, match="its metadata is missing; only files of `u2net export --io image`"):
        load(tmp_path / "edited.onnx", preset="reference")


def test_auto_does_not_take_openvino_for_images_of_any_size(fused: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    """It keeps memory for each new size."""
    one_size = tmp_path / "one.onnx"
    fuse_images(tiny_onnx, one_size, ImageOptions(source=(40, 50)))
    for path, backend in ((fused, "onnxruntime"), (one_size, "openvino")):
        with load(path, backend="auto") as session:
            assert session.info.backend.startswith(backend)
        assert f"--backend auto takes {backend}" in str(describe_model(path))


def test_openvino_hides_no_overflow(fused: Path, photographs: dict[str, Pixels], tmp_path: Path) -> None:
    def enlarge(model: ir.Model) -> None:
        for name in [name for name in model.graph.initializers if name.endswith("conv_s1.weight")]:
            change_initializer(model, name, lambda weight: weight * 1e30)

    with (
        load(inject(fused, enlarge, tmp_path / "faulty.onnx"), backend="openvino") as session,
        pytest.raises(ArtifactError, match="NaN or Inf"),
    ):
        session(photographs["cat"])
