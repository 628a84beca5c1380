"""Darken the background of a video, without its sound: ``python video.py model.onnx in.mp4 out.mp4``."""

import sys
from pathlib import Path

import cv2
import numpy as np

import u2net.runtime as u2

BATCH, BACKGROUND = 8, 0.2
"""Frames in a batch, and the share of its brightness that the background keeps."""


def darken(model: Path, source: Path, target: Path, device: str = "cpu") -> int:
    """Write ``target`` (.mp4, or .avi as MJPG) and return its number of frames."""
    if target.resolve() == source.resolve():
        sys.exit(f"{target} is the source")
    video, count = cv2.VideoCapture(str(source)), 0
    if not video.isOpened():
        sys.exit(f"{source} cannot be read as a video")
    codec = cv2.VideoWriter.fourcc(*("MJPG" if target.suffix.lower() == ".avi" else "mp4v"))
    size = (int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    with u2.load(model, device) as session:
        writer = cv2.VideoWriter(str(target), codec, video.get(cv2.CAP_PROP_FPS) or 25.0, size)
        if not writer.isOpened():
            sys.exit(f"{target} cannot be written as a video")
        while batch := [frame for _ in range(BATCH) if (frame := video.read()[1]) is not None]:
            masks = session.batch([frame[:, :, ::-1] for frame in batch])  # OpenCV reads BGR
            for frame, mask in zip(batch, masks, strict=True):
                light = BACKGROUND + (1 - BACKGROUND) * mask[:, :, None]
                writer.write((frame * light).round().astype(np.uint8))
            count += len(batch)
    writer.release()
    return count


if __name__ == "__main__":
    print(f"{darken(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))} frames")
