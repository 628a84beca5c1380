"""Optional parts of TensorRT's API. No other file checks which attributes TensorRT's objects have."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Features:
    """Features that only some versions have. Each is True if every name that the code uses for it exists."""

    strong_typing: bool
    """The graph alone decides precision: from TensorRT 10 on."""
    explicit_batch: bool
    """A network with an explicit batch dimension needs a creation flag: up to TensorRT 10."""
    fp16_flag: bool
    """The builder may choose FP16 by itself: up to TensorRT 10."""
    int8_flag: bool
    """The builder must be allowed INT8, which the graph's QDQ pairs ask for: up to TensorRT 10."""
    profile_sharing: bool
    """Several contexts under one profile are a preview feature: up to TensorRT 10."""
    progress_monitor: bool
    """Builds report their progress and can be cancelled: from TensorRT 10 on."""
    parser_nodes: bool
    """Parser errors name the node and its operator: from TensorRT 10 on."""
    compute_capabilities: bool
    """Engines are built for a list of compute capabilities: TensorRT-RTX."""
    runtime_config: bool
    """Contexts capture CUDA graphs themselves and cache the kernels they compile: TensorRT-RTX."""
    engine_validity: bool
    """The runtime tells why it refuses an engine: TensorRT-RTX."""

    @classmethod
    def of(cls, module: object) -> Self:
        """Examine an imported TensorRT."""

        def has(owner: str, *members: str) -> bool:
            return all(hasattr(getattr(module, owner, None), member) for member in members)

        return cls(
            strong_typing=has("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
            explicit_batch=has("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH"),
            fp16_flag=has("BuilderFlag", "FP16", "OBEY_PRECISION_CONSTRAINTS")
            and has("ILayer", "precision", "set_output_type")
            and has("LayerType", "CONSTANT", "CAST", "IDENTITY"),
            int8_flag=has("BuilderFlag", "INT8"),
            profile_sharing=has("PreviewFeature", "PROFILE_SHARING_0806"),
            progress_monitor=has("IProgressMonitor", "phase_start", "step_complete", "phase_finish")
            and has("IBuilderConfig", "progress_monitor"),
            parser_nodes=has("ParserError", "node_name", "node_operator"),
            compute_capabilities=has("ComputeCapability", "__members__")
            and has("IBuilderConfig", "num_compute_capabilities", "set_compute_capability"),
            runtime_config=has("ICudaEngine", "create_runtime_config")
            and has("CudaGraphStrategy", "WHOLE_GRAPH_CAPTURE", "DISABLED")
            and has("DynamicShapesKernelSpecializationStrategy", "EAGER")
            and has("IRuntimeConfig", "cuda_graph_strategy", "dynamic_shapes_kernel_specialization_strategy")
            and has("IRuntimeConfig", "create_runtime_cache", "set_runtime_cache")
            and has("IRuntimeCache", "serialize", "deserialize"),
            engine_validity=has("Runtime", "get_engine_validity") and has("EngineInvalidityDiagnostics", "__members__"),
        )
