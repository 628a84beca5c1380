"""Clocks, power and temperature of a GPU, as nvidia-smi reports them."""

import subprocess
from dataclasses import dataclass

from u2net.runtime.device import Device

QUERY = "clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_event_reasons.active"
SLOWDOWNS = {
    0x4: "slowed by the power limit",
    0x8: "slowed by the hardware",
    0x20: "slowed by heat",
    0x40: "slowed by heat",
    0x80: "slowed by the power supply",
}
"""NVML's bits of the reasons for a lower clock."""


@dataclass(frozen=True)
class GpuState:
    """A GPU at one moment."""

    sm_mhz: float
    memory_mhz: float
    watts: float
    celsius: float
    slowed_by: tuple[str, ...]
    """What made it slower than its clocks allow, in words."""

    def __str__(self) -> str:
        clocks = f"{self.sm_mhz:.0f} MHz, memory {self.memory_mhz:.0f} MHz"
        return ", ".join((clocks, f"{self.watts:.0f} W", f"{self.celsius:.0f} °C", *self.slowed_by))


def read_gpu_state(device: Device) -> GpuState | str:
    """Return the state of a GPU, or why it cannot be read."""
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits", f"--id={device.index}"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout.strip()
        *values, reasons = said.split(",")
        bits = int(reasons, 16)
        slowed = dict.fromkeys(word for bit, word in SLOWDOWNS.items() if bits & bit)
        clock, memory_clock, watts, celsius = map(float, values)
        return GpuState(clock, memory_clock, watts, celsius, tuple(slowed))
    except (OSError, subprocess.SubprocessError) as error:
        return f"nvidia-smi does not tell clocks and power: {error}"
    except ValueError:
        return f"nvidia-smi does not tell clocks and power: {said or 'it says nothing'}"
