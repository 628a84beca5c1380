"""Host memory in, host memory out: slots, profiles, CUDA graphs, and what they hold."""

import gc
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.trt.conftest import WriteEngine
from tests.runtime.trt.fake_cuda import FakeCudaRuntime, errors
from tests.runtime.trt.fake_tensorrt import FakeTensorRT, expected
from u2net.runtime import Session, load
from u2net.runtime.errors import ArtifactError, DeviceError, InputError, OutOfMemoryError, ProfileError

Tensor = npt.NDArray[np.float32]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def check(session: Session, tensor: Tensor) -> None:
    np.testing.assert_allclose(session.infer(tensor)["d0"], expected(tensor), rtol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(32, 32), (64, 32), (64, 64)])
def test_an_engine_gives_each_batch_its_own_result(session: Session, count: int, size: tuple[int, int]) -> None:
    for seed in range(4):
        check(session, noise(count, 3, *size, seed=seed))


def test_all_outputs_come_by_name(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    with load(write_engine(trt, outputs={"d0": 1, "d1": 1, "d2": 4}), "cuda:0") as session:
        tensor = noise(3, 3, 32, 32)
        maps = session.infer(tensor)

    assert {name: map_.shape[1] for name, map_ in maps.items()} == {"d0": 1, "d1": 1, "d2": 4}
    np.testing.assert_allclose(maps["d2"], np.repeat(expected(tensor) + 2, 4, axis=1), rtol=1e-6)


def test_what_a_run_gave_stays_as_it_is(session: Session) -> None:
    tensor = noise(2, 3, 32, 32)
    maps = session.infer(tensor)["d0"]
    mask = session(np.full((32, 32, 3), 51, np.uint8))

    check(session, noise(2, 3, 32, 32, seed=1))
    session(np.full((32, 32, 3), 255, np.uint8))

    np.testing.assert_allclose(maps, expected(tensor), rtol=1e-6)
    np.testing.assert_allclose(mask, 0.2, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_fewer_images_than_a_profile_takes_are_filled_up(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime, count: int
) -> None:
    profiles = [[(5, 3, 32, 32), (5, 3, 32, 32), (6, 3, 32, 32)]]
    with load(write_engine(trt, profiles=profiles), "cuda:0") as session:
        check(session, noise(6, 3, 32, 32, seed=1))  # leaves its values in the memory of the next

        check(session, noise(count, 3, 32, 32))

    copied = cuda.calls["cudaMemcpyAsync"]
    assert copied == 4


def test_padding_is_zeros(trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime) -> None:
    profiles = [[(3, 3, 32, 32)] * 3]
    with load(write_engine(trt, profiles=profiles), "cuda:0") as session:
        check(session, noise(3, 3, 32, 32))
        check(session, noise(1, 3, 32, 32))

        pinned = [memory.content for memory in cuda.live.values() if getattr(memory, "kind", "") == "pinned"]
        tensor = max(pinned, key=len).view(np.float32).reshape(3, 3, 32, 32)
        assert tensor[0].any()
        assert not tensor[1:].any()


def kinds(cuda: FakeCudaRuntime, trt: FakeTensorRT) -> tuple[int, int, int]:
    """Runs that TensorRT was called for, captures, launches."""
    return len(trt.executed), cuda.calls["cudaStreamBeginCapture"], cuda.calls["cudaGraphLaunch"]


def test_the_first_run_is_enqueued_the_second_captured_the_rest_launched(
    session: Session, cuda: FakeCudaRuntime, trt: FakeTensorRT
) -> None:
    seen = []
    for seed in range(4):
        check(session, noise(2, 3, 32, 32, seed=seed))
        seen.append(kinds(cuda, trt))

    assert seen == [(1, 0, 0), (2, 1, 1), (2, 1, 2), (2, 1, 3)]


def test_another_shape_drops_the_graph(session: Session, cuda: FakeCudaRuntime, trt: FakeTensorRT) -> None:
    with load(session.info.path, "cuda:0", contexts=1) as one:
        for seed, count in enumerate([1, 1, 1, 2, 1, 1, 1]):
            check(one, noise(count, 3, 32, 32, seed=seed))
            graphs = sum(isinstance(thing, list) for thing in cuda.live.values())
            assert graphs == (seed in (1, 2, 5, 6))

    assert kinds(cuda, trt) == (5, 2, 4)


def test_shapes_in_turn_keep_a_context_each(session: Session, cuda: FakeCudaRuntime, trt: FakeTensorRT) -> None:
    for seed in range(12):
        check(session, noise(1 + seed % 3, 3, 32, 32, seed=seed))

    assert trt.contexts == 3
    assert kinds(cuda, trt) == (6, 3, 9)


def test_without_cuda_graphs_nothing_is_captured(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime
) -> None:
    with load(write_engine(trt), "cuda:0", cuda_graph=False) as session:
        for seed in range(4):
            check(session, noise(2, 3, 32, 32, seed=seed))

    assert kinds(cuda, trt) == (4, 0, 0)


@pytest.mark.parametrize("step", ["cudaStreamBeginCapture", "cudaGraphInstantiate"])
def test_where_no_graph_can_be_made_each_run_is_enqueued(
    session: Session, cuda: FakeCudaRuntime, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    check(session, noise(2, 3, 32, 32))
    cuda.failures[step] = errors.cudaErrorNotSupported

    for seed in range(3):
        check(session, noise(2, 3, 32, 32, seed=seed))

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"no CUDA graph for (2, 3, 32, 32), each run is enqueued instead: {step} failed" in caplog.text
    assert (cuda.calls[step], cuda.calls["cudaGraphLaunch"]) == (1, 0)


def test_a_run_that_cannot_be_captured_is_enqueued_instead(
    session: Session, cuda: FakeCudaRuntime, trt: FakeTensorRT, caplog: pytest.LogCaptureFixture
) -> None:
    check(session, noise(2, 3, 32, 32))
    trt.on_run = lambda: not cuda.capturing

    for seed in range(3):
        check(session, noise(2, 3, 32, 32, seed=seed))

    assert "the run cannot be enqueued" in caplog.text
    assert kinds(cuda, trt) == (4, 1, 0)


def test_a_capture_that_something_breaks_is_given_up(
    session: Session, cuda: FakeCudaRuntime, trt: FakeTensorRT, caplog: pytest.LogCaptureFixture
) -> None:
    check(session, noise(2, 3, 32, 32))
    trt.on_run = lambda: cuda.cudaMalloc(8) if cuda.capturing else None

    for seed in range(3):
        check(session, noise(2, 3, 32, 32, seed=seed))

    assert "cudaErrorStreamCaptureInvalidated" in caplog.text
    assert cuda.calls["cudaGraphLaunch"] == 0


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


def test_no_memory_is_taken_in_the_steady_state(session: Session, cuda: FakeCudaRuntime) -> None:
    tensors = [noise(1 + seed % 3, 3, 32, 32, seed=seed) for seed in range(6)]
    for tensor in tensors * 2:
        check(session, tensor)
    made = [name for name in cuda.calls if "Malloc" in name or "Alloc" in name or "Create" in name]
    before = {name: cuda.calls[name] for name in made}

    for tensor in tensors * 5:
        check(session, tensor)

    assert made
    assert {name: cuda.calls[name] for name in made} == before


def test_a_run_that_fails_says_why_and_leaves_the_session_usable(session: Session, trt: FakeTensorRT) -> None:
    check(session, noise(1, 3, 32, 32))
    trt.refused, trt.errors = {"execute_async_v3"}, ["Error Code 1: Myelin (no kernel image)"]
    with pytest.raises(DeviceError, match="cannot be enqueued: Error Code 1: Myelin"):
        session.infer(noise(2, 3, 32, 32))
    trt.refused.clear()

    check(session, noise(2, 3, 32, 32))


def test_an_address_that_is_refused_is_not_taken_for_set(session: Session, trt: FakeTensorRT) -> None:
    with load(session.info.path, "cuda:0", contexts=1, cuda_graph=False) as one:
        trt.refused = {"set_tensor_address"}
        with pytest.raises(DeviceError, match="address of 'input'"):
            one.infer(noise(2, 3, 32, 32))
        trt.refused.clear()

        check(one, noise(2, 3, 32, 32))


def test_an_illegal_access_is_not_called_a_lack_of_memory(session: Session, trt: FakeTensorRT) -> None:
    trt.refused, trt.errors = (
        {"execute_async_v3"},
        ["Error Code 1: Cuda Runtime (an illegal memory access was encountered)"],
    )

    with pytest.raises(DeviceError, match="illegal memory access") as caught:
        session.infer(noise(1, 3, 32, 32))
    assert caught.type is DeviceError


def test_a_shape_that_only_tensorrt_refuses_is_a_profile_error(session: Session, trt: FakeTensorRT) -> None:
    trt.refused, trt.errors = {"set_input_shape"}, ["Error Code 3: Static dimension mismatch"]
    with pytest.raises(ProfileError, match=r"does not take \(1, 3, 32, 32\) under the profile .*1:2:4.*32:32:64"):
        session.infer(noise(1, 3, 32, 32))
    trt.refused.clear()

    check(session, noise(1, 3, 32, 32))


def test_an_output_of_another_size_than_the_input_is_refused(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    with (
        load(write_engine(trt, scale=2), "cuda:0") as session,
        pytest.raises(ArtifactError, match=r"d0.*\(4, 1, 128, 128\)"),
    ):
        session.infer(noise(4, 3, 64, 64))


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"input": [-1, 1, -1, -1]}, r"input: .*\(-1, 1, -1, -1\)"),
        ({"outputs": {}}, "input: "),
        ({"dtype": "HALF"}, "HALF"),
    ],
)
def test_an_engine_of_another_network_is_named(
    trt: FakeTensorRT, write_engine: WriteEngine, facts: dict[str, Any], found: str
) -> None:
    with pytest.raises(ArtifactError, match=f"is no U²-Net with .*{found}"):
        load(write_engine(trt, **facts), "cuda:0")


def test_closing_frees_everything(trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime) -> None:
    with load(write_engine(trt), "cuda:0") as session:
        for seed in range(6):
            check(session, noise(1 + seed % 2, 3, 32, 32))
        assert len(cuda.leaks()) > 10

    assert cuda.leaks() == []


def test_forgetting_frees_everything(trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime) -> None:
    session = load(write_engine(trt), "cuda:0")
    check(session, noise(1, 3, 32, 32))

    del session

    gc.collect()
    assert cuda.leaks() == []


def test_a_run_under_way_finishes_after_close(session: Session) -> None:
    backend = session._require_open()
    with backend.run((1, 3, 32, 32), lambda tensor: tensor.fill(0.5), ["d0"]) as maps:
        session.close()
        np.testing.assert_allclose(maps["d0"], 0.5)
        del backend


@pytest.mark.parametrize(("kind", "graph"), [("trt", True), ("trt", False), ("rtx", True)])
def test_memory_may_run_out_anywhere(
    request: pytest.FixtureRequest, write_engine: WriteEngine, caplog: pytest.LogCaptureFixture, kind: str, graph: bool
) -> None:
    """With one allocation more each time: an error of its own, nothing left over, and in the end a result."""
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
            assert "fewer contexts" in str(error) or "end what else uses the GPU" in str(error)
        else:
            break
        assert cuda.leaks() == []
    assert failed == 1 + 3 + 4  # the engine; stream, event and context; pinned and device memory of input and output
    assert ("no CUDA graph" in caplog.text) == (graph and kind == "trt")


def test_memory_that_ran_out_may_come_back(session: Session, cuda: FakeCudaRuntime) -> None:
    cuda.memory = 200_000  # enough for the input, not for the output
    with pytest.raises(OutOfMemoryError, match="fewer contexts"):
        session.infer(noise(2, 3, 32, 32))
    cuda.memory = 1 << 30

    check(session, noise(2, 3, 32, 32))


def test_an_engine_needs_a_gpu(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    with pytest.raises(DeviceError, match=r"needs a GPU: name device cuda, or take its \.onnx"):
        load(write_engine(trt), "cpu")


def test_at_least_one_context(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    with pytest.raises(InputError, match="at least 1; got 0"):
        load(write_engine(trt), "cuda:0", contexts=0)


def test_an_engine_runs_on_the_gpu_that_was_asked_for(
    trt: FakeTensorRT, write_engine: WriteEngine, cuda: FakeCudaRuntime
) -> None:
    cuda.devices = 2
    with load(write_engine(trt), "cuda:1") as session, ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda seed: check(session, noise(1, 3, 32, 32, seed=seed)), range(6)))

        assert {thing.device for thing in cuda.live.values() if hasattr(thing, "device")} == {1}


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


def test_a_batch_is_split_to_the_profiles_maximum(
    trt: FakeTensorRT,
    write_engine: WriteEngine,
) -> None:
    images = [np.random.default_rng(seed).integers(0, 256, (20 + seed, 30, 3), dtype=np.uint8) for seed in range(11)]
    with load(write_engine(trt), "cuda:0", cuda_graph=False) as session:
        together = session.batch(images)
        assert [shape[0] for _, shape in trt.executed] == [4, 4, 3]

        for mask, image in zip(together, images, strict=True):
            np.testing.assert_allclose(mask, session(image), atol=1e-6)


def test_a_batch_is_split_to_what_its_own_size_allows(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    """The preset's size is 32×32, and only the engine's other size takes 16 images."""
    profiles = [*profiles_of([(1, 2, 4)]), *profiles_of([(1, 1, 16)], 64)]
    with load(write_engine(trt, profiles=profiles), "cuda:0") as session:
        try:
            masks = session.batch([np.zeros((8, 8, 3), np.uint8)] * 11)
        except ProfileError:
            masks = []
    assert len(masks) == 11


def test_the_session_says_what_it_runs_on(session: Session) -> None:
    info = session.info

    assert info.backend == "tensorrt 10.16.0.72"
    assert info.provider == "Fake GPU (compute capability 8.6)"
    assert (str(info.device), info.precision, info.rebuilt) == ("cuda:0", "fp16", None)
    assert str(info.shape) == "dynamic×3×dynamic×dynamic"


def test_profiles_are_read_from_the_plan(trt: FakeTensorRT, write_engine: WriteEngine) -> None:
    path = write_engine(trt, record={"profiles": ()})

    with load(path, "cuda:0") as session, pytest.raises(ProfileError, match=r"1:2:4.*32:32:64"):
        session.infer(noise(1, 3, 96, 32))


def test_the_callers_current_device_stays(trt: FakeTensorRT, cuda: FakeCudaRuntime, write_engine: WriteEngine) -> None:
    cuda.devices = 2
    cuda.cudaSetDevice(0)

    with load(write_engine(trt), "cuda:1") as session:
        opened = cuda.device
        session(np.zeros((8, 8, 3), np.uint8))

    assert (opened, cuda.device) == (0, 0)
