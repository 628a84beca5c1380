"""Covers running/arrays.py and slot.py with arrays in GPU memory: no copies, and work in stream order."""

import ctypes
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.trt.caller_arrays import CPU, CUDA, CallerArray, Tensor, WithDlpack, WithInterface
from tests.runtime.trt.conftest import WriteEngine, noise
from tests.runtime.trt.fake_cuda import FakeCudaRuntime
from tests.runtime.trt.fake_tensorrt import FakeTensorRT, expected
from u2net.runtime import Session, load
from u2net.runtime.device import Device
from u2net.runtime.errors import InputError, ProfileError
from u2net.runtime.loading import new_session
from u2net.runtime.onnxruntime_backend import OnnxRuntimeBackend
from u2net.runtime.presets import PRESETS
from u2net.runtime.trt.running.arrays import DeviceArray
from u2net.runtime.trt.running.backend import TensorRTBackend

SHAPE = (2, 3, 32, 32)
STRIDES = (3 * 1024, 1024, 32, 1)


def read(cuda: FakeCudaRuntime, array: Any) -> Tensor:
    facts = array.__cuda_array_interface__
    return cuda.floats(facts["data"][0], facts["shape"]).copy()


@pytest.fixture(params=["own", "default"])
def caller(cuda: FakeCudaRuntime, request: pytest.FixtureRequest) -> Iterator[int]:
    """Handle of the caller's stream. The default stream, which PyTorch uses, has the handle 0."""
    if request.param == "default":
        yield 0
        cuda.cudaStreamSynchronize(0)
        return
    stream = cuda.cudaStreamCreateWithFlags(1)[1]
    yield int(stream)
    cuda.cudaStreamDestroy(stream)


def make(kind: type[CallerArray], cuda: FakeCudaRuntime, values: Tensor, **facts: Any) -> Any:
    """An array, with attributes changed."""
    options = {name: facts.pop(name) for name in ("stream", "offset") if name in facts}
    array = kind(cuda, values, **options)
    for name, value in facts.items():
        setattr(array, name, value)
    return array


KINDS = [
    pytest.param(WithInterface, {}, id="interface"),
    pytest.param(WithInterface, {"changes": {"strides": tuple(4 * stride for stride in STRIDES)}}, id="with strides"),
    pytest.param(WithInterface, {"changes": {"strides": None, "stream": 1}}, id="of the default stream"),
    pytest.param(WithDlpack, {}, id="dlpack"),
    pytest.param(WithDlpack, {"strides": STRIDES}, id="dlpack with strides"),
    pytest.param(WithDlpack, {"offset": 256}, id="dlpack with an offset"),
    pytest.param(WithDlpack, {"shape": (1, 3, 32, 32), "strides": (7, 1024, 32, 1)}, id="odd stride of one image"),
]


@pytest.mark.parametrize(("kind", "facts"), KINDS)
def test_an_array_of_another_library_goes_in_without_a_copy(
    session: Session, cuda: FakeCudaRuntime, kind: type[CallerArray], facts: dict[str, Any]
) -> None:
    for seed in range(3):
        values = noise(*facts.get("shape", SHAPE), seed=seed)
        maps = session.infer(make(kind, cuda, values, **facts))

        assert list(maps) == ["d0"]
        np.testing.assert_allclose(read(cuda, maps["d0"]), expected(values), rtol=1e-6)
    assert cuda.calls["cudaMemcpyAsync"] == 0
    assert cuda.calls["cudaHostAlloc"] == 0


@pytest.mark.parametrize("kind", [WithInterface, WithDlpack])
def test_outputs_are_written_where_the_caller_wants_them(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime, kind: type[CallerArray]
) -> None:
    values = noise(*SHAPE)
    with load(write_engine(trt, outputs={"d0": 1, "d1": 1}), "cuda:0") as session:
        outputs = {name: make(kind, cuda, noise(2, 1, 32, 32)) for name in ("d1", "d0")}
        before = cuda.calls["cudaMalloc"]

        maps = session.infer(make(kind, cuda, values), outputs)

        assert cuda.calls["cudaMalloc"] == before + 1  # the input of this test
        for index, name in enumerate(("d0", "d1")):
            np.testing.assert_allclose(outputs[name].values(), expected(values) + index, rtol=1e-6)
            assert maps[name].address == outputs[name].address


@pytest.mark.parametrize("mapped", [False, True])
def test_other_outputs_stay_in_the_slot(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime, mapped: bool
) -> None:
    """Names give new arrays, a mapping writes to the caller's; the set also changes after a graph was captured."""
    array = make(WithInterface, cuda, noise(*SHAPE))
    own = {name: make(WithInterface, cuda, noise(2, 1, 32, 32)) for name in ("d0", "d1", "d2")}
    with load(write_engine(trt, outputs={"d0": 1, "d1": 1, "d2": 1}), "cuda:0", contexts=1) as session:
        for names in [["d1"]] * 3 + [["d0", "d2"], ["d1"], ["d1"], ["d2", "d1", "d0"]]:
            before, kept = cuda.calls.copy(), {name: out.values().copy() for name, out in own.items()}
            maps = session.infer(array, {name: own[name] for name in names} if mapped else names)

            assert list(maps) == names
            for name, out in own.items():
                if name in names:
                    np.testing.assert_allclose(
                        read(cuda, maps[name]), expected(array.values()) + int(name[1]), rtol=1e-6
                    )
                if not mapped or name not in names:
                    np.testing.assert_array_equal(out.values(), kept[name])
            assert (cuda.calls - before)["cudaMemcpyAsync"] == 0
        assert not mapped or cuda.calls["cudaGraphLaunch"] > 1


def test_repeated_arrays_cost_one_graph_launch(session: Session, cuda: FakeCudaRuntime) -> None:
    array, out = make(WithInterface, cuda, noise(*SHAPE)), make(WithInterface, cuda, noise(2, 1, 32, 32))
    for seed in range(5):
        array.values()[:] = noise(*SHAPE, seed=seed)
        before = cuda.calls.copy()
        session.infer(array, {"d0": out})
        np.testing.assert_allclose(out.values(), expected(array.values()), rtol=1e-6)

    steady = cuda.calls - before
    once = ("cudaSetDevice", "cudaDeviceSynchronize", "cudaGraphLaunch", "cudaStreamSynchronize")
    assert steady == {**dict.fromkeys(once, 1), "cudaGetDevice": 2}


def test_host_and_device_memory_may_come_in_turns(session: Session, cuda: FakeCudaRuntime) -> None:
    array = make(WithDlpack, cuda, noise(*SHAPE))
    for seed in range(8):
        values = noise(*SHAPE, seed=seed)
        np.testing.assert_allclose(session.infer(values)["d0"], expected(values), rtol=1e-6)
        np.testing.assert_allclose(read(cuda, session.infer(array)["d0"]), expected(array.values()), rtol=1e-6)


# --- order ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [WithInterface, WithDlpack])
def test_with_the_callers_stream_only_the_gpu_waits(
    session: Session, cuda: FakeCudaRuntime, caller: int, kind: type[CallerArray]
) -> None:
    session.infer(noise(*SHAPE))  # makes the context, which waits for the GPU
    values = noise(*SHAPE, seed=1)
    array = make(kind, cuda, values, stream=caller)
    out, copy = make(kind, cuda, np.zeros((2, 1, 32, 32), np.float32)), np.zeros((2, 1, 32, 32), np.float32)
    before = cuda.calls.copy()

    session.infer(array, {"d0": out}, stream=caller)
    cuda.enqueue(caller, lambda: np.copyto(copy, out.values()))

    assert not {"cudaStreamSynchronize", "cudaDeviceSynchronize"} & set(cuda.calls - before)
    assert not out.values().any()
    cuda.cudaStreamSynchronize(caller)
    np.testing.assert_allclose(copy, expected(values), rtol=1e-6)


@pytest.mark.parametrize("kind", [WithInterface, WithDlpack])
def test_without_a_stream_the_call_waits_before_and_after(
    session: Session, cuda: FakeCudaRuntime, caller: int, kind: type[CallerArray]
) -> None:
    values = noise(*SHAPE)

    maps = session.infer(make(kind, cuda, values, stream=caller))

    np.testing.assert_allclose(read(cuda, maps["d0"]), expected(values), rtol=1e-6)


def test_a_producer_that_names_its_stream_is_waited_for_alone(
    session: Session, cuda: FakeCudaRuntime, caller: int
) -> None:
    values = noise(*SHAPE)
    session.infer(values)
    array = make(WithInterface, cuda, values, stream=caller, changes={"stream": caller})

    maps = session.infer(array)

    np.testing.assert_allclose(read(cuda, maps["d0"]), expected(values), rtol=1e-6)
    assert cuda.calls["cudaDeviceSynchronize"] == 0


@pytest.mark.parametrize("facts", [{}, {"changes": {"stream": 1}}], ids=["silent", "names its stream"])
def test_earlier_work_on_an_output_is_waited_for(
    session: Session, cuda: FakeCudaRuntime, facts: dict[str, Any]
) -> None:
    """Unfinished work on the output would otherwise overwrite the result."""
    values = noise(*SHAPE)
    array = make(WithDlpack, cuda, values)
    out = make(WithInterface, cuda, np.zeros((2, 1, 32, 32), np.float32), stream=1, **facts)

    session.infer(array, {"d0": out})
    cuda.cudaDeviceSynchronize()

    np.testing.assert_allclose(out.values(), expected(values), rtol=1e-6)


def test_runs_of_different_shapes_may_be_under_way_in_one_context(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime, caller: int
) -> None:
    values = [noise(1 + seed // 3 % 2, 3, 32, 32, seed=seed) for seed in range(9)]
    with load(write_engine(trt), "cuda:0", contexts=1) as session:
        arrays = [make(WithDlpack, cuda, one) for one in values]
        outputs = [make(WithDlpack, cuda, expected(one) * 0) for one in values]
        for array, out in zip(arrays, outputs, strict=True):
            session.infer(array, {"d0": out}, stream=caller)
        cuda.cudaStreamSynchronize(caller)

    for out, one in zip(outputs, values, strict=True):
        np.testing.assert_allclose(out.values(), expected(one), rtol=1e-6)


def test_an_output_can_be_reused_at_once(session: Session, cuda: FakeCudaRuntime, caller: int) -> None:
    """The second run writes to the output of the first, which is still under way in another context."""
    values = [noise(*SHAPE, seed=seed) for seed in range(2)]
    first, second = (make(WithDlpack, cuda, one) for one in values)
    backend = session._require_open()
    assert isinstance(backend, TensorRTBackend)
    with backend._pools[0].lend(lambda _slot: True):
        out = session.infer(first, stream=caller)  # in another context than the next run
    session.infer(second, out)
    cuda.cudaDeviceSynchronize()

    np.testing.assert_allclose(read(cuda, out["d0"]), expected(values[1]), rtol=1e-6)


def test_the_input_lives_as_long_as_the_run(session: Session, cuda: FakeCudaRuntime) -> None:
    """The memory must not be released with the capsule before the GPU has read it."""
    values = noise(*SHAPE)
    array = make(WithDlpack, cuda, values)
    released: list[bool] = []
    executed = session.infer(values)["d0"]

    def release(_capsule: int) -> None:
        released.append(True)
        if len(released) == 2:  # the first was only looked at
            array.values().fill(np.nan)

    array.on_release = release
    maps = session.infer(array)["d0"]
    gc.collect()

    assert len(released) == 2
    np.testing.assert_allclose(read(cuda, maps), executed, rtol=1e-6)


def test_synchronising_does_not_break_a_capture_in_another_thread(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """CUDA forbids waiting for a device while any of its streams is captured."""
    capturing, waited = threading.Event(), threading.Event()

    def linger() -> None:
        if cuda.capturing and not capturing.is_set():
            capturing.set()
            waited.wait(0.3)

    with load(write_engine(trt), "cuda:0") as session, ThreadPoolExecutor(1) as other:
        array = make(WithInterface, cuda, noise(1, 3, 64, 64))
        session.infer(array)
        trt.on_run = linger
        host = noise(*SHAPE)
        results = other.submit(lambda: [session.infer(host)["d0"] for _ in range(3)])
        assert capturing.wait(10)
        out = session.infer(array)["d0"]
        waited.set()

        np.testing.assert_allclose(read(cuda, out), expected(array.values()), rtol=1e-6)
        for result in results.result(10):
            np.testing.assert_allclose(result, expected(host), rtol=1e-6)
    assert caplog.text == ""


# --- arrays that cannot be used --------------------------------------------------------------------------------------


class NeedsGradient(WithDlpack):
    """Like a PyTorch tensor that requires grad."""

    refuses = "it requires grad"

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise RuntimeError("it requires grad")


@pytest.mark.parametrize(
    ("kind", "facts", "says"),
    [
        (WithInterface, {"changes": {"typestr": "<f2"}}, r"float32 \(<f4\) or uint8 \(\|u1\); got <f2"),
        (WithInterface, {"changes": {"typestr": ">f4"}}, "got >f4"),
        (WithInterface, {"changes": {"shape": (3, 32, 32)}}, r"N×3×H×W; got float32 \(3, 32, 32\)"),
        (WithInterface, {"changes": {"shape": (2, 32, 32, 3)}}, r"got float32 \(2, 32, 32, 3\)"),
        (WithInterface, {"changes": {"shape": (0, 3, 32, 32), "data": (0, False)}}, r"got float32 \(0, 3, 32, 32\)"),
        (WithInterface, {"changes": {"strides": (12288, 4, 384, 12)}}, "C-contiguous"),
        (WithInterface, {"changes": {"strides": (12288, 4096, 128, 6)}}, "C-contiguous"),
        (WithInterface, {"changes": {"mask": object()}}, "mask"),
        (WithDlpack, {"kind": (2, 16, 1)}, "type 2 of 16 bits"),
        (WithDlpack, {"kind": (0, 32, 1)}, "type 0 of 32 bits"),
        (WithDlpack, {"kind": (2, 32, 4)}, "float32"),
        (WithDlpack, {"device": (CUDA, 1)}, "network is on cuda:0, the array on cuda:1; move it"),
        (WithDlpack, {"device": (CPU, 0)}, r"DLPack device 1\); move it, or give a NumPy array"),
        (WithDlpack, {"strides": (3072, 1, 96, 3)}, "C-contiguous"),
        (NeedsGradient, {}, "cannot be shared: it requires grad"),
        (WithDlpack, {"shape": (0, 3, 32, 32), "start": 0}, r"got float32 \(0, 3, 32, 32\)"),
    ],
)
def test_an_unusable_input_is_refused_before_a_run(
    session: Session,
    trt: FakeTensorRT,
    cuda: FakeCudaRuntime,
    *,
    kind: type[CallerArray],
    facts: dict[str, Any],
    says: str,
) -> None:
    array = make(kind, cuda, noise(*SHAPE))
    start = array.start
    for name, value in facts.items():
        setattr(array, name, value)

    with pytest.raises(InputError, match=says):
        session.infer(array)

    array.start = start
    assert trt.executed == []


def test_a_shape_outside_the_profiles_is_refused_not_padded(
    trt: FakeTensorRT, write_engine: WriteEngine, session: Session, cuda: FakeCudaRuntime
) -> None:
    with (
        load(write_engine(trt, "four.engine", profiles=[[(4, 3, 32, 32)] * 3]), "cuda:0") as four,
        pytest.raises(ProfileError, match="takes 4 images at once, not 2; pad the tensor"),
    ):
        four.infer(make(WithDlpack, cuda, noise(*SHAPE)))
    for shape in ((5, 3, 32, 32), (1, 3, 96, 32), (1, 3, 32, 33 - 32)):
        with pytest.raises(ProfileError, match="1:2:4"):
            session.infer(make(WithDlpack, cuda, noise(*shape)))


def test_unusable_outputs_are_refused(trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime) -> None:
    array = make(WithDlpack, cuda, noise(*SHAPE))
    good = make(WithDlpack, cuda, noise(2, 1, 32, 32))
    refused: list[tuple[dict[str, Any], str]] = [
        ({"d0": good, "d1": DeviceArray(1 << 20, (2, 1, 32, 32), 1, None)}, "the array on cuda:1"),
        (
            {"d0": good, "d1": array},
            r"'d1' is float32 \(2, 1, 32, 32\), the array to write it to float32 \(2, 3, 32, 32\)",
        ),
        ({"d0": good, "d1": make(WithDlpack, cuda, noise(2, 1, 32, 32), device=(CPU, 0))}, "move it"),
        ({"d0": good, "d1": noise(2, 1, 32, 32)}, "DLPack device 1"),
        ({"d0": good, "d1": make(WithInterface, cuda, noise(2, 1, 32, 32), changes={"data": (1, True)})}, "read-only"),
    ]
    with load(write_engine(trt, outputs={"d0": 1, "d1": 1}), "cuda:0") as session:
        for outputs, says in refused:
            with pytest.raises(InputError, match=says):
                session.infer(array, outputs)
            assert trt.executed == []
        session.infer(array)  # the session still works


def test_a_processor_takes_no_gpu_memory(tiny_onnx: Callable[..., Path], cuda: FakeCudaRuntime) -> None:
    array = make(WithInterface, cuda, noise(*SHAPE))
    for backend in ("onnxruntime", "openvino"):
        with (
            load(tiny_onnx(), preset="raw", backend=backend) as session,
            pytest.raises(InputError, match=r"takes NumPy arrays.*; got WithInterface"),
        ):
            session.infer(array)


@pytest.fixture
def onnx_session(tiny_onnx: Callable[..., Path]) -> Iterator[Session]:
    """A network in ONNX Runtime that takes the processor's memory for a GPU's."""
    backend = OnnxRuntimeBackend(tiny_onnx(), Device("cpu"))
    backend._device = Device("cuda")
    with new_session(backend, Path("tiny.onnx"), Device("cuda"), preset=PRESETS["raw"]) as session:
        yield session


def in_reach(cuda: FakeCudaRuntime, values: Tensor, stream: int | None = None) -> Any:
    """An array of the fake GPU at its real address, which ONNX Runtime reads."""
    array = make(WithInterface, cuda, values, stream=stream)
    array.changes = {"data": (array.values().ctypes.data, False)}
    return array


def test_onnxruntime_reads_and_writes_arrays_where_they_are(
    onnx_session: Session, cuda: FakeCudaRuntime, caller: int
) -> None:
    """The caller's stream still has to write the input when the call is made."""
    for batch in (1, 1, 2, 1):
        values = noise(batch, 3, 32, 32, seed=batch)
        wanted = onnx_session.infer(values)
        target = in_reach(cuda, noise(batch, 1, 32, 32))
        written = onnx_session.infer(in_reach(cuda, values, stream=caller), {"d0": target}, stream=caller)
        made = onnx_session.infer(in_reach(cuda, values, stream=caller))

        assert list(written) == ["d0"] and list(made) == list(wanted)
        np.testing.assert_array_equal(target.values(), wanted["d0"])
        for name, each in made.items():
            facts = each.__cuda_array_interface__
            assert (facts["shape"], facts["typestr"]) == (wanted[name].shape, "<f4")
            found = np.ctypeslib.as_array((ctypes.c_float * wanted[name].size).from_address(facts["data"][0]))
            np.testing.assert_array_equal(found, wanted[name].ravel())


def test_onnxruntime_refuses_what_it_cannot_use(onnx_session: Session, cuda: FakeCudaRuntime) -> None:
    good, bytes_ = in_reach(cuda, noise(*SHAPE)), in_reach(cuda, noise(2, 1, 32, 32))
    bytes_.changes |= {"typestr": "|u1"}
    with pytest.raises(InputError, match="not a multiple of 32"):
        onnx_session.infer(in_reach(cuda, noise(1, 3, 33, 32)))
    with pytest.raises(InputError, match=r"shape.*\{2,1,32,64\}.*shape.*\{2,1,32,32\}"):
        onnx_session.infer(good, {"d0": in_reach(cuda, noise(2, 1, 32, 64))})
    with pytest.raises(InputError, match=r"output data type. Actual: \(tensor\(uint8\)\)"):
        onnx_session.infer(good, {"d0": bytes_})
    onnx_session._backend._graph = True  # type: ignore[union-attr]
    with pytest.raises(InputError, match="cuda_graph=False"):
        onnx_session.infer(good)


def test_outputs_outlive_the_session(trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime) -> None:
    values = noise(*SHAPE)
    with load(write_engine(trt), "cuda:0") as session:
        out = session.infer(make(WithDlpack, cuda, values))["d0"]
    gc.collect()

    np.testing.assert_allclose(read(cuda, out), expected(values), rtol=1e-6)
    assert len(cuda.leaks()) == 1
