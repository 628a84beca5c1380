"""Execution contexts of an open engine. TensorRT-RTX captures CUDA graphs itself and keeps a cache of kernels."""

import threading
from typing import Any

from u2net.runtime.errors import ArtifactError, DeviceError, OutOfMemoryError, U2NetError
from u2net.runtime.files import written_whole
from u2net.runtime.trt.api import IExecutionContext
from u2net.runtime.trt.cuda import Stream
from u2net.runtime.trt.messages import MEMORY_WORDS, trt_log
from u2net.runtime.trt.profiles import Profile
from u2net.runtime.trt.running.opening import OpenEngine

CACHE_SUFFIX = ".cache"


class ContextMaker:
    """Makes contexts of one engine, and knows the engine's tensors and profiles."""

    def __init__(self, opened: OpenEngine, *, use_graph: bool) -> None:
        """Read the engine's tensors and profiles. Raise ArtifactError if the engine is not a U²-Net."""
        self._opened = opened
        self._cache_path = opened.path.with_name(opened.path.name + CACHE_SUFFIX)
        self.input, self.outputs = tensor_names(opened)
        engine = opened.engine
        self.profiles = tuple(
            Profile.from_shapes([tuple(shape) for shape in engine.get_tensor_profile_shape(self.input, index)])
            for index in range(engine.num_optimization_profiles)
        )
        self.captures_itself = opened.library.features.runtime_config
        self._config: Any = None
        self._cache: Any = None
        self._kept = b""
        """Content of the cache's file."""
        if self.captures_itself:
            self._configure(use_graph)
        self._keeping = threading.Lock()

    def make(self, profile: int, stream: Stream) -> IExecutionContext:
        """Make a context under the profile of that number."""
        engine: Any = self._opened.engine
        configs = () if self._config is None else (self._config,)
        context: IExecutionContext | None = engine.create_execution_context(*configs)
        if context is None:
            raise self.failure("no execution context can be made")
        if not context.set_optimization_profile_async(profile, stream.handle):
            raise self.failure(f"profile {profile} cannot be chosen")
        stream.synchronize()
        return context

    def failure(self, what: str) -> U2NetError:
        """An error that quotes what TensorRT logged last."""
        said = self._opened.logger.drain()
        if any(words in said.lower() for words in MEMORY_WORDS):
            return OutOfMemoryError(
                f"{what}, GPU memory ran out: {said}; load with fewer contexts, or build the engine for a smaller batch"
            )
        return DeviceError(f"{what}: {said or 'TensorRT does not say why'}")

    def keep_cache(self) -> None:
        """Write the kernels that TensorRT-RTX compiled beside the engine, so that the next start is faster."""
        if self._cache is None:
            return
        with self._keeping:
            content = bytes(self._cache.serialize())
            if content == self._kept:
                return
            self._kept = content
            try:
                with written_whole(self._cache_path) as partial:
                    partial.write_bytes(content)
            except OSError as error:
                trt_log.warning(
                    "%s cannot be written, so kernels are compiled at each start: %s", self._cache_path, error
                )

    def _configure(self, use_graph: bool) -> None:
        trt: Any = self._opened.library.trt
        engine: Any = self._opened.engine
        self._config = config = engine.create_runtime_config()
        strategies = trt.CudaGraphStrategy
        config.cuda_graph_strategy = strategies.WHOLE_GRAPH_CAPTURE if use_graph else strategies.DISABLED
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        self._cache = cache = config.create_runtime_cache()
        try:
            self._kept = self._cache_path.read_bytes() if self._cache_path.is_file() else b""
            if self._kept and not cache.deserialize(self._kept):
                trt_log.warning("%s is from another machine or version; kernels are compiled again", self._cache_path)
        except OSError as error:
            trt_log.warning("%s cannot be read, so kernels are compiled again: %s", self._cache_path, error)
        config.set_runtime_cache(cache)


def tensor_names(opened: OpenEngine) -> tuple[str, tuple[str, ...]]:
    """Names of the input and of the outputs, in order."""
    engine, trt = opened.engine, opened.library.trt
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    outputs = tuple(name for name in names if name not in inputs)
    shapes = {name: tuple(engine.get_tensor_shape(name)) for name in names}
    fits = all(len(shape) == 4 for shape in shapes.values()) and all(
        engine.get_tensor_dtype(name) == trt.DataType.FLOAT for name in names
    )
    if len(inputs) != 1 or not outputs or not fits or shapes[inputs[0]][1] != 3:
        found = ", ".join(f"{name}: {engine.get_tensor_dtype(name)} {shape}" for name, shape in shapes.items())
        raise ArtifactError(f"{opened.path} is not a U²-Net with float32 N×3×H×W inputs and N×C×H×W outputs: {found}")
    return inputs[0], outputs
