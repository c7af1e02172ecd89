"""Sound of samples: copied or encoded, it stays with the picture; what is decoded is so to the sample."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.media import ffmpeg
from tests.support.subsampling import check_answer, subsample
from v2d_spark.udfs.engine import MediaChild
from v2d_spark.udfs.engine.sound import SOUND_FORMATS, SoundCut, SoundFile, SoundTrack
from v2d_spark.udfs.engine.sound_layout import LAYOUTS, Format, to_floats
from v2d_spark.udfs.engine.sound_write import ENCODERS, EncodedSound
from v2d_spark.udfs.subsamplers import Sound
from v2d_spark.udfs.vocabulary import SampleError

RATE = 48_000
ADTS = 7  # bytes of a header of aac
FRAME = 1024  # samples of an aac frame
SECONDS = 6
FPS = 25
MUXERS = {"mp4": "mp4", "mkv": "matroska", "webm": "webm"}

Samples = npt.NDArray[np.float32]


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self, rate: int = 0, channels: int = 0) -> None:
        self.rate, self.channels = rate, channels
        self.parts: list[Samples] = []
        self.rates: set[int] = set()

    def hear(self, rate: int, sound: Samples) -> None:
        self.rates.add(rate)
        self.parts.append(sound)

    def result(self, duration_s: float) -> dict[str, Any]:
        return {}

    @property
    def heard(self) -> Samples:
        return np.concatenate(self.parts, axis=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, which is like itself at no other time, in many containers."""
    folder = tmp_path_factory.mktemp("sound")
    noise = folder / "noise.wav"
    source = f"anoisesrc=d={SECONDS}:c=brown:r={RATE}:seed=1:a=0.5[a];anoisesrc=d={SECONDS}:c=brown:r={RATE}:seed=2:a=0.5[b]"
    ffmpeg("-f", "lavfi", "-i", f"{source};[a][b]amerge", "-fflags", "+bitexact", noise)
    picture = ("-f", "lavfi", "-i", f"testsrc2=size=64x64:rate={FPS}:duration={SECONDS}")
    ffmpeg(*picture, "-i", noise, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", folder / "aac.mp4")
    ffmpeg("-i", folder / "aac.mp4", "-c", "copy", folder / "aac.mkv")
    ffmpeg("-i", folder / "aac.mp4", "-c", "copy", folder / "aac.ts")
    for name in ("mp3.mp3", "opus.opus", "opus.webm", "flac.flac", "vorbis.ogg"):
        ffmpeg("-i", noise, *(("-c:a", "libopus") if "opus" in name else ()), folder / name)
    return folder


def decoded(path: Path | str) -> Samples:
    """What a player plays from time 0 on, as PyAV sees it."""
    with av.open(str(path)) as file:
        parts: list[Samples] = []
        for frame in file.decode(audio=0):
            assert frame.pts is not None and frame.time_base is not None
            if not parts and file.format.name != "mp3":
                late = round(frame.pts * frame.time_base * frame.sample_rate)
                parts.append(np.zeros((frame.layout.nb_channels, max(0, late)), np.float32))
            parts.append(to_floats(frame))
    return np.concatenate(parts, axis=1)


def played(path: Path) -> Samples:
    """What a player plays from time 0 on, as the ffmpeg command sees it."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-af", "aresample=async=1:first_pts=0"]
    done = subprocess.run([*command, "-f", "f32le", "-ac", "2", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32).reshape(-1, 2).T


def lag(sound: Samples, reference: Samples, most: int = 3000) -> int:
    """By how many samples a sound is later than another."""
    count = min(sound.shape[1], reference.shape[1])
    one, other = (array[0, :count] - array[0, :count].mean() for array in (sound, reference))
    size = 1 << (2 * count).bit_length()
    like = np.fft.irfft(np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size)), size)
    like = np.concatenate([like[-most:], like[:most]])
    best = int(np.argmax(like))
    assert like[best] > 0.7 * np.linalg.norm(one) * np.linalg.norm(other), "not the same sound"
    return best - most


def picture(number: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.full((96, 64), number % 256, np.uint8), "yuv420p")
    frame.pts, frame.time_base = number, Fraction(1, FPS)
    return frame


def coded(path: Path | str) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(audio=0) if packet.size]


def is_copy(path: Path | str, source: Path) -> bool:
    """Whether sound is coded as it is in its source; in streams as they are broadcast each packet has a header, too."""
    known = coded(source)
    return set(coded(path)) <= {*known, *(packet[ADTS:] for packet in known)}


def write_clip(
    path: Path,
    source: Path,
    start: Fraction,
    end: Fraction,
    *,
    sound: Sound | None = None,
    codec: str | None = None,
    listeners: Sequence[Ear] = (),
    forget: bool = True,
) -> bool:
    """Write a clip with pictures; whether its sound was copied."""
    with SoundTrack(str(source)) as track, av.open(str(path), "w", format=MUXERS[path.suffix[1:]]) as output:
        video = output.add_stream("libvpx" if path.suffix == ".webm" else "libx264", rate=FPS, options={"threads": "1"})
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        cut = SoundCut(track, output, codec=codec, start=start, sound=sound, bit_rate=128_000, listeners=listeners)
        for number in range(round((end - start) * FPS)):
            packets = video.encode(picture(number))
            if packets:
                output.mux(packets)
                cut.advance(start + Fraction(number, FPS))
            if forget:
                track.forget(start + Fraction(number, FPS))
        output.mux(video.encode(None))
        cut.finish(end)
    return is_copy(path, source)


SPANS = [(Fraction(0), Fraction(2)), (Fraction(52, 25), Fraction(102, 25))]


@pytest.mark.parametrize(("start", "end"), SPANS)
@pytest.mark.parametrize(
    ("source", "container", "copied"),
    [
        *((name, "mp4", True) for name in ("aac.mp4", "aac.mkv", "aac.ts", "mp3.mp3", "opus.webm", "flac.flac")),
        ("vorbis.ogg", "mp4", False),
        *((name, "mkv", True) for name in ("aac.mp4", "aac.mkv", "aac.ts", "mp3.mp3", "opus.opus", "noise.wav", "vorbis.ogg")),
        *((name, "webm", True) for name in ("opus.webm", "opus.opus", "vorbis.ogg")),
        ("aac.mp4", "webm", False),
    ],
)
def test_sound_stays_with_the_picture(
    folder: Path, tmp_path: Path, source: str, container: str, copied: bool, start: Fraction, end: Fraction
) -> None:
    path = tmp_path / f"clip.{container}"
    with SoundTrack(str(folder / source)) as track:
        base = track.start
    reference = decoded(folder / source)[:, round((base + start) * RATE if source != "mp3.mp3" else start * RATE) :]
    assert write_clip(path, folder / source, base + start, base + end) == copied
    with av.open(str(path)) as file:
        first = next(file.decode(video=0))
        assert first.pts == 0
        assert file.duration is not None and file.duration / 1e6 == pytest.approx(2, abs=0.05)
    assert abs(lag(decoded(path), reference)) < FRAME / 4
    assert abs(lag(played(path), reference)) < FRAME / 4
    silent = int(np.argmax(np.abs(decoded(path)[0]) > 1e-4))
    assert silent <= 4608  # a packet of wav or flac


@pytest.mark.parametrize("source", ["aac.mp4", "aac.mkv", "flac.flac", "mp3.mp3", "opus.webm", "vorbis.ogg", "noise.wav"])
def test_what_is_heard_is_exact(folder: Path, source: str) -> None:
    start = Fraction(1, 3)
    ear, other = Ear(), Ear(16_000, 1)
    with SoundTrack(str(folder / source)) as track:
        base = track.start
        cut = SoundCut(track, None, codec=None, start=base + start, sound=None, bit_rate=0, listeners=[ear, other])
        for number in range(50):
            cut.advance(base + start + Fraction(number, FPS))
            track.forget(base + start + Fraction(number, FPS))
        cut.finish(base + start + 2)
    whole = decoded(folder / source)[:, round(start * RATE) :]
    assert ear.heard.shape == (2, 2 * RATE) and ear.rates == {RATE}
    assert other.heard.shape == (1, 32_000) and other.rates == {16_000}
    # Matroska tells time in milliseconds.
    assert abs(lag(ear.heard, whole)) <= (24 if source.endswith((".mkv", ".webm")) else 0)
    if source in ("flac.flac", "mp3.mp3", "noise.wav", "vorbis.ogg"):
        np.testing.assert_allclose(ear.heard, whole[:, : 2 * RATE], atol=1e-4)


@pytest.mark.parametrize("sound", [None, Sound(16_000, 1), Sound(44_100), Sound(loudness=-23.0)], ids=str)
@pytest.mark.parametrize("format", SOUND_FORMATS)
def test_files_of_sound_alone(folder: Path, tmp_path: Path, format: str, sound: Sound | None) -> None:
    paths = [tmp_path / f"one.{format}", tmp_path / f"two.{format}"]
    for path in paths:
        with SoundTrack(str(folder / "aac.mp4")) as track:
            file = SoundFile(str(path), format, track, start=Fraction(1), sound=sound, bit_rate=96_000, listeners=[])
            for half in range(2, 7):
                file.advance(Fraction(half, 2))
                track.forget(Fraction(half, 2))
            file.close(Fraction(3))
            assert file.has_sound
        assert is_copy(path, folder / "aac.mp4") == (format == "m4a" and sound is None)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with av.open(str(paths[0])) as written:
        stream = written.streams.audio[0]
        if format != "opus":
            assert stream.rate == (sound.rate if sound and sound.rate else RATE)
        assert stream.channels == (sound.channels if sound and sound.channels else 2)
        assert written.duration is not None and written.duration / 1e6 == pytest.approx(2, abs=0.01)
        # What wrote it is not said, or not which version.
        assert not any(sign.isdigit() for sign in {**written.metadata, **stream.metadata}.get("encoder", ""))
        rate = stream.rate
    samples = decoded(paths[0])
    assert 0 <= samples.shape[1] - 2 * rate <= (FRAME if format == "m4a" else 0)
    if rate == RATE:
        # One channel of the sound would be two of the source mixed.
        reference = decoded(folder / "aac.mp4")[:, RATE:]
        if samples.shape[0] == 1:
            reference = reference.mean(axis=0, keepdims=True)
        assert lag(samples, reference) == 0


def test_formats_copy_what_is_theirs(folder: Path, tmp_path: Path) -> None:
    for source, format in (("aac.mp4", "m4a"), ("mp3.mp3", "mp3"), ("opus.webm", "opus")):
        path = tmp_path / f"whole.{format}"
        with SoundTrack(str(folder / source)) as track:
            file = SoundFile(str(path), format, track, start=track.start, sound=None, bit_rate=0, listeners=[])
            file.close(None)
        assert is_copy(path, folder / source)
        # The header that tells of an mp3's first silence is written anew, and tells of less.
        assert abs(lag(decoded(path), decoded(folder / source))) <= (576 if format == "mp3" else 24)
        assert decoded(path).shape[1] == pytest.approx(SECONDS * RATE, abs=2 * FRAME)


def test_mp3_from_the_middle_is_encoded(folder: Path, tmp_path: Path) -> None:
    """Its packets refer back to those before them."""
    with SoundTrack(str(folder / "mp3.mp3")) as track:
        start = track.start + 2
        file = SoundFile(str(tmp_path / "cut.mp3"), "mp3", track, start=start, sound=None, bit_rate=128_000, listeners=[])
        file.close(start + 1)
    assert not is_copy(tmp_path / "cut.mp3", folder / "mp3.mp3")
    assert lag(decoded(tmp_path / "cut.mp3"), decoded(folder / "mp3.mp3")[:, 2 * RATE :]) == 0


def test_loudness_comes_near_what_is_wanted(folder: Path, tmp_path: Path) -> None:
    with SoundTrack(str(folder / "noise.wav")) as track:
        sound = Sound(loudness=-20.0)
        file = SoundFile(str(tmp_path / "l.flac"), "flac", track, start=Fraction(0), sound=sound, bit_rate=0, listeners=[])
        file.close(None)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(tmp_path / "l.flac"), "-af", "ebur128", "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    measured = float(told.rpartition("I:")[2].split()[0])
    assert measured == pytest.approx(-20, abs=1.5)


def with_time_stamps(path: Path, source: Path, starts: Sequence[tuple[float, float, float]]) -> Path:
    """Copy parts of a sound, each as (from, to, new time), into a file of their own."""
    with av.open(str(source)) as file, av.open(str(path), "w") as output:
        stream = file.streams.audio[0]
        copy = output.add_stream_from_template(stream)
        for packet in file.demux(stream):
            if packet.pts is None or packet.time_base is None:
                continue
            at = float(packet.pts * packet.time_base)
            for begin, end, new in starts:
                if begin <= at < end:
                    packet.pts = packet.dts = round((at - begin + new) / packet.time_base)
                    packet.stream = copy
                    output.mux(packet)
                    break
    return path


def heard(path: Path, start: Fraction, end: Fraction) -> Samples:
    ear = Ear()
    with SoundTrack(str(path)) as track:
        cut = SoundCut(track, None, codec=None, start=start, sound=None, bit_rate=0, listeners=[ear])
        cut.advance((start + end) / 2)
        cut.finish(end)
    return ear.heard


def test_gaps_are_silent_and_what_follows_is_in_its_place(folder: Path, tmp_path: Path) -> None:
    path = with_time_stamps(tmp_path / "gap.mkv", folder / "noise.wav", [(0, 1, 1), (1, 3, 3)])
    sound, source = heard(path, Fraction(0), Fraction(6)), decoded(folder / "noise.wav")
    assert sound.shape[1] == 6 * RATE
    first = sound[0] != 0
    assert abs(int(np.argmax(first)) - RATE) < 100  # begins late
    gap = np.flatnonzero(np.diff(np.flatnonzero(first)) > 1000)
    assert len(gap) == 1
    assert abs(lag(sound[:, 3 * RATE + 4096 :], source[:, RATE + 4096 :])) < 100
    assert not sound[:, -RATE // 2 :].any()  # ends early


def test_what_overlaps_is_cut(folder: Path, tmp_path: Path) -> None:
    path = with_time_stamps(tmp_path / "overlap.mkv", folder / "noise.wav", [(0, 2, 0), (2, 4, 1.96)])
    sound, source = heard(path, Fraction(0), Fraction(3)), decoded(folder / "noise.wav")
    assert abs(lag(sound[:, 2 * RATE + 9000 :], source[:, round(2.04 * RATE) + 9000 :])) < 100


def test_late_sound_is_late_in_clips_too(folder: Path, tmp_path: Path) -> None:
    path = with_time_stamps(tmp_path / "late.mkv", folder / "aac.mp4", [(0, 4, 1)])
    for codec in (None, "aac"):
        copied = write_clip(tmp_path / "clip.mp4", path, Fraction(1, 2), Fraction(3), codec=codec)
        assert copied == (codec is None)
        assert abs(lag(decoded(tmp_path / "clip.mp4")[:, RATE // 2 :], decoded(folder / "aac.mp4"))) < 100


@pytest.mark.parametrize("gap", [0.3, 2.5])
def test_sound_after_a_gap_is_whole_where_a_clip_begins_in_the_gap(folder: Path, tmp_path: Path, gap: float) -> None:
    path = with_time_stamps(tmp_path / "gap.mkv", folder / "aac.mp4", [(0, 2, 0), (2, 5, 2 + gap)])
    start = 2 + Fraction(gap) * 2 / 3
    assert write_clip(tmp_path / "clip.mp4", path, start, Fraction(5))
    begins = round((2 + gap - float(start)) * RATE)
    reference = decoded(folder / "aac.mp4")[:, 2 * RATE :]
    for sound in (decoded(tmp_path / "clip.mp4"), played(tmp_path / "clip.mp4")):
        assert not np.abs(sound[0, : begins - FRAME]).max(initial=0) > 1e-3
        assert abs(lag(sound[:, begins + FRAME :], reference[:, FRAME:])) < 2 * FRAME
        assert sound.shape[1] == pytest.approx(round((5 - float(start)) * RATE), abs=2 * FRAME)


@pytest.mark.parametrize(("source", "format"), [("aac.mp4", "m4a"), ("opus.webm", "opus")])
def test_no_file_is_left_where_there_is_no_sound_to_copy(folder: Path, tmp_path: Path, source: str, format: str) -> None:
    """In a gap, where the last packet is heard for an instant, and after it."""
    path = with_time_stamps(tmp_path / "gap.mkv", folder / source, [(0, 2, 0), (2, 4, 4)])
    with SoundTrack(str(path)) as track:
        list(track.steps(None))
        last = track.read_to
    out = tmp_path / f"out.{format}"
    for start in (3, last + 0.019, last + 0.03):
        with SoundTrack(str(path)) as track:
            file = SoundFile(str(out), format, track, start=Fraction(start), sound=None, bit_rate=0, listeners=[])
            file.close(Fraction(start) + Fraction(1, 2))
            assert not file.has_sound and not out.exists()


def test_damaged_packets_are_left_out_and_counted(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "damaged.ts"
    data = bytearray((folder / "aac.ts").read_bytes())
    at = data.index(b"\xff\xf1", len(data) // 2)
    data[at + 2] |= 0x3C  # a rate that does not exist
    source.write_bytes(data)
    ear = Ear()
    for listeners in ([], [ear]):
        with SoundTrack(str(source)) as track:
            path = str(tmp_path / "copy.m4a")
            file = SoundFile(path, "m4a", track, start=track.start, sound=None, bit_rate=0, listeners=listeners)
            file.close(track.start + SECONDS)
            assert 1 <= track.faults <= 5
            assert track.warning is not None and "pieces of the sound do not decode" in track.warning
        assert is_copy(path, folder / "aac.ts")
    reference = decoded(folder / "aac.ts")[:, round(1.4 * RATE) :]
    for sound in (played(Path(path)), ear.heard):
        assert abs(lag(sound[:, 5 * RATE :], reference[:, 5 * RATE :])) < 100


def test_clips_may_overlap_and_be_opened_late(folder: Path) -> None:
    whole = decoded(folder / "noise.wav")
    ears = [Ear() for _ in range(3)]
    starts = [Fraction(0), Fraction(1), Fraction(1, 2)]
    with SoundTrack(str(folder / "noise.wav")) as track:
        cuts = [
            SoundCut(track, None, codec=None, start=start, sound=None, bit_rate=0, listeners=[ear])
            for start, ear in zip(starts[:2], ears[:2], strict=True)
        ]
        cuts[0].advance(Fraction(2))
        track.forget(Fraction(1, 2))
        cuts.append(SoundCut(track, None, codec=None, start=starts[2], sound=None, bit_rate=0, listeners=[ears[2]]))
        track.forget(Fraction(3))  # what an open cut still needs stays
        for cut in reversed(cuts):
            cut.finish(Fraction(3))
    for start, ear in zip(starts, ears, strict=True):
        np.testing.assert_array_equal(ear.heard, whole[:, round(start * RATE) : 3 * RATE])


def test_a_track_reads_lazily_and_forgets(folder: Path) -> None:
    with SoundTrack(str(folder / "aac.mp4")) as track:
        reader = track.reader(1.0)
        assert not track.ended and len(track._pieces) < 60
        del reader
        track.forget(Fraction(5))
        track.reader(5.0)
        assert len(track._pieces) < 20


def test_what_was_let_go_is_read_again(folder: Path) -> None:
    ear = Ear()
    with SoundTrack(str(folder / "flac.flac")) as track:
        open_reader = track.reader(4.0)
        track.forget(Fraction(5))
        cut = SoundCut(track, None, codec=None, start=Fraction(1), sound=None, bit_rate=0, listeners=[ear])
        cut.finish(Fraction(2))
        assert next(open_reader.until(9.0)).number == open_reader.number - 1
    np.testing.assert_array_equal(ear.heard, decoded(folder / "flac.flac")[:, RATE : 2 * RATE])


def test_only_so_much_is_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("v2d_spark.udfs.engine.sound_track._MOST_BYTES", 50_000)
    path = tmp_path / "whole.wav"
    with SoundTrack(str(folder / "noise.wav")) as track:
        file = SoundFile(str(path), "wav", track, start=Fraction(0), sound=None, bit_rate=0, listeners=[])
        file.advance(Fraction(5))
        assert len(track._pieces) < 20
        file.close(None)
    np.testing.assert_array_equal(decoded(path), decoded(folder / "noise.wav"))


def test_time_stamps_that_leap_for_days_cost_nothing(folder: Path, tmp_path: Path) -> None:
    path = with_time_stamps(tmp_path / "leap.mkv", folder / "aac.mp4", [(0, 2, 0), (2, 4, 1e6)])
    with SoundTrack(str(path)) as track:
        out = str(tmp_path / "leap.wav")
        file = SoundFile(out, "wav", track, start=Fraction(0), sound=None, bit_rate=0, listeners=[])
        file.close(None)
    assert decoded(out).shape[1] == pytest.approx(4 * RATE, abs=FRAME)


def test_a_long_silence_is_written_as_it_goes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = with_time_stamps(tmp_path / "long.mkv", folder / "aac.mp4", [(0, 1, 0), (1, 2, 61)])
    written: list[int] = []

    def encode(sound: EncodedSound, block: Samples) -> list[Any]:
        written.append(out.stat().st_size if out.exists() else 0)
        return encodes(sound, block)

    encodes = EncodedSound.encode
    monkeypatch.setattr(EncodedSound, "encode", encode)
    out = tmp_path / "long.wav"
    with SoundTrack(str(path)) as track:
        file = SoundFile(str(out), "wav", track, start=Fraction(0), sound=None, bit_rate=0, listeners=[])
        file.close(None)
    written.append(out.stat().st_size)
    assert written[-1] > 60 * 4 * RATE
    assert max(np.diff(written)) < 4 * 4 * RATE  # a few seconds


@pytest.mark.parametrize("end", [None, 100])
def test_silence_is_bounded_over_all_gaps(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: int | None
) -> None:
    """By an hour more than what is heard, here by ten seconds."""
    monkeypatch.setattr("v2d_spark.udfs.engine.sound_track.MOST_SILENCE_S", 10)
    gaps = [(0.0, 1.0, 0.0), (1.0, 2.0, 8.0), (2.0, 3.0, 16.0)]
    for count, most in ((2, True), (3, False)):
        path = with_time_stamps(tmp_path / "gaps.mka", folder / "aac.mp4", gaps[:count])
        with SoundTrack(str(path)) as track:
            out = tmp_path / "gaps.wav"
            file = SoundFile(str(out), "wav", track, start=Fraction(0), sound=None, bit_rate=0, listeners=[])
            if most and end is None:
                file.close(None)
                assert decoded(out).shape[1] == pytest.approx(9 * RATE, abs=2 * FRAME)
                continue
            with pytest.raises(SampleError, match="over an hour more than what is heard"):
                file.close(None if end is None else Fraction(end))
            file.discard()


def test_the_silence_beside_a_picture_lasts_as_long_as_it(holey: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("v2d_spark.udfs.engine.sound_track.MOST_SILENCE_S", 0)
    ear = Ear()
    with SoundTrack(str(holey)) as track:
        cut = SoundCut(track, None, codec=None, start=Fraction(0), sound=None, bit_rate=0, listeners=[ear])
        cut.finish(Fraction(2))
    assert ear.heard.shape[1] == 2 * track.rate


@pytest.mark.parametrize("seconds", [0.02, 0.3, 2.0])
@pytest.mark.parametrize("silent", [True, False])
def test_loudness_of_what_is_short_or_silent(folder: Path, tmp_path: Path, seconds: float, silent: bool) -> None:
    source = folder / "noise.wav"
    if silent:
        source = tmp_path / "silence.wav"
        ffmpeg("-f", "lavfi", "-i", f"anullsrc=r={RATE}", "-t", SECONDS, source)
    path = str(tmp_path / "short.m4a")
    with SoundTrack(str(source)) as track:
        end = 1 + Fraction(seconds)
        sound = Sound(loudness=-20.0)
        file = SoundFile(path, "m4a", track, start=Fraction(1), sound=sound, bit_rate=64_000, listeners=[])
        file.close(end)
    assert decoded(path).shape[1] - seconds * RATE <= FRAME
    assert decoded(path).any() != silent


def test_encoders_take_all_they_say(tmp_path: Path) -> None:
    for codec, encoder in ENCODERS.items():
        for rate in encoder.rates or (8000, 37_800, 96_000):
            for channels in encoder.layouts:
                format = encoder.nearest(Format(rate, LAYOUTS[channels]))
                assert (format.rate, format.channels) == (rate, channels)
                with av.open(str(tmp_path / "e.mkv"), "w") as output:
                    encoded = EncodedSound(output, codec, format, 64_000)
                    output.mux(encoded.encode(np.zeros((channels, 3000), np.float32)))
                    output.mux(encoded.finish())


@pytest.mark.parametrize("channels", [1, 3, 4, 6, 8, 16])
def test_many_channels(tmp_path: Path, channels: int) -> None:
    ffmpeg("-f", "lavfi", "-i", f"anoisesrc=d=0.5:r=8000,pan={channels}c|" + "|".join(f"c{n}=c0" for n in range(channels)),
           tmp_path / "many.wav")  # fmt: skip
    for format in SOUND_FORMATS:
        with SoundTrack(str(tmp_path / "many.wav")) as track:
            path = str(tmp_path / f"many.{format}")
            file = SoundFile(path, format, track, start=Fraction(0), sound=None, bit_rate=64_000, listeners=[])
            file.close(None)
        assert decoded(path).shape[0] == min(channels, {"mp3": 2, "m4a": 6, "opus": 6}.get(format, 8))


def test_a_file_without_sound(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64:duration=0.2", tmp_path / "silent.mp4")
    with SoundTrack(str(tmp_path / "silent.mp4")) as track:
        assert not track.exists and track.ended and track.start == 0


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no sound at all")
    with pytest.raises(SampleError, match="damaged"):
        SoundTrack(str(tmp_path / "text"))
    with pytest.raises(SampleError, match="cannot be opened"):
        SoundTrack(str(tmp_path / "nothing"))


# --- samples of sources whose sound is not all there ---


@pytest.fixture(scope="module")
def holey(folder: Path) -> Path:
    """Three seconds of picture, and sound in the first and in the last of them."""
    path = folder / "holey.mkv"
    source = f"testsrc2=size=64x64:rate={FPS}:duration=3[v];sine=duration=3,aselect='lt(t,0.9)+between(t,2.2,2.6)'[a]"
    ffmpeg("-filter_complex", source, "-map", "[v]", "-map", "[a]", "-c:v", "libx264", "-c:a", "aac", path)
    return path


WINDOWS = {"clip": {"source": "windows", "window_s": 1}}


def streams(
    child: MediaChild, path: Path, folder: Path, settings: dict[str, Any], formats: Any
) -> list[tuple[float, set[str]]]:
    """Where each sample begins, to the second, and its streams."""
    answer = subsample(child, path, folder, settings, formats=formats)
    check_answer(child, answer, folder)
    return [(round(sample["span"]["start_s"]), set(sample["streams"])) for sample in answer["samples"]]


@pytest.mark.parametrize("more", [{}, {"measure": {}}, {"frames": {"at": "first"}}])
def test_a_clip_without_sound_costs_the_others_nothing(
    child: MediaChild, holey: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    still = {"image": "jpg"} if "frames" in more else {}
    settings = WINDOWS | more

    both = streams(child, holey, tmp_path / "both", settings, {"video": "mp4", "audio": "m4a"} | still)
    alone = streams(child, holey, tmp_path / "alone", settings, {"audio": "m4a"} | still)

    pictures = {(second, frozenset(still)) for second in range(3)} if still else set()
    assert {(at, frozenset(names)) for at, names in both} == pictures | {
        (0, frozenset({"video", "audio"})),
        (1, frozenset({"video"})),
        (2, frozenset({"video", "audio"})),
    }
    assert {(at, frozenset(names)) for at, names in alone} == pictures | {(0, frozenset({"audio"})), (2, frozenset({"audio"}))}


@pytest.mark.parametrize("formats", [None, {"audio": "m4a"}])
def test_a_part_without_sound_is_no_clip_of_sound(
    child: MediaChild, holey: Path, tmp_path: Path, formats: dict[str, str] | None
) -> None:
    ffmpeg("-i", holey, "-map", "0:a", "-c", "copy", tmp_path / "holey.mka")
    made = streams(child, tmp_path / "holey.mka", tmp_path / "made", WINDOWS, formats)
    assert made == [(0, {"audio"}), (2, {"audio"})]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["aac.mp4", "aac.ts", "mp3.mp3", "opus.webm", "flac.flac"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=40),
    length=st.floats(0.05, 1),
    copied=st.booleans(),
)
def test_broken_files_cost_no_more_than_themselves(
    folder: Path, tmp_path: Path, name: str, changes: list[tuple[float, bytes]], length: float, copied: bool
) -> None:
    data = bytearray((folder / name).read_bytes())
    del data[round(length * len(data)) :]
    for place, new in changes:
        at = round(place * len(data))
        data[at : at + len(new)] = new[: max(0, len(data) - at)]
    (tmp_path / "broken").write_bytes(data)
    open_files = len(os.listdir("/proc/self/fd"))
    ear = Ear()
    try:
        with SoundTrack(str(tmp_path / "broken")) as track:
            if track.exists:
                listeners = [] if copied else [ear]
                file = SoundFile(
                    str(tmp_path / "out.m4a"), "m4a", track, start=Fraction(1), sound=None, bit_rate=64_000, listeners=listeners
                )
                for second in range(1, 4):
                    file.advance(Fraction(second))
                    track.forget(Fraction(second))
                file.close(Fraction(3))
                assert copied or ear.heard.shape[1] == pytest.approx(2 * track.rate, abs=1)
    except (SampleError, av.error.FFmpegError) as error:
        assert not isinstance(error, MemoryError)
    assert len(os.listdir("/proc/self/fd")) <= open_files + 1  # a file that was not closed waits for the collector
