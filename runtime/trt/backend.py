"""A TensorRT engine behind the backend seam."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from u2net.runtime.artifact import Artifact, InputShape
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError, DeviceError, InputError, ProfileError
from u2net.runtime.preprocess import FloatArray
from u2net.runtime.trt.api import ICudaEngine
from u2net.runtime.trt.arrays import DeviceArray, as_device_array, new_device_array
from u2net.runtime.trt.contexts import ContextMaker
from u2net.runtime.trt.cuda import open_cuda
from u2net.runtime.trt.opening import open_engine
from u2net.runtime.trt.pool import Pool
from u2net.runtime.trt.profiles import Profile, Shape
from u2net.runtime.trt.slot import Slot


class TensorRTBackend:
    """One engine on one GPU; a pool of execution contexts for each of its profiles."""

    def __init__(
        self,
        path: Path,
        device: Device,
        *,
        contexts: int,
        cuda_graph: bool,
        rebuild: bool,
    ) -> None:
        """Open an engine.

        Args:
            contexts: execution contexts a profile at most, each with memory of its own; further threads wait.
            cuda_graph: launch repeated shapes as one CUDA graph.
            rebuild: build an engine of another TensorRT or GPU again.

        Raises:
            U2NetError: see :func:`u2net.runtime.trt.opening.open_engine`.
        """
        if not path.is_file():
            raise ArtifactError(f"{path}: there is no such file")
        if device.kind != "cuda":
            raise DeviceError(f"{path} is a TensorRT engine, which needs a GPU: name device cuda, or take its .onnx")
        if contexts < 1:
            raise InputError(f"contexts must be at least 1; got {contexts}")
        self._device = device.index
        self._cuda = cuda = open_cuda()
        with cuda.restoring():
            opened = open_engine(path, cuda, device.index, rebuild=rebuild)
            maker = ContextMaker(opened, path, use_graph=cuda_graph)
        capture = cuda_graph and not maker.captures_itself
        self.profiles = engine_profiles(opened.engine, maker.input)
        self._pools = [
            Pool(partial(Slot, cuda, maker, index, profile, use_graph=capture), contexts)
            for index, profile in enumerate(self.profiles)
        ]
        self.name = f"{opened.flavour} {opened.trt.__version__}"
        self.provider = f"{opened.gpu.name} (compute capability {opened.gpu.compute_capability})"
        self.outputs = maker.outputs
        self.shape = declared_shape(opened.engine.get_tensor_shape(maker.input))
        self.artifact: Artifact | None = opened.record.artifact if opened.record else None
        self.rebuilt = opened.rebuilt

    def batch_limit(self, height: int, width: int) -> int:
        """Images at once at most under the profiles that take the size; where none does, under any."""
        sized = [profile for profile in self.profiles if height in profile.height and width in profile.width]
        return max(profile.batch.high for profile in sized or self.profiles)

    @contextmanager
    def run(self, shape: Shape, fill: Callable[[FloatArray], None]) -> Iterator[dict[str, FloatArray]]:
        """Run on pinned memory that ``fill`` writes; see :class:`u2net.runtime.backend.Backend`."""
        index, padded = self._fit(shape)
        with self._cuda.using(self._device), self._pools[index].lend(lambda slot: slot.shape == padded) as slot:
            tensor = slot.host_input(padded)
            fill(tensor[: shape[0]])
            tensor[shape[0] :] = 0
            yield {name: values[: shape[0]] for name, values in slot.run(padded).items()}

    def run_on_device(
        self, tensor: object, outputs: Mapping[str, object] | None = None, stream: int | None = None
    ) -> dict[str, DeviceArray]:
        """Run on memory of the same GPU, without a copy.

        Args:
            tensor: float32 N×3×H×W, C-contiguous, with ``__dlpack__`` or ``__cuda_array_interface__``.
            outputs: arrays of the same kinds to write to, by name; None allocates.
            stream: handle of the caller's CUDA stream. The run waits for what is in it, and it waits for the run.
                None waits, before and after, until the GPU is done.

        Raises:
            InputError: an array cannot be used.
            ProfileError: the engine was not built for its shape.
        """
        with self._cuda.using(self._device), self._lend_for(tensor) as (slot, source):
            shapes = slot.set_shape(source.four)
            targets = {name: self._target(name, outputs, shapes[name], slot.stream.handle) for name in shapes}
            self._wait_for_users(slot, [source, *targets.values()], stream)
            slot.run_on_device(source.four, source.address, {name: array.address for name, array in targets.items()})
            if stream is None:
                slot.stream.synchronize()
            else:
                slot.stream.let_wait(stream)
        return targets

    @contextmanager
    def _lend_for(self, tensor: object) -> Iterator[tuple[Slot, DeviceArray]]:
        """A slot for a device array's shape, and the array made ready in the slot's stream."""
        shape = as_device_array(tensor, self._device, None).four
        index, padded = self._fit(shape)
        if padded != shape:
            raise ProfileError(f"the engine takes {padded[0]} images at once, not {shape[0]}; pad the tensor")
        with self._pools[index].lend(lambda slot: slot.shape == shape) as slot:
            yield slot, as_device_array(tensor, self._device, slot.stream.handle)

    def _wait_for_users(self, slot: Slot, arrays: Sequence[DeviceArray], stream: int | None) -> None:
        """Let the run wait for what makes its input, and for what still uses the arrays it writes to."""
        for producer in {stream, *(array.stream for array in arrays)}:
            if producer is not None:
                slot.stream.wait_for(producer)
        if stream is None and any(array.stream is None and not array.ready for array in arrays):
            self._cuda.synchronize()

    def _target(self, name: str, outputs: Mapping[str, object] | None, shape: Shape, stream: int) -> DeviceArray:
        if outputs is None:
            return new_device_array(self._cuda, shape, self._device)
        if name not in outputs:
            raise InputError(f"there is no array to write {name!r} to; the engine gives {', '.join(self.outputs)}")
        array = as_device_array(outputs[name], self._device, stream)
        if not array.writable:
            raise InputError(f"the array to write {name!r} to is read-only")
        if array.shape != shape:
            raise InputError(f"output {name!r} is {shape}, the array to write it to {array.shape}")
        return array

    def _fit(self, shape: Shape) -> tuple[int, Shape]:
        """The profile to run a shape under, and the shape padded to what that takes."""
        count, _, height, width = shape
        fitting = [
            (max(count, profile.batch.low), abs(profile.batch.best - count), index)
            for index, profile in enumerate(self.profiles)
            if profile.admits(max(count, profile.batch.low), height, width)
        ]
        if not fitting:
            raise ProfileError(
                f"the engine was built for {' or '.join(map(str, self.profiles))} (min:opt:max), not for "
                f"{count}×3×{height}×{width}; compile it with a --batch and --size that hold it"
            )
        padded, _, index = min(fitting)
        return index, (padded, 3, height, width)


def engine_profiles(engine: ICudaEngine, name: str) -> tuple[Profile, ...]:
    """The profiles of an engine's input."""
    return tuple(
        Profile.from_shapes([tuple(shape) for shape in engine.get_tensor_profile_shape(name, index)])
        for index in range(engine.num_optimization_profiles)
    )


def declared_shape(sides: Sequence[int]) -> InputShape:
    """An input's shape, None for what is dynamic."""
    batch, _, height, width = (None if side < 0 else int(side) for side in sides)
    return InputShape(batch, height, width)
