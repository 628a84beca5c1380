"""Compile an ONNX graph into a TensorRT plan. Needs no ONNX package, so the runtime alone can rebuild an engine."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from u2net.runtime.artifact import BEFORE, BEHIND
from u2net.runtime.errors import EngineBuildError, InputError
from u2net.runtime.files import hash_bytes, hash_file, written_whole
from u2net.runtime.trt.api import IBuilderConfig, INetworkDefinition
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.building.graph import GraphSource, parse_graph
from u2net.runtime.trt.building.progress import BuildProgress, build_with_progress
from u2net.runtime.trt.cuda import Gpu, open_cuda
from u2net.runtime.trt.flavours import TensorRTLibrary, choose_flavour, import_flavour
from u2net.runtime.trt.messages import make_logger, trt_log
from u2net.runtime.trt.profiles import Profile, declared_shape
from u2net.runtime.trt.record import EngineRecord


def build_plan(
    source: GraphSource, path: Path, options: EngineOptions, progress: BuildProgress | None = None
) -> tuple[bytes, EngineRecord]:
    """Compile a graph. Return the plan, which is to be written to ``path``, and its record, still without layers.

    Raises:
        EngineBuildError: TensorRT cannot parse or build the graph; the message quotes TensorRT in full.
        InputError: an option cannot be used, or does not fit the graph.
        DependencyError: the flavour is not installed.
        DeviceError: the full TensorRT has no GPU to build on.
        KeyboardInterrupt: Ctrl-C. From TensorRT 10 on the build ends at once.
    """
    started = time.perf_counter()
    flavour = choose_flavour(options.flavour)
    options.check(flavour)
    library = import_flavour(flavour)
    # Without a driver, making a builder of the full TensorRT ends in a TypeError or a crash, so CUDA is checked first.
    gpu = None if flavour == "tensorrt-rtx" else open_cuda().find_gpu(options.device.index)
    with nullcontext() if gpu is None else open_cuda().using(gpu.index):
        profiles, content = _compile(library, gpu, source, options, progress)
    return content, EngineRecord(
        flavour=flavour,
        version=library.trt.__version__,
        gpu=gpu.name if gpu else None,
        compute_capability=gpu.compute_capability if gpu else None,
        targets=options.targets,
        precision=source.precision,
        profiles=profiles,
        opt_level=options.opt_level,
        tf32=options.tf32,
        onnx=Path(os.path.relpath(source.path, path.parent)).as_posix(),
        onnx_sha256=hash_file(source.path),
        opset=source.opset,
        plan_bytes=len(content),
        plan_sha256=hash_bytes(content),
        seconds=round(time.perf_counter() - started, 3),
        artifact=source.artifact,
        layers=(),
    )


def _compile(
    library: TensorRTLibrary,
    gpu: Gpu | None,
    source: GraphSource,
    options: EngineOptions,
    progress: BuildProgress | None,
) -> tuple[tuple[Profile, ...], bytes]:
    logger = make_logger(library.trt)
    builder = library.trt.Builder(logger)
    network = parse_graph(library, builder, source, logger)
    preset = source.artifact.preset if source.artifact else None
    declared = declared_shape(network.get_input(0).shape, images=source.images)
    profiles = options.profiles.resolve(declared, preset, images=source.images)
    config = builder.create_builder_config()
    _configure(library, config, source, network, options)
    for profile in profiles:
        entry = builder.create_optimization_profile()
        try:
            entry.set_shape(network.get_input(0).name, *profile.shapes())
        except RuntimeError as error:
            raise EngineBuildError(f"TensorRT does not take the profile {profile}: {error}") from error
        if config.add_optimization_profile(entry) < 0:
            raise EngineBuildError(f"TensorRT does not take the profile {profile}")

    def build() -> bytes | None:
        if gpu is not None:  # each thread has a current device of its own
            open_cuda().use(gpu.index)
        content = builder.build_serialized_network(network, config)
        return None if content is None else bytes(content)

    with _timing_cache(config, options.timing_cache):
        monitored = library.features.progress_monitor
        content = build_with_progress(library.trt, config, build, progress) if monitored else build()
    if content is None:
        raise EngineBuildError(f"{library} cannot build {source.path.name}: {logger.drain()}")
    return profiles, content


def _configure(
    library: TensorRTLibrary,
    config: IBuilderConfig,
    source: GraphSource,
    network: INetworkDefinition,
    options: EngineOptions,
) -> None:
    trt, features = library.trt, library.features
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.opt_level is not None:
        config.builder_optimization_level = options.opt_level
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if features.fp16_flag and not features.strong_typing and source.precision == "fp16":
        _allow_fp16(trt, config, network, source)
    if features.int8_flag and not features.strong_typing and source.precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
    if features.profile_sharing:
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    if options.targets:
        _set_targets(library, config, options.targets)


def _allow_fp16(trt: Any, config: IBuilderConfig, network: INetworkDefinition, source: GraphSource) -> None:
    """TensorRT 8 chooses precision itself: allow FP16, except in pre- and postprocessing and where FP16 overflows."""
    config.set_flag(trt.BuilderFlag.FP16)
    nodes = source.artifact.fp32_nodes if source.artifact else ()
    parts = (f"{BEFORE}.", f"{BEHIND}.") if source.images else ()
    layers: list[Any] = [network.get_layer(index) for index in range(network.num_layers)]
    kept = [layer for layer in layers if layer.name in nodes or layer.name.startswith(parts)]
    if kept:
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for layer in kept:
        # Layers that compute no numbers, or whole ones, have no choice of precision.
        copies = trt.LayerType.CONSTANT, trt.LayerType.CAST, trt.LayerType.IDENTITY
        if layer.get_output(0).dtype == trt.DataType.FLOAT and layer.type not in copies:
            layer.precision = trt.DataType.FLOAT
            for index in range(layer.num_outputs):
                layer.set_output_type(index, trt.DataType.FLOAT)


def _set_targets(library: TensorRTLibrary, config: Any, targets: tuple[str, ...]) -> None:
    trt: Any = library.trt
    known = trt.ComputeCapability.__members__
    names = [target.upper().replace("_", "") for target in targets]
    unknown = [target for target, name in zip(targets, names, strict=True) if name not in known]
    if unknown:
        there = ", ".join(name.lower().replace("sm", "sm_") for name in known if name.startswith("SM"))
        raise InputError(f"TensorRT-RTX {trt.__version__} does not know {', '.join(unknown)}; it knows {there}")
    config.num_compute_capabilities = len(targets)
    for index, name in enumerate(names):
        config.set_compute_capability(known[name], index)


@contextmanager
def _timing_cache(config: IBuilderConfig, file: str | Path | None) -> Iterator[None]:
    """Start with the kernel timings in the file, and write them back with those of this build."""
    if file is None:
        yield
        return
    path = Path(file)
    try:
        known = path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise InputError(f"{path} is not a timing cache of this TensorRT and GPU; name another file")
    yield
    try:
        with written_whole(path) as unfinished:
            unfinished.write_bytes(bytes(config.get_timing_cache().serialize()))
    except OSError as error:
        trt_log.warning("%s cannot be written, so the next build measures again: %s", path, error)
