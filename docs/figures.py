"""Put the figures of ``docs/results`` into README.md, between its markers: ``python docs/figures.py``."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
RESULTS = Path(__file__).parent / "results"

NETWORKS = ("u2netp", "u2net")
LEFT_OUT = ("eager-channels-last", "openvino", "onnxruntime-images")
"""Contestants on the suite's page that README leaves out for brevity."""
ON_GPU = ("eager-fp32", "eager-fp16-graph", "onnxruntime-graph", "tensorrt-8.6.1-graph")
"""Contestants of the table of the GPU: the reference, and each library with its launches in one CUDA graph."""


def read_result(name: str) -> Any:
    """Read a JSON file of the results."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def suite_table() -> str:
    """Speed and fidelity at batch 1 of the suite's contestants that ran."""
    rows: dict[str, dict[str, Any]] = {}
    for row in read_result("suite.json")["rows"]:
        if row["ratio"] and row["batch"] == 1 and row["contestant"]["key"] not in LEFT_OUT:
            rows.setdefault(row["contestant"]["title"], {})[row["network"]] = row
    lines = ["| batch 1, 320×320 | U2NETP | U2NET | IoU | mean Δ |", "| --- | --- | --- | --- | --- |"]
    for title, found in rows.items():
        speeds = " | ".join(_speed(found.get(network)) for network in NETWORKS)
        fidelity = next((row["fidelity"] for row in found.values() if row["fidelity"]), None)
        exact = f"{fidelity['iou']:.4f} | {fidelity['mean']:.0e}" if fidelity else "– | –"
        lines.append(f"| {title} | {speeds} | {exact} |")
    return "\n".join(lines)


def gpu_table() -> str:
    """Speed of each library on the GPU."""
    reports = [read_result(f"h200-{network}.json")["rows"] for network in NETWORKS]
    cells = {(row["contestant"]["key"], row["network"], row["batch"]): row for rows in reports for row in rows}
    columns = [(network, batch) for network in NETWORKS for batch in (1, 32)]
    titles = " | ".join(f"{network.upper()}, batch {batch}" for network, batch in columns)
    lines = [f"| NVIDIA H200 | {titles} |", "| --- | --- | --- | --- | --- |"]
    for key in ON_GPU:
        found = [cells[key, *column] for column in columns]
        lines.append(f"| {found[0]['contestant']['title']} | {' | '.join(map(_speed, found))} |")
    return "\n".join(lines)


def image_table() -> str:
    """Files of tensors against files of images, from the encoded picture to the mask."""
    pairs = {
        "2 cores, FP32 in ONNX Runtime": ("suite", "onnxruntime-fp32", "onnxruntime-images"),
        "H200, FP16 in ONNX Runtime": ("h200-u2netp", "onnxruntime", "onnxruntime-images"),
        "H200, FP16 in TensorRT 8.6": ("h200-u2netp", "tensorrt-8.6.1-graph", "tensorrt-8.6.1-images"),
    }
    lines = [
        "| U2NETP, picture to mask, a file of tensors / of images | 512×512 | 1920×1080 | 4000×3000 | "
        "most masks of 1920×1080 a second |",
        "| --- | --- | --- | --- | --- |",
    ]
    for title, (name, *keys) in pairs.items():
        rows = {
            row["contestant"]["key"]: row
            for row in read_result(f"{name}.json")["rows"]
            if row["network"] == NETWORKS[0] and row["pictures"]
        }
        tensors, images = (rows[key] for key in keys)
        times = [
            f"{before['whole']:.0f} / {after['whole']:.0f} ms"
            for before, after in zip(tensors["pictures"], images["pictures"], strict=True)
        ]
        most = " / ".join(f"{max(each['images_per_second'] for each in row['load']):.3g}" for row in (tensors, images))
        lines.append(f"| {title} | {' | '.join(times)} | {most} |")
    return "\n".join(lines)


def processor() -> str:
    """The machine of the suite, and how steady it was."""
    report = read_result("suite.json")
    machine, noise = report["machine"], report["noise"]
    varied = f"eager PyTorch's own times varied by {noise['spread']:.0%}"
    return f"{machine['cores']} cores of an {machine['processor']} ({varied})"


def scores() -> str:
    """The scores of the bundled weights."""
    found = read_result("duts-te-1000.json")["scores"]
    weights, guess = found["model/weights/u2netp.safetensors"], found["centred Gaussian"]
    return f"max-Fβ {weights['max_f']:.3f}, MAE {weights['mae']:.3f} (a centred Gaussian guess: " + (
        f"{guess['max_f']:.3f}, {guess['mae']:.3f})"
    )


BLOCKS: dict[str, Callable[[], str]] = {
    "suite": suite_table,
    "gpu": gpu_table,
    "images": image_table,
    "processor": processor,
    "scores": scores,
}


def fill(text: str) -> str:
    """Return the text with every marked block replaced by its figures."""
    for name, figures in BLOCKS.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        text, count = re.subn(rf"(?s)({begin}\n?).*?(\n?{end})", rf"\g<1>{figures()}\g<2>", text)
        if count != 1:
            raise ValueError(f"README has {count} blocks between {begin} and {end}, not one")
    return text


def _speed(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    milliseconds = row["wall"]["median_ms"]
    return f"{milliseconds:.{0 if milliseconds >= 10 else 1}f} ms, {row['ratio']['value']:.2f}×"


if __name__ == "__main__":
    README.write_text(fill(README.read_text(encoding="utf-8")), encoding="utf-8")
