"""A TensorRT engine as a backend."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from u2net.runtime.backend import Array, InputSpec
from u2net.runtime.device import Device
from u2net.runtime.errors import InputError, ProfileError
from u2net.runtime.pool import Pool
from u2net.runtime.trt.cuda import open_cuda
from u2net.runtime.trt.profiles import Shape, profiled_shape, sides_of
from u2net.runtime.trt.running.arrays import DeviceArray, as_device_array, as_target, new_device_array
from u2net.runtime.trt.running.contexts import ContextMaker
from u2net.runtime.trt.running.opening import open_engine
from u2net.runtime.trt.running.slot import Slot


class TensorRTBackend:
    """One engine on one GPU, with a pool of execution contexts for each of its profiles."""

    precision = None

    def __init__(self, path: Path, device: Device, *, contexts: int, cuda_graph: bool) -> None:
        """Open an engine, with at most ``contexts`` execution contexts per profile; see :func:`open_engine`."""
        opened = open_engine(path, device)
        self._device, self.contexts = device.index, contexts
        self._cuda = cuda = open_cuda()
        with cuda.using(self._device):
            maker = ContextMaker(opened, use_graph=cuda_graph)
        capture = cuda_graph and not maker.captures_itself
        self.profiles = maker.profiles
        self._pools = [
            Pool(partial(Slot, cuda, maker, index, use_graph=capture), contexts) for index in range(len(maker.profiles))
        ]
        self.name = str(opened.library)
        self.provider = f"{opened.gpu.name} (compute capability {opened.gpu.compute_capability})"
        self.outputs = maker.outputs
        best = self.profiles[0]
        self.input = InputSpec(
            profiled_shape(self.profiles), images=best.images, best_size=(best.height.best, best.width.best)
        )
        self._dtypes = {name: maker.dtypes[name] for name in maker.outputs}
        self.artifact = opened.record.artifact if opened.record else None

    def batch_limit(self, height: int, width: int) -> int:
        """Largest batch of the profiles that contain this size. Raise ProfileError if none does."""
        self._fit(self.profiles[0].shape(1, height, width))
        return max(profile.batch.high for profile in self.profiles if profile.takes(height, width))

    def run(self, tensor: Array, outputs: Sequence[str]) -> dict[str, Array]:
        """Run on a copy in pinned memory; see :class:`u2net.runtime.backend.Backend`."""
        count, (index, padded) = len(tensor), self._fit(tensor.shape)
        with self._cuda.using(self._device), self._pools[index].lend(lambda slot: slot.shape == padded) as slot:
            pinned = slot.host_input(padded)
            pinned[:count], pinned[count:] = tensor, 0
            return {name: values[:count].copy() for name, values in slot.run(outputs).items()}

    def run_on_device(
        self, tensor: object, outputs: Sequence[str] | Mapping[str, object], stream: int | None
    ) -> dict[str, DeviceArray]:
        """Run on C-contiguous arrays of the same GPU, without a copy; see :class:`DeviceBackend`."""
        array = as_device_array(tensor, self._device, None)
        shape = array.shape
        self.input.check(shape, array.kind)
        index, padded = self._fit(shape)
        if padded != shape:
            raise ProfileError(f"the engine takes {padded[0]} images at once, not {shape[0]}; pad the tensor")
        with self._cuda.using(self._device), self._pools[index].lend(lambda slot: slot.shape == shape) as slot:
            source = as_device_array(tensor, self._device, slot.stream.handle)
            slot.set_shape(shape)
            targets = {name: self._target(slot, name, outputs) for name in outputs}
            self._wait_for_users(slot, [source, *targets.values()], stream)
            slot.run_on_device(source.address, {name: array.address for name, array in targets.items()})
            if stream is None:
                slot.stream.synchronize()
            else:
                slot.stream.order(before=slot.stream.handle, after=stream)
        return targets

    def _wait_for_users(self, slot: Slot, arrays: Sequence[DeviceArray], stream: int | None) -> None:
        """Make the run wait for the work that produces its input, and for work that still uses its output arrays."""
        for producer in {stream, *(array.stream for array in arrays)}:
            if producer is not None:
                slot.stream.order(before=producer, after=slot.stream.handle)
        if stream is None and any(array.stream is None and not array.ready for array in arrays):
            self._cuda.synchronize()

    def _target(self, slot: Slot, name: str, outputs: Sequence[str] | Mapping[str, object]) -> DeviceArray:
        """The caller's array for an output, or a new one."""
        shape = slot.sizes[name]
        if not isinstance(outputs, Mapping):
            return new_device_array(self._cuda, shape, self._device, self._dtypes[name])
        array = as_target(name, outputs[name], self._device, slot.stream.handle)
        dtype, found = self._dtypes[name], np.dtype(array.kind)
        if (array.shape, found) != (shape, dtype):
            raise InputError(f"output {name!r} is {dtype} {shape}, the array to write it to {found} {array.shape}")
        return array

    def _fit(self, shape: Shape) -> tuple[int, Shape]:
        """Choose the profile for a shape, and pad the batch to the profile's smallest."""
        count, height, width = sides_of(shape, images=self.profiles[0].images)
        fitting = [
            (max(count, profile.batch.low), abs(profile.batch.best - count), index)
            for index, profile in enumerate(self.profiles)
            if profile.takes(height, width) and count <= profile.batch.high
        ]
        if not fitting:
            raise ProfileError(
                f"the engine was built for {' or '.join(map(str, self.profiles))} (min:opt:max), not for "
                f"{'×'.join(map(str, shape))}; compile it with a --batch and --size that hold it"
            )
        padded, _, index = min(fitting)
        return index, self.profiles[index].shape(padded, height, width)
