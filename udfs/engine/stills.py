"""Still pictures as bytes of a file."""

from __future__ import annotations

import av
from av.video.reformatter import Interpolation

from v2d_spark.udfs.vocabulary import SampleError

_FLAGS = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT


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
    image = frame.reformat(format="bgr24", interpolation=_FLAGS).to_ndarray()
    try:
        done, data = cv2.imencode(f".{format}", image, settings)
    except cv2.error as error:
        raise SampleError("unsupported", f"a picture of {frame.width}x{frame.height} cannot be {format}") from error
    if not done:
        raise SampleError("unsupported", f"a picture of {frame.width}x{frame.height} cannot be {format}")
    return data.tobytes()
