"""TensorRT's engines for the suite: found by discovery, built one at a time, those of an earlier run used again."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from u2net.benchmarks.suite.contestants import ENGINES, HERE, IMAGES, Contestant, TensorRT
from u2net.benchmarks.suite.gpu import EngineLayers
from u2net.benchmarks.suite.networks import NetworkFiles
from u2net.benchmarks.suite.options import SuiteOptions
from u2net.benchmarks.suite.workers import Worker, WorkerError
from u2net.export.graph import find_artifact, read_graph
from u2net.runtime.errors import ArtifactError
from u2net.runtime.trt.building.engine_options import EngineOptions
from u2net.runtime.trt.profiles import ProfileRequest, SizeSpan, Span
from u2net.runtime.trt.record import read_record

DISCOVERY_SECONDS = LAYERS_SECONDS = 120.0


def find_engines(options: SuiteOptions) -> tuple[list[TensorRT], list[str]]:
    """Return each TensorRT in this Python and in ``--python tensorrt=PATH``, and why any others cannot be used."""
    found: dict[str, TensorRT] = {}
    notes = []
    for name in (HERE, ENGINES):
        python = options.python(name)
        if python is None:
            continue
        try:
            with Worker(python, options.work / f"{name}.log") as process:
                versions, broken = process.call("find_tensorrt", DISCOVERY_SECONDS)
        except WorkerError as error:
            versions, broken = {}, [f"{python} could not be asked for TensorRT: {error}"]
        notes += broken
        for flavour, version in versions.items():
            each = TensorRT(flavour, version, name)
            found[each.key] = each
    return list(found.values()), notes


def make_engines(
    network: NetworkFiles,
    contestants: Iterable[Contestant],
    found: Iterable[TensorRT],
    gpu: str | None,
    *,
    options: SuiteOptions,
    pictures: Sequence[tuple[int, int]],
    say: Callable[[str], None],
) -> NetworkFiles:
    """Build the engines that contestants need and no earlier run left, and note which could not be built.

    An engine has a profile for each batch size. One build at a time, because others would disturb the times by which
    TensorRT chooses kernels.

    Args:
        gpu: name of the GPU.
        pictures: height and width of the pictures that engines of images take at the smallest batch.
    """
    missing, engines = dict(network.missing), {each.key: each for each in found}
    for source, contestant in {each.source: each for each in contestants if each.flavour}.items():
        path, engine = network.path(source, 1), engines.get(source.removesuffix(IMAGES))
        python = options.python(engine.python) if engine else None
        if engine is None or python is None:
            missing[path] = f"not here: no Python searched has this TensorRT; name another with --python {ENGINES}=PATH"
            continue
        profiles = _request_profiles(options, pictures if contestant.takes_images else ())
        wanted = network.checkpoint.sha256, engine.version, options.opt_level, profiles
        if _is_built(path, wanted, gpu):
            continue
        say(f"{network.variant}: building with {source}")
        graph = network.path(contestant.graph, 1)
        try:
            with Worker(python, path.with_suffix(".log")) as process:
                process.call(
                    "compile_graph",
                    60 * options.build_minutes,
                    graph=str(graph.absolute()),
                    path=str(path.absolute()),
                    artifact=find_artifact(read_graph(graph), graph),
                    options=EngineOptions(engine.flavour, profiles, opt_level=options.opt_level, device=options.device),
                )
        except WorkerError as error:
            missing[path] = f"building the engine: {error}"
    return replace(network, missing=missing)


def _request_profiles(options: SuiteOptions, pictures: Sequence[tuple[int, int]]) -> ProfileRequest:
    """Return a profile for each batch size, for images of the network's own size and, at the smallest, for pictures."""
    batches = tuple(Span.only(batch) for batch in options.batches)
    if not pictures:
        return ProfileRequest(batches)
    own = SizeSpan(Span.only(options.size), Span.only(options.size))
    every = [sorted((options.size, *sides)) for sides in zip(*pictures, strict=True)]
    wide = SizeSpan(*(Span(sides[0], sides[len(sides) // 2], sides[-1]) for sides in every))
    return ProfileRequest(batches, tuple(wide if batch == min(options.batches) else own for batch in options.batches))


def _is_built(path: Path, wanted: tuple[str, str, int | None, ProfileRequest], gpu: str | None) -> bool:
    """True for an engine of the wanted checkpoint, version, optimization level and profiles, built on this GPU."""
    try:
        record = read_record(path) if path.is_file() else None
    except ArtifactError:
        return False
    if record is None or record.artifact is None:
        return False
    batches = tuple(profile.batch for profile in record.profiles)
    sizes = tuple(SizeSpan(profile.height, profile.width) for profile in record.profiles)
    request = ProfileRequest(batches, sizes if wanted[-1].sizes else ())
    built = record.artifact.checkpoint_sha256, record.version, record.opt_level, request
    return built == wanted and record.gpu in (gpu, None)


def time_engines(
    networks: Sequence[NetworkFiles], contestants: Iterable[Contestant], options: SuiteOptions
) -> dict[str, EngineLayers | str]:
    """Time the layers of each engine, by its file's name, or say why that failed."""
    found: dict[str, EngineLayers | str] = {}
    engines = {each.source: each.python for each in contestants if each.flavour}
    for network, source, name in ((each, *engine) for each in networks for engine in engines.items()):
        path = network.path(source, 1)
        if path in network.missing:
            continue
        try:
            with Worker(options.python(name) or sys.executable, path.with_suffix(".layers.log")) as process:
                found[path.name] = process.call(
                    "time_layers", LAYERS_SECONDS, path=str(path.absolute()), device=str(options.device)
                )
        except WorkerError as error:
            found[path.name] = str(error)
    return found
