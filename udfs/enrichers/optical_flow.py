"""Optical flow: how far each pixel moves from one looked-at frame to the next, and how much a sample moves on average.

Measures, frames and shape of the array are those of video2dataset's stage `optical_flow`; the guide says why the numbers
are not quite. Detectors are OpenCV's: Farneback (G. Farneback, Two-Frame Motion Estimation Based on Polynomial Expansion,
2003) and DIS (T. Kroeger and others, Fast Optical Flow using Dense Inverse Search, 2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

from v2d_spark.udfs.enrichers import Column, Enricher, Made, register
from v2d_spark.udfs.settings import setting
from v2d_spark.udfs.vocabulary import ConfigError, SampleError

if TYPE_CHECKING:
    import av
    import numpy as np
    import numpy.typing as npt

    from v2d_spark.udfs.engine.orientation import Turn
    from v2d_spark.udfs.engine.reader import VideoReader

    _Picture = npt.NDArray[np.uint8]
    _Flow = npt.NDArray[np.float32]

_DTYPES = {"fp16": "<f2", "fp32": "<f4"}
_PRESETS = ("ultrafast", "fast", "medium")
_INTERPOLATIONS = ("area", "lanczos")
# What video2dataset calls a detector that has another name here.
_OTHER_NAMES = {"cv2": "farneback"}
# OpenCV's flag for a Gaussian window instead of a box; its other one wants a flow to begin with, which there is not.
_GAUSSIAN = 256
_SMALLEST_FOR_DIS = 12  # pixels


@dataclass(frozen=True)
class OpticalFlowSettings:
    """What is looked at, and how."""

    detector: str = setting("farneback", "farneback, or dis: sharper edges", changes_samples=True)
    fps: float = setting(2.0, "frames a second that are looked at; 0 for all", changes_samples=True, minimum=0, maximum=1000)
    downsample_size: int = setting(
        16, "pixels of the shorter side that frames are made smaller to; 0 leaves them", changes_samples=True, minimum=0
    )
    interpolation: str = setting(
        "area",
        "how they are made smaller: area averages pixels; lanczos, as video2dataset, lets edges flicker",
        changes_samples=True,
    )
    dtype: str = setting("fp16", "of the stored array: fp16 or fp32", changes_samples=True)
    pyr_scale: float = setting(
        0.5, "farneback: size of a pyramid's level against the one below", changes_samples=True, minimum=0.01, maximum=0.99
    )
    levels: int = setting(3, "farneback: levels of the pyramid", changes_samples=True, minimum=1, maximum=64)
    winsize: int = setting(15, "farneback: averaging window in pixels", changes_samples=True, minimum=1, maximum=1000)
    iterations: int = setting(3, "farneback: iterations at each level", changes_samples=True, minimum=1, maximum=1000)
    poly_n: int = setting(5, "farneback: neighbourhood of a pixel, 5 or 7", changes_samples=True, minimum=3, maximum=31)
    poly_sigma: float = setting(
        1.2, "farneback: deviation of the Gaussian that smooths it", changes_samples=True, minimum=0.01, maximum=100
    )
    flags: int = setting(0, "farneback: 256 for a Gaussian window, 0 for a box", changes_samples=True)
    preset: str = setting("medium", "dis: ultrafast, fast or medium", changes_samples=True)


@register
class OpticalFlow(Enricher):
    """Measures motion between the frames of a video, looked at a few times a second and small.

    A frame is turned upright and its pixels made square, its shorter side is brought to `downsample_size` pixels, and its
    colours to grey. Flow is in pixels of that small picture, from one looked-at frame to the next.
    """

    name = "optical_flow"
    version = 2
    Settings: ClassVar[type[Any]] = OpticalFlowSettings
    columns = (
        Column(
            "mean_optical_flow_magnitude",
            "double",
            "mean of mean_optical_flow_magnitude_per_frame; null where there are fewer than two frames",
        ),
        Column(
            "mean_optical_flow_magnitude_per_frame",
            "array<double>",
            "for each frame but the first: how far its pixels moved on average, in pixels of the looked-at size",
        ),
        Column("optical_flow_fps", "double", "frames a second that were looked at"),
        Column("optical_flow_downsample_size", "int", "shorter side of the looked-at frames in pixels"),
        Column("optical_flow_dtype", "string", "type of the array's numbers: fp16 or fp32"),
        Column("optical_flow_shape", "array<int>", "of the array: frames - 1, height, width, 2"),
    )
    made = Made(
        "application/x-npy",
        "npy",
        "numpy array of (frames - 1, height, width, 2): x to the right and y down, in pixels of the looked-at size",
    )

    settings: OpticalFlowSettings

    def check(self) -> None:
        """Look at the settings together.

        Raises:
            ConfigError: if they make no sense.
        """
        settings = self.settings
        if settings.detector in _OTHER_NAMES:
            raise ConfigError(
                f"Setting enrich.{self.name}.detector: what video2dataset calls {settings.detector} is "
                f"{_OTHER_NAMES[settings.detector]} here; say that instead."
            )
        for name, allowed in (
            ("detector", ("farneback", "dis")),
            ("interpolation", _INTERPOLATIONS),
            ("dtype", tuple(_DTYPES)),
            ("preset", _PRESETS),
            ("flags", (0, _GAUSSIAN)),
        ):
            value = getattr(settings, name)
            if value not in allowed:
                listed = ", ".join(map(str, allowed))
                raise ConfigError(f"Setting enrich.{self.name}.{name} must be one of {listed}, not {value!r}.")
        if settings.detector == "dis" and 0 < settings.downsample_size < _SMALLEST_FOR_DIS:
            raise ConfigError(
                f"Setting enrich.{self.name}.downsample_size must be 0 or at least {_SMALLEST_FOR_DIS} for the detector dis."
            )

    def run(self, path: str, output: str) -> dict[str, Any]:
        """Measure a video.

        Args:
            path: its file.
            output: where the array goes, in numpy's `.npy` format.

        Returns:
            Values by column.

        Raises:
            SampleError: if it cannot be decoded, or is too small to be looked at.
        """
        import cv2
        import numpy as np

        from v2d_spark.udfs.engine.reader import VideoReader

        # One core a task is what Spark counts with.
        cv2.setNumThreads(1)
        detect = self._detector()
        per_frame: list[float] = []
        before: _Picture | None = None
        with VideoReader(path) as reader, Path(output).open("wb") as file:
            array = _GrowingArray(file, _DTYPES[self.settings.dtype])
            small = _Small(self.settings.downsample_size, self.settings.interpolation, reader.sample_aspect)
            for frame in self._looked_at(reader):
                picture = small(frame)
                if before is None:
                    array.begin((*picture.shape, 2))
                else:
                    try:
                        flow = detect(before, picture)
                    except cv2.error as error:
                        raise SampleError("unsupported", f"no optical flow of this picture: {error.err}") from None
                    per_frame.append(float(np.linalg.norm(flow, axis=-1).mean()))
                    array.append(flow)
                before = picture
            shape = array.finish()
            fps = float(min(Fraction(self.settings.fps), reader.fps) if self.settings.fps else reader.fps)
        return {
            "mean_optical_flow_magnitude": float(np.mean(per_frame)) if per_frame else None,
            "mean_optical_flow_magnitude_per_frame": per_frame,
            "optical_flow_fps": fps,
            "optical_flow_downsample_size": min(shape[1:3]),
            "optical_flow_dtype": self.settings.dtype,
            "optical_flow_shape": list(shape),
        }

    def _looked_at(self, reader: VideoReader) -> Iterator[av.VideoFrame]:
        """The first frame at or after each k / fps seconds from the first frame, none of them twice.

        Where the rate of a video is a multiple of `fps`, these are every so many frames, beginning with the first.
        """
        if not self.settings.fps:
            yield from reader.frames()
            return
        rate = Fraction(self.settings.fps) * reader.time_base
        # Files round time stamps down or up to their time base, unless it counts frames: a frame may be a unit early.
        is_rounded = reader.step > 1
        first: int | None = None
        looked_at = 0
        for frame in reader.frames():
            assert frame.pts is not None
            if first is None:
                first = frame.pts
            passed = frame.pts - first
            # How many of the times have come.
            come = math.ceil((passed + 1) * rate) if is_rounded else math.floor(passed * rate) + 1
            if come > looked_at:
                yield frame
                looked_at = come

    def _detector(self) -> Callable[[_Picture, _Picture], _Flow]:
        import cv2

        settings = self.settings
        if settings.detector == "dis":
            # The numbers of OpenCV's presets are their places in this list.
            dis = cv2.DISOpticalFlow.create(_PRESETS.index(settings.preset))
            return lambda before, after: dis.calc(before, after, None)  # type: ignore[call-overload]
        arguments = (
            settings.pyr_scale,
            settings.levels,
            settings.winsize,
            settings.iterations,
            settings.poly_n,
            settings.poly_sigma,
            settings.flags,
        )
        return lambda before, after: cv2.calcOpticalFlowFarneback(before, after, None, *arguments)  # type: ignore[call-overload]


class _Small:
    """Makes grey pictures of one size of frames, upright, pixels square; the first frame settles the size."""

    def __init__(self, shorter_side: int, interpolation: str, sample_aspect: Fraction | None) -> None:
        self._shorter_side = shorter_side
        self._interpolation = interpolation
        self._aspect = sample_aspect
        self._size: tuple[int, int] | None = None
        self._turn: Turn | None = None
        self._rotation = 0

    def __call__(self, frame: av.VideoFrame) -> _Picture:
        import cv2
        import numpy as np

        from v2d_spark.udfs.engine.orientation import Turn

        picture: Any = frame.to_ndarray(format="bgr24")
        # The matrix is read where the angle changes: PyAV holds a frame whose side data was read for long.
        if self._turn is None or frame.rotation != self._rotation:
            self._turn, self._rotation = Turn(frame), frame.rotation
        if self._size is None:
            self._size = self._size_of(frame, self._turn)
        width, height = self._size[::-1] if self._turn.exchanges else self._size
        if (height, width) != picture.shape[:2]:
            how = cv2.INTER_LANCZOS4 if self._interpolation == "lanczos" else cv2.INTER_AREA
            picture = cv2.resize(picture, (width, height), interpolation=how)
        return np.ascontiguousarray(self._turn.upright(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)))

    def _size_of(self, frame: av.VideoFrame, turn: Turn) -> tuple[int, int]:
        """Width and height, upright. Never larger than the frame."""
        from v2d_spark.udfs.engine.orientation import displayed

        shape = displayed(frame.width, frame.height, self._aspect, exchanged=turn.exchanges)
        width, height = shape.width, shape.height
        shorter = min(width, height)
        if 0 < self._shorter_side < shorter:
            factor = self._shorter_side / shorter
            width, height = round(width * factor), round(height * factor)
        return width, height


class _GrowingArray:
    """An array in a `.npy` file that grows along its first axis: it need not be in memory as a whole."""

    def __init__(self, file: IO[bytes], dtype: str) -> None:
        self._file = file
        self._dtype = dtype
        self._rest: tuple[int, ...] | None = None
        self._count = 0

    def begin(self, shape: tuple[int, ...]) -> None:
        """Tell the shape of what is appended."""
        self._rest = shape
        self._write_header()

    def append(self, value: _Flow) -> None:
        self._file.write(value.astype(self._dtype).tobytes())
        self._count += 1

    def finish(self) -> tuple[int, ...]:
        """The shape of the whole array."""
        end = self._file.tell()
        self._file.seek(0)
        self._write_header()
        self._file.seek(end)
        assert self._rest is not None
        return (self._count, *self._rest)

    def _write_header(self) -> None:
        """Numpy leaves room for a first axis of any length, so that the header can be written again in its place."""
        from numpy.lib import format as npy

        assert self._rest is not None
        told = {"descr": self._dtype, "fortran_order": False, "shape": (self._count, *self._rest)}
        npy.write_array_header_1_0(self._file, told)
