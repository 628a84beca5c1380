"""Reading and writing checkpoints. A checkpoint is untrusted: it is never executed and never loaded in part."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from u2net.model.network import VARIANTS, U2Net
from u2net.runtime.errors import CheckpointError
from u2net.runtime.files import hash_file, written_whole

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
"""Keys under which training scripts put the state dict."""

PREFIXES = ("module.", "_orig_mod.", "network.", "model.")
"""Prefixes that DataParallel, torch.compile, our own training module and others put before each key."""

PROBE_KEY = "stage2.rebnconvin.conv_s1.weight"
PROBE_CHANNELS = {128: "u2net", 64: "u2netp"}
"""Both variants share their keys; the output channels of this convolution tell them apart."""

SHOWN_KEYS = 3

UNPICKLING_REASON = re.compile(r"WeightsUnpickler error: (.+?)(?:\.? Please|\n|$)")
"""The one part of torch's message that is about the file; the rest advises to load it all the same."""


@dataclass(frozen=True)
class Checkpoint:
    """A network with its weights, in eval mode on the CPU, and where they came from."""

    network: U2Net
    path: Path
    sha256: str

    @property
    def variant(self) -> str:
        """``u2net`` or ``u2netp``."""
        return self.network.variant


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors`` file and build the network that it holds.

    Variant and number of output channels are found from shapes. ``module.`` prefixes and
    ``{"state_dict": …}`` wrappers are taken off.

    Raises:
        CheckpointError: the file is missing, truncated, no checkpoint, of another network, holds
            code, or its keys or shapes differ; the message names the first differing keys.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file" if not path.exists() else f"{path} is not a file")
    state = _plain_state(_read(path), path)
    network = _build(state, path)
    return Checkpoint(network, path, hash_file(path))


def save_weights(network: U2Net, path: Path, *, half: bool = False) -> None:
    """Write the published state-dict layout as safetensors, FP16 with ``half``; whole or not at all."""
    from safetensors.torch import save_file

    state = {
        key: (value.half() if half and value.is_floating_point() else value).contiguous().cpu()
        for key, value in network.state_dict().items()
    }
    metadata = {"variant": network.variant, "out_channels": str(network.out_channels)}
    with written_whole(path) as partial:
        save_file(state, partial, metadata=metadata)


def _read(path: Path) -> object:
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        match = UNPICKLING_REASON.search(str(error))
        reason = match[1] if match else "it does not say why"
        raise CheckpointError(
            f"{path} is refused: it is no plain dictionary of tensors ({reason}). Unpickling anything else can run "
            "code. If you trust it, load it where it was made and save network.state_dict() alone"
        ) from error
    except Exception as error:  # a damaged pickle makes torch's reader raise almost anything
        raise CheckpointError(f"{path} cannot be read as a PyTorch checkpoint: {_first_line(error)}") from error


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _plain_state(content: object, path: Path) -> dict[str, Tensor]:
    """Take wrappers and prefixes off."""
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds {_describe(content)}, not a state dict of a network")
    strangers = [key for key, value in content.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if strangers:
        raise CheckpointError(
            f"{path} is not a state dict: {strangers[0]!r} holds {_describe(content[strangers[0]])}, not a tensor"
        )
    state: dict[str, Tensor] = dict(content)
    stripped = True
    while stripped:
        stripped = False
        for prefix in PREFIXES:
            if all(key.startswith(prefix) for key in state):
                state = {key.removeprefix(prefix): value for key, value in state.items()}
                stripped = True
    return state


def _describe(content: object) -> str:
    if isinstance(content, Mapping):
        return "an empty dictionary" if not content else f"a dictionary with {next(iter(content))!r}"
    return f"a {type(content).__name__}"


def _build(state: dict[str, Tensor], path: Path) -> U2Net:
    probe, head = state.get(PROBE_KEY), state.get("side1.weight")
    if probe is None or head is None or probe.ndim != 4 or head.ndim != 4:
        raise CheckpointError(
            f"{path} is not a U²-Net: it has {len(state)} tensors, the first is {min(state)!r}, "
            f"and lacks {PROBE_KEY!r} or 'side1.weight'"
        )
    variant = PROBE_CHANNELS.get(probe.shape[0])
    if variant is None:
        raise CheckpointError(
            f"{path} is no known U²-Net: {PROBE_KEY} has {probe.shape[0]} output channels; "
            "u2net has 128 and u2netp has 64"
        )
    if head.shape[0] < 1:
        raise CheckpointError(f"{path}: side1.weight has shape {tuple(head.shape)}, so the network has no output")
    fused = state.get("outconv.weight")
    if fused is not None and fused.shape[:2] != (head.shape[0], 6 * head.shape[0]):
        raise CheckpointError(
            f"{path}: outconv.weight has shape {tuple(fused.shape)}, "
            f"which does not go with side1.weight's {tuple(head.shape)}"
        )
    network = VARIANTS[variant](in_channels=3, out_channels=head.shape[0])
    _check_layout(state, network.state_dict(), path, variant)
    network.load_state_dict(state, strict=False)
    return network.eval()


def _check_layout(state: dict[str, Tensor], expected: Mapping[str, Tensor], path: Path, variant: str) -> None:
    """Every key there, none too many, every shape and kind of number right, every value finite."""
    counters = {key for key in expected if key.endswith("num_batches_tracked")}
    missing = [key for key in expected if key not in state and key not in counters]
    extra = [key for key in state if key not in expected]
    if missing or extra:
        raise CheckpointError(f"{path} is not a whole {variant}: {_list('missing', missing)}{_list('unknown', extra)}")
    for key, value in state.items():
        if value.shape != expected[key].shape:
            raise CheckpointError(
                f"{path}: {key} has shape {tuple(value.shape)}; {variant} has {tuple(expected[key].shape)}"
            )
        if key in counters:
            continue
        if not value.is_floating_point():
            raise CheckpointError(f"{path}: {key} holds {value.dtype}; weights are floating-point numbers")
        if value.layout != torch.strided or value.device.type != "cpu":
            raise CheckpointError(f"{path}: {key} is a {value.layout} tensor on {value.device}, not plain numbers")
        if not torch.isfinite(value.float()).all():
            raise CheckpointError(f"{path}: {key} holds NaN or Inf; the training that wrote it has diverged")


def _list(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    shown = ", ".join(keys[:SHOWN_KEYS])
    return f"{len(keys)} {what} ({shown}{', …' if len(keys) > SHOWN_KEYS else ''}) "


def describe_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """Facts about a checkpoint for people: variant, parameters, channels, hash."""
    network = checkpoint.network
    return {
        "kind": "checkpoint",
        "variant": network.variant,
        "out_channels": network.out_channels,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "sha256": checkpoint.sha256,
    }
