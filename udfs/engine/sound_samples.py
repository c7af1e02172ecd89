"""Sound that nobody watches: of sources that hold nothing else, and of those whose picture is not wanted."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine.clip_choice import longest, spans_of_sound
from v2d_spark.udfs.engine.formats import AUDIO, VIDEO
from v2d_spark.udfs.engine.no_clip import no_clip
from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.engine.sample import Job, Made
from v2d_spark.udfs.engine.sound import SoundCut, SoundFile, SoundTrack
from v2d_spark.udfs.engine.spans import Open, Span
from v2d_spark.udfs.engine.telling import Teller, span_told
from v2d_spark.udfs.engine.times import exact
from v2d_spark.udfs.engine.work import Nothing, Work
from v2d_spark.udfs.subsamplers import Listener, Sound
from v2d_spark.udfs.vocabulary import SampleError

_ROUNDED = Fraction(1, 1000)  # seconds by which two accounts of one time may differ
_FORMATS = {"mp3": "mp3", "aac": "m4a", "alac": "m4a", "flac": "flac", "opus": "opus"}  # by codec


def sound_samples(work: Work, teller: Teller) -> list[dict[str, Any]]:
    """The samples of a source that has no picture.

    Raises:
        Nothing: if there are none.
        SampleError: if its sound cannot be decoded.
    """
    plan, rules, formats, look = work.plan, work.rules, work.formats, work.look
    if rules is not None and rules.source == "cuts":
        raise Nothing("no_video", "there is no picture in which cuts could be found")
    if plan.stills is not None and formats is None:
        raise Nothing("no_video", "there is no picture in it")
    codec = look["probe"]["audio"]["codec"] or ""
    own = _FORMATS.get(codec, "wav" if codec.startswith("pcm") else "m4a")
    format = own if formats is None else formats.get(AUDIO)
    with SoundTrack(work.path) as track:
        if not track.exists:
            raise SampleError("unsupported", "its sound cannot be decoded")
        if rules is None:
            keeps = format is None or (plan.sound is None and (formats is None or format == look["extension"]))
            sample = _whole(work, teller, track, None if keeps else format)
            if keeps and format is not None:
                sample["streams"], sample["look"] = {AUDIO: teller.own_bytes()}, look
            return [sample]
        samples = []
        spans = spans_of_sound(work)
        for number, span in sorted(enumerate(spans), key=lambda one: one[1].start):
            samples += _clip(work, teller, track, span, number, format)
            track.forget(_origin(work, track) + span.start)
    if not samples:
        raise no_clip(rules, spans)
    return samples


def _whole(work: Work, teller: Teller, track: SoundTrack, format: str | None) -> dict[str, Any]:
    files, listeners = write_sound(work, track, track.start, None, 0, format, work.plan.sound)
    if format is not None and not files:
        raise work.silent()
    work.warn(track.warning)
    sample = teller.whole(files)
    sample["columns"] = _heard(listeners, work.look["duration_s"] or 0.0)
    return sample


def _clip(work: Work, teller: Teller, track: SoundTrack, span: Span, number: int, format: str | None) -> list[dict[str, Any]]:
    assert span.end is not None
    origin = _origin(work, track)
    start, end = origin + span.start, origin + span.end
    files, listeners = write_sound(work, track, start, end, number, format, work.plan.sound)
    work.warn(track.warning)
    if format is not None and not files:
        return []
    rate = Fraction(1, track.rate)
    told = span_told(round(start / rate), round(end / rate), rate, round(origin / rate))
    streams = {name: teller.stream(file) for name, file in files.items()}
    return teller.clip(told, span, streams, _heard(listeners, float(span.end - span.start)))


def _origin(work: Work, track: SoundTrack) -> Fraction:
    """Time stamp of the source's beginning, in seconds: subtitles may begin before the sound does."""
    told = work.look["probe"]["start_s"]
    begins_later = told is not None and track.start - exact(told) > _ROUNDED
    return exact(told) if begins_later else track.start


def sound_of_whole(work: Work, reader: VideoReader, job: Job) -> Made:
    """The sound of a source of which nobody wants to see anything: no picture is decoded."""
    assert job.track is not None
    start = reader.start
    begin = start * reader.time_base
    if VIDEO not in work.kept:  # sound that comes before the picture counts
        begin = min(job.track.start, reader.origin * reader.time_base)
    files, listeners = write_sound(work, job.track, begin, None, 0, job.audio, work.plan.sound)
    told = _heard(listeners, work.look["duration_s"] or 0.0)
    return Made(Open(0, Span(Fraction(0), None)), start, start, files, [], told)


def sound_of_spans(work: Work, reader: VideoReader, job: Job, spans: Sequence[Span]) -> list[Made]:
    """The sound of clips that nobody wants to see: no picture is decoded. Their times are those of the spans."""
    track, rules, base = job.track, work.rules, reader.time_base
    assert track is not None and rules is not None
    origin = reader.origin * base
    last = longest(work, reader) - 2 * reader.step * base
    made = []
    for number, span in enumerate(sorted(spans, key=lambda one: one.start)):
        assert span.end is not None
        end = min(span.end, last)
        if end <= span.start or end - span.start < rules.min_length:
            continue
        track.forget(origin + span.start)
        files, listeners = write_sound(work, track, origin + span.start, origin + end, number, job.audio, work.plan.sound)
        told = _heard(listeners, float(end - span.start))
        start_pts, end_pts = (reader.origin + round(time / base) for time in (span.start, end))
        made.append(Made(Open(number, span), start_pts, end_pts, files, [], told))
    return made


def write_sound(
    work: Work,
    track: SoundTrack,
    start: Fraction,
    end: Fraction | None,
    number: int,
    format: str | None,
    sound: Sound | None,
    *,
    listens: bool = True,
) -> tuple[dict[str, Path], list[tuple[str, Listener]]]:
    """Write sound to a file, and let it be heard.

    Args:
        work: the work on its source.
        track: the sound.
        start: seconds, as the track's time stamps count.
        end: seconds; None for all that comes.
        number: the file's name.
        format: of the file; None for none.
        sound: what becomes of it.
        listens: whether those who measure hear it.

    Returns:
        The file by its stream, none where there is no sound to copy; and who has heard it, with the names of their columns.
    """
    listeners = work.plan.listeners() if listens else []
    ears = [listener for _, listener in listeners]
    bit_rate = work.plan.encode.audio_bit_rate
    if format is None:
        if ears:
            cut = SoundCut(track, None, codec=None, start=start, sound=sound, bit_rate=bit_rate, listeners=ears)
            for time in track.steps(end):
                cut.advance(time)
            cut.finish(end)
        return {}, listeners
    path = work.folder / f"{number:05d}.{format}"
    file = SoundFile(str(path), format, track, start=start, sound=sound, bit_rate=bit_rate, listeners=ears)
    try:
        file.close(end)
    except BaseException:
        file.discard()
        path.unlink(missing_ok=True)
        raise
    return {AUDIO: path} if file.has_sound else {}, listeners


def _heard(listeners: Sequence[tuple[str, Listener]], length_s: float) -> dict[str, dict[str, Any]]:
    """What was measured, by subsampler."""
    columns: dict[str, dict[str, Any]] = {}
    for name, listener in listeners:
        columns.setdefault(name, {}).update(listener.result(length_s))
    return columns
