"""A stale engine built again from the graph that its record names."""

from dataclasses import replace
from pathlib import Path

from u2net.runtime.errors import EngineBuildError
from u2net.runtime.files import hash_file
from u2net.runtime.trt.building import Source, build_plan
from u2net.runtime.trt.cuda import Gpu
from u2net.runtime.trt.messages import log
from u2net.runtime.trt.record import EngineRecord, describe_plan, target_name, write_engine


def find_source(path: Path, record: EngineRecord) -> Path:
    """The graph that an engine was built from, unchanged.

    Raises:
        EngineBuildError: it is not there any more, or is another one.
    """
    source = path.parent / record.onnx
    if not source.is_file():
        raise EngineBuildError(f"{path} cannot be built again: {source}, which it was built from, is not there")
    if hash_file(source) != record.onnx_sha256:
        raise EngineBuildError(
            f"{path} cannot be built again: {source} is not the graph it was built from; "
            f"`u2net compile {source} -o {path}` takes the new one"
        )
    return source


def rebuild_engine(path: Path, record: EngineRecord, gpu: Gpu, why: str) -> EngineRecord:
    """Build an engine again in place and say so in the log; its new record. What it was built for stays, with this GPU.

    Raises:
        U2NetError: see :func:`u2net.runtime.trt.building.build_plan`.
    """
    onnx = find_source(path, record)
    log.warning("building %s again from %s: %s", path, onnx, why)
    preset = record.artifact.preset if record.artifact else None
    source = Source(onnx, record.precision, record.opset, record.fp32_nodes, preset)
    options = record.options(gpu.index)
    here = target_name(gpu.compute_capability)
    if options.targets and here not in options.targets:
        options = replace(options, targets=(*options.targets, here))
    plan = build_plan(source, options)
    renewed = describe_plan(plan, source, options, path, record.artifact)
    write_engine(path, plan, renewed)
    log.warning("built %s again with %s %s in %.1f s", path, plan.flavour, plan.version, plan.seconds)
    return renewed
