"""ONNX Runtime behind the backend seam: CPU and CUDA providers, never one in place of the other."""

import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from u2net.runtime.artifact import METADATA_KEY, Artifact
from u2net.runtime.backend import NUMBERS, Array, TensorInfo, find_input, padded, widened
from u2net.runtime.cores import limited_cores
from u2net.runtime.device import Device
from u2net.runtime.errors import (
    MEMORY_ADVICE,
    ArtifactError,
    DependencyError,
    DeviceError,
    InputError,
    OutOfMemoryError,
    U2NetError,
    means_no_memory,
)
from u2net.runtime.files import check_readable
from u2net.runtime.trt.cuda import open_cuda
from u2net.runtime.trt.running.arrays import DeviceArray, as_device_array, as_target

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
KINDS = {"tensor(float)": "f32", "tensor(float16)": "f16", "tensor(uint8)": "u8"}
"""ONNX Runtime's names of the types that inputs and outputs may have."""

INPUT_REFUSALS = frozenset({"InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile"})
"""Exceptions of ONNX Runtime that a file or a tensor causes, whatever the device. They share no public base class."""

INPUT_REFUSAL_WORDS = re.compile(
    "invalid dimensions for input|Unexpected (in|out)put data type|computed output shape|shape verification failed"
)
"""How a bound run, whose exceptions are all of one type, says that a tensor is at fault."""

QUIET = 3
"""ONNX Runtime's log level for errors only; failures come back as exceptions."""

CUDA_SETTINGS = {"prefer_nhwc": 1, "cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
"""Tensor cores want channels last; trying each algorithm, or doubling the arena, takes many times the memory."""

onnxruntime_log = logging.getLogger("u2net.onnxruntime")


@dataclass
class BoundRun:
    """Input value and I/O binding of a run, used again by the next run of the same shape and outputs."""

    key: tuple[tuple[int, ...], tuple[str, ...]]
    """Shape of the input, and names of the outputs."""
    tensor: Any
    binding: Any


class OnnxRuntimeBackend:
    """One ONNX graph in one ``InferenceSession``."""

    precision = None

    def __init__(
        self,
        source: Path | bytes,
        device: Device,
        *,
        threads: int | None = None,
        contexts: int = 1,
        tf32: bool = True,
        cuda_graph: bool = False,
        optimize: bool = True,
    ) -> None:
        """Load a file, or a graph that is in memory. Options and errors are those of :func:`u2net.runtime.load`.

        Args:
            cuda_graph: on CUDA with one context, launch the first shape that repeats as one CUDA graph. The graph is
                for that shape alone, and for one run at a time; runs of other shapes do without it.
            optimize: let ONNX Runtime fuse and reorder nodes; False runs each node as it is written, so that a pair
                of casts that rounds is not removed.
        """
        try:
            import onnxruntime as runtime
        except ImportError:
            raise DependencyError("onnxruntime", "cpu" if device.kind == "cpu" else "gpu") from None
        runtime.disable_telemetry_events()
        what = source if isinstance(source, Path) else "the graph"
        if isinstance(source, Path):
            check_readable(source, ArtifactError)
        _require_provider(runtime, device)
        advice = _preload_libraries(runtime) if device.kind == "cuda" else ""
        self._open = partial(_open, runtime, source, device, threads or limited_cores(), tf32=tf32, optimize=optimize)
        self._graph = cuda_graph and contexts == 1 and device.kind == "cuda"
        try:
            self._session = self._open(graph=self._graph)
            self.provider = self._session.get_providers()[0]
            if self.provider != PROVIDERS[device.kind]:
                raise RuntimeError(f"it fell back to {self.provider}")
        except Exception as error:
            raise _failure(error, f"{what} cannot be loaded by ONNX Runtime", device, ArtifactError, advice) from error
        self.name = f"onnxruntime {runtime.__version__}"
        self._device, self.contexts = device, contexts
        self._place = device.kind, device.index
        inputs = [_describe(value) for value in self._session.get_inputs()]
        outputs = [_describe(value) for value in self._session.get_outputs()]
        self.input = find_input(what, inputs, outputs)
        self.outputs = tuple(output.name for output in outputs)
        metadata = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        self.artifact = None if metadata is None else Artifact.from_json(metadata, what)
        self._entry, self._dtype = inputs[0].name, NUMBERS[inputs[0].kind]
        # A fixed set of threads, because ONNX Runtime and malloc keep memory for each thread that they ever ran in.
        self._workers = ThreadPoolExecutor(contexts, thread_name_prefix="onnxruntime")
        self._runtime = runtime
        self._kept = threading.local()
        self._recorded: BoundRun | None = None

    def batch_limit(self, _height: int, _width: int) -> int | None:
        """The batch that the graph declares, at any size; None if it is dynamic."""
        return self.input.shape.batch

    def run(self, tensor: Array, outputs: Sequence[str]) -> dict[str, Array]:
        """See :class:`Backend`. A refused tensor is an InputError, another failure a DeviceError or ArtifactError."""
        maps = self._workers.submit(self._compute, tensor, tuple(outputs)).result()
        return {name: widened(value[: len(tensor)]) for name, value in maps.items()}

    def run_on_device(
        self, tensor: object, outputs: Sequence[str] | Mapping[str, object], _stream: int | None
    ) -> dict[str, DeviceArray]:
        """Run on C-contiguous arrays of the same GPU, without a copy; see :class:`DeviceBackend`.

        ONNX Runtime has a stream of its own, so the call waits for the work in all streams, and then for the run.
        """
        if self._device.kind == "cpu":
            raise InputError(f"{self.name} takes NumPy arrays on a processor; got {type(tensor).__name__}")
        if self._graph:
            raise InputError("ONNX Runtime's CUDA graph takes NumPy arrays alone; load the file with cuda_graph=False")
        return self._workers.submit(self._compute_on_device, tensor, outputs).result()

    def _compute_on_device(
        self, tensor: object, outputs: Sequence[str] | Mapping[str, object]
    ) -> dict[str, DeviceArray]:
        cuda, index, binding = open_cuda(), self._device.index, self._session.io_binding()
        with cuda.using(index):
            source = as_device_array(tensor, index, None)
            self.input.check(source.shape, source.kind)
            self.input.check_size(source.shape)
            given = outputs if isinstance(outputs, Mapping) else {}
            targets = {name: as_target(name, array, index, None) for name, array in given.items()}
            cuda.synchronize()
            with self._explaining(source.shape):
                binding.bind_input(self._entry, *self._place, source.kind, source.shape, source.address)
                for name in outputs:
                    target = targets.get(name)
                    memory = (target.kind, target.shape, target.address) if target else ()
                    binding.bind_output(name, *self._place, *memory)
                self._session.run_with_iobinding(binding, self._options(outputs))
                binding.synchronize_outputs()
        return {
            name: DeviceArray(
                value.data_ptr(),
                tuple(value.shape()),
                index,
                owner=(value, binding, outputs),
                ready=True,
                kind=np.dtype(NUMBERS[KINDS[value.data_type()]]).str,
            )
            for name, value in zip(outputs, binding.get_outputs(), strict=True)
        }

    def _compute(self, tensor: Array, outputs: tuple[str, ...]) -> dict[str, Any]:
        batch = padded(tensor, self.input.shape.batch).astype(self._dtype, copy=False)
        with self._explaining(batch.shape):
            return self._run(batch, outputs)

    @contextmanager
    def _explaining(self, shape: tuple[int, ...]) -> Iterator[None]:
        """Say what an exception of a run means."""
        try:
            yield
        except Exception as error:
            what = f"ONNX Runtime cannot run the network on {shape}"
            raise _failure(error, what, self._device, InputError) from error

    def _options(self, outputs: Iterable[str], graph: str = "-1") -> Any:
        """Options of a run; ``graph`` is the number of the CUDA graph to record or launch, -1 for a plain run."""
        options = self._runtime.RunOptions()
        options.only_execute_path_to_fetches = set(outputs) != set(self.outputs)
        options.add_run_config_entry("gpu_graph_id", graph)
        return options

    def _run(self, tensor: Any, outputs: tuple[str, ...]) -> dict[str, Any]:
        bound = self._recorded
        if bound is None or bound.key != (tensor.shape, outputs):
            bound = getattr(self._kept, "bound", None)
            if bound is None or bound.key != (tensor.shape, outputs):
                bound = self._kept.bound = self._bind(tensor, outputs)
            elif self._graph and self._recorded is None and set(outputs) == set(self.outputs):
                self._recorded = bound  # for good, because its graph holds the addresses
        options = self._options(outputs, "1" if bound is self._recorded else "-1")
        bound.tensor.update_inplace(tensor)
        try:
            self._session.run_with_iobinding(bound.binding, options)
        except Exception as error:
            if bound is not self._recorded:
                raise
            onnxruntime_log.warning("no CUDA graph, each run is plain: %s", error)
            self._graph, self._recorded, self._kept = False, None, threading.local()
            self._session = self._open(graph=False)
            return self._run(tensor, outputs)
        return dict(zip(outputs, bound.binding.copy_outputs_to_cpu(), strict=True))

    def _bind(self, tensor: Any, outputs: tuple[str, ...]) -> BoundRun:
        binding = self._session.io_binding()
        # A copy, because on a processor the value is the array's own memory, which later runs overwrite.
        entry = self._runtime.OrtValue.ortvalue_from_numpy(tensor.copy(), *self._place)
        binding.bind_ortvalue_input(self._entry, entry)
        for name in outputs:
            binding.bind_output(name, *self._place)
        return BoundRun((tensor.shape, outputs), entry, binding)


def _failure(error: Exception, what: str, device: Device, refusal: type[U2NetError], advice: str = "") -> U2NetError:
    """The error for an exception of ONNX Runtime; ``refusal`` if the file or the tensor caused it."""
    said = f"{what} on {device}: {error}"
    if means_no_memory(said):
        return OutOfMemoryError(f"{said}; {MEMORY_ADVICE}")
    if type(error).__name__ in INPUT_REFUSALS or INPUT_REFUSAL_WORDS.search(said):
        return refusal(said)
    return DeviceError(said + advice) if device.kind == "cuda" else ArtifactError(said)


def _preload_libraries(runtime: Any) -> str:
    """Load the CUDA libraries that pip installed. Return advice for the error if the session still does not open."""
    with redirect_stdout(StringIO()) as printed:
        getattr(runtime, "preload_dlls", lambda: None)()  # there from 1.21 on
    missing = ", ".join(re.findall(r"Failed to load (\S+):", printed.getvalue())) or "a library of CUDA or cuDNN"
    return f"; {missing} may be missing: `pip install 'u2net-deploy[gpu]'` brings all; see also `u2net doctor`"


def _require_provider(runtime: Any, device: Device) -> None:
    available = runtime.get_available_providers()
    if PROVIDERS[device.kind] not in available:
        raise DeviceError(
            f"{device} was asked for, but onnxruntime {runtime.__version__} here has only {', '.join(available)}; "
            "`pip uninstall -y onnxruntime && pip install 'u2net-deploy[gpu]'` adds CUDA; the device cpu needs none"
        )


def _open(
    runtime: Any,
    source: Path | bytes,
    device: Device,
    threads: int | None,
    *,
    tf32: bool,
    optimize: bool,
    graph: bool,
) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = threads or 0  # all cores
    if not optimize:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = str(source) if isinstance(source, Path) else source
    if device.kind == "cpu":
        # Memory patterns of past shapes are never freed: without them the arena is smaller, and as fast.
        options.enable_mem_pattern = False
        return runtime.InferenceSession(model, options, providers=[PROVIDERS["cpu"]])
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    settings = {"device_id": device.index, "use_tf32": int(tf32), "enable_cuda_graph": int(graph), **CUDA_SETTINGS}
    # ONNX Runtime's own fallback would go on on the processor, after a failed run too.
    return runtime.InferenceSession(model, options, providers=[(PROVIDERS["cuda"], settings)], enable_fallback=False)


def _describe(value: Any) -> TensorInfo:
    return TensorInfo(value.name, KINDS.get(value.type, value.type), value.shape)
