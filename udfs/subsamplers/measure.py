"""Measures samples: movement, darkness, frozen pictures, sharpness, silence, loudness."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from v2d_spark.udfs.settings import setting
from v2d_spark.udfs.subsamplers import Column, Subsampler, View, register
from v2d_spark.udfs.vocabulary import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_WIDTH = 256
_LEVELS = 256
_SAME_TIME = 1e-3  # seconds by which times may miss the interval
_QUIETEST = -70.0  # LUFS: the absolute gate of BS.1770; below it there is no loudness
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}  # as libav takes them


@dataclass(frozen=True)
class MeasureSettings:
    """What is measured, and from where on it counts. The defaults are those of ffmpeg's filters."""

    picture: bool = setting(True, "measure pictures", changes_samples=True)
    sound: bool = setting(True, "measure sound", changes_samples=True)
    interval: float = setting(
        0.2,
        "seconds between the pictures of which motion, luma, contrast and sharpness are taken",
        changes_samples=True,
        minimum=0,
        maximum=3600,
    )
    black_pixel: float = setting(
        0.1, "part of full luma up to which a pixel is black", changes_samples=True, minimum=0, maximum=1
    )
    black_picture: float = setting(
        0.98, "part of the pixels that are black in a black picture", changes_samples=True, minimum=0, maximum=1
    )
    black_duration: float = setting(2.0, "seconds from which on darkness counts", changes_samples=True, minimum=0)
    freeze_noise: float = setting(
        0.001, "mean difference, as a part of full luma, up to which a picture is the same", changes_samples=True, minimum=0
    )
    freeze_duration: float = setting(2.0, "seconds from which on a frozen picture counts", changes_samples=True, minimum=0)
    silence_noise: float = setting(
        0.001, "amplitude below which it is silent; 0.001 is -60 dBFS", changes_samples=True, minimum=0
    )
    silence_duration: float = setting(2.0, "seconds from which on silence counts", changes_samples=True, minimum=0)


@register
class Measure(Subsampler):
    """Measures each new sample. Pictures are looked at in gray, 256 pixels across, luma from 0 (black) to 255.

    * `motion`: mean absolute difference of luma between pictures `interval` apart (the next picture, where they come
      slower), so that the frame rate makes no difference. 0 for a still camera before a still life; some 3 to 15 for people
      who move; a cut adds one large difference.
    * `luma`, `contrast`: mean, and standard deviation within a picture (root mean square contrast), both averaged.
    * `sharpness`: variance of the Laplacian, averaged. J. L. Pech-Pacheco et al., Diatom autofocusing in brightfield
      microscopy: a comparative study, ICPR 2000.
    * `black_s`: as ffmpeg's filter blackdetect has it (https://ffmpeg.org/ffmpeg-filters.html#blackdetect).
    * `frozen_s`: as freezedetect has it (https://ffmpeg.org/ffmpeg-filters.html#freezedetect), on luma alone. Each picture is
      held against the first of the freeze.
    * `silence_s`: as silencedetect has it (https://ffmpeg.org/ffmpeg-filters.html#silencedetect): all channels at once.
    * `loudness`: integrated loudness by EBU R 128 (ITU-R BS.1770-4), measured by ffmpeg's filter ebur128.
    """

    name = "measure"
    needs_whole = False
    only_measures = True
    Settings = MeasureSettings
    columns = (
        Column("motion", "double", "mean absolute difference of luma between pictures one interval apart, 0 to 255"),
        Column("luma", "double", "mean luma, 0 to 255"),
        Column("contrast", "double", "standard deviation of luma within a picture, averaged, 0 to 127.5"),
        Column("sharpness", "double", "variance of the Laplacian of luma at 256 pixels across, averaged"),
        Column("black_s", "double", "seconds for which the picture is black"),
        Column("frozen_s", "double", "seconds for which the picture does not change"),
        Column("silence_s", "double", "seconds of silence"),
        Column("loudness", "double", "integrated loudness in LUFS; null where there is nothing but silence"),
        Column("peak", "double", "largest amplitude in dBFS; null where there is nothing but zeros"),
    )

    settings: MeasureSettings

    def check(self) -> None:
        """As `Subsampler`."""
        if not (self.settings.picture or self.settings.sound):
            raise ConfigError("Settings subsample.measure.picture and subsample.measure.sound must not both be false.")

    def looker(self) -> Eye | None:
        """As `Subsampler`."""
        return Eye(self.settings) if self.settings.picture else None

    def listener(self) -> Ear | None:
        """As `Subsampler`."""
        return Ear(self.settings) if self.settings.sound else None


class _Runs:
    """Adds up how long something was so, where it was so for long enough at a stretch."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since: float | None = None

    def at(self, time_s: float, *, so: bool, least: float) -> None:
        """Tell how it is from this time on."""
        if so:
            self._since = time_s if self._since is None else self._since
            return
        if self._since is not None and time_s - self._since >= least:
            self.seconds += time_s - self._since
        self._since = None


class _Mean:
    """The mean of numbers that are told one by one. The sum is exact, whatever their order."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = Fraction(0)

    def add(self, value: float) -> None:
        """Take a number in."""
        self.count += 1
        self._sum += Fraction(value)

    @property
    def value(self) -> float | None:
        """The mean; None where there was no number."""
        return float(self._sum) / self.count if self.count else None


class Eye:
    """Measures pictures; see `Looker`."""

    view = View(_WIDTH, "gray")

    def __init__(self, settings: MeasureSettings) -> None:
        import cv2

        cv2.setNumThreads(1)
        self._settings = settings
        self._black_luma = int(settings.black_pixel * (_LEVELS - 1))
        self._black = _Runs()
        self._still: tuple[float, npt.NDArray[np.uint8]] | None = None
        self._still_until = 0.0
        self._frozen = 0.0
        self._sampled: tuple[float, npt.NDArray[np.uint8]] | None = None
        self._motion = _Mean()
        self._luma = _Mean()
        self._contrast = _Mean()
        self._sharpness = _Mean()

    def look(self, time_s: float, image: npt.NDArray[np.uint8]) -> None:
        """As `Looker`."""
        import cv2

        dark = image.size - cv2.countNonZero(cv2.threshold(image, self._black_luma, 1, cv2.THRESH_BINARY)[1])
        self._black.at(time_s, so=dark >= self._settings.black_picture * image.size, least=self._settings.black_duration)
        self._watch(time_s, image)
        if self._sampled is None or time_s - self._sampled[0] >= self._settings.interval - _SAME_TIME:
            self._sample(time_s, image)

    def result(self, duration_s: float) -> dict[str, Any]:
        """As `Looker`."""
        self._black.at(duration_s, so=False, least=self._settings.black_duration)
        self._thaw(duration_s)
        self._still = None
        return {
            "motion": self._motion.value,
            "luma": self._luma.value,
            "contrast": self._contrast.value,
            "sharpness": self._sharpness.value,
            "black_s": self._black.seconds if self._luma.count else None,
            "frozen_s": self._frozen if self._luma.count else None,
        }

    def _watch(self, time_s: float, image: npt.NDArray[np.uint8]) -> None:
        if self._still is not None and (difference := _difference(self._still[1], image)) is not None:
            if difference / _LEVELS <= self._settings.freeze_noise:
                self._still_until = time_s
                return
            self._thaw(time_s)
        self._still, self._still_until = (time_s, image.copy()), time_s

    def _thaw(self, time_s: float) -> None:
        """Count a freeze that ends; it counts by the pictures that are the same, and lasts until another comes."""
        if self._still is None:
            return
        since = self._still[0]
        if self._still_until > since and self._still_until - since >= self._settings.freeze_duration:
            self._frozen += time_s - since

    def _sample(self, time_s: float, image: npt.NDArray[np.uint8]) -> None:
        import cv2

        if self._sampled is not None and (difference := _difference(self._sampled[1], image)) is not None:
            self._motion.add(difference)
        self._sampled = time_s, image.copy()
        mean, deviation = cv2.meanStdDev(image)
        self._luma.add(float(mean[0][0]))
        self._contrast.add(float(deviation[0][0]))
        edges = cv2.meanStdDev(cv2.Laplacian(image, cv2.CV_16S))[1]
        self._sharpness.add(float(edges[0][0]) ** 2)


class Ear:
    """Measures sound; see `Listener`."""

    rate = 0
    channels = 0

    def __init__(self, settings: MeasureSettings) -> None:
        self._settings = settings
        self._meter: _LoudnessMeter | None = None
        self._kind: tuple[int, int] | None = None
        self._changed = False
        self._seconds = 0.0
        self._silence = _Runs()
        self._peak = 0.0

    def hear(self, rate: int, sound: npt.NDArray[np.float32]) -> None:
        """As `Listener`."""
        import numpy as np

        if not sound.size:
            return
        loud = np.abs(sound).max(axis=0)
        peak = float(loud.max())
        if not math.isfinite(peak):  # what is no number comes from damaged files
            sound = np.nan_to_num(sound, nan=0.0, posinf=1.0, neginf=-1.0)
            loud = np.abs(sound).max(axis=0)
            peak = float(loud.max())
        self._peak = max(self._peak, peak)
        self._find_silence(rate, loud < self._settings.silence_noise)
        self._seconds += sound.shape[1] / rate
        if self._kind is None:
            self._kind = rate, sound.shape[0]
            self._meter = _loudness_meter(rate, sound.shape[0])
        if self._kind != (rate, sound.shape[0]):
            self._changed = True
        elif self._meter is not None:
            self._meter.hear(sound)

    def result(self, duration_s: float) -> dict[str, Any]:
        """As `Listener`."""
        if self._kind is None:
            return {"silence_s": None, "loudness": None, "peak": None}
        self._silence.at(self._seconds, so=False, least=self._settings.silence_duration)
        loudness = self._meter.loudness() if self._meter is not None and not self._changed else None
        return {
            "silence_s": self._silence.seconds,
            "loudness": loudness,
            "peak": 20 * math.log10(self._peak) if self._peak else None,
        }

    def _find_silence(self, rate: int, quiet: npt.NDArray[np.bool_]) -> None:
        """Tell where it gets quiet and where loud."""
        import numpy as np

        changes = np.concatenate(([0], np.flatnonzero(quiet[1:] != quiet[:-1]) + 1))
        times = self._seconds + changes / rate
        begins_quiet, ends_quiet, least = bool(quiet[0]), bool(quiet[-1]), self._settings.silence_duration
        # Sound crosses zero all the time: stretches within the piece that are too short are not looked at one by one.
        self._silence.at(float(times[0]), so=begins_quiet, least=least)
        inner = times[1:]
        if begins_quiet and inner.size:
            self._silence.at(float(inner[0]), so=False, least=least)
            inner = inner[1:]
        pairs = inner[: inner.size // 2 * 2].reshape(-1, 2)
        for since, until in pairs[pairs[:, 1] - pairs[:, 0] >= least].tolist():
            self._silence.at(since, so=True, least=least)
            self._silence.at(until, so=False, least=least)
        if ends_quiet and inner.size:
            self._silence.at(float(inner[-1]), so=True, least=least)


class _LoudnessMeter:
    """Integrated loudness, by libavfilter.

    Args:
        rate: samples a second.
        channels: how many; taken for the usual layout of so many.
    """

    def __init__(self, rate: int, channels: int) -> None:
        import av
        import av.filter

        self._rate, self._layout = rate, _LAYOUTS[channels]
        self._heard = 0
        self._told: float | None = None
        graph = av.filter.Graph()
        graph.threads = 1
        source = graph.add("abuffer", f"time_base=1/{rate}:sample_rate={rate}:sample_fmt=flt:channel_layout={self._layout}")
        meter = graph.add("ebur128", "metadata=1:framelog=quiet")
        sink = graph.add("abuffersink")
        source.link_to(meter)
        meter.link_to(sink)
        graph.configure()
        self._graph = graph

    def hear(self, sound: npt.NDArray[np.float32]) -> None:
        """Hear (channels, samples)."""
        import av
        import numpy as np

        # Samples of all channels in turn: of eight planes PyAV looks for a ninth.
        packed = np.ascontiguousarray(sound.T, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, "flt", self._layout)
        frame.rate, frame.pts = self._rate, self._heard
        self._heard += sound.shape[1]
        self._graph.push(frame)
        self._read()

    def loudness(self) -> float | None:
        """LUFS; None where nothing was loud enough, or all was shorter than the 0.4 s that are measured at a time."""
        self._graph.push(None)
        self._read()
        told = self._told
        return told if told is not None and math.isfinite(told) and told > _QUIETEST else None

    def _read(self) -> None:
        import av.error

        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            told = frame.metadata.get("lavfi.r128.I")
            self._told = self._told if told is None else float(told)


def _loudness_meter(rate: int, channels: int) -> _LoudnessMeter | None:
    """A meter; None for sound that libavfilter does not measure."""
    import av.error

    if channels not in _LAYOUTS:
        return None
    try:
        return _LoudnessMeter(rate, channels)
    except MemoryError:
        raise
    except av.error.FFmpegError:
        return None


def _difference(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float | None:
    """Mean absolute difference; None between pictures of different sizes."""
    import cv2

    return cv2.norm(one, other, cv2.NORM_L1) / one.size if one.shape == other.shape else None
