"""Execution contexts of an open engine. TensorRT-RTX captures CUDA graphs itself and keeps a cache of kernels."""

import threading
from typing import Any

import numpy as np

from u2net.runtime.backend import NUMBERS, TensorInfo, find_input
from u2net.runtime.errors import DeviceError, OutOfMemoryError, U2NetError, means_no_memory
from u2net.runtime.files import written_whole
from u2net.runtime.trt.api import IExecutionContext
from u2net.runtime.trt.cuda import Stream
from u2net.runtime.trt.messages import trt_log
from u2net.runtime.trt.profiles import Profile
from u2net.runtime.trt.running.opening import OpenEngine

CACHE_SUFFIX = ".cache"


class ContextMaker:
    """Makes contexts of one engine, and knows the engine's tensors and profiles."""

    def __init__(self, opened: OpenEngine, *, use_graph: bool) -> None:
        """Read the engine's tensors and profiles. Raise ArtifactError if the engine is not a U²-Net."""
        self._opened = opened
        self._cache_path = opened.path.with_name(opened.path.name + CACHE_SUFFIX)
        self.input, self.outputs, self.dtypes = read_tensors(opened)
        engine, images = opened.engine, self.dtypes[self.input] == np.uint8
        self.profiles = tuple(
            Profile.from_shapes(engine.get_tensor_profile_shape(self.input, index), images=images)
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
        if means_no_memory(said):
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


def read_tensors(opened: OpenEngine) -> tuple[str, tuple[str, ...], dict[str, np.dtype[Any]]]:
    """Return the names of the input and of the outputs, in order, and the types of all."""
    engine, trt = opened.engine, opened.library.trt
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    outputs = [name for name in names if name not in inputs]
    kinds = {trt.DataType.FLOAT: "f32", trt.DataType.UINT8: "u8"}
    found = {
        name: TensorInfo(
            name,
            kinds.get(engine.get_tensor_dtype(name), str(engine.get_tensor_dtype(name))),
            [None if side < 0 else int(side) for side in engine.get_tensor_shape(name)],
        )
        for name in names
    }
    find_input(opened.path, [found[name] for name in inputs], [found[name] for name in outputs])
    return inputs[0], tuple(outputs), {name: np.dtype(NUMBERS[found[name].kind]) for name in names}
