"""Options of the commands: how they are declared, and how their text is read."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from u2net.runtime.artifact import Agreement, Calibrator, Target
from u2net.runtime.device import Device
from u2net.runtime.errors import InputError
from u2net.runtime.files import check_target
from u2net.runtime.loading import BackendName
from u2net.runtime.presets import PRESETS, Preset, find_preset
from u2net.runtime.trt.flavours import Flavour, parse_flavour
from u2net.runtime.trt.profiles import ProfileRequest, SizeSpan, Span

if TYPE_CHECKING:
    from u2net.export.image_graph import ImageOptions
    from u2net.export.int8 import Int8Options
    from u2net.export.onnx_export import ExportOptions
    from u2net.model.checkpoint import Checkpoint

DYNAMIC = "dynamic"
MOST_DIGITS = 20

DATASET = "Data set: a folder with images/ and masks/, or …-Image/ and …-Mask/ as in DUTS; pairs share a stem."


def _parsed(parse: Callable[[str], object], help: str, *names: str, metavar: str = "NAME", **more: Any) -> Any:
    """Declare an option whose text is parsed. typer also passes the default, already parsed, to the parser."""

    def read(value: object) -> object:
        try:
            return parse(value) if isinstance(value, str) else value
        except InputError as error:
            raise typer.BadParameter(str(error)) from error

    return typer.Option(*names, parser=read, metavar=metavar, help=help, **more)


def _target(suffix: str, help: str, *names: str) -> Any:
    """Declare an option for the path of an output file with this suffix."""

    return _parsed(lambda text: check_target(text, (suffix,)), help, *names, metavar="FILE")


def parse_promise(text: str) -> Agreement:
    """Read three numbers, separated by commas."""
    try:
        iou, low_iou, mean = map(float, text.split(","))
    except ValueError:
        raise InputError(f"--promise is three numbers, such as 0.99,0.93,0.004; got {text!r}") from None
    return Agreement(iou, low_iou, mean)


def parse_report_name(text: str) -> str:
    """Read the name of a report, which is that of its files without a suffix."""
    if Path(text).name != text:
        raise InputError(f"--name is the name of files, without a folder; got {text!r}")
    return text


ReportName = Annotated[str, _parsed(parse_report_name, "Name of the report's files.", "--name")]
CheckpointPath = Annotated[Path | None, typer.Argument(help="Checkpoint; the bundled U2NETP if left out.")]
Size = Annotated[
    str | None, typer.Option(help="Input size: a number, HxW or dynamic; by default the preset's own (reference: 320).")
]
SourceSize = Annotated[
    str | None,
    typer.Option(help="The only size that --io image takes, as HxW, for cameras and videos; by default any."),
]
BatchSize = Annotated[str, typer.Option(help="Images per run: a number or dynamic.")]
OutputNames = Annotated[str, typer.Option(help="d0, all, or names separated by commas.")]
Opset = Annotated[int, typer.Option(help="ONNX opset, 17 to 21.")]
ExportPreset = Annotated[
    Preset, _parsed(find_preset, f"Preprocessing: {', '.join(PRESETS)}.", "--preset", show_default="reference")
]
OwnPreset = Annotated[Preset | None, _parsed(find_preset, "Preprocessing instead of the file's own.", "--preset")]
Images = Annotated[Path | None, typer.Option(help="Folder of photographs (32 are tried); by default synthetic scenes.")]
FlavourName = Annotated[
    Flavour | None, _parsed(parse_flavour, "tensorrt or tensorrt-rtx; by default the installed one.", "--flavour")
]
DeviceName = Annotated[Device, _parsed(Device.parse, "cpu, cuda or cuda:N.", "--device")]
OnnxBackend = Annotated[
    BackendName | None, typer.Option(help="What runs ONNX files, by default ONNX Runtime; BF16 is less exact.")
]
GpuName = Annotated[
    Device | None,
    _parsed(
        Device.parse,
        "GPU to time the layers on; without it, the layers recorded by the full TensorRT are listed.",
        "--device",
    ),
]
OnnxFile = Annotated[Path, _target(".onnx", "File to write.", "--output", "-o")]
JsonFile = Annotated[Path | None, _target(".json", "Also write the figures here.", "--json")]
SheetFile = Annotated[Path | None, _target(".png", "Also draw the first model's worst pictures, as PNG.", "--sheet")]
Weights = Annotated[
    Literal["ema", "model"] | None,
    typer.Option(help="Averaged (ema) or trained (model) weights of a checkpoint that holds both; by default ema."),
]


QuantizationTarget = Annotated[
    Target | None,
    typer.Option(help="What runs the INT8 file: cpu (ONNX Runtime, OpenVINO) or tensorrt.", show_default="cpu"),
]
CalibratorName = Annotated[
    Calibrator | None,
    typer.Option(
        show_default="minmax",
        help="Ranges of INT8 values: minmax holds all that occur, percentile leaves out the rarest.",
    ),
]
Promise = Annotated[
    Agreement | None,
    _parsed(
        parse_promise,
        "What INT8 keeps of FP32: pooled IoU, fifth percentile of the photographs' IoU, mean difference.",
        "--promise",
        metavar="IOU,LOW,MEAN",
        show_default="0.99,0.93,0.004",
    ),
]


def checkpoint_or_bundled(checkpoint: Path | None) -> Path:
    """Return the named checkpoint, or else the weights that the package carries."""
    if checkpoint is not None:
        return checkpoint
    from u2net.model.weights import BUNDLED_WEIGHTS

    return BUNDLED_WEIGHTS


def read_checkpoint(path: Path | None, weights: Literal["ema", "model"] | None) -> "Checkpoint":
    """Read the named or the bundled checkpoint, and say if its averaged weights are taken."""
    from u2net.cli.printing import print_line, progress_console
    from u2net.model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(checkpoint_or_bundled(path), weights)
    if checkpoint.weights == "ema":
        print_line(f"{checkpoint.path}: took the averaged weights (--weights ema)", place=progress_console)
    return checkpoint


def parse_size(text: str, option: str = "--size") -> tuple[int, int] | None:
    """Read ``320``, ``240x320`` (height first) or ``dynamic`` as height and width; None if dynamic."""
    if text == DYNAMIC:
        return None
    sides = text.lower().replace("×", "x").split("x")
    choices = f"number, HEIGHTxWIDTH or {DYNAMIC}" if option == "--size" else "number or HEIGHTxWIDTH"
    if len(sides) > 2 or not all(map(_is_number, sides)):
        raise InputError(f"{option} is a {choices}; got {text!r}")
    return int(sides[0]), int(sides[-1])


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """Read whole numbers, separated by commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(map(_is_number, parts)):
        raise InputError(f"{option} takes whole numbers separated by commas; got {text!r}")
    return tuple(int(part) for part in parts)


def export_options(size: str | None, batch: str, outputs: str, opset: int, preset: Preset) -> "ExportOptions":
    """Parse the export options."""
    from u2net.export.onnx_export import ExportOptions
    from u2net.model.network import OUTPUT_NAMES

    sides = (preset.height, preset.width) if size is None else parse_size(size)
    if batch != DYNAMIC and not _is_number(batch):
        raise InputError(f"--batch is a number or {DYNAMIC}; got {batch!r}")
    return ExportOptions(
        size=sides,
        batch=None if batch == DYNAMIC else int(batch),
        outputs=OUTPUT_NAMES if outputs == "all" else parse_names(outputs),
        opset=opset,
        preset=preset,
    )


def int8_options(precision: str, images: Path | None, **options: Any) -> "Int8Options | None":
    """Parse the options of INT8; return None for other precisions. Raise InputError without photographs."""
    given = {name: value for name, value in options.items() if value is not None}
    if precision != "int8":
        _refuse(given, "for an INT8 file; add --precision int8")
        return None
    from u2net.export.int8 import WANTED_IMAGES, Int8Options

    if images is None:
        raise InputError(
            f"INT8 is calibrated on photographs like yours; name a folder of some {WANTED_IMAGES} with --images"
        )
    return Int8Options(images, **given)


def image_options(io: str, source: str | None, **options: Any) -> "ImageOptions | None":
    """Parse the options of a graph that takes images; return None for one that takes tensors."""
    options["source"] = None if source is None else parse_size(source, "--source")
    if source is not None and options["source"] is None:
        raise InputError("--source is one size, HEIGHTxWIDTH; leave it out for images of any size")
    given = {name: value for name, value in options.items() if value is not None}
    if io == "image":
        from u2net.export.image_graph import ImageOptions

        return ImageOptions(**given)
    _refuse(given, "for a file that takes images; add --io image")
    return None


def _refuse(given: dict[str, Any], use: str) -> None:
    flags = [f"--no-{name}" if value is False else f"--{name}" for name, value in given.items()]
    if flags:
        raise InputError(f"{', '.join(flags)}: only {use}")


def parse_names(text: str | None) -> tuple[str, ...]:
    """Read names, separated by commas; none if the option was left out."""
    return () if text is None else tuple(name.strip() for name in text.split(","))


def parse_pythons(texts: list[str]) -> dict[str, str]:
    """Read every ``NAME=PATH`` of an interpreter."""
    pairs = [text.partition("=") for text in texts]
    if not all(name and path for name, _, path in pairs):
        raise InputError(f"--python is NAME=PATH; got {', '.join(texts)}")
    return {name: path for name, _, path in pairs}


def parse_profiles(batches: list[str], sizes: list[str]) -> ProfileRequest:
    """Read every ``--batch`` and ``--size`` of an engine."""
    return ProfileRequest(tuple(map(_parse_span, batches)), tuple(map(_parse_size_span, sizes)))


def _parse_span(text: str) -> Span:
    parts = text.split(":")
    if len(parts) not in (1, 3) or not all(map(_is_number, parts)):
        raise InputError(f"--batch is MIN:OPT:MAX or a number; got {text!r}")
    return Span(*(int(part) for part in parts * (3 // len(parts))))


def _parse_size_span(text: str) -> SizeSpan:
    parts = text.split(":")
    known = [side for side in map(parse_size, parts) if side is not None]
    if len(parts) not in (1, 3) or len(known) < len(parts):
        raise InputError(f"--size of an engine is MIN:OPT:MAX or one size, each a number or HxW; got {text!r}")
    heights, widths = zip(*known * (3 // len(parts)), strict=True)
    return SizeSpan(Span(*heights), Span(*widths))


def _is_number(text: str) -> bool:
    """True for a whole number in ASCII digits, few enough for int()."""
    return text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS
