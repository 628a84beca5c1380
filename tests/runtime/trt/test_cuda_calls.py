"""Covers cuda.py: statuses as errors, and the release of memory, streams and graphs."""

import inspect
import re
import sys
from pathlib import Path

import pytest
from cuda import bindings
from cuda.bindings import runtime as real

import u2net.runtime.trt.cuda as module
from tests.runtime.trt.fake_cuda import FakeCudaRuntime, errors
from u2net.runtime.errors import (
    DependencyError,
    DeviceError,
    DriverMissingError,
    DriverTooOldError,
    OutOfMemoryError,
)
from u2net.runtime.trt.cuda import Cuda, open_cuda


def entries() -> list[str]:
    return [name for name, value in inspect.getmembers(FakeCudaRuntime) if hasattr(value, "is_entry")]


def test_every_called_function_exists_and_is_simulated() -> None:
    text = "".join(path.read_text() for path in Path(module.__file__).parent.rglob("*.py"))
    called = set(re.findall(r'call\(\s*"(cuda\w+)"|api\.(cuda\w+)', text))
    names = {one or other for one, other in called}

    assert len(names) > 20
    for name in names:
        assert hasattr(real, name), name
        assert hasattr(FakeCudaRuntime(), name), name


@pytest.mark.parametrize("name", entries())
def test_simulated_functions_take_the_real_arguments(name: str) -> None:
    signature = (getattr(real, name).__doc__ or "").splitlines()[0]
    assert signature.startswith(f"{name}(")
    parameters = [part for part in signature[len(name) + 1 : -1].split(",") if part.strip()]

    assert len(parameters) == len(inspect.signature(getattr(FakeCudaRuntime, name)).parameters) - 1


def test_every_status_becomes_an_error_that_names_it() -> None:
    fake = FakeCudaRuntime()
    statuses = [status for status in errors if status != errors.cudaSuccess]
    assert len(statuses) > 100
    for status in statuses:
        fake.failures["cudaMalloc"] = status
        with pytest.raises(DeviceError, match=r"^cudaMalloc ") as caught:
            Cuda(fake).call("cudaMalloc", 8)

        if status == errors.cudaErrorMemoryAllocation:
            assert caught.type is OutOfMemoryError
            assert "fewer contexts" in str(caught.value)
        else:
            assert caught.type is DeviceError
            assert status.name in str(caught.value)
            assert real.cudaGetErrorString(status)[1].decode() in str(caught.value)


@pytest.mark.parametrize(
    ("state", "kind", "says"),
    [
        ({"driver": 0}, DriverMissingError, r"there is no NVIDIA driver; install one.*--gpus all"),
        (
            {"driver": 11080},
            DriverTooOldError,
            r"for CUDA 11\.8, cuda-bindings needs 13\.0; update the driver, or `pip install 'cuda-bindings<12'`",
        ),
        ({"driver": 12090}, DriverTooOldError, r"12\.9.*'cuda-bindings<13'"),
        ({"devices": 0}, DeviceError, "sees no GPU; CUDA_VISIBLE_DEVICES or the container"),
        ({"devices": 2}, DeviceError, r"cuda:2 is not there; the driver sees 2: cuda:0 to cuda:1"),
    ],
)
def test_each_missing_part_has_its_own_error(state: dict[str, int], kind: type[DeviceError], says: str) -> None:
    fake = FakeCudaRuntime(**state)

    with pytest.raises(DeviceError, match=says) as caught:
        Cuda(fake).find_gpu(2)

    assert caught.type is kind
    assert fake.complaints == []
    assert "cudaGetDeviceProperties" not in fake.calls


def test_a_driver_that_does_not_start_is_an_error_too() -> None:
    fake = FakeCudaRuntime()
    fake.failures["cudaGetDeviceCount"] = errors.cudaErrorSystemDriverMismatch

    with pytest.raises(DeviceError, match="does not start: cudaErrorSystemDriverMismatch"):
        Cuda(fake).require_driver()


def test_the_real_bindings_answer_without_a_driver_or_with_one() -> None:
    try:
        assert Cuda(real).require_driver() > 0
    except DeviceError as error:
        assert re.search("driver", str(error))


def test_missing_cuda_bindings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(bindings, "runtime")
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    open_cuda.cache_clear()

    with pytest.raises(DependencyError, match=r"cuda-bindings is not installed; `pip install 'u2net-deploy\[gpu\]'`"):
        open_cuda()
