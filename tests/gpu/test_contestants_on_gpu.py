"""What engines are compared with on a real GPU: ONNX Runtime on CUDA, and eager PyTorch in the suite's worker."""

from typing import Any

import numpy as np
import pytest

from tests.gpu.conftest import DEVICE, Graphs, to_gpu, to_host
from u2net.runtime import load

pytestmark = pytest.mark.gpu


@pytest.fixture
def onnxruntime() -> None:
    """Skip the test if there is no ONNX Runtime with CUDA."""
    if "CUDAExecutionProvider" not in pytest.importorskip("onnxruntime").get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDA")


@pytest.mark.usefixtures("onnxruntime")
@pytest.mark.parametrize("options", [{}, {"contexts": 1}, {"contexts": 1, "cuda_graph": False}])
def test_onnxruntime_matches_eager_fp32(
    graphs: Graphs, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Four times each picture and then batches, so that an outdated CUDA graph would give wrong maps."""
    with load(graphs.tensor.onnx, DEVICE, **options) as session:
        for count in (1, 1, 1, 1, 2, 1):
            chunks = [graphs.pictures[at : at + count] for at in range(0, len(graphs.pictures), count)]
            maps = np.concatenate([session.infer(chunk)["d0"] for chunk in chunks])
            assert np.abs(maps - graphs.maps).mean() <= 1e-3

    assert "no CUDA graph" not in caplog.text


@pytest.mark.usefixtures("onnxruntime")
def test_onnxruntime_reads_and_writes_arrays_in_gpu_memory(graphs: Graphs) -> None:
    with load(graphs.tensor.onnx, DEVICE) as session:
        for size in (1, 2, 1):
            wanted = session.infer(graphs.pictures[:size])["d0"]
            target = to_gpu(np.full(wanted.shape, np.nan, np.float32))
            session.infer(to_gpu(graphs.pictures[:size]), {"d0": target})
            made = session.infer(to_gpu(graphs.pictures[:size]))["d0"]

            np.testing.assert_allclose(to_host(target), wanted, atol=1e-6)
            np.testing.assert_allclose(to_host(made), wanted, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"tf32": True}, {"half": True}, {"half": True, "graph": True}])
def test_eager_pytorch_is_timed_by_both_clocks(graphs: Graphs, options: dict[str, bool]) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    from u2net.benchmarks.suite.worker import Bench
    from u2net.model.weights import BUNDLED_WEIGHTS

    bench = Bench()
    opened = bench.open("eager", str(BUNDLED_WEIGHTS), DEVICE, graphs.pictures[:2], threads=None, **options)
    assert opened["device_note"] == ""
    found = bench.time(5, 2)

    assert len(found["device"]) == len(found["wall"]) == 5
    assert 0 < min(found["device"]) < min(found["wall"])  # the quickest, because other work may run beside
    assert np.abs(bench.infer(graphs.pictures[:2]) - graphs.maps[:2]).mean() <= 2e-3
