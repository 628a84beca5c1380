"""Files of a network: weights, graph, engines; made by workers, used again where an earlier run left them."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from u2net.benchmarks.gpu.contestants import Contestant, TensorRT
from u2net.benchmarks.gpu.deadline import Deadline
from u2net.benchmarks.gpu.hosts import Hosts
from u2net.benchmarks.gpu.options import GpuOptions
from u2net.benchmarks.gpu.protocol import Answer, Build, Describe, Export, Inspect, Seed, Train
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.device import Device
from u2net.runtime.errors import CheckpointError

FILES_HOST = "files"
"""Worker that makes weights and graphs; it ends before anything is measured."""

BUNDLED = "u2netp"
TRAINING_SLACK = 240.0
"""Seconds that a training may take beyond its minutes: drawing scenes, starting, validating."""
UNTRAINED = "untrained: latency alone"


@dataclass(frozen=True)
class Artifact:
    """A file that was made, or why it was not."""

    name: str
    error: str = ""
    note: str = ""


@dataclass(frozen=True)
class Network:
    """Everything that contestants open of one network."""

    name: str
    checkpoint: Artifact
    weights: str
    """Where they come from."""
    trained: bool
    graph: Artifact
    engines: Mapping[str, Artifact]
    """By the slug of their TensorRT."""

    def file(self, contestant: Contestant) -> Artifact:
        """What a contestant opens."""
        if contestant.file == "checkpoint":
            return self.checkpoint
        if contestant.file == "graph":
            return self.graph
        return self.engines[contestant.engine]


class NetworkMaker:
    """Makes the files of networks."""

    def __init__(self, hosts: Hosts, options: GpuOptions, work: Path, say: Callable[[str], None]) -> None:
        self._hosts = hosts
        self._options = options
        self._work = work
        self._say = say

    def make_weights(self, name: str, deadline: Deadline) -> tuple[Artifact, str, bool]:
        """Weights of a network, where they come from, and whether they are trained.

        Raises:
            CheckpointError: a file that was named holds none.
        """
        path = self._work / f"{name}.safetensors"
        for given in self._options.checkpoints:
            copy = self._work / f"given-{given.name}"
            shutil.copyfile(given, copy)
            answer = self._hosts.ask(FILES_HOST, Describe(copy.name), deadline.left())
            if not answer.worked:
                raise CheckpointError(f"{given}: {answer.error}")
            if answer.value["variant"] == name:
                return Artifact(copy.name), given.name, True
        if name == BUNDLED:
            shutil.copyfile(BUNDLED_WEIGHTS, path)
            return Artifact(path.name), "the bundled weights", True
        return self._train(name) if self._options.train_minutes else self._seed(name, UNTRAINED, deadline)

    def make_graph(
        self, name: str, checkpoint: Artifact, images: Path | None, deadline: Deadline
    ) -> tuple[Artifact, str]:
        """The FP16 graph, calibrated on the photographs of a folder, and its metadata."""
        graph = f"{name}-{self._options.size}.fp16.onnx"
        if checkpoint.error:
            return Artifact(graph, checkpoint.error), ""
        self._say(f"{name}: exporting")
        command = Export(checkpoint.name, graph, self._options.size, str(images.absolute()) if images else "")
        answer = self._hosts.ask(FILES_HOST, command, deadline.left())
        return Artifact(graph, answer.error, answer.value.get("note", "")), answer.value.get("artifact", "")

    def make_engines(
        self, name: str, graph: Artifact, metadata: str, found: Iterable[TensorRT], deadline: Deadline
    ) -> dict[str, Artifact]:
        """An engine of each TensorRT, with a profile for each batch size."""
        engines = {}
        for each in found:
            path = f"{name}-{self._options.size}.{each.slug}.engine"
            if graph.error:
                engines[each.slug] = Artifact(path, f"there is no graph to build from: {graph.error}")
                continue
            self._say(f"{name}: building with {each.flavour} {each.version}")
            device = Device.parse(self._options.device).index
            command = Build(
                graph.name, path, each.flavour, self._options.batches, device, self._options.opt_level, metadata
            )
            answer = self._hosts.ask(each.slug, command, deadline.within(60 * self._options.build_minutes).left())
            engines[each.slug] = Artifact(path, _said(answer, "building the engine"), _built(each, answer))
        return engines

    def inspect_engines(
        self, network: Network, found: Iterable[TensorRT], deadline: Deadline
    ) -> dict[str, dict[str, object]]:
        """The per-layer report of each engine, or its error, by flavour and version."""
        reports: dict[str, dict[str, object]] = {}
        for each in found:
            engine = network.engines[each.slug]
            if engine.error:
                continue
            command = Inspect(engine.name, Device.parse(self._options.device).index)
            answer = self._hosts.ask(each.slug, command, deadline.left())
            reports[f"{network.name}, {each.flavour} {each.version}"] = answer.value or {"error": answer.error}
        return reports

    def _train(self, name: str) -> tuple[Artifact, str, bool]:
        """Weights that are trained here and now; those of an earlier run are taken again."""
        minutes, path = self._options.train_minutes, f"{name}-trained-{self._options.train_minutes:g}.safetensors"
        told = f"trained on the spot for {minutes:g} minutes on seeded synthetic scenes"
        if (self._work / path).is_file():
            return Artifact(path), told, True
        self._say(f"{name}: training for {minutes:g} minutes")
        command = Train(name, path, minutes, self._options.device)
        answer = self._hosts.ask(FILES_HOST, command, 60 * minutes + TRAINING_SLACK)
        if answer.worked:
            scores = f"MAE {answer.value['mae']:.3f}, IoU {answer.value['iou']:.3f} on held-out scenes"
            return Artifact(path), f"{told} ({scores})", True
        return self._seed(name, f"{UNTRAINED}; training failed: {answer.error}", Deadline.after(TRAINING_SLACK))

    def _seed(self, name: str, told: str, deadline: Deadline) -> tuple[Artifact, str, bool]:
        path = f"{name}-untrained.safetensors"
        if (self._work / path).is_file():
            return Artifact(path), told, False
        answer = self._hosts.ask(FILES_HOST, Seed(name, path), deadline.left())
        return Artifact(path, answer.error), told, False


def _said(answer: Answer, what: str) -> str:
    return answer.error and f"{what}: {answer.error}"


def _built(each: TensorRT, answer: Answer) -> str:
    if not answer.worked:
        return ""
    kept = ", by an earlier run" if answer.value["kept"] else ""
    size = answer.value["bytes"] / 1e6
    return f"{each.flavour} {each.version}: built in {answer.value['seconds']:.0f} s{kept}, {size:.1f} MB"
