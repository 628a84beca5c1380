"""Masks and cut-outs over HTTP. Beside a model.onnx: ``uvicorn --app-dir examples service:app``, then
``curl -F picture=@photo.jpg localhost:8000/cutout -o cutout.png``, or ``/mask`` for the mask."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from fastapi import FastAPI, HTTPException, Response, UploadFile
from PIL import Image

import u2net.runtime as u2

MODEL, DEVICE = "model.onnx", "cpu"

LARGEST = 50
"""Largest picture in millions of pixels: a small upload may unpack to gigabytes."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model once, before the first request. Many threads may call its session."""
    with u2.load(MODEL, DEVICE) as app.state.session:
        yield


app = FastAPI(title="u2net", lifespan=lifespan)


@app.post("/{kind}")
def answer(kind: Literal["mask", "cutout"], picture: UploadFile) -> Response:
    """Return the picture's mask, or the picture cut out along it, as PNG."""
    try:
        image = u2.read_image(picture.file, megapixels=LARGEST)
    except u2.InputError as error:
        raise HTTPException(422, f"{picture.filename} cannot be read as a picture") from error
    mask, png = app.state.session(image), io.BytesIO()
    Image.fromarray(u2.to_grey(mask) if kind == "mask" else u2.cut_out(image, mask)).save(png, "PNG")
    return Response(png.getvalue(), media_type="image/png")
