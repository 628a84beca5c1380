"""ONNX to a plan: parse, configure, build. Needs TensorRT and nothing else, so that a runtime can do it too."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from u2net.runtime.artifact import InputShape
from u2net.runtime.errors import EngineBuildError, InputError
from u2net.runtime.files import written_whole
from u2net.runtime.presets import Preset
from u2net.runtime.trt.api import Builder, IBuilderConfig, INetworkDefinition, OnnxParser, TensorRT
from u2net.runtime.trt.cuda import Gpu, open_cuda
from u2net.runtime.trt.flavours import FLAVOURS, Flavour, choose_flavour, import_flavour
from u2net.runtime.trt.messages import log, make_logger
from u2net.runtime.trt.options import EngineOptions
from u2net.runtime.trt.profiles import Profile
from u2net.runtime.trt.progress import Progress, build_with_progress

OLD_PARSER_OPSET = 17
"""Newest opset that TensorRT 8's parser knows."""


@dataclass(frozen=True)
class Source:
    """The graph to build from, with what its metadata says."""

    path: Path
    precision: str
    """``fp32`` or ``fp16``."""
    opset: int
    fp32_nodes: tuple[str, ...] = ()
    """Nodes of an FP16 graph that must stay in FP32."""
    preset: Preset | None = None


@dataclass(frozen=True)
class Plan:
    """A compiled network, and what it was compiled for."""

    content: bytes
    flavour: Flavour
    version: str
    """Of TensorRT."""
    gpu: Gpu | None
    """What it was built on; None where it was built ahead of time."""
    profiles: tuple[Profile, ...]
    seconds: float


def build_plan(source: Source, options: EngineOptions, progress: Progress | None = None) -> Plan:
    """Compile a graph.

    Raises:
        EngineBuildError: TensorRT cannot parse or build it; the message is TensorRT's, whole.
        InputError: an option cannot be used, or the graph cannot do what was asked for.
        DependencyError: the flavour is not installed.
        DeviceError: the flavour needs a GPU to build, and there is none.
        KeyboardInterrupt: Ctrl-C; the build ends at once where TensorRT can be stopped (from 10 on).
    """
    started = time.perf_counter()
    flavour = choose_flavour(options.flavour)
    options.check(flavour)
    trt = import_flavour(flavour)
    gpu = None if FLAVOURS[flavour].builds_without_gpu else _claim_gpu(options.device)
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(_creation_flags(trt))
    _parse(trt, network, source, logger)
    profiles = options.profiles.resolve(_input_shape(network, source.path), source.preset)
    config = builder.create_builder_config()
    _configure(trt, config, source, network, options)
    for profile in profiles:
        _add_profile(builder, config, network, profile)
    with _timing_cache(config, options.timing_cache):
        content = build_with_progress(trt, builder, network, config, progress, claim=partial(_use_gpu, gpu))
    if content is None:
        raise EngineBuildError(f"{flavour} {trt.__version__} cannot build {source.path.name}: {logger.drain()}")
    return Plan(content, flavour, trt.__version__, gpu, profiles, time.perf_counter() - started)


def _claim_gpu(index: int) -> Gpu:
    """Without a driver, creating a builder ends in a TypeError or a crash: ask CUDA first."""
    cuda = open_cuda()
    gpu = cuda.find_gpu(index)
    cuda.use(index)
    return gpu


def _use_gpu(gpu: Gpu | None) -> None:
    if gpu is not None:
        open_cuda().use(gpu.index)


def is_strongly_typed(trt: TensorRT) -> bool:
    """Whether the graph alone decides precision: from TensorRT 10 on."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def _creation_flags(trt: TensorRT) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    return sum(1 << int(getattr(flags, name)) for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED") if hasattr(flags, name))


def _parse(trt: TensorRT, network: INetworkDefinition, source: Source, logger: Any) -> None:
    if not source.path.is_file():
        raise InputError(f"{source.path}: there is no such file")
    if not is_strongly_typed(trt) and source.opset > OLD_PARSER_OPSET:
        raise InputError(
            f"{source.path.name} has opset {source.opset}, TensorRT {trt.__version__} reads up to {OLD_PARSER_OPSET}; "
            f"export it with --opset {OLD_PARSER_OPSET}"
        )
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(source.path)):
        why = "\n".join(_parser_errors(parser)) or logger.drain()
        raise EngineBuildError(f"TensorRT {trt.__version__} cannot parse {source.path.name}: {why}")


def _parser_errors(parser: OnnxParser) -> Iterator[str]:
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        name = error.node_name() if hasattr(error, "node_name") else ""
        operator = error.node_operator() if hasattr(error, "node_operator") else ""
        where = " ".join(part for part in (f"node {error.node()}", operator, name) if part)
        yield f"{where}: {error.desc()}" if error.node() >= 0 else error.desc()


def _input_shape(network: INetworkDefinition, path: Path) -> InputShape:
    sides = tuple(network.get_input(0).shape) if network.num_inputs == 1 else ()
    if len(sides) != 4 or sides[1] != 3:
        found = [tuple(network.get_input(index).shape) for index in range(network.num_inputs)]
        raise InputError(f"{path.name} is no U²-Net: it takes {found}, not one N×3×H×W")
    batch, _, height, width = (None if side < 0 else int(side) for side in sides)
    return InputShape(batch, height, width)


def _configure(
    trt: TensorRT, config: IBuilderConfig, source: Source, network: INetworkDefinition, options: EngineOptions
) -> None:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.opt_level is not None:
        config.builder_optimization_level = options.opt_level
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if not is_strongly_typed(trt) and source.precision == "fp16":
        _allow_fp16(trt, config, network, source.fp32_nodes)
    if hasattr(trt.PreviewFeature, "PROFILE_SHARING_0806"):
        # Several contexts under one profile: before TensorRT 10 it has to be asked for.
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    _set_targets(trt, config, options.targets)


def _allow_fp16(
    trt: TensorRT, config: IBuilderConfig, network: INetworkDefinition, fp32_nodes: tuple[str, ...]
) -> None:
    """TensorRT 8 chooses precision itself: let it choose FP16, but not in the islands."""
    config.set_flag(trt.BuilderFlag.FP16)
    if not fp32_nodes:
        return
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        if layer.name in fp32_nodes:
            layer.precision = trt.DataType.FLOAT  # type: ignore[attr-defined]
            for index in range(layer.num_outputs):
                layer.set_output_type(index, trt.DataType.FLOAT)  # type: ignore[attr-defined]


def _set_targets(trt: TensorRT, config: IBuilderConfig, targets: tuple[str, ...]) -> None:
    if not targets:
        return
    if not hasattr(trt, "ComputeCapability"):
        raise InputError(f"TensorRT {trt.__version__} builds for the GPU it runs on; targets are for TensorRT-RTX")
    known = trt.ComputeCapability.__members__
    names = [target.upper().replace("_", "") for target in targets]
    unknown = [target for target, name in zip(targets, names, strict=True) if name not in known]
    if unknown:
        there = ", ".join(name.lower().replace("sm", "sm_") for name in known if name.startswith("SM"))
        raise InputError(f"TensorRT-RTX {trt.__version__} does not know {', '.join(unknown)}; it knows {there}")
    config.num_compute_capabilities = len(targets)  # type: ignore[attr-defined]
    for index, name in enumerate(names):
        config.set_compute_capability(known[name], index)  # type: ignore[attr-defined]


def _add_profile(builder: Builder, config: IBuilderConfig, network: INetworkDefinition, profile: Profile) -> None:
    entry = builder.create_optimization_profile()
    try:
        entry.set_shape(network.get_input(0).name, *profile.shapes())
    except RuntimeError as error:
        raise EngineBuildError(f"TensorRT does not take the profile {profile}: {error}") from error
    if config.add_optimization_profile(entry) < 0:
        raise EngineBuildError(f"TensorRT does not take the profile {profile}")


@contextmanager
def _timing_cache(config: IBuilderConfig, path: Path | None) -> Iterator[None]:
    """Start from the measurements in the file, and keep those that this build adds."""
    if path is None:
        yield
        return
    try:
        known = path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise InputError(f"{path} is no timing cache of this TensorRT and GPU; name another file")
    yield
    try:
        with written_whole(path) as unfinished:
            unfinished.write_bytes(bytes(config.get_timing_cache().serialize()))
    except OSError as error:
        log.warning("%s cannot be written, so the next build measures again: %s", path, error)
