"""Passes over a source's pictures: one, unless more is wanted at once than memory holds."""

from __future__ import annotations

from dataclasses import replace

from v2d_spark.udfs.engine.clip_choice import longest, picture_length
from v2d_spark.udfs.engine.one_pass import LONGEST_SHOWN_S, Choice, OnePass
from v2d_spark.udfs.engine.plan import Plan
from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.engine.sample import Job, Made
from v2d_spark.udfs.engine.sound import SoundTrack
from v2d_spark.udfs.engine.spans import Fixed, Shots, Span, Whole, in_turns
from v2d_spark.udfs.engine.video_file import encoder_bytes
from v2d_spark.udfs.engine.video_part import HELD_BYTES
from v2d_spark.udfs.engine.work import Work
from v2d_spark.udfs.subsamplers import CutFinder, Shape

# Bytes of pictures that may wait until it is known whether they begin a shot; beyond, cuts are found in a pass of its own.
_MOST_HELD = 320 << 20
# Bytes that decoder, encoders and pictures that wait may take together, which with all else is less than 500 MB.
_MOST_TAKEN = 460_000_000
_DECODED = 20  # pictures that a decoder holds, and whoever looks at them
_MOST_AT_ONCE = 64  # clips that overlap: each has files of its own
_USUAL_BITS = 12  # a pixel, of 8-bit 4:2:0


def looks_first(work: Work, reader: VideoReader, finder: CutFinder, video: str | None) -> bool:
    """Whether all cuts must be known before the first clip is made.

    Args:
        work: the work on the source.
        reader: of the source.
        finder: finds its cuts.
        video: format of the clips' video; None for none.
    """
    plan, rules = work.plan, work.rules
    assert rules is not None
    longest_alone = any(getattr(one.settings, "mode", None) == "longest" for one in plan.subsamplers if one.finds_cuts)
    if rules.needs_all or finder.late is None or _needs_length(plan) or longest_alone:
        return True
    held = finder.late * _picture_bytes(reader)
    others = _DECODED * _picture_bytes(reader) + (_encoder_bytes(work, video) if video else 0)
    waiting = HELD_BYTES if video and rules.min_length else 0
    return held > _MOST_HELD or others <= _MOST_TAKEN < others + held + waiting


def made_of_pictures(
    work: Work, reader: VideoReader, job: Job, spans: list[Span] | None, finder: CutFinder | None
) -> list[Made]:
    """Go over the frames, once; again only where more clips overlap than can be made at once.

    Args:
        work: the work on the source.
        reader: of the source, at its beginning.
        job: what is made of each sample.
        spans: the clips; None for a whole sample, and for the shots between the cuts that are found now.
        finder: finds cuts; None where nobody looks for them.
    """
    rules, changing = work.rules, work.plan.subsamplers
    if rules is None:
        whole = Choice(whole=True)
        if job.track is None and not job.keyframes_only:  # sound would not be moved up with the picture
            reader.longest = round(LONGEST_SHOWN_S / reader.time_base)
        length = picture_length(work, reader) if _needs_length(work.plan) else longest(work, reader)
        return OnePass(reader, finder).make(job, changing, Whole(length), whole, by_cuts=False)
    if spans is None:
        first_piece_only = rules.max_length_strategy == "first"
        shots = Shots(rules.max_length, first_piece_only=first_piece_only, time_base=reader.time_base)
        return OnePass(reader, finder).make(job, changing, shots, Choice.by(rules), by_cuts=True)
    if _needs_length(work.plan):
        end = picture_length(work, reader)
        spans = [replace(span, end=end) if span.end and span.start < end < span.end else span for span in spans]
    made: list[Made] = []
    begun = 0
    choice = Choice.of_known(rules, reader)
    for turn, some in enumerate(in_turns(spans, _at_once(work, reader, job))):
        tracker = Fixed(some, origin=reader.origin, time_base=reader.time_base, first_number=begun)
        begun += len(some)
        if turn == 0:
            made += OnePass(reader, finder).make(job, changing, tracker, choice, by_cuts=False)
            continue
        with VideoReader(work.path, keyframes_only=work.keyframes_suffice) as again:
            track = SoundTrack(work.path) if job.track else None
            try:
                made += OnePass(again, None).make(replace(job, track=track), changing, tracker, choice, by_cuts=False)
            finally:
                if track is not None:
                    track.close()
    return made


def _needs_length(plan: Plan) -> bool:
    """Whether it must be known how long the picture of a sample is before its first frame."""
    return plan.stills is not None and plan.stills.at in ("count", "sharpest")


def _at_once(work: Work, reader: VideoReader, job: Job) -> int:
    """How many clips can be made at once: each has an encoder, which holds many pictures."""
    if job.video is None:
        return _MOST_AT_ONCE
    left = _MOST_TAKEN - _DECODED * _picture_bytes(reader)
    return min(max(1, left // _encoder_bytes(work, job.video)), _MOST_AT_ONCE)


def _encoder_bytes(work: Work, format: str) -> int:
    """Bytes that one clip takes while it is encoded."""
    shape = Shape(work.look["width"], work.look["height"])
    for subsampler in work.plan.subsamplers:
        filtered = subsampler.filters(shape)
        shape = filtered.shape if filtered else shape
    return encoder_bytes(format, work.plan.encode, shape.width, shape.height)


def _picture_bytes(reader: VideoReader) -> int:
    """Bytes of a decoded picture; 10 bits and full chroma take up to four times those of 8-bit 4:2:0."""
    codec = reader.stream.codec_context
    bits = codec.format.padded_bits_per_pixel if codec.format else _USUAL_BITS
    return codec.width * codec.height * bits // 8
