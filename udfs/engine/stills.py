"""Still pictures as bytes of a file."""

from __future__ import annotations

import av

from v2d_spark.udfs.engine.colour import EXACT
from v2d_spark.udfs.engine.graphs import Graph, Picture
from v2d_spark.udfs.vocabulary import SampleError


def still(frame: av.VideoFrame, format: str, quality: int) -> bytes:
    """Encode a picture.

    Args:
        frame: one that came out of `Geometry`.
        format: jpg, png or webp.
        quality: of jpg and webp, 1 to 100.

    Raises:
        SampleError: if the format cannot hold such a picture.
    """
    import cv2

    settings = {
        "jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        "png": [],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
    }[format]
    picture = Picture.of(frame)
    to_rgb = Graph(picture, [("scale", f"flags={EXACT}+full_chroma_int"), ("format", "bgr24")])
    try:
        done, data = cv2.imencode(f".{format}", to_rgb(frame).to_ndarray(), settings)
    except cv2.error:
        done = False
    if not done:
        raise SampleError("unsupported", f"a picture of {picture.width}x{picture.height} cannot be {format}")
    return data.tobytes()
