"""Still pictures as bytes of a file."""

from __future__ import annotations

import av

from v2d_spark.udfs.engine.colour import EXACT
from v2d_spark.udfs.engine.graphs import Graph, Kept, Picture
from v2d_spark.udfs.vocabulary import SampleError


def still(frame: av.VideoFrame, format: str, quality: int, graphs: Kept[Graph] | None = None) -> bytes:
    """Encode a picture.

    Args:
        frame: one that came out of `Geometry`.
        format: jpg, png or webp.
        quality: of jpg and webp, 1 to 100.
        graphs: where the conversion is kept for the next picture of this kind; None for a single picture.

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
    filters = [("scale", f"flags={EXACT}+full_chroma_int"), ("format", "bgr24")]
    to_rgb = (graphs or Kept(1)).get(picture, lambda: Graph(picture, filters))
    try:
        done, data = cv2.imencode(f".{format}", to_rgb(frame).to_ndarray(), settings)
    except cv2.error:
        done = False
    if not done:
        raise SampleError("unsupported", f"a picture of {picture.width}x{picture.height} cannot be {format}")
    return data.tobytes()
