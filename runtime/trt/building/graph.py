"""An ONNX graph to compile, and how TensorRT parses it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from u2net.runtime.artifact import Artifact, Precision
from u2net.runtime.errors import EngineBuildError, InputError
from u2net.runtime.trt.api import Builder, INetworkDefinition, OnnxParser
from u2net.runtime.trt.flavours import TensorRTLibrary

OLD_PARSER_OPSET = 17
"""Newest opset that the parser of TensorRT 8 reads."""


@dataclass(frozen=True)
class GraphSource:
    """An ONNX file to compile, with the facts that only an ONNX reader could find in it."""

    path: Path
    precision: Precision
    opset: int
    artifact: Artifact | None = None
    """Metadata of the graph; None if this project did not export it."""

    @property
    def images(self) -> bool:
        """True if the graph takes images."""
        return self.artifact is not None and self.artifact.image is not None


def parse_graph(library: TensorRTLibrary, builder: Builder, source: GraphSource, logger: Any) -> INetworkDefinition:
    """Read the graph of a U²-Net into a network definition."""
    trt, features = library.trt, library.features
    if not features.strong_typing and source.opset > OLD_PARSER_OPSET:
        raise InputError(
            f"{source.path.name} has opset {source.opset}, but TensorRT {trt.__version__} reads up to "
            f"{OLD_PARSER_OPSET}; export it with --opset {OLD_PARSER_OPSET}"
        )
    flags = trt.NetworkDefinitionCreationFlag
    explicit = 1 << int(flags.EXPLICIT_BATCH) if features.explicit_batch else 0
    typed = 1 << int(flags.STRONGLY_TYPED) if features.strong_typing else 0
    network = builder.create_network(explicit | typed)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(source.path)):
        why = "\n".join(_parser_errors(library, parser)) or logger.drain()
        raise EngineBuildError(f"TensorRT {trt.__version__} cannot parse {source.path.name}: {why}")
    shapes = [tuple(network.get_input(index).shape) for index in range(network.num_inputs)]
    layout, axis = ("N×H×W×3", 3) if source.images else ("N×3×H×W", 1)
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][axis] != 3:
        raise InputError(f"{source.path.name} is not a U²-Net: it takes {shapes}, not one {layout}")
    return network


def _parser_errors(library: TensorRTLibrary, parser: OnnxParser) -> Iterator[str]:
    for index in range(parser.num_errors):
        error: Any = parser.get_error(index)
        named = (error.node_operator(), error.node_name()) if library.features.parser_nodes else ()
        where = " ".join(part for part in (f"node {error.node()}", *named) if part)
        yield f"{where}: {error.desc()}" if error.node() >= 0 else error.desc()
