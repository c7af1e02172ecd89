"""Videos whose every frame carries its number, and whose sound carries the time: what a clip holds can be read off it.

The number is a square of 6 × 6 black and white cells in the middle of the picture, half as high as the picture. The cell
at the top left is white and the other three corners are black, which tells how the picture is turned; the 32 others are 16
bits of number and 16 of CRC. It survives x264 at crf 35, scaling to 112 lines, and any crop that leaves the middle half.
Cells that are neither black nor white (two frames blended, two fields woven) are an error, never a number.

The sound is noise that never repeats: correlating it with the whole tells the time it was taken from.
"""

from __future__ import annotations

import bisect
import os
import wave
from binascii import crc_hqx
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path

import av
import av.error
import numpy as np
import numpy.typing as npt

from tests.support.media import ffmpeg

WIDTH, HEIGHT = 320, 240
FRAMES = 180
SHOTS = (0, 45, 80, 125)  # numbers of the frames that begin a shot

_CELLS = 6
_CORNERS = ((0, 0), (0, _CELLS - 1), (_CELLS - 1, _CELLS - 1), (_CELLS - 1, 0))  # clockwise from the top left
_INNER = [(row, column) for row in range(_CELLS) for column in range(_CELLS) if (row, column) not in _CORNERS]
_BLACK, _WHITE = 24, 228  # luma as stored
_CONTRAST = 60  # of 255: what white must be above black
_DOUBT = 0.25  # of that contrast: how far a cell may be off

_RATE = 48_000  # of the sound
_SECONDS = 12  # of the sound, longer than any of the videos
_COARSE = 16_000  # samples a second at which sound is compared

_Gray = npt.NDArray[np.uint8]


class Unreadable(ValueError):
    """A picture without a number, or sound without a time."""


class NoSound(Unreadable):
    """A stream of sound with nothing in it."""


# --- one picture ---


def draw_number(luma: _Gray, number: int) -> None:
    """Draw a number into the middle of a picture's luma."""
    code = number << 16 | crc_hqx(number.to_bytes(2, "big"), 0xFFFF)
    height, width = luma.shape
    side = height // (2 * _CELLS)
    top, left = (height - side * _CELLS) // 2, (width - side * _CELLS) // 2
    cells = np.full((_CELLS, _CELLS), _BLACK, np.uint8)
    cells[0, 0] = _WHITE
    for bit, place in enumerate(_INNER):
        cells[place] = _WHITE if code >> bit & 1 else _BLACK
    luma[top : top + side * _CELLS, left : left + side * _CELLS] = np.kron(cells, np.ones((side, side), np.uint8))


def read_number(picture: av.VideoFrame | _Gray, *, turned: int = 0, stretch: float = 1, side: float | None = None) -> int:
    """Read the number of a picture.

    Args:
        picture: the picture, or its luma as (height, width).
        turned: how far it lies turned clockwise, in degrees.
        stretch: how much wider than high the cells are.
        side: of the code in pixels, across the height; None for half the shorter side of the picture.

    Raises:
        Unreadable: if there is none, it is turned otherwise, or it is not to be trusted.
    """
    luma = np.asarray(picture if isinstance(picture, np.ndarray) else picture.to_ndarray(format="gray"), np.uint8)
    height, width = luma.shape
    side = side or min(height, width / stretch) / 2
    cells = np.array(
        [
            [_cell(luma, height / 2 + (row - 2.5) * side / _CELLS, width / 2 + (column - 2.5) * side * stretch / _CELLS, side)]
            for row in range(_CELLS)
            for column in range(_CELLS)
        ]
    ).reshape(_CELLS, _CELLS)
    corners = [float(cells[corner]) for corner in _CORNERS]
    brightest = int(np.argmax(corners))
    if brightest * 90 != turned:
        raise Unreadable(f"turned by {brightest * 90} degrees, not {turned}: corners are {corners}")
    cells = np.rot90(cells, brightest)
    white, black = max(corners), sum(sorted(corners)[:3]) / 3
    if white - black < _CONTRAST:
        raise Unreadable(f"no contrast: corners are {corners}")
    code = 0
    for bit, place in enumerate(_INNER):
        level = (float(cells[place]) - black) / (white - black)
        if min(abs(level), abs(level - 1)) > _DOUBT:
            raise Unreadable(f"the cell at {place} is neither black nor white: {level:.2f}")
        code |= (level > 0.5) << bit
    number, check = code >> 16, code & 0xFFFF
    if crc_hqx(number.to_bytes(2, "big"), 0xFFFF) != check:
        raise Unreadable(f"{number} has another checksum")
    return number


def _cell(luma: _Gray, row: float, column: float, side: float) -> float:
    """How bright the inner half of a cell is."""
    reach = max(1.0, side / _CELLS / 4)
    part = luma[round(row - reach) : round(row + reach), round(column - reach) : round(column + reach)]
    return float(part.mean()) if part.size else 0.0


def shot_of(number: int) -> int:
    """Which shot a frame belongs to, from 0."""
    return bisect.bisect_right(SHOTS, number) - 1


# --- one file ---


@dataclass(frozen=True)
class Film:
    """What a file shows and plays, read with nothing but a plain decoder.

    Attributes:
        times: when each picture is shown, in seconds by the file's own clock.
        numbers: of each picture.
        width: of the first picture as stored.
        height: of the first picture as stored.
        rotation: what the file says, clockwise in degrees.
        start: where the file's clock begins: its earliest stream, or the first picture where the file does not say.
        delay: seconds to add to a time of the file's clock to have the sound's own time; None where there is no sound.
        heard: seconds of sound.
    """

    times: list[Fraction]
    numbers: list[int]
    width: int
    height: int
    rotation: int
    start: Fraction
    delay: float | None
    heard: float

    def time_of(self, number: int) -> Fraction:
        """When a frame is shown, in seconds from the file's beginning."""
        return self.times[self.numbers.index(number)] - self.start

    def sound_at(self, number: int) -> float:
        """What time of the sound is heard when a frame is shown."""
        assert self.delay is not None
        return float(self.times[self.numbers.index(number)]) + self.delay


def read_film(path: Path, *, turned: int = 0, stretch: float = 1, side: float | None = None, field: int | None = None) -> Film:
    """Read every number of a video, and the time of its sound.

    Args:
        path: the file.
        turned: as for `read_number`.
        stretch: as for `read_number`.
        side: as for `read_number`.
        field: which field to look at alone, the upper (0) or the lower (1); None for whole pictures.
    """
    shown: list[tuple[int | None, int | None, int]] = []
    width = height = rotation = 0
    with av.open(str(path)) as file:
        start = None if file.start_time is None else Fraction(file.start_time, av.time_base)
        video = file.streams.video[0]
        video.codec_context.thread_count = 1
        base = video.time_base or Fraction(1, av.time_base)
        step = round(1 / (video.average_rate or Fraction(25)) / base)
        for packet in file.demux(video):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                if not shown:
                    width, height, rotation = frame.width, frame.height, -frame.rotation % 360
                luma = frame.to_ndarray(format="gray")
                if field is None:
                    number = read_number(luma, turned=turned, stretch=stretch, side=side)
                else:
                    number = read_number(np.ascontiguousarray(luma[field::2]), stretch=2, side=height / 4)
                shown.append((frame.pts, frame.dts, number))
        has_sound = bool(file.streams.audio)
    try:
        delay, heard = sound_of(path) if has_sound else (None, 0.0)
    except NoSound:
        delay, heard = None, 0.0
    times = [stamp * base for stamp in _stamps(shown, step)]
    return Film(times, [one[2] for one in shown], width, height, rotation, times[0] if start is None else start, delay, heard)


def _stamps(shown: Sequence[tuple[int | None, int | None, int]], step: int) -> list[int]:
    """Times of pictures: those of presentation where they grow, else (AVI has none) those of decoding, else none."""
    for which in (0, 1):
        known = [time for one in shown if (time := one[which]) is not None]
        if not known:
            return [number * step for number in range(len(shown))]
        known += [known[-1] + 1 + more for more in range(len(shown) - len(known))]  # the last come without packets
        if all(a < b for a, b in pairwise(known)):
            return known
    raise Unreadable("pictures have no times that grow")


def sound_of(path: Path) -> tuple[float, float]:
    """Find where the sound of a file was taken from.

    Returns:
        What must be added to a time of the file's clock to have the time in the whole sound, and how long it is, in
        seconds.

    Raises:
        Unreadable: if it is another sound, or has been cut within.
    """
    pieces: list[npt.NDArray[np.float32]] = []
    begin: float | None = None
    rate = _RATE
    with av.open(str(path)) as file:
        for frame in file.decode(file.streams.audio[0]):
            if begin is None and frame.pts is not None:
                begin = float(frame.pts * frame.time_base)
            rate = frame.sample_rate
            if begin is not None and frame.pts is not None:
                # A gap is silence; what is less than its rounding in some containers is none.
                gap = float(frame.pts * frame.time_base) - begin - sum(map(len, pieces)) / rate
                pieces.append(np.zeros(round(gap * rate) if gap > 0.01 else 0, np.float32))
            samples = frame.to_ndarray()
            if not frame.format.is_planar:
                samples = samples.reshape(-1, frame.layout.nb_channels).T
            pieces.append(samples.mean(axis=0, dtype=np.float32))
    if begin is None:
        raise NoSound("there is no sound")
    sound = np.concatenate(pieces)
    seconds = len(sound) / rate
    coarse = np.interp(np.arange(int(seconds * _COARSE)) / _COARSE, np.arange(len(sound)) / rate, sound)
    quarter = len(coarse) // 4
    # Both halves of the middle must come from the same place: a gap or a piece twice would shift one of them.
    at = [_found(coarse[first : first + quarter]) - first for first in (quarter, 2 * quarter)]
    if abs(at[0] - at[1]) > _COARSE // 500:
        raise Unreadable(f"the sound comes from {at[0] / _COARSE:.4f} s and from {at[1] / _COARSE:.4f} s")
    return at[0] / _COARSE - begin, seconds


def _found(part: npt.NDArray[np.floating]) -> int:
    """Where in the whole sound a part is, in coarse samples."""
    whole = _noise()[:: _RATE // _COARSE]
    size = 1 << (len(whole) + len(part)).bit_length()
    match = np.fft.irfft(np.fft.rfft(whole, size) * np.conj(np.fft.rfft(part, size)), size)
    at = int(np.argmax(match))
    at -= size if at > len(whole) else 0
    there = whole[max(at, 0) : at + len(part)]
    strength = match[at] / (np.linalg.norm(there) * np.linalg.norm(part) + 1e-9)
    if strength < 0.6:
        raise Unreadable(f"this is no part of the sound: the best match is {strength:.2f}")
    return at


@cache
def _noise() -> npt.NDArray[np.float32]:
    """The whole sound, between -1 and 1: noise between 300 and 3,000 Hz, so that lossy codecs keep it."""
    count = _RATE * _SECONDS
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(count))
    frequencies = np.fft.rfftfreq(count, 1 / _RATE)
    spectrum[(frequencies < 300) | (frequencies > 3000)] = 0
    sound = np.fft.irfft(spectrum, count)
    return np.asarray(sound / np.abs(sound).max(), np.float32)


# --- making them ---


@dataclass(frozen=True)
class Kind:
    """One kind of video.

    Attributes:
        suffix: of the file.
        rate: frames a second.
        video: ffmpeg's options for the video.
        filters: ffmpeg's video filters.
        sound: audio codec; None for a silent video.
        frames: how many there are.
        after: ffmpeg's arguments for a second run that copies the streams, before and after its input.
        turned: degrees clockwise by which pictures are turned to be shown.
        stretch: how much wider than high its cells are as stored.
        side: of the code in pixels; None for half the shorter side.
        field: which field of its pictures carries the number of each, the upper (0) or the lower (1); the other one
            carries the next number. None where fields do not differ.
    """

    suffix: str = ".mp4"
    rate: str = "25"
    video: str = "-c:v libx264 -preset ultrafast -bf 2"
    filters: str = ""
    sound: str | None = "aac"
    frames: int = FRAMES
    after: tuple[str, str] | None = None
    turned: int = 0
    stretch: float = 1
    side: float | None = None
    field: int | None = None


_X264 = "-c:v libx264 -preset ultrafast"
_X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none:pools=1:frame-threads=1"
_PQ = (
    "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:hdr10=1:max-cll=1000,400:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
)
_HLG = "colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"
_BT2020 = "-color_primaries bt2020 -colorspace bt2020nc -color_trc"
# Frames from 10 ms to 70 ms long, and a pause of a second and a half before frame 100.
_VARIABLE = "settb=1/90000,setpts='(N/25+0.02*sin(N*1.7)+1.5*gte(N,100))*90000'"
_WOVEN = "-flags +ildct+ilme"
_FIELDS = "phase={late},trim=start_frame=1,setpts=PTS-STARTPTS,setfield={order}"

KINDS: dict[str, Kind] = {
    "23.976": Kind(rate="24000/1001"),
    "24": Kind(rate="24", suffix=".mov"),
    "25": Kind(),
    "29.97": Kind(rate="30000/1001"),
    "30": Kind(rate="30", suffix=".mkv"),
    "50": Kind(rate="50", suffix=".ts"),
    "59.94": Kind(rate="60000/1001"),
    "120": Kind(rate="120"),
    "silent": Kind(video=f"{_X264} -bf 2 -g 12", sound=None),
    "variable": Kind(filters=_VARIABLE, video=f"{_X264} -bf 2 -fps_mode passthrough -enc_time_base 1/90000"),
    "variable mkv": Kind(
        ".mkv", filters=_VARIABLE, video=f"{_X264} -bf 2 -fps_mode passthrough -enc_time_base 1/1000", sound="libmp3lame"
    ),
    "b frames": Kind(video="-c:v libx264 -preset veryfast -bf 8 -b_strategy 0 -refs 4 -x264-params b-pyramid=normal:keyint=60"),
    "open gop": Kind(video=f"{_X264} -bf 3 -b_strategy 0 -x264-params open-gop=1:keyint=12:min-keyint=12:scenecut=0"),
    "open gop variable": Kind(
        filters=_VARIABLE,
        video=f"{_X264} -bf 3 -b_strategy 0 -x264-params open-gop=1:keyint=12:min-keyint=12:scenecut=0 "
        "-fps_mode passthrough -enc_time_base 1/90000",
    ),
    # Two frames from its last keyframe on: read from there, the file ends before the decoder gives the first of them.
    "open gop hevc": Kind(
        ".mov",
        video=f"{_X265}:open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3 -tag:v hvc1",
        frames=170,
    ),
    "open gop mpeg2": Kind(".mpg", video="-c:v mpeg2video -q:v 4 -bf 2 -g 12 -sc_threshold 1000000000", sound="mp2"),
    # Begins in the middle of an open group: its first pictures refer to what is not there.
    "broken open gop": Kind(
        ".ts",
        video=f"{_X264} -bf 3 -b_strategy 0 -x264-params open-gop=1:keyint=12:min-keyint=12:scenecut=0",
        after=("-ss 1.0", "-copyts -map 0"),
    ),
    # What comes before 1.3 s is in the file, and an edit list says not to show it.
    "edit list": Kind(video=f"{_X264} -bf 2 -g 50 -sc_threshold 0", after=("-ss 1.3", "")),
    "sound first": Kind(after=("-itsoffset 0.7", "-map 0:v -map 1:a")),
    "sound late": Kind(".mkv", video=f"{_X264} -bf 2 -g 12", after=("-itsoffset 0.7", "-map 1:v -map 0:a")),
    # The clock of a transport stream wraps 2.3 s after the beginning: what comes before is read with times below 0.
    "negative": Kind(".ts", after=("", "-output_ts_offset 95440")),
    "26.5 hours": Kind(".mkv", after=("", "-output_ts_offset 95400")),
    "a million seconds": Kind(".mkv", after=("", "-output_ts_offset 1000000")),
    "fragments": Kind(video=f"{_X264} -bf 2 -g 25 -movflags frag_keyframe+empty_moov+default_base_moof"),
    "turned 90": Kind(after=("-display_rotation:v:0 -90", ""), turned=90),
    "turned 180": Kind(".mov", after=("-display_rotation:v:0 180", ""), turned=180),
    "turned 270": Kind(".mkv", after=("-display_rotation:v:0 90", ""), turned=270),
    # The second field of each picture is of the next number.
    "top field first": Kind(
        ".mpg",
        filters=_FIELDS.format(late="b", order="tff"),
        video=f"-c:v mpeg2video -q:v 4 {_WOVEN}",
        sound="mp2",
        frames=FRAMES - 1,
        field=0,
    ),
    "bottom field first": Kind(
        filters=_FIELDS.format(late="t", order="bff"),
        video=f"{_X264} -x264-params bff=1 {_WOVEN}",
        frames=FRAMES - 1,
        field=1,
    ),
    "flagged interlaced": Kind(video=f"{_X264} -x264-params tff=1 {_WOVEN}"),
    "4:2:2": Kind(video=f"{_X264} -pix_fmt yuv422p"),
    "4:4:4 odd": Kind(filters="crop=313:239:exact=1", video=f"{_X264} -pix_fmt yuv444p", side=120),
    "10 bit": Kind(video=f"{_X264} -pix_fmt yuv420p10le"),
    "hevc 10 bit": Kind(video=f"{_X265} -pix_fmt yuv420p10le -tag:v hvc1"),
    "hdr10": Kind(video=f"{_X265}:{_PQ} -pix_fmt yuv420p10le -tag:v hvc1 {_BT2020} smpte2084", frames=100),
    "hlg": Kind(".mkv", video=f"{_X265}:{_HLG} -pix_fmt yuv420p10le {_BT2020} arib-std-b67", frames=100),
    "prores": Kind(".mov", video="-c:v prores -pix_fmt yuv422p10le", sound="pcm_s16le", frames=100),
    "full range": Kind(".avi", video="-c:v mjpeg -q:v 3 -pix_fmt yuvj420p", sound="pcm_s16le"),
    "vp9": Kind(".webm", video="-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 400k", sound="libopus"),
    "vp8": Kind(".webm", video="-c:v libvpx -deadline realtime -cpu-used 8 -b:v 400k", sound="libvorbis"),
    "av1": Kind(video="-c:v libaom-av1 -cpu-used 8 -usage realtime -crf 30 -b:v 0", frames=100, sound="libopus"),
    "theora": Kind(".ogv", video="-c:v libtheora -q:v 6", sound="libvorbis"),
    "avi": Kind(".avi", video="-c:v mpeg4 -q:v 4", sound="libmp3lame"),
    # Packed B-frames: packets of AVI have no time of their own.
    "avi b frames": Kind(".avi", video="-c:v mpeg4 -q:v 4 -bf 2 -g 24", sound="libmp3lame"),
    "h264 avi": Kind(".avi", video=f"{_X264} -bf 2", sound="libmp3lame"),
    # Streams without a container: no times at all.
    "h264 alone": Kind(".h264", video=f"{_X264} -bf 2", sound=None),
    "mpeg2 alone": Kind(".m2v", video="-c:v mpeg2video -q:v 4 -bf 2", sound=None),
    "wmv": Kind(".wmv", video="-c:v wmv2 -q:v 4", sound="wmav2"),
    "flash": Kind(".flv", video="-c:v flv -q:v 4", sound="libmp3lame"),
    "h263": Kind(".3gp", filters="scale=384:288,crop=352:288", rate="30000/1001", video="-c:v h263 -q:v 4"),
    "gif": Kind(".gif", rate="10", video="-c:v gif", filters="format=gray", sound=None, frames=60),
    "squeezed": Kind(filters="scale=240:240,setsar=4/3", stretch=3 / 4, side=120),
    "growing": Kind(".ts", sound=None),
}


@dataclass(frozen=True)
class Numbered:
    """A file of one kind."""

    path: Path
    kind: Kind

    @property
    def film(self) -> Film:
        """What it shows and plays."""
        return _film(self.path, self.kind)


@cache
def _film(path: Path, kind: Kind) -> Film:
    return read_film(path, stretch=kind.stretch, side=kind.side, field=kind.field)


def numbered(folder: Path, name: str) -> Numbered:
    """Make a video of a kind, once: what is already in the folder is used again.

    Args:
        folder: where, such as `tmp_path_factory.getbasetemp()`: all that ask with the same one share.
        name: of `KINDS`.
    """
    kind = KINDS[name]
    folder = folder / "numbered"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name.replace(' ', '_').replace(':', '')}{kind.suffix}"
    if not path.exists():
        unfinished = folder / f"{os.getpid()}{kind.suffix}"
        if name == "growing":
            _grow(folder, unfinished)
        else:
            _make(folder, kind, unfinished)
        unfinished.replace(path)
    return Numbered(path, kind)


def _make(folder: Path, kind: Kind, path: Path) -> None:
    seconds = kind.frames / Fraction(kind.rate)
    first = path if kind.after is None else path.with_name(f"first{path.name}")
    picture = ("-f", "rawvideo", "-pixel_format", "yuv420p", "-video_size", f"{WIDTH}x{HEIGHT}", "-framerate", kind.rate)
    sound = ("-t", f"{float(seconds):.6f}", "-i", _sound_file(folder)) if kind.sound else ()
    filters = ("-vf", kind.filters) if kind.filters else ()
    # Pictures of a kind without options of its own for it are what players expect: 4:2:0.
    formats = () if "-pix_fmt" in kind.video or first.suffix == ".gif" else ("-pix_fmt", "yuv420p")
    audio = ("-c:a", kind.sound, "-b:a", "128k") if kind.sound else ()
    same = ("-fflags", "+bitexact", "-flags:a", "+bitexact")
    ffmpeg(
        *(*picture, "-i", _raw_file(folder), *sound, *filters, *formats),
        *(*kind.video.split(), "-threads", 1, "-frames:v", kind.frames, *audio, "-strict", -2, *same, first),
    )
    if kind.after is not None:
        before, behind = kind.after
        inputs = ("-i", first, *before.split(), "-i", first) if "-map 1" in behind else (*before.split(), "-i", first)
        ffmpeg(*inputs, *behind.split(), "-c", "copy", *same, path)
        first.unlink()


def _grow(folder: Path, path: Path) -> None:
    """A stream whose picture becomes larger in the middle, as broadcasts do."""
    small, large = path.with_name("small.ts"), path.with_name("large.ts")
    raw = ("-f", "rawvideo", "-pixel_format", "yuv420p", "-video_size", f"{WIDTH}x{HEIGHT}", "-framerate", 25)
    half = FRAMES // 2
    for part, filters in (
        (small, f"trim=end_frame={half}"),
        (large, f"trim=start_frame={half},scale=640:480"),
    ):
        ffmpeg(*raw, "-i", _raw_file(folder), "-vf", filters, *_X264.split(), "-bf", 0, "-threads", 1, "-copyts", part)
    path.write_bytes(small.read_bytes() + large.read_bytes())
    small.unlink()
    large.unlink()


# Luma and the two chromas of the background, and the stripes on it, of each shot: neighbours differ in all.
_LOOKS = ((190, 90, 60, 8, 0), (60, 200, 110, 24, 1), (170, 60, 190, 12, 0), (50, 110, 200, 40, 1))


def _raw_file(folder: Path) -> Path:
    """All pictures as yuv420p, without a header."""
    path = folder / "pictures.yuv"
    if not path.exists():
        unfinished = folder / f"{os.getpid()}.yuv"
        with unfinished.open("wb") as file:
            for number in range(FRAMES):
                bright, blue, red, period, axis = _LOOKS[shot_of(number)]
                stripes = np.arange((HEIGHT, WIDTH)[axis]) % period < period // 2
                line = np.where(stripes, bright, bright - 30).astype(np.uint8)
                luma = np.broadcast_to(line[:, None] if axis == 0 else line, (HEIGHT, WIDTH)).copy()
                draw_number(luma, number)
                file.write(luma.tobytes())
                for chroma in (blue, red):
                    file.write(bytes([chroma]) * (WIDTH * HEIGHT // 4))
        unfinished.replace(path)
    return path


def _sound_file(folder: Path) -> Path:
    path = folder / "sound.wav"
    if not path.exists():
        unfinished = folder / f"{os.getpid()}.wav"
        with wave.open(str(unfinished), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(_RATE)
            file.writeframes((_noise() * 0.7 * 32767).astype("<i2").tobytes())
        unfinished.replace(path)
    return path
