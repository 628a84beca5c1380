"""Loads and saves networks. A checkpoint is untrusted: it is never executed and never loaded in part."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from u2net.model.checkpoint_files import read_checkpoint_file
from u2net.model.network import VARIANTS, U2Net
from u2net.runtime.errors import CheckpointError
from u2net.runtime.files import hash_file, written_whole

WeightSet = Literal["ema", "model"]
"""``ema``: the moving average of the weights; ``model``: the weights that the optimizer stepped."""

WRAPPERS: Mapping[WeightSet, tuple[str, ...]] = {
    "ema": ("ema", "ema_state_dict", "model_ema", "params_ema", "state_dict_ema"),
    "model": ("model", "state_dict", "model_state_dict", "net", "params", "weights"),
}
"""Keys under which training scripts put a state dict; if a file has several for one set, the first here is taken."""

AVERAGE_COUNTER = "n_averaged"
"""Key that torch's AveragedModel adds to the weights."""

PROBE_KEY = "stage2.rebnconvin.conv_s1.weight"
PROBE_CHANNELS = {128: "u2net", 64: "u2netp"}
"""Variants by the output channels of this convolution, because both have the same keys."""

SHOWN_KEYS = 3


@dataclass(frozen=True)
class Checkpoint:
    """A network with its weights, in eval mode on the CPU, and the file that they came from."""

    network: U2Net
    path: Path
    sha256: str
    weights: WeightSet | None = None
    """Which of the weights were taken; None if the file holds one set."""

    @property
    def variant(self) -> str:
        """``u2net`` or ``u2netp``."""
        return self.network.variant


def load_checkpoint(path: str | Path, weights: WeightSet | None = None) -> Checkpoint:
    """Read a ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors`` file and build the network that it holds.

    The shapes tell the variant and the number of output channels. A wrapper such as ``{"state_dict": …}`` and a prefix
    that all keys share are removed.

    Without ``weights`` the averaged ones are taken if the file holds them, else the only ones.

    Raise CheckpointError if the file is missing, truncated, not a checkpoint or of another network, holds code, lacks
    the wanted weights, or its keys or shapes differ; the message names the first keys that differ.
    """
    path = Path(path)
    taken, content = _take_weights(read_checkpoint_file(path), weights, path)
    network = _build(_plain_state(content, path), path)
    return Checkpoint(network, path, hash_file(path), taken)


def take_checkpoint(source: Checkpoint | str | Path) -> Checkpoint:
    """Return a checkpoint as it is, or read it from its file as :func:`load_checkpoint` does."""
    return source if isinstance(source, Checkpoint) else load_checkpoint(source)


def save_weights(network: U2Net, path: str | Path, *, half: bool = False) -> None:
    """Write weights as safetensors in the published layout, in FP16 with ``half``. OSError leaves no partial file."""
    from safetensors.torch import save

    state = {
        key: (value.half() if half and value.is_floating_point() else value).contiguous().cpu()
        for key, value in network.state_dict().items()
    }
    content = save(state)  # without metadata, whose order is drawn anew each time: equal weights give equal files
    with written_whole(Path(path)) as partial:
        partial.write_bytes(content)  # safetensors' own save_file hides the file from all other users


def _take_weights(content: object, wanted: WeightSet | None, path: Path) -> tuple[WeightSet | None, object]:
    """Remove the wrapper; return which set of weights was taken, None if there is but one, and the weights."""
    found: dict[WeightSet, object] = {}
    outer = content if isinstance(content, Mapping) else {}
    for kind, keys in WRAPPERS.items():
        for key in keys:
            if kind not in found and _holds_tensors(outer.get(key)):
                found[kind] = outer[key]
    if not found:
        found["ema" if AVERAGE_COUNTER in outer else "model"] = content
    taken: WeightSet = wanted or ("ema" if "ema" in found else "model")
    if taken not in found:
        raise CheckpointError(f"{path} holds no {taken!r} weights, only {' and '.join(map(repr, found))}")
    return taken if len(found) > 1 or taken == "ema" else None, found[taken]


def _holds_tensors(content: object) -> bool:
    return isinstance(content, Mapping) and any(isinstance(value, Tensor) for value in content.values())


def _plain_state(content: object, path: Path) -> dict[str, Tensor]:
    """Check that this is a state dict, and remove the prefix that all keys share."""
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds {_describe(content)}, not a state dict of a network")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path} is not a state dict: {key!r} holds {_describe(value)}, not a tensor")
    state = {key: value for key, value in content.items() if key.rpartition(".")[2] != AVERAGE_COUNTER}
    prefixes = [key.removesuffix(PROBE_KEY) for key in state if key.endswith(PROBE_KEY)]
    prefix = min(prefixes, key=len, default="")
    strangers = [key for key in state if not key.startswith(prefix)]
    if strangers:
        raise CheckpointError(
            f"{path} holds more than a network: its weights are under {prefix!r}, {strangers[0]!r} is not; "
            "save network.state_dict() alone"
        )
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _describe(content: object) -> str:
    if isinstance(content, Mapping):
        return "an empty dictionary" if not content else f"a dictionary with {next(iter(content))!r}"
    return f"a {type(content).__name__}"


def _build(state: dict[str, Tensor], path: Path) -> U2Net:
    probe, head = state.get(PROBE_KEY), state.get("side1.weight")
    if probe is None or head is None or probe.ndim != 4 or head.ndim != 4:
        raise CheckpointError(
            f"{path} is not a U²-Net: it has {len(state)} tensors, the first is {min(state, default=None)!r}, "
            f"and lacks {PROBE_KEY!r} or 'side1.weight'"
        )
    variant = PROBE_CHANNELS.get(probe.shape[0])
    if variant is None:
        raise CheckpointError(
            f"{path} is not a known U²-Net: {PROBE_KEY} has {probe.shape[0]} output channels; "
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
    network = VARIANTS[variant](out_channels=head.shape[0])
    _check_layout(state, network.state_dict(), path, variant)
    network.load_state_dict(state, strict=False)
    return network.eval()


def _check_layout(state: dict[str, Tensor], expected: Mapping[str, Tensor], path: Path, variant: str) -> None:
    """Raise CheckpointError for missing or unknown keys, wrong shapes, and values that are not finite floats."""
    counters = {key for key in expected if key.endswith("num_batches_tracked")}
    missing = [key for key in expected if key not in state and key not in counters]
    extra = [key for key in state if key not in expected]
    if missing or extra:
        parts = filter(None, (_list("missing", missing), _list("unknown", extra)))
        raise CheckpointError(f"{path} is not a whole {variant}: {', '.join(parts)}")
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
            raise CheckpointError(f"{path}: {key} holds NaN or Inf; the training that wrote it has probably diverged")
        if key.endswith("running_var") and (value.float() < 0).any():
            raise CheckpointError(f"{path}: {key} holds negative variances, so the network would compute NaN")


def _list(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    shown = ", ".join(keys[:SHOWN_KEYS])
    return f"{len(keys)} {what} ({shown}{', …' if len(keys) > SHOWN_KEYS else ''})"


def describe_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what ``u2net info`` shows of a checkpoint."""
    network = checkpoint.network
    return {
        "kind": "checkpoint",
        "variant": network.variant,
        "classes": network.out_channels,
        "parameters": f"{sum(parameter.numel() for parameter in network.parameters()):,}",
        **({"weights": checkpoint.weights} if checkpoint.weights else {}),
        "SHA-256": checkpoint.sha256,
    }
