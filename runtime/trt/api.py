"""The part of TensorRT's Python API that this project uses, as types.

The same code serves TensorRT 8.6, 10, 11 and TensorRT-RTX. Everything declared here exists in all of them, with the
same argument names; a test compares it with the bindings of every supported version. The parts that
only some versions have are declared in :mod:`u2net.runtime.trt.features`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

Dims = Sequence[int]
Enum = Any
"""A member of a TensorRT enum. Its integer value differs between versions and is never used."""


class ITensor(Protocol):
    name: str
    shape: Dims
    dtype: Enum


class ILayer(Protocol):
    name: str
    type: Enum
    num_outputs: int

    def get_output(self, index: int) -> ITensor: ...


class INetworkDefinition(Protocol):
    num_layers: int
    num_inputs: int

    def get_input(self, index: int) -> ITensor: ...
    def get_layer(self, index: int) -> ILayer: ...


class IOptimizationProfile(Protocol):
    """A range of input shapes that an engine is built for."""

    def set_shape(self, input: str, min: Dims, opt: Dims, max: Dims) -> None: ...


class IHostMemory(Protocol):
    """Memory that TensorRT owns; ``bytes(memory)`` copies it."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class ITimingCache(Protocol):
    """Kernel timings of earlier builds."""

    def serialize(self) -> IHostMemory: ...


class IBuilderConfig(Protocol):
    builder_optimization_level: int
    profiling_verbosity: Enum

    def set_flag(self, flag: Enum) -> None: ...
    def clear_flag(self, flag: Enum) -> None: ...
    def set_preview_feature(self, feature: Enum, enable: bool) -> None: ...
    def add_optimization_profile(self, profile: IOptimizationProfile) -> int: ...
    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None: ...
    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> ITimingCache: ...


class Builder(Protocol):
    def create_network(self, flags: int) -> INetworkDefinition: ...
    def create_builder_config(self) -> IBuilderConfig: ...
    def create_optimization_profile(self) -> IOptimizationProfile: ...
    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None: ...


class ParserError(Protocol):
    def desc(self) -> str: ...
    def node(self) -> int: ...


class OnnxParser(Protocol):
    num_errors: int

    def parse_from_file(self, model: str) -> bool: ...
    def get_error(self, index: int) -> ParserError: ...


class IExecutionContext(Protocol):
    """State of an engine for one run at a time."""

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool: ...
    def set_input_shape(self, name: str, shape: Dims) -> bool: ...
    def get_tensor_shape(self, name: str) -> Dims: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class EngineInspector(Protocol):
    execution_context: IExecutionContext

    def get_engine_information(self, format: Enum) -> str: ...


class ICudaEngine(Protocol):
    num_io_tensors: int
    num_optimization_profiles: int

    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> Enum: ...
    def get_tensor_shape(self, name: str) -> Dims: ...
    def get_tensor_dtype(self, name: str) -> Enum: ...
    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Sequence[Dims]: ...
    def create_execution_context(self) -> IExecutionContext | None: ...
    def create_engine_inspector(self) -> EngineInspector: ...


class Runtime(Protocol):
    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None: ...


class TensorRTModule(Protocol):
    """The module ``tensorrt`` or ``tensorrt_rtx``."""

    __version__: str
    BuilderFlag: Any
    DataType: Any
    ILogger: Any
    IProfiler: Any
    LayerInformationFormat: Any
    NetworkDefinitionCreationFlag: Any
    PreviewFeature: Any
    ProfilingVerbosity: Any
    TensorIOMode: Any

    def Builder(self, logger: Any) -> Builder: ...
    def OnnxParser(self, network: INetworkDefinition, logger: Any) -> OnnxParser: ...
    def Runtime(self, logger: Any) -> Runtime: ...
