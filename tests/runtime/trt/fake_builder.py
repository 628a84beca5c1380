"""The building side of the fake TensorRT: graphs are JSON, plans are what the runtime side reads."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NETWORK: dict[str, Any] = {"input": [-1, 3, -1, -1], "outputs": {"d0": 1}, "layers": []}


class HostMemory(bytearray):
    @property
    def nbytes(self) -> int:
        return len(self)


class Network:
    def __init__(self, trt: Any, flags: int) -> None:
        self.trt, self.flags, self.facts = trt, flags, NETWORK
        self.num_inputs = 1
        self.layers: list[Any] = []
        trt.networks.append(self)

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_input(self, _index: int) -> Any:
        return SimpleNamespace(name="input", shape=self.facts["input"])

    def get_layer(self, index: int) -> Any:
        return self.layers[index]


class ProgressMonitor:
    def phase_start(self, *_arguments: object) -> None: ...
    def step_complete(self, *_arguments: object) -> None: ...
    def phase_finish(self, *_arguments: object) -> None: ...


class Layer:
    precision: Any = None

    def __init__(self, trt: Any, name: str) -> None:
        """Make a convolution, or what the name ends with: ``.cast``, ``.constant``, or ``.int``, whole numbers."""
        self.name, self.num_outputs = name, 1
        self.output_types: dict[int, Any] = {}
        kind = name.rpartition(".")[2].upper()
        self.type = trt.LayerType[kind if kind in ("CAST", "CONSTANT") else "CONVOLUTION"]
        self._dtype = trt.DataType["INT32" if kind == "INT" else "FLOAT"]

    def get_output(self, _index: int) -> Any:
        return SimpleNamespace(name=f"{self.name}:0", dtype=self._dtype)

    def set_output_type(self, index: int, kind: Any) -> None:
        self.output_types[index] = kind


class Parser:
    """Reads JSON: a network's facts, and the errors of its nodes as number, operator, name, text."""

    def __init__(self, network: Network, logger: Any) -> None:
        self.network, self.logger = network, logger
        self.errors: list[tuple[int, str, str, str]] = []

    num_errors = property(lambda self: len(self.errors))

    def parse_from_file(self, path: str) -> bool:
        try:
            facts = json.loads(Path(path).read_text())
        except ValueError:
            self.logger.log(self.network.trt.ILogger.Severity.ERROR, "ModelImporter: failed to parse the file")
            return False
        self.errors = facts.get("errors", [])
        self.network.facts = {**NETWORK, **facts}
        self.network.layers = [Layer(self.network.trt, name) for name in self.network.facts["layers"]]
        return not self.errors

    def get_error(self, index: int) -> Any:
        node, operator, name, text = self.errors[index]
        later = {"node_name": lambda: name, "node_operator": lambda: operator}
        return SimpleNamespace(
            desc=lambda: text, node=lambda: node, **({} if self.network.trt.kind == "8.6" else later)
        )


class Config:
    builder_optimization_level = 3
    profiling_verbosity: Any = None
    num_compute_capabilities = 0

    def __init__(self, trt: Any) -> None:
        self.flags = {trt.BuilderFlag.TF32}
        self.set_flag, self.clear_flag = self.flags.add, self.flags.discard
        self.profiles: list[Any] = []
        self.previews: dict[Any, bool] = {}
        self.set_preview_feature = self.previews.__setitem__
        self.targets: dict[int, Any] = {}
        self.set_compute_capability = lambda target, index: self.targets.update({index: target})
        self.timing: bytearray | None = None
        if trt.kind != "8.6":
            self.progress_monitor: Any = None

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1

    def create_timing_cache(self, content: bytes) -> bytearray | None:
        return bytearray(content or b"TIMES") if content.startswith((b"TIMES", b"OTHER")) or not content else None

    def set_timing_cache(self, cache: bytearray, ignore_mismatch: bool) -> bool:
        if not isinstance(cache, bytearray):
            raise TypeError("incompatible function arguments")
        self.timing = cache
        return ignore_mismatch or cache.startswith(b"TIMES")

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: HostMemory(self.timing or b""))


class Builder:
    def __init__(self, trt: Any, logger: Any) -> None:
        if trt.kind != "rtx" and not trt.cuda.ready():
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self.trt, self.logger, self.device = trt, logger, trt.cuda.device
        trt.built_on.append(self.device)

    def create_network(self, flags: int) -> Network:
        return Network(self.trt, flags)

    def create_builder_config(self) -> Config:
        config = Config(self.trt)
        self.trt.configs.append(config)
        return config

    def create_optimization_profile(self) -> Any:
        profile = SimpleNamespace(shapes=None)
        profile.set_shape = lambda _name, *shapes: setattr(profile, "shapes", shapes)
        return profile

    def build_serialized_network(self, network: Network, config: Config) -> HostMemory | None:
        if self.trt.cuda.device != self.device:
            self.trt.cuda.complain("built on another device than the builder was made for")
        said = "; ".join(self.trt.errors) or ("" if self._walk(config) else "Error Code 7: BuildCanceled")
        if said:
            self.logger.log(self.trt.ILogger.Severity.ERROR, said)
            return None
        if config.timing is not None:
            config.timing += b"+1"
        return HostMemory(self.trt.make_plan(profiles=config.profiles, **network.facts))

    def _walk(self, config: Config) -> bool:
        """Run two nested phases until a monitor stops them."""
        monitor = getattr(config, "progress_monitor", None)
        if monitor is None:
            return True
        monitor.phase_start("Building engine", None, 2)
        monitor.phase_start("Timing tactics", "Building engine", self.trt.steps)
        for step in range(self.trt.steps):
            time.sleep(self.trt.pace)
            if not monitor.step_complete("Timing tactics", step):
                return False
        monitor.phase_finish("Timing tactics")
        fine = all(monitor.step_complete("Building engine", step) for step in range(2))
        monitor.phase_finish("Building engine")
        return fine
