"""Engines, built and inspected where they run. Needs TensorRT and no torch."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from u2net.benchmarks.gpu.protocol import Build, Inspect
from u2net.runtime.artifact import Artifact
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError
from u2net.runtime.files import hash_file
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.building.graph import GraphSource
from u2net.runtime.trt.compiling import compile_engine
from u2net.runtime.trt.flavours import import_flavour, parse_flavour
from u2net.runtime.trt.layers import summarize_layers
from u2net.runtime.trt.profiles import ProfileRequest, Span
from u2net.runtime.trt.record import EngineRecord, read_record
from u2net.runtime.trt.running.inspection import inspect_engine

SLOWEST = 12
"""Layers that the report names."""


def do(command: Build | Inspect) -> dict[str, Any]:
    """Do one of the two commands."""
    return _build(command) if isinstance(command, Build) else _inspect(command)


def _build(command: Build) -> dict[str, Any]:
    """Build an engine, unless the one that was asked for is there already."""
    path, artifact = Path(command.path), Artifact.from_json(command.artifact)
    source = GraphSource(Path(command.graph), artifact.precision, artifact.opset, artifact)
    options = EngineOptions(
        flavour=parse_flavour(command.flavour),
        profiles=ProfileRequest(tuple(Span.only(batch) for batch in command.batches)),
        opt_level=command.opt_level,
        device=Device("cuda", command.device),
    )
    kept = _find_built(path, source, options)
    record = kept or compile_engine(source, path, options)
    return {"seconds": record.seconds, "bytes": record.plan_bytes, "kept": kept is not None}


def _find_built(path: Path, source: GraphSource, options: EngineOptions) -> EngineRecord | None:
    """The record of an engine that an earlier run left, where it is just what would be built now."""
    try:
        record = read_record(path) if path.is_file() else None
    except ArtifactError:
        return None
    if record is None or options.flavour is None:
        return None
    asked = (options.flavour, import_flavour(options.flavour).trt.__version__, options.opt_level, options.tf32)
    built = (record.flavour, record.version, record.opt_level, record.tf32)
    same_graph = record.onnx_sha256 == hash_file(source.path)
    same_profiles = tuple(profile.batch for profile in record.profiles) == options.profiles.batches
    return record if asked == built and same_graph and same_profiles else None


def _inspect(command: Inspect) -> dict[str, Any]:
    found = inspect_engine(Path(command.path), Device("cuda", command.device))
    times = found.times or {}
    slowest = sorted(times, key=lambda name: times[name], reverse=True)[:SLOWEST]
    return {
        "where": found.where,
        "summary": summarize_layers(found.layers),
        "total_ms": sum(times.values()),
        "slowest": [{"layer": name, "ms": times[name]} for name in slowest],
        "layers": [{**asdict(layer), "ms": times.get(layer.name)} for layer in found.layers],
    }
