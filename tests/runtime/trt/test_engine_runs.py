"""Covers running/backend.py, slot.py and contexts.py with host memory: profiles, CUDA graphs, allocations."""

import gc
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.trt.conftest import WriteEngine, check, noise
from tests.runtime.trt.fake_cuda import FakeCudaRuntime, errors
from tests.runtime.trt.fake_tensorrt import FakeTensorRT, expected
from u2net.runtime import Session, load
from u2net.runtime.device import Device
from u2net.runtime.errors import ArtifactError, DeviceError, InputError, OutOfMemoryError, ProfileError

Tensor = npt.NDArray[np.float32]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(32, 32), (64, 32), (64, 64)])
def test_each_batch_gets_its_own_result(session: Session, count: int, size: tuple[int, int]) -> None:
    for seed in range(4):
        check(session, noise(count, 3, *size, seed=seed))


def test_only_the_outputs_asked_for_are_copied(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime
) -> None:
    """The copied set changes between runs, even after a graph was captured."""
    channels = {"d0": 1, "d1": 1, "d2": 4}
    with load(write_engine(trt, outputs=channels), "cuda:0", contexts=1) as session:
        for seed, names in enumerate([["d0"], ["d0"], ["d2", "d0"], ["d1"], ["d0", "d1", "d2"], ["d0"]]):
            tensor, before = noise(3, 3, 32, 32, seed=seed), cuda.calls["cudaMemcpyAsync"]
            maps = session.infer(tensor, names)
            assert list(maps) == names
            for name, values in maps.items():
                wanted = np.repeat(expected(tensor) + int(name[1]), channels[name], axis=1)
                np.testing.assert_allclose(values, wanted, rtol=1e-6)
            assert cuda.calls["cudaMemcpyAsync"] - before == 1 + len(names)
    assert kinds(cuda, trt) == (2, 1, 5)


def test_results_are_not_overwritten_by_later_runs(session: Session) -> None:
    tensor = noise(2, 3, 32, 32)
    maps = session.infer(tensor)["d0"]
    mask = session(np.full((32, 32, 3), 51, np.uint8))

    check(session, noise(2, 3, 32, 32, seed=1))
    session(np.full((32, 32, 3), 255, np.uint8))

    np.testing.assert_allclose(maps, expected(tensor), rtol=1e-6)
    np.testing.assert_allclose(mask, 0.2, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_batch_below_the_profile_is_padded_with_zeros(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime, count: int
) -> None:
    profiles = [[(5, 3, 32, 32), (5, 3, 32, 32), (6, 3, 32, 32)]]
    with load(write_engine(trt, profiles=profiles), "cuda:0", contexts=1) as session:
        check(session, noise(6, 3, 32, 32, seed=1))  # leaves its values in the buffers of the next run
        check(session, noise(count, 3, 32, 32))

        pinned = [memory.content for memory in cuda.live.values() if getattr(memory, "kind", "") == "pinned"]
        tensor = max(pinned, key=len).view(np.float32).reshape(6, 3, 32, 32)
        assert tensor[:count].any()
        assert not tensor[count:5].any()


def kinds(cuda: FakeCudaRuntime, trt: FakeTensorRT) -> tuple[int, int, int]:
    """Number of runs that called TensorRT, of captures and of launches."""
    return len(trt.executed), cuda.calls["cudaStreamBeginCapture"], cuda.calls["cudaGraphLaunch"]


def test_the_first_run_is_enqueued_the_second_captured_the_rest_launched(
    session: Session, cuda: FakeCudaRuntime, trt: FakeTensorRT
) -> None:
    seen = []
    for seed in range(4):
        check(session, noise(2, 3, 32, 32, seed=seed))
        seen.append(kinds(cuda, trt))

    assert seen == [(1, 0, 0), (2, 1, 1), (2, 1, 2), (2, 1, 3)]


def test_without_cuda_graphs_nothing_is_captured(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime
) -> None:
    with load(write_engine(trt), "cuda:0", cuda_graph=False) as session:
        for seed in range(4):
            check(session, noise(2, 3, 32, 32, seed=seed))

    assert kinds(cuda, trt) == (4, 0, 0)


def test_ctrl_c_in_a_capture_leaves_the_session_usable(
    session: Session, cuda: FakeCudaRuntime, trt: FakeTensorRT
) -> None:
    def press() -> None:
        if cuda.capturing:
            trt.on_run = lambda: True
            raise KeyboardInterrupt

    check(session, noise(2, 3, 32, 32))
    trt.on_run = press
    with pytest.raises(KeyboardInterrupt):
        session.infer(noise(2, 3, 32, 32))

    for seed in range(3):
        check(session, noise(2, 3, 32, 32, seed=seed))


def fail_at(step: str) -> Callable[[FakeTensorRT], object]:
    return lambda trt: trt.cuda.failures.update({step: errors.cudaErrorNotSupported})


def disturb(run: Callable[[FakeCudaRuntime], object]) -> Callable[[FakeTensorRT], object]:
    return lambda trt: setattr(trt, "on_run", lambda: run(trt.cuda))


@pytest.mark.parametrize(
    ("prevent", "says"),
    [
        (fail_at("cudaStreamBeginCapture"), "cudaStreamBeginCapture failed"),
        (fail_at("cudaGraphInstantiate"), "cudaGraphInstantiate failed"),
        (disturb(lambda cuda: not cuda.capturing), "the run cannot be enqueued"),
        (disturb(lambda cuda: cuda.cudaMalloc(8) if cuda.capturing else None), "cudaErrorStreamCaptureInvalidated"),
    ],
)
def test_after_a_failed_capture_each_run_is_enqueued(
    session: Session, trt: FakeTensorRT, caplog: pytest.LogCaptureFixture, prevent: Any, says: str
) -> None:
    check(session, noise(2, 3, 32, 32))
    prevent(trt)

    for seed in range(3):
        check(session, noise(2, 3, 32, 32, seed=seed))

    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.message.startswith("no CUDA graph for (2, 3, 32, 32), each run is enqueued instead: ")
    assert says in record.message
    assert (trt.cuda.calls["cudaStreamBeginCapture"], trt.cuda.calls["cudaGraphLaunch"]) == (1, 0)


def test_the_steady_state_allocates_nothing(session: Session, cuda: FakeCudaRuntime) -> None:
    tensors = [noise(1 + seed % 3, 3, 32, 32, seed=seed) for seed in range(6)]
    for tensor in tensors * 2:
        check(session, tensor)
    made = [name for name in cuda.calls if "Malloc" in name or "Alloc" in name or "Create" in name]
    before = {name: cuda.calls[name] for name in made}

    for tensor in tensors * 5:
        check(session, tensor)

    assert made
    assert {name: cuda.calls[name] for name in made} == before


@pytest.mark.parametrize(
    ("method", "said", "kind", "match"),
    [
        ("execute_async_v3", "Error Code 1: Myelin", DeviceError, "cannot be enqueued: Error Code 1: Myelin"),
        ("execute_async_v3", "(an illegal memory access was encountered)", DeviceError, "illegal memory access"),
        ("set_tensor_address", "", DeviceError, "address of 'input'"),
        ("set_input_shape", "", ProfileError, r"does not take \(2, 3, 32, 32\) under the profile .*1:2:4.*32:32:64"),
    ],
)
def test_a_refused_run_says_why_and_leaves_the_session_usable(
    session: Session, *, trt: FakeTensorRT, method: str, said: str, kind: type[Exception], match: str
) -> None:
    trt.refused, trt.errors = {method}, [said]
    with pytest.raises(kind, match=match) as caught:
        session.infer(noise(2, 3, 32, 32))
    assert caught.type is kind
    trt.refused.clear()

    check(session, noise(2, 3, 32, 32))


def test_an_output_of_another_size_than_the_input_is_refused(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    with (
        load(write_engine(trt, scale=2), "cuda:0") as session,
        pytest.raises(ArtifactError, match=r"d0.*\(4, 1, 128, 128\)"),
    ):
        session.infer(noise(4, 3, 64, 64))


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"input": [-1, 1, -1, -1]}, r"input: f32 \[None, 1, None, None\]"),
        ({"outputs": {}}, "no output"),
        ({"dtype": "HALF"}, "HALF"),
    ],
)
def test_an_engine_of_another_network_is_named(
    trt: FakeTensorRT, write_engine: WriteEngine, facts: dict[str, Any], found: str
) -> None:
    with pytest.raises(ArtifactError, match=f"is not a U²-Net: .*{found}"):
        load(write_engine(trt, **facts), "cuda:0")


@pytest.mark.parametrize(("kind", "graph"), [("trt", True), ("trt", False), ("rtx", True)])
def test_running_out_of_memory_leaks_nothing(
    request: pytest.FixtureRequest, write_engine: WriteEngine, caplog: pytest.LogCaptureFixture, kind: str, graph: bool
) -> None:
    """One more allocation is allowed each time, until there is a result."""
    module: FakeTensorRT = request.getfixturevalue(kind)
    cuda, path, failed = module.cuda, write_engine(module), 0
    for allowed in range(100):
        cuda.allowed = allowed
        try:
            with load(path, "cuda:0", cuda_graph=graph) as session:
                for seed in range(3):
                    check(session, noise(2, 3, 32, 32, seed=seed))
        except OutOfMemoryError as error:
            failed += 1
            assert "fewer contexts" in str(error) or "stop other programs that use the GPU" in str(error)
        else:
            break
        assert cuda.leaks() == []
    assert failed == 1 + 3 + 4  # the engine; stream, event and context; pinned and device memory of input and output
    assert ("no CUDA graph" in caplog.text) == (graph and kind == "trt")


@pytest.mark.parametrize("closing", [True, False])
def test_a_closed_or_forgotten_session_frees_everything(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime, closing: bool
) -> None:
    session = load(write_engine(trt), "cuda:0")
    for seed in range(6):
        check(session, noise(1 + seed % 2, 3, 32, 32))
    assert len(cuda.leaks()) > 10
    if closing:
        session.close()
    else:
        del session
        gc.collect()

    assert cuda.leaks() == []


def test_an_engine_runs_on_the_gpu_that_was_asked_for(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime
) -> None:
    """The current device of the calling thread stays the same."""
    cuda.devices = 2
    with load(write_engine(trt), "cuda:1") as session, ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda seed: check(session, noise(1, 3, 32, 32, seed=seed)), range(6)))

        assert {thing.device for thing in cuda.live.values() if hasattr(thing, "device")} == {1}
        check(session, noise(1, 3, 32, 32))
    assert cuda.device == 0


def test_after_an_out_of_memory_error_the_session_is_usable(session: Session, cuda: FakeCudaRuntime) -> None:
    cuda.memory = 200_000  # enough for the input, not for the output
    with pytest.raises(OutOfMemoryError, match="fewer contexts"):
        session.infer(noise(2, 3, 32, 32))
    cuda.memory = 1 << 30

    check(session, noise(2, 3, 32, 32))


def test_an_engine_needs_a_gpu_and_a_context(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    with pytest.raises(DeviceError, match=r"needs a GPU: name device cuda, or take its \.onnx"):
        load(write_engine(trt), "cpu")
    with pytest.raises(InputError, match="from 1 to 1024; got 0"):
        load(write_engine(trt), "cuda:0", contexts=0)


Shapes = list[list[tuple[int, int, int, int]]]


def profiles_of(spans: list[tuple[int, int, int]], size: int = 32) -> Shapes:
    return [[(batch, 3, size, size) for batch in span] for span in spans]


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=3).map(sorted), min_size=1, max_size=4),
    st.integers(1, 10),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_a_batch_is_padded_as_little_as_the_profiles_allow(
    trt: FakeTensorRT,
    write_engine: WriteEngine,
    caplog: pytest.LogCaptureFixture,
    spans: list[list[int]],
    count: int,
) -> None:
    trt.executed.clear()
    caplog.set_level(logging.ERROR)
    with load(write_engine(trt, profiles=profiles_of([tuple(span) for span in spans])), "cuda:0") as session:  # type: ignore[misc]
        admissible = [batch for batch in range(count, 10) if any(low <= batch <= high for low, _, high in spans)]
        if not admissible:
            with pytest.raises(InputError):
                session.infer(noise(count, 3, 32, 32))
            return
        check(session, noise(count, 3, 32, 32))

    ((profile, (batch, *_)),) = trt.executed
    assert batch == admissible[0]
    best = [abs(best - count) if low <= batch <= high else 99 for low, best, high in spans]
    assert profile == best.index(min(best))


def test_a_shape_outside_every_profile_names_them(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    profiles = [*profiles_of([(1, 2, 4)]), *profiles_of([(1, 1, 1)], 64)]
    with load(write_engine(trt, profiles=profiles), "cuda:0") as session:
        with pytest.raises(ProfileError, match=r"1:2:4\b.*32.*\b1\b.*64.*not for 2×3×64×64"):
            session.infer(noise(2, 3, 64, 64))
        with pytest.raises(ProfileError, match=r"not for 1×3×32×64; compile it with .*--batch and --size"):
            session.infer(noise(1, 3, 32, 64))


@pytest.mark.parametrize(
    ("profiles", "shape", "size"),
    [
        (profiles_of([(1, 2, 4)], 64), "dynamic×3×64×64", (64, 64)),
        (profiles_of([(2, 2, 2), (1, 1, 1)], 64), "dynamic×3×64×64", (64, 64)),
        ([[(2, 3, 64, 96), (2, 3, 64, 128), (2, 3, 64, 160)]], "2×3×64×dynamic", (64, 128)),
        ([*profiles_of([(1, 1, 1)], 96), *profiles_of([(1, 1, 1)], 64)], "1×3×dynamic×dynamic", (96, 96)),
        ([*profiles_of([(1, 1, 1)], 96), *profiles_of([(1, 1, 1)])], "1×3×dynamic×dynamic", (32, 32)),
    ],
)
def test_a_session_of_a_dynamic_graphs_engine_takes_the_sizes_it_was_built_for(
    trt: FakeTensorRT, write_engine: WriteEngine, profiles: Shapes, shape: str, size: tuple[int, int]
) -> None:
    """The preset's size is 32×32, which only the last engine was built for."""
    path = write_engine(trt, profiles=profiles)

    with load(path, "cuda:0") as session:
        assert str(session.info.shape) == shape
        assert (session.info.preset.height, session.info.preset.width) == size
        assert session(np.zeros((20, 30, 3), np.uint8)).shape == (20, 30)
        with pytest.raises(InputError):
            session.infer(noise(1, 3, 256, 256))
    with pytest.raises(ProfileError, match=r"the engine was built for .* not for 1×3×256×256; .*--size"):
        load(path, "cuda:0", size=(256, 256))


def test_a_batch_is_split_to_the_profiles_maximum(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    """The maximum is that of the profile for the preset's size, 32×32."""
    images = [np.random.default_rng(seed).integers(0, 256, (20 + seed, 30, 3), dtype=np.uint8) for seed in range(11)]
    profiles = [*profiles_of([(1, 2, 4)]), *profiles_of([(1, 1, 16)], 64)]
    with load(write_engine(trt, profiles=profiles), "cuda:0", cuda_graph=False) as session:
        together = session.batch(images)
        assert [shape[0] for _, shape in trt.executed] == [4, 4, 3]

        for mask, image in zip(together, images, strict=True):
            np.testing.assert_allclose(mask, session(image), atol=1e-6)


def test_the_session_describes_the_engine(session: Session) -> None:
    info = session.info

    assert info.backend == "tensorrt 10.16.0.72"
    assert info.provider == "Fake GPU (compute capability 8.6)"
    assert (info.device, info.precision, info.rebuilt, info.batch_limit) == (Device("cuda"), "fp16", None, 4)
    assert str(info.shape) == "dynamic×3×dynamic×dynamic"
