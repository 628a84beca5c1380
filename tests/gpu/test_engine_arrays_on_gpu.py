"""Engines on a real GPU, with arrays in GPU memory and no copies."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gpu.conftest import DEVICE, Graphs, to_gpu, to_host
from tests.gpu.graphs import SIDE
from u2net.runtime import InputError, load
from u2net.runtime.trt.cuda import Stream, open_cuda
from u2net.runtime.trt.running.arrays import DeviceArray

pytestmark = pytest.mark.gpu


@pytest.fixture
def torch() -> Any:
    """PyTorch with CUDA."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    return torch


def test_device_memory_gives_the_same_maps_as_host_memory(engine: Path, graphs: Graphs) -> None:
    with load(engine, DEVICE, contexts=1) as session:
        for size in (1, 2, 1, 1, 1):
            wanted = session.infer(graphs.pictures[:size])["d0"]
            found = session.infer(to_gpu(graphs.pictures[:size]))["d0"]

            assert isinstance(found, DeviceArray)
            np.testing.assert_allclose(to_host(found), wanted, atol=1e-6)


def test_outputs_are_written_where_they_are_wanted(engine: Path, graphs: Graphs) -> None:
    """Runs alternate between two pairs of arrays, so that a graph with outdated addresses would give wrong maps."""
    inputs = [to_gpu(graphs.pictures[index : index + 1]) for index in range(2)]
    outputs = [to_gpu(np.full((1, 1, SIDE, SIDE), np.nan, np.float32)) for _ in range(2)]
    with load(engine, DEVICE, contexts=1) as session:
        wanted = [session.infer(graphs.pictures[index : index + 1])["d0"] for index in range(2)]
        for turn in (0, 0, 0, 1, 1, 1, 0, 1):
            found = session.infer(inputs[turn], {"d0": outputs[turn]})

            assert found["d0"].address == outputs[turn].address
            np.testing.assert_allclose(to_host(outputs[turn]), wanted[turn], atol=1e-6)


def test_the_caller_s_stream_keeps_its_order(engine: Path, graphs: Graphs) -> None:
    """Each run is enqueued without waiting, and the caller's stream then overwrites its input."""
    cuda = open_cuda()
    cuda.use(0)
    stream = Stream(cuda)
    sources = [to_gpu(graphs.pictures[index : index + 1]) for index in range(4)]
    shared = to_gpu(graphs.pictures[:1])
    outputs = [to_gpu(np.zeros((1, 1, SIDE, SIDE), np.float32)) for _ in range(12)]
    with load(engine, DEVICE, contexts=1) as session:
        wanted = [session.infer(graphs.pictures[index : index + 1])["d0"] for index in range(4)]
        for turn, output in enumerate(outputs):
            cuda.copy(shared.address, sources[turn % 4].address, graphs.pictures[:1].nbytes, stream)
            session.infer(shared, {"d0": output}, stream=stream.handle)
        stream.synchronize()

    for turn, output in enumerate(outputs):
        np.testing.assert_allclose(to_host(output), wanted[turn % 4], atol=1e-6)


def test_torch_tensors_go_in_and_out(torch: Any, engine: Path, graphs: Graphs) -> None:
    tensor = torch.from_numpy(graphs.pictures[:2]).cuda()
    target = torch.full((2, 1, SIDE, SIDE), float("nan"), device="cuda")
    with load(engine, DEVICE) as session:
        wanted = session.infer(graphs.pictures[:2])["d0"]
        session.infer(tensor, {"d0": target})
        made = torch.as_tensor(session.infer(tensor)["d0"], device="cuda")

        np.testing.assert_allclose(target.cpu().numpy(), wanted, atol=1e-6)
        np.testing.assert_allclose(made.cpu().numpy(), wanted, atol=1e-6)


def test_torch_s_stream_is_waited_for(torch: Any, engine: Path, graphs: Graphs) -> None:
    """Slow work in torch's stream produces the input, and torch reads the output without waiting itself."""
    picture = torch.from_numpy(graphs.pictures[:1]).cuda()
    with load(engine, DEVICE) as session, torch.cuda.stream(torch.cuda.Stream()):
        wanted = session.infer(graphs.pictures[:1])["d0"]
        handle = torch.cuda.current_stream().cuda_stream
        for _ in range(3):
            tensor, target = torch.zeros_like(picture), torch.zeros((1, 1, SIDE, SIDE), device="cuda")
            torch.cuda._sleep(20_000_000)
            tensor.copy_(picture)
            session.infer(tensor, {"d0": target}, stream=handle)
            read = target.clone()

            np.testing.assert_allclose(read.cpu().numpy(), wanted, atol=1e-6)


def test_without_a_stream_torch_s_own_is_waited_for(torch: Any, engine: Path, graphs: Graphs) -> None:
    picture = torch.from_numpy(graphs.pictures[:1]).cuda()
    with load(engine, DEVICE) as session:
        wanted = session.infer(graphs.pictures[:1])["d0"]
        tensor = torch.zeros_like(picture)
        torch.cuda._sleep(20_000_000)
        tensor.copy_(picture)
        found = torch.as_tensor(session.infer(tensor)["d0"], device="cuda")

    np.testing.assert_allclose(found.cpu().numpy(), wanted, atol=1e-6)


def test_arrays_that_cannot_be_shared_are_refused(torch: Any, engine: Path, graphs: Graphs) -> None:
    tensor = torch.from_numpy(graphs.pictures[:2]).cuda()
    strange = {
        "channels last": tensor.to(memory_format=torch.channels_last),
        "half": tensor.half(),
        "three dimensions": tensor[0],
        "in host memory": torch.from_numpy(graphs.pictures[:1]),
    }
    with load(engine, DEVICE) as session:
        for name, value in strange.items():
            with pytest.raises(InputError):
                session.infer(value)
                pytest.fail(f"{name} was taken")
        with pytest.raises(InputError, match="d0"):
            session.infer(tensor, {"d0": torch.zeros((1, 1, SIDE, SIDE), device="cuda")})
        with pytest.raises(InputError, match="d0"):
            session.infer(tensor, {"d1": torch.zeros((2, 1, SIDE, SIDE), device="cuda")})
