"""Samples whose picture is copied as it is, and made anew only where the copy is not what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine.copies import copied, copy_format, holds_sound, is_same, is_span, remuxed
from v2d_spark.udfs.engine.formats import AUDIO, VIDEO
from v2d_spark.udfs.engine.no_clip import no_clip
from v2d_spark.udfs.engine.passes import made_of_pictures
from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.engine.sample import Job, Made
from v2d_spark.udfs.engine.sound import SoundTrack
from v2d_spark.udfs.engine.sound_samples import write_sound
from v2d_spark.udfs.engine.spans import Open, Span
from v2d_spark.udfs.engine.tally import Tally
from v2d_spark.udfs.engine.telling import Stream, Teller, span_told
from v2d_spark.udfs.engine.work import Work
from v2d_spark.udfs.vocabulary import SampleError

_SOUND_BESIDE = {"mp4": "m4a", "webm": "opus", "mkv": "m4a"}  # format of sound that goes into a video of each


def remuxed_whole(work: Work, teller: Teller, reader: VideoReader, job: Job, made: list[Made], format: str) -> list[Made]:
    """The source in another container, or with other sound.

    Args:
        work: the work on the source.
        teller: tells of its samples.
        reader: of the source.
        job: what is made of it.
        made: what was made of it so far: all but the video.
        format: of the container: mp4, mkv or webm.
    """
    path = work.folder / f"00000-copy.{format}"
    sound: Path | None = None
    if AUDIO in work.there and (work.sound_inside is not None or not holds_sound(format, work.look)):
        with SoundTrack(work.path) as track:
            start = reader.origin * reader.time_base
            beside = _SOUND_BESIDE[format]
            files, _ = write_sound(work, track, start, None, 1, beside, work.sound_inside, listens=False)
            sound = files.get(AUDIO)
    is_copied = remuxed(work.path, path, format, work.look, sound, work.timeout)
    if sound is not None:
        sound.unlink()
    if is_copied and not is_same(work.look, teller.stream(path)[1]):
        path.unlink()
        is_copied = False
    if is_copied:
        one = made[0] if made else Made(Open(0, Span(Fraction(0), None)), reader.start, reader.start, {}, [], {})
        # It has what cannot be decoded, too.
        return [replace(one, start=reader.start, files={VIDEO: path, **one.files})]
    wanted = None if work.formats is None else work.formats[VIDEO]
    with VideoReader(work.path) as again, SoundTrack(work.path) as track:
        encoded = replace(job, video=wanted or "mp4", audio=None, image=None, track=track if track.exists else None)
        (other,) = made_of_pictures(work, again, encoded, None, None)
    one = made[0] if made else other
    return [replace(one, files={**other.files, **one.files})]


def copied_clips(
    work: Work, teller: Teller, reader: VideoReader, job: Job, spans: Sequence[Span], made: Sequence[Made], video: str
) -> list[dict[str, Any]]:
    """Clips whose streams are copied.

    A few files cannot be cut so: the format cannot hold what is in them, or what comes is not as long as the span. Such
    spans are cut exactly.

    Args:
        work: the work on the source.
        teller: tells of its samples.
        reader: of the source.
        job: what is made of a clip that cannot be copied.
        spans: the clips.
        made: what was looked at and heard of them.
        video: format of the video.

    Raises:
        Nothing: if there are none.
    """
    measured = {one.clip.span: one for one in made}
    format = copy_format(work.look, None if work.formats is None else video)
    base, origin = reader.time_base, reader.origin
    samples: list[dict[str, Any]] = []
    left = []
    for number, span in enumerate(sorted(spans, key=lambda one: one.start)):
        stem = work.folder / f"{number:05d}-copy"
        copy = copied(work.path, stem, format, span, reader, work.look, work.timeout) if format else None
        stream = _checked(work, teller, *copy, base) if copy else None
        if copy is None or stream is None:
            left.append(span)
            continue
        samples += _told(teller, span, span_told(*copy[1:], base, origin), stream, measured.get(span))
    if left:
        with VideoReader(work.path) as again, SoundTrack(work.path) as track:
            exact = replace(job, video=video, track=track if track.exists else None, tally=Tally())
            for one in made_of_pictures(work, again, exact, left, None):
                told = span_told(one.start, one.end, base, origin)
                samples += _told(teller, one.clip.span, told, teller.stream(one.files[VIDEO]), measured.get(one.clip.span))
    if not samples:
        assert work.rules is not None
        raise no_clip(work.rules, spans)
    return sorted(samples, key=lambda sample: (sample["span"]["start_pts"], sample["wanted"] or 0))


def _checked(work: Work, teller: Teller, path: Path, start: int, end: int, base: Fraction) -> Stream | None:
    """What was copied; None, and no file, where that is not the span."""
    try:
        stream = teller.stream(path)
    except SampleError:
        path.unlink()
        return None
    if not is_span(work.look, stream[1], float((end - start) * base)):
        path.unlink()
        return None
    return stream


def _told(teller: Teller, span: Span, told: dict[str, Any], stream: Stream, also: Made | None) -> list[dict[str, Any]]:
    streams = {VIDEO: stream}
    if also is None:
        return teller.clip(told, span, streams, {})
    streams |= {name: teller.stream(file) for name, file in also.files.items()}
    return teller.clip(told, span, streams, also.columns, also.stills)
