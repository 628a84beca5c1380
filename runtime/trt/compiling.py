"""Compile an engine and write it with its record. The only module that both builds and opens engines."""

from dataclasses import replace
from pathlib import Path

from u2net.runtime.device import Device
from u2net.runtime.errors import EngineBuildError
from u2net.runtime.files import hash_file
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.building.graph import GraphSource
from u2net.runtime.trt.building.plan import build_plan
from u2net.runtime.trt.building.progress import BuildProgress
from u2net.runtime.trt.cuda import open_cuda
from u2net.runtime.trt.messages import trt_log
from u2net.runtime.trt.profiles import ProfileRequest, SizeSpan
from u2net.runtime.trt.record import EngineRecord, read_record, target_name, write_engine
from u2net.runtime.trt.running.inspection import read_plan_layers


def compile_engine(
    source: GraphSource, path: Path, options: EngineOptions, progress: BuildProgress | None = None
) -> EngineRecord:
    """Compile a graph into the engine ``path``, write its record beside it and return the record.

    The record lists the engine's layers if it was built on a GPU. TensorRT-RTX settles them where the engine runs.

    Raise U2NetError as :func:`build_plan` does, or if the engine does not open after the build or cannot be written; no
    file is left then.
    """
    plan, record = build_plan(source, path, options, progress)
    if record.gpu is not None:
        record = replace(record, layers=read_plan_layers(plan, record, path, options.device))
    write_engine(path, plan, record)
    return record


def rebuild_engine(path: Path, device: Device, why: str) -> None:
    """Rebuild a stale engine in place with the same options, add this GPU to any targets, and log the reason.

    Raise EngineBuildError if the graph it was built from is missing or has changed; see also :func:`compile_engine`.
    """
    record = read_record(path)
    if record is None:
        raise EngineBuildError(f"{path} cannot be built again: no record beside it names its graph ({why})")
    onnx = path.parent / record.onnx
    if not onnx.is_file():
        raise EngineBuildError(f"{path} cannot be built again: {onnx}, which it was built from, is not there")
    if hash_file(onnx) != record.onnx_sha256:
        raise EngineBuildError(
            f"{path} cannot be built again: {onnx} is not the graph it was built from; "
            f"`u2net compile {onnx} -o {path}` takes the new one"
        )
    trt_log.warning("building %s again from %s: %s", path, onnx, why)
    sizes = tuple(SizeSpan(profile.height, profile.width) for profile in record.profiles)
    profiles = ProfileRequest(tuple(profile.batch for profile in record.profiles), sizes)
    options = EngineOptions(record.flavour, profiles, record.opt_level, record.tf32, None, record.targets, device)
    here = target_name(open_cuda().find_gpu(device.index).compute_capability)
    if options.targets and here not in options.targets:
        options = replace(options, targets=(*options.targets, here))
    built = compile_engine(GraphSource(onnx, record.precision, record.opset, record.artifact), path, options)
    trt_log.warning("built %s again with %s %s in %.1f s", path, built.flavour, built.version, built.seconds)
