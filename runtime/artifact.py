"""Metadata of an artifact: written into the model file by the export, read back by the runtime."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from u2net.runtime.errors import ArtifactError, InputError
from u2net.runtime.kinds import read_fields
from u2net.runtime.presets import Preset

METADATA_KEY = "u2net_artifact"
"""Key in the model file's metadata. The value is JSON."""

SCHEMA = 1

INPUT_NAME = "input"
IMAGE_NAME, MASK_NAME = "image", "mask"
"""Input and output of a graph with pre- and postprocessing."""
BEFORE, BEHIND = "preprocess", "postprocess"
"""Prefixes of the names of its nodes before and behind the network."""

STEP = 32
"""Divisor of a dynamic height or width, and minimum of any: the network halves its maps five times."""
LARGEST = 2048
"""Largest dynamic height or width in pixels."""

Precision = Literal["fp32", "bf16", "fp16", "int8"]
"""Precision of a file, or of what a session computes in: no file is BF16, but OpenVINO may run one in it."""

Target = Literal["cpu", "tensorrt"]
"""What an INT8 graph is made for: uint8 activations for ONNX Runtime and OpenVINO, int8 ones for TensorRT."""

MaskType = Literal["float32", "uint8"]
"""Values of the masks that a graph gives: 0 to 1, in which NaN shows, or grey levels."""

Calibrator = Literal["minmax", "percentile"]
"""How the ranges of INT8 values are found: from all that occur, or without the rarest."""


@dataclass(frozen=True)
class InputShape:
    """Batch, height and width of the input, N×3×H×W or images N×H×W×3; None stands for a dynamic side."""

    batch: int | None
    height: int | None
    width: int | None
    any_size: bool = False
    """True if a dynamic height or width may be any number from 32 up, as in eager PyTorch."""

    def check_size(self, height: int, width: int, where: object = "the network") -> None:
        """Raise InputError, which names the nearest valid sizes, if the network does not take this one."""
        for what, value, fixed in (("height", height, self.height), ("width", width, self.width)):
            if fixed is not None:
                if value != fixed:
                    raise InputError(f"{where} takes {what} {fixed}; got {value}")
            elif self.any_size:
                if value < STEP:
                    raise InputError(f"{where} takes a {what} of at least {STEP}; got {value}")
            elif value % STEP or not STEP <= value <= LARGEST:
                below = min(max(value // STEP * STEP, STEP), LARGEST - STEP)
                raise InputError(
                    f"{where}: {what} {value} is not a multiple of {STEP} from {STEP} to {LARGEST}; "
                    f"the nearest are {below} and {below + STEP}"
                )

    def check_image(self, height: int, width: int, where: object) -> None:
        """Raise InputError if a network that takes images does not take this size."""
        if min(height, width) < 1 or self.height not in (None, height) or self.width not in (None, width):
            wanted = "×".join("any" if side is None else str(side) for side in (self.height, self.width))
            raise InputError(
                f"{where} takes images of {wanted} pixels, height first; got {height}×{width}; resize them, or "
                "use a file for any size, exported without --source"
            )

    def __str__(self) -> str:
        sides = ("dynamic" if side is None else str(side) for side in (self.batch, 3, self.height, self.width))
        return "×".join(sides)


@dataclass(frozen=True)
class Agreement:
    """How close the maps of one graph are to those of another on a set of photographs."""

    iou: float
    """Intersection over union at 0.5, pooled over all pixels."""
    low_iou: float
    """Fifth percentile of the IoU of single photographs."""
    mean: float
    """Mean absolute difference of probabilities."""

    def keeps(self, promise: "Agreement") -> bool:
        """Return whether no figure is worse than the promised one."""
        return self.iou >= promise.iou and self.low_iou >= promise.low_iou and self.mean <= promise.mean

    def __str__(self) -> str:
        return f"IoU {self.iou:.4f}, fifth percentile {self.low_iou:.3f}, mean difference {self.mean:.2e}"


PROMISE = Agreement(iou=0.99, low_iou=0.93, mean=4e-3)
"""What an INT8 graph keeps by default."""


@dataclass(frozen=True)
class LayerLoss:
    """Loss of accuracy from quantizing one convolution."""

    name: str
    loss: float
    """Mean absolute difference of probabilities if it alone is in INT8."""


@dataclass(frozen=True)
class Quantization:
    """How an INT8 graph was made."""

    target: Target
    calibrator: Calibrator
    calibration_images: int
    held_out_images: int
    agreement: Agreement
    """Against the FP32 graph, on the held-out photographs."""
    losses: tuple[LayerLoss, ...]
    """Every convolution but the one that fuses the side maps, the cheapest first."""


@dataclass(frozen=True)
class ImageIo:
    """Input and output of a graph with pre- and postprocessing: uint8 N×H×W×3 RGB in, masks N×H×W out."""

    height: int | None
    """Height of the images in pixels; None takes any."""
    width: int | None
    mask: MaskType

    def __str__(self) -> str:
        height, width = ("any" if side is None else side for side in (self.height, self.width))
        return f"images of {height}×{width}, masks in {self.mask}"


@dataclass(frozen=True)
class Artifact:
    """Metadata of a model file."""

    variant: str
    checkpoint_sha256: str
    preset: Preset
    precision: Precision
    shape: InputShape
    """Input of the network itself, even if the graph takes images."""
    outputs: tuple[str, ...]
    """Names of the outputs in order, out of ``d0``…``d6``, or ``mask``."""
    classes: int
    """Channels of each output: 1 for a saliency map, more for classes, background first."""
    opset: int
    fp32_nodes: tuple[str, ...]
    """Nodes of an FP16 graph whose values exceed the range of FP16, and convolutions of an INT8 graph, left in FP32."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of the packages that wrote the file."""
    quantization: Quantization | None = None
    """How it was quantized, for INT8."""
    image: ImageIo | None = None
    """What goes in and comes out if pre- and postprocessing are inside the graph; None if tensors do."""

    def to_json(self) -> str:
        """Return the metadata as JSON, with the meaning of input and outputs in words."""
        return json.dumps({"schema": SCHEMA, **asdict(self), "meaning": self._meaning()})

    def _meaning(self) -> dict[str, str]:
        if self.image is not None:
            values = "0 to 1" if self.image.mask == "float32" else "0 to 255"
            return {
                IMAGE_NAME: "uint8 N×H×W×3, RGB, as it is",
                MASK_NAME: f"{self.image.mask} N×H×W, {values}, at the size of the images",
            }
        activation = "sigmoid" if self.classes == 1 else "softmax"
        dynamic = None in (self.shape.height, self.shape.width)
        return {
            INPUT_NAME: "float32 N×3×H×W, RGB, resized, divided and normalised as the preset says",
            "outputs": f"float32 N×{self.classes}×H×W probabilities ({activation}); d0 is the fused map",
            "size": f"multiples of {STEP} from {STEP} to {LARGEST}" if dynamic else "fixed",
        }

    @classmethod
    def from_json(cls, text: str, where: object = "the artifact") -> "Artifact":
        """Read :meth:`to_json` back. Raise ArtifactError, which names the file, if the text is damaged or too new."""
        try:
            values: dict[str, Any] = json.loads(text)
            schema = values.pop("schema")
            if schema != SCHEMA:
                raise ArtifactError(f"{where} has metadata schema {schema}; this version reads {SCHEMA}")
            values.pop("meaning")
            return read_fields(cls, {**values, "preset": Preset.from_dict(values["preset"])})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, InputError):
                raise ArtifactError(f"{where}: its preset cannot be used: {error}") from error
            raise ArtifactError(f"{where}: its metadata is damaged: {error!r}; export it again") from error
