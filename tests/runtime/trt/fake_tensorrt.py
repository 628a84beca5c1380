"""A TensorRT without a GPU: compiles JSON to plans, and computes means over the channels on the fake CUDA's memory.

Output ``d0`` is the mean, each further one is 1 larger. Stands in for the module ``tensorrt`` or ``tensorrt_rtx``.
"""

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, IntEnum, IntFlag
from functools import partial
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tests.runtime.trt.fake_builder import NETWORK, Builder, Config, HostMemory, Layer, Network, Parser, ProgressMonitor
from tests.runtime.trt.fake_cuda import Failure, FakeCudaRuntime

MAGIC, END = b"FAKEPLAN", b"NALPEKAF"
MALFORMED = 32
LAYER = "mean"
PROFILES = [[(1, 3, 32, 32), (2, 3, 32, 32), (4, 3, 64, 64)]]


def enum(names: str, *, kind: Any = IntEnum, start: int = 1) -> Any:
    return kind("Enum", names, start=start)


def expected(tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The correct ``d0``."""
    mean: npt.NDArray[np.float32] = tensor.mean(axis=1, keepdims=True)
    return mean


class FakeTensorRT:
    """The simulated module. Its attributes set how it behaves and record what it was asked to do."""

    __spec__ = ModuleSpec("tensorrt", None)
    DataType = enum("FLOAT HALF UINT8 INT32", kind=Enum)
    LayerType = enum("CONVOLUTION CONSTANT CAST IDENTITY")
    TensorIOMode = enum("NONE INPUT OUTPUT")
    ProfilingVerbosity = enum("LAYER_NAMES_ONLY DETAILED")
    LayerInformationFormat = enum("ONELINE JSON")
    IProfiler = type("IProfiler", (), {})

    class ILogger:
        Severity = IntEnum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

    def __init__(self, cuda: FakeCudaRuntime, kind: Literal["8.6", "full", "rtx"] = "full") -> None:
        self.cuda, self.kind = cuda, kind
        self.__version__ = {"8.6": "8.6.1", "full": "10.16.0.72", "rtx": "1.7.1.116"}[kind]
        self.refused: set[str] = set()
        """Methods of the context that report failure."""
        self.errors: list[str] = []
        """Messages that the next failure logs."""
        self.compiled: Counter[tuple[int, ...]] = Counter()
        """Kernels that TensorRT-RTX compiled while running."""
        self.executed: list[tuple[int, tuple[int, ...]]] = []
        """Profile and shape of each run that was enqueued or recorded."""
        self.on_run: Callable[[], object] = lambda: True
        """Called in each run, which fails if this returns False."""
        self.contexts = 0
        self.built_on: list[int] = []
        """Device of each builder."""
        self.configs: list[Config] = []
        self.networks: list[Network] = []
        self.runtime_configs: list[Any] = []
        self.steps, self.pace = 4, 0.0
        """Number of steps of a build, and seconds per step."""
        old, rtx = kind == "8.6", kind == "rtx"
        self.Runtime = partial(Runtime, self)
        self.ILayer = Layer if old else SimpleNamespace()
        self.ParserError = SimpleNamespace(**({} if old else {"node_name": None, "node_operator": None}))
        self.IBuilderConfig = SimpleNamespace(**({} if old else {"progress_monitor": None}))
        self.BuilderFlag = enum("TF32 FP16 INT8 OBEY_PRECISION_CONSTRAINTS" if old else "TF32", start=0)
        self.NetworkDefinitionCreationFlag = enum("EXPLICIT_BATCH" if old else "STRONGLY_TYPED", start=0)
        self.PreviewFeature = enum("PROFILE_SHARING_0806" if old else "OTHER")
        if not old:
            self.IProgressMonitor = ProgressMonitor
        if rtx:
            self.Runtime.get_engine_validity = None  # type: ignore[attr-defined]
            self.IBuilderConfig.num_compute_capabilities = self.IBuilderConfig.set_compute_capability = None
            self.ICudaEngine = SimpleNamespace(create_runtime_config=None)
            self.IRuntimeConfig = self.IRuntimeCache = RuntimeConfig
            self.CudaGraphStrategy = enum("DISABLED WHOLE_GRAPH_CAPTURE")
            self.DynamicShapesKernelSpecializationStrategy = enum("LAZY EAGER NONE")
            self.ComputeCapability = enum("NONE CURRENT SM75 SM86 SM89")
            names = "VERSION_MISMATCH UNSUPPORTED_CC OLD_CUDA_DRIVER OLD_CUDA_RUNTIME INSUFFICIENT_GPU_MEMORY"
            self.EngineInvalidityDiagnostics = enum(f"{names} MALFORMED_ENGINE CUDA_ERROR", kind=IntFlag)

    def Builder(self, logger: Any) -> Builder:
        return Builder(self, logger)

    def OnnxParser(self, network: Network, logger: Any) -> Parser:
        return Parser(network, logger)

    def make_plan(self, **changes: Any) -> bytes:
        """A plan as this TensorRT builds it for the fake GPU."""
        facts = {"version": self.__version__, "cc": self.cuda.capability, "profiles": PROFILES, **NETWORK, **changes}
        return MAGIC + json.dumps(facts).encode() + END


class Runtime:
    def __init__(self, trt: FakeTensorRT, logger: Any) -> None:
        if not trt.cuda.ready():
            trt.cuda.complain("a TensorRT runtime was made without a driver: the real one crashes")
        self.trt, self.logger = trt, logger
        if trt.kind == "rtx":
            self.get_engine_validity = lambda content: (2, self._judge(content)[0])

    def _judge(self, content: bytes) -> tuple[int, str]:
        """TensorRT-RTX's diagnostics, and the full TensorRT's message in its real wording."""
        if not content.startswith(MAGIC) or not content.endswith(END):
            return (
                MALFORMED,
                "Error Code 1: Serialization (Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed.)",
            )
        facts = json.loads(content[len(MAGIC) : -len(END)])
        if facts["version"] != self.trt.__version__:
            return 1, (
                "Error Code 1: Serialization (Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed."
                "Version tag does not match. Note: Current Version: 240, Serialized Engine Version: 239)"
            )
        if facts["cc"] != list(self.trt.cuda.capability):
            (major, minor), here = facts["cc"], ".".join(map(str, self.trt.cuda.capability))
            return 2, (
                "Error Code 6: API Usage Error (The engine plan file is generated on an incompatible device, "
                f"expecting compute {here} got compute {major}.{minor}, please rebuild.)"
            )
        return 0, ""

    def deserialize_cuda_engine(self, content: bytes) -> "Engine | None":
        said = self._judge(content)[1]
        if not said:
            try:
                return Engine(self, json.loads(content[len(MAGIC) : -len(END)]))
            except Failure:
                said = "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)"
        self.logger.log(self.trt.ILogger.Severity.ERROR, f"IRuntime::deserializeCudaEngine: {said}")
        return None


class Held:
    """Something that holds device memory and is bound to the device it was made on."""

    def __init__(self, trt: FakeTensorRT) -> None:
        with trt.cuda.lock:
            number = trt.cuda.charge(64)
            trt.cuda.live[number] = self.__class__.__name__
        self.trt, self.number, self.device = trt, number, trt.cuda.device

    def __del__(self) -> None:
        if hasattr(self, "number"):
            with self.trt.cuda.lock:
                self.trt.cuda.live.pop(self.number)


class Engine(Held):
    def __init__(self, runtime: Runtime, facts: dict[str, Any]) -> None:
        super().__init__(runtime.trt)
        self.logger, self.facts = runtime.logger, facts
        self.names: list[str] = ["input", *facts["outputs"]]
        self.num_io_tensors = len(self.names)
        self.num_optimization_profiles = len(facts["profiles"])
        if self.trt.kind == "rtx":
            self.create_runtime_config = partial(RuntimeConfig, self.trt)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Any:
        return self.trt.TensorIOMode["INPUT" if name == "input" else "OUTPUT"]

    def get_tensor_dtype(self, name: str) -> Any:
        images = self.facts.get("images") and name == "input"
        return self.trt.DataType["UINT8" if images else self.facts.get("dtype", "FLOAT")]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if self.facts.get("images"):
            return (-1, -1, -1, 3) if name == "input" else (-1, -1, -1)
        batch, channels, *rest = self.facts["input"]
        return (batch, channels if name == "input" else self.facts["outputs"][name], *rest)

    def get_tensor_profile_shape(self, _name: str, index: int) -> Any:
        return self.facts["profiles"][index]

    def create_engine_inspector(self) -> "Inspector":
        return Inspector()

    def create_execution_context(self, config: Any = None) -> "Context | None":
        if (config is None) == (self.trt.kind == "rtx"):
            self.trt.cuda.complain("a runtime configuration is for TensorRT-RTX, and needed there")
        try:
            return Context(self, config)
        except Failure:
            said = "IExecutionContext::IExecutionContext: Error Code 2: OutOfMemory (Requested size was 64 bytes.)"
            self.logger.log(self.trt.ILogger.Severity.ERROR, said)
            return None


class Inspector:
    """Reports one layer, whose format depends on a context with a shape, as in the real inspector."""

    execution_context: "Context"

    def get_engine_information(self, _format: Any) -> str:
        wording = "Half" if self.execution_context.shape else "N/A due to dynamic shapes"
        layer = {"Name": LAYER, "LayerType": "CaskConvolution", "Outputs": [{"Format/Datatype": wording}]}
        return json.dumps({"Layers": [layer]})


class RuntimeConfig:
    """Runtime configuration of TensorRT-RTX and its own cache: the shapes that kernels were compiled for."""

    cuda_graph_strategy: Any = None
    dynamic_shapes_kernel_specialization_strategy: Any = None

    def __init__(self, trt: FakeTensorRT) -> None:
        self.trt, self.cache, self.kernels = trt, None, set[tuple[int, ...]]()
        trt.runtime_configs.append(self)

    def create_runtime_cache(self) -> "RuntimeConfig":
        return self

    def set_runtime_cache(self, cache: Any) -> None:
        self.cache = cache

    def deserialize(self, content: bytes) -> bool:
        if content.startswith(b"CACHE"):
            self.kernels |= set(map(tuple, json.loads(content[5:])))
        return content.startswith(b"CACHE")

    def serialize(self) -> HostMemory:
        return HostMemory(b"CACHE" + json.dumps(sorted(self.kernels)).encode())


class Context(Held):
    def __init__(self, engine: Engine, config: Any) -> None:
        super().__init__(engine.trt)
        self.engine, self.config = engine, config
        self.profile = -1
        self.shape: tuple[int, ...] | None = None
        self.addresses: dict[str, int] = {}
        self.profiler: Any = None
        self._busy = threading.Lock()
        self.trt.contexts += 1

    @contextmanager
    def _alone(self, method: str) -> Iterator[bool]:
        """Check that calls come one at a time and on the engine's device; yield whether the method succeeds."""
        if not self._busy.acquire(blocking=False):
            self.trt.cuda.complain(f"{method} while another thread uses the context")
        if self.trt.cuda.device != self.device:
            self.trt.cuda.complain(f"{method} on another device")
        try:
            if method in self.trt.refused:
                for said in self.trt.errors:
                    self.engine.logger.log(self.trt.ILogger.Severity.ERROR, said)
            yield method not in self.trt.refused
        finally:
            self._busy.release()

    def set_optimization_profile_async(self, profile: int, _stream: int) -> bool:
        with self._alone("set_optimization_profile_async") as fine:
            self.profile = profile
            return fine

    def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        with self._alone("set_input_shape") as works:
            low, _, high = self.engine.facts["profiles"][self.profile]
            fine = works and all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))
            self.shape = tuple(shape) if fine else self.shape
            return fine

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert self.shape is not None
        if self.engine.facts.get("images"):
            return self.shape[:3]
        batch, _, height, width = self.shape
        scale = self.engine.facts.get("scale", 1)
        return (batch, self.engine.facts["outputs"][name], height * scale, width * scale)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        with self._alone("set_tensor_address") as works:
            fine = works and f"set_tensor_address {name}" not in self.trt.refused
            if fine:
                self.addresses[name] = memory
            return fine

    def execute_async_v3(self, stream: int) -> bool:
        with self._alone("execute_async_v3") as fine:
            time.sleep(1e-4)  # lets another thread come in
            if type(stream) is not int or set(self.addresses) != set(self.engine.names):
                self.trt.cuda.complain("a run without a stream's handle or all addresses")
            assert self.shape is not None, "a run without a shape"
            if self.trt.on_run() is False or not fine:
                return False
            self.trt.executed.append((self.profile, self.shape))
            if self.profiler is not None:
                self.profiler.report_layer_time(LAYER, 0.25)
            if self.config is not None and self.shape not in self.config.cache.kernels:
                self.trt.compiled[self.shape] += 1
                self.config.cache.kernels.add(self.shape)
            self.trt.cuda.enqueue(stream, Execution(self, self.shape))
            return True


class Execution:
    """A run with the shape and the addresses that it was enqueued or captured with."""

    def __init__(self, context: Context, shape: tuple[int, ...]) -> None:
        self.context, self.shape, self.addresses = context, shape, dict(context.addresses)
        self.targets = {name: context.get_tensor_shape(name) for name in context.engine.facts["outputs"]}

    def check(self) -> None:
        if self.shape != self.context.shape:
            self.context.trt.cuda.complain(f"a graph of {self.shape} after the context was set to {self.context.shape}")

    def __call__(self) -> None:
        cuda = self.context.trt.cuda
        if self.context.engine.facts.get("images"):
            images = cuda.find(self.addresses["input"], math.prod(self.shape)).reshape(self.shape)
            mean = images.mean(axis=3, dtype=np.float32) / 255
        else:
            mean = expected(cuda.floats(self.addresses["input"], self.shape))
        for index, (name, shape) in enumerate(self.targets.items()):
            cuda.floats(self.addresses[name], shape)[:] = mean + index
