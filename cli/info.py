"""``u2net info``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import Weights, checkpoint_or_bundled
from u2net.cli.printing import print_table
from u2net.runtime.errors import InputError
from u2net.runtime.loading import MODEL_SUFFIXES


def info(
    file: Annotated[
        Path | None, typer.Argument(help="Checkpoint or model file; the bundled U2NETP if left out.")
    ] = None,
    weights: Weights = None,
) -> None:
    """Describe a checkpoint or model file."""
    file = checkpoint_or_bundled(file)
    if file.suffix.lower() in MODEL_SUFFIXES:
        if weights is not None:
            raise InputError("--weights chooses between those of a checkpoint; a model file holds one set")
        from u2net.runtime.description import describe_engine, describe_model

        graph = file.suffix.lower() == ".onnx"
        facts = describe_model(file) if graph else describe_engine(file)
        if graph:
            facts["precision"] = _graph_precision(file, facts.get("precision"))
    else:
        from u2net.model.checkpoint import describe_checkpoint, load_checkpoint

        facts = describe_checkpoint(load_checkpoint(file, weights))
    rows = [(name, _text(value)) for name, value in facts.items()]
    print_table(("file", str(file)), rows, words=2)


def _graph_precision(file: Path, stated: object) -> object:
    """Precision of a graph by its nodes, because a tool that quantizes a file may leave its metadata as they are."""
    try:
        from u2net.export.graph import find_precision, read_graph
    except ImportError:
        return stated or "not stated; after `pip install 'u2net-deploy[export]'` it is read from the nodes"
    return find_precision(read_graph(file))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name} {item}" for name, item in value.items())
    return str(value)
