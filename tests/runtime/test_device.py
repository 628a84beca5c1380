import pytest

from u2net.runtime.device import Device
from u2net.runtime.errors import InputError


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("cpu", Device("cpu")),
        ("cuda", Device("cuda", 0)),
        ("cuda:0", Device("cuda", 0)),
        ("cuda:12", Device("cuda", 12)),
    ],
)
def test_names_are_read(name: str, device: Device) -> None:
    assert Device.parse(name) == device


@pytest.mark.parametrize("name", ["", "gpu", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "cuda:1:2", "cuda:0\n"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="cpu, cuda or cuda:N") as caught:
        Device.parse(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(("name", "text"), [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:3", "cuda:3")])
def test_a_device_prints_its_full_name(name: str, text: str) -> None:
    assert str(Device.parse(name)) == text
