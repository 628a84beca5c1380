"""``u2net info``."""

from pathlib import Path
from typing import Annotated

import typer

from u2net.cli.options import Weights
from u2net.cli.printing import print_table
from u2net.runtime.errors import InputError
from u2net.runtime.loading import MODEL_SUFFIXES


def info(file: Annotated[Path, typer.Argument(help="Checkpoint or model file.")], weights: Weights = None) -> None:
    """Describe a checkpoint or model file."""
    if file.suffix.lower() in MODEL_SUFFIXES:
        if weights is not None:
            raise InputError("--weights chooses between those of a checkpoint; a model file holds one set")
        from u2net.runtime.description import describe_engine, describe_model

        facts = describe_model(file) if file.suffix.lower() == ".onnx" else describe_engine(file)
        if "precision" not in facts:
            facts["precision"] = _graph_precision(file)
    else:
        from u2net.model.checkpoint import describe_checkpoint, load_checkpoint

        facts = describe_checkpoint(load_checkpoint(file, weights))
    rows = [(name, _text(value)) for name, value in facts.items()]
    print_table(("file", str(file)), rows, words=2)


def _graph_precision(file: Path) -> str:
    """Precision of a graph without metadata."""
    try:
        from u2net.export.graph import find_precision, read_graph
    except ImportError:
        return "not stated; after `pip install 'u2net-deploy[export]'` it is read from the nodes"
    return find_precision(read_graph(file))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name} {item}" for name, item in value.items())
    return str(value)
