"""Optical flow: how far each pixel moves from one looked-at frame to the next, and how much a sample moves on average.

Measures, frames and shape of the array are those of video2dataset's stage `optical_flow`; the guide says why the numbers
are not quite. Detectors are OpenCV's: Farneback (G. Farneback, Two-Frame Motion Estimation Based on Polynomial Expansion,
2003) and DIS (T. Kroeger and others, Fast Optical Flow using Dense Inverse Search, 2016); and a network, RAFT (Z. Teed and J.
Deng, RAFT: Recurrent All-Pairs Field Transforms for Optical Flow, 2020), with weights that the user has.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from v2d_spark.udfs import locations
from v2d_spark.udfs.engine.raft import NETWORKS, SMALLEST, Raft
from v2d_spark.udfs.enrichers import Column, Enricher, Made, Model, Resources, register
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
_SMALLEST = {"dis": 12, "raft": SMALLEST}  # pixels
# Settings that only the network has, and those that it does not have.
_OF_RAFT = frozenset(("weights", "network", "updates"))
_NOT_OF_RAFT = frozenset(("pyr_scale", "levels", "winsize", "iterations", "poly_n", "poly_sigma", "flags", "preset"))
# What a file of torch's begins with that is no zip archive: a pickle, as old versions wrote.
_PICKLE = b"\x80"


@dataclass(frozen=True)
class OpticalFlowSettings:
    """What is looked at, and how."""

    detector: str = setting(
        "farneback", "farneback; dis: sharper edges; or raft: a network, with weights of your own", changes_samples=True
    )
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
    weights: str = setting(
        "", "raft: file of the network's weights, as torch saves them, that executors see too", changes_samples=True
    )
    network: str = setting("raft_large", "raft: raft_large or raft_small, whichever the weights are of", changes_samples=True)
    updates: int = setting(12, "raft: how often the flow is improved", changes_samples=True, minimum=1, maximum=100)
    gpus: float = setting(
        1.0, "raft: GPUs of a task, or a part of one, as 0.5, which two tasks share; 0 for none", minimum=0, maximum=64
    )
    cpus: int = setting(2, "raft: cores of a task, which decode ahead of the network", minimum=1, maximum=1024)
    batch_size: int = setting(16, "raft: pairs of frames at once; fewer where they do not fit", minimum=1, maximum=4096)


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
            ("detector", ("farneback", "dis", "raft")),
            ("interpolation", _INTERPOLATIONS),
            ("dtype", tuple(_DTYPES)),
            ("preset", _PRESETS),
            ("flags", (0, _GAUSSIAN)),
            ("network", NETWORKS),
        ):
            value = getattr(settings, name)
            if value not in allowed:
                listed = ", ".join(map(str, allowed))
                raise ConfigError(f"Setting enrich.{self.name}.{name} must be one of {listed}, not {value!r}.")
        smallest = _SMALLEST.get(settings.detector, 0)
        if 0 < settings.downsample_size < smallest:
            raise ConfigError(
                f"Setting enrich.{self.name}.downsample_size must be 0 or at least {smallest} for the detector "
                f"{settings.detector}."
            )
        if settings.gpus > 0.5 and settings.gpus != int(settings.gpus):
            raise ConfigError(
                f"Setting enrich.{self.name}.gpus must be a whole number or at most 0.5, as for Spark, not {settings.gpus:g}."
            )
        if settings.detector == "raft":
            self.what_counts()  # reads the weights, or complains

    def model(self) -> Model | None:
        """The network, for the detector raft."""
        return RaftModel(self.settings) if self.settings.detector == "raft" else None

    def told(self) -> dict[str, Any]:
        """The settings by name, as a task takes them."""
        told = super().told()
        return told | {"weights": locations.absolute(told["weights"])} if told["weights"] else told

    def what_counts(self) -> dict[str, Any]:
        """All that can change an answer: of the weights what they are, wherever they lie."""
        values = super().what_counts()
        if self.settings.detector != "raft":
            return {name: value for name, value in values.items() if name not in _OF_RAFT}
        return {name: value for name, value in values.items() if name not in _NOT_OF_RAFT} | {"weights": self._checksum}

    @functools.cached_property
    def _checksum(self) -> str:
        """The checksum of the weights, which are read once.

        Raises:
            ConfigError: if they cannot be read here, or are none.
        """
        setting, weights = f"Setting enrich.{self.name}.weights", self.settings.weights
        if not weights:
            raise ConfigError(f"{setting} must name the file of the network's weights, for the detector raft (docs/gpus.md).")
        try:
            content = locations.read_bytes(weights)
        except OSError as error:
            raise ConfigError(f"{setting}: {weights} cannot be read: {error.strerror or error}.") from None
        if not (zipfile.is_zipfile(io.BytesIO(content)) or content.startswith(_PICKLE)):
            raise ConfigError(f"{setting}: {weights} is no file of weights that torch saved, or not all of it.")
        return hashlib.sha256(content).hexdigest()

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

        from v2d_spark.udfs.engine.reader import VideoReader

        # One core a task is what Spark counts with.
        cv2.setNumThreads(1)
        if self.settings.detector == "raft":
            return self._prepare(path, output)
        detect = self._detector()
        before: _Picture | None = None
        with VideoReader(path) as reader, _Flows(output, self.settings.dtype) as flows:
            small = _Small(self.settings.downsample_size, self.settings.interpolation, reader.sample_aspect)
            for frame in self._looked_at(reader):
                picture = small(frame)
                if before is None:
                    flows.begin(picture.shape[:2])
                else:
                    try:
                        flow = detect(before, picture)
                    except cv2.error as error:
                        raise SampleError("unsupported", f"no optical flow of this picture: {error.err}") from None
                    flows.add(flow)
                before = picture
            return flows.columns() | {"optical_flow_fps": self._rate(reader)}

    def _prepare(self, path: str, output: str) -> dict[str, Any]:
        """Write the small pictures for the network: an array (frames, height, width, 3) of bytes, RGB."""
        from v2d_spark.udfs.engine.reader import VideoReader

        settings = self.settings
        with VideoReader(path) as reader, _GrowingArray(output, "|u1") as array:
            small = _Small(settings.downsample_size, settings.interpolation, reader.sample_aspect, in_colour=True)
            for number, frame in enumerate(self._looked_at(reader)):
                picture = small(frame)
                if number == 0:
                    if min(picture.shape[:2]) < SMALLEST:
                        raise SampleError(
                            "unsupported", f"no optical flow of this picture: raft wants {SMALLEST} pixels of each side"
                        )
                    array.begin(picture.shape)
                array.append(picture)
            return {"optical_flow_shape": list(array.finish()), "optical_flow_fps": self._rate(reader)}

    def _rate(self, reader: VideoReader) -> float:
        """Frames a second that are looked at."""
        return float(min(Fraction(self.settings.fps), reader.fps) if self.settings.fps else reader.fps)

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


class RaftModel(Model):
    """RAFT over pairs of pictures.

    Args:
        settings: those of the enricher.
    """

    def __init__(self, settings: OpticalFlowSettings) -> None:
        self._settings = settings
        self._raft: Raft | None = None
        self.resources = Resources(cpus=settings.cpus, gpus=settings.gpus)
        self.batch_size = settings.batch_size

    def setup(self, device: str) -> None:
        """Load the network, and have it look at something."""
        settings = self._settings
        self._raft = Raft(settings.network, settings.weights, settings.updates, device)

    def items(self, prepared: str) -> Sequence[Any]:
        """Each picture with the next."""
        pictures = super().items(prepared)
        return [pictures[number : number + 2] for number in range(len(pictures) - 1)]

    def process(self, batch: Sequence[Any]) -> Sequence[Any]:
        """The flow of each pair."""
        assert self._raft is not None
        return self._raft.flow(batch)

    def conclude(self, columns: dict[str, Any], answers: Iterator[Any], output: str) -> dict[str, Any]:
        """Write the flows, and measure them."""
        with _Flows(output, self._settings.dtype) as flows:
            flows.begin(columns["optical_flow_shape"][1:3])
            for flow in answers:
                flows.add(flow)
            return columns | flows.columns()


class _Small:
    """Makes pictures of one size of frames, grey or RGB, upright, pixels square; the first frame settles the size."""

    def __init__(
        self, shorter_side: int, interpolation: str, sample_aspect: Fraction | None, *, in_colour: bool = False
    ) -> None:
        self._in_colour = in_colour
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

        picture: Any = frame.to_ndarray(format="rgb24" if self._in_colour else "bgr24")
        # The matrix is read where the angle changes: PyAV holds a frame whose side data was read for long.
        if self._turn is None or frame.rotation != self._rotation:
            self._turn, self._rotation = Turn(frame), frame.rotation
        if self._size is None:
            self._size = self._size_of(frame, self._turn)
        width, height = self._size[::-1] if self._turn.exchanges else self._size
        if (height, width) != picture.shape[:2]:
            how = cv2.INTER_LANCZOS4 if self._interpolation == "lanczos" else cv2.INTER_AREA
            picture = cv2.resize(picture, (width, height), interpolation=how)
        seen = picture if self._in_colour else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        return np.ascontiguousarray(self._turn.upright(seen))

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

    def __init__(self, path: str, dtype: str) -> None:
        self._file = Path(path).open("wb")  # noqa: SIM115 - closed on leaving
        self._dtype = dtype
        self._rest: tuple[int, ...] | None = None
        self._count = 0

    def __enter__(self) -> _GrowingArray:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def begin(self, shape: Sequence[int]) -> None:
        """Tell the shape of what is appended."""
        self._rest = tuple(shape)
        self._write_header()

    def append(self, value: npt.NDArray[Any]) -> None:
        self._file.write(value.astype(self._dtype, copy=False).tobytes())
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


class _Flows:
    """The flows of a sample, one after the other: into its array, and measured."""

    def __init__(self, output: str, dtype: str) -> None:
        self._dtype = dtype
        self._array = _GrowingArray(output, _DTYPES[dtype])
        self._per_frame: list[float] = []

    def __enter__(self) -> _Flows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._array.__exit__(kind, error, trace)

    def begin(self, shape: Sequence[int]) -> None:
        """Tell height and width."""
        self._array.begin((*shape, 2))

    def add(self, flow: _Flow) -> None:
        import numpy as np

        self._per_frame.append(float(np.linalg.norm(flow, axis=-1).mean()))
        self._array.append(flow)

    def columns(self) -> dict[str, Any]:
        """What is said of them, when there are no more."""
        import numpy as np

        shape = self._array.finish()
        return {
            "mean_optical_flow_magnitude": float(np.mean(self._per_frame)) if self._per_frame else None,
            "mean_optical_flow_magnitude_per_frame": self._per_frame,
            "optical_flow_downsample_size": min(shape[1:3]),
            "optical_flow_dtype": self._dtype,
            "optical_flow_shape": list(shape),
        }
