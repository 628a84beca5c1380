"""Writes what the tests of engines need, for a Python that has TensorRT but no torch: ``graphs.py FOLDER``."""

import sys
from pathlib import Path

import numpy as np

SIDE = 128
SCENES = 8
SIZES = ((128, 192), (90, 70), (200, 200), (90, 70))


def write_graphs(folder: Path) -> None:
    """Write the bundled network in FP16 on tensors and on images, with inputs and what FP32 makes of them."""
    import torch

    from u2net.export.fp16 import convert_fp16
    from u2net.export.image_graph import fuse_images
    from u2net.export.onnx_export import ExportOptions, export_onnx
    from u2net.model.checkpoint import load_checkpoint
    from u2net.model.synthetic import make_scene, make_scenes
    from u2net.model.weights import BUNDLED_WEIGHTS
    from u2net.runtime.loading import load
    from u2net.runtime.preprocess import preprocess_batch
    from u2net.runtime.presets import PRESETS

    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = load_checkpoint(BUNDLED_WEIGHTS)
    plain = export_onnx(checkpoint, folder / "plain.onnx", ExportOptions(size=(SIDE, SIDE), opset=17))
    artifact = convert_fp16(plain.path, folder / "graph.onnx").artifact
    image = fuse_images(folder / "graph.onnx", folder / "image.onnx").artifact
    (folder / "graph.json").write_text(artifact.to_json(), encoding="utf-8")
    (folder / "image.json").write_text(image.to_json(), encoding="utf-8")
    pictures = preprocess_batch(make_scenes(SCENES), PRESETS["reference"].with_size(SIDE, SIDE))
    with torch.inference_mode():
        maps = checkpoint.network(torch.from_numpy(pictures)).d0.numpy()
    np.savez(folder / "input.npz", array=pictures)
    np.savez(folder / "output.npz", array=maps)
    scenes = [make_scene(seed, *size)[0] for seed, size in enumerate(SIZES)]
    with load(plain.path) as session:
        np.savez(folder / "masks.npz", *session.batch(scenes))
    np.savez(folder / "scenes.npz", *scenes)


if __name__ == "__main__":
    write_graphs(Path(sys.argv[1]))
