"""Samples of sources whose picture moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine import cut_times
from v2d_spark.udfs.engine.clip_choice import known_spans, shots, spans_of_cuts
from v2d_spark.udfs.engine.copied_samples import copied_clips, remuxed_whole
from v2d_spark.udfs.engine.copies import remux_format
from v2d_spark.udfs.engine.formats import AUDIO, IMAGE, VIDEO
from v2d_spark.udfs.engine.no_clip import no_clip
from v2d_spark.udfs.engine.one_pass import OnePass, cut_columns
from v2d_spark.udfs.engine.passes import looks_first, made_of_pictures
from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.engine.sample import Job, Made
from v2d_spark.udfs.engine.sound import SoundTrack
from v2d_spark.udfs.engine.sound_samples import sound_of_spans, sound_of_whole
from v2d_spark.udfs.engine.spans import Span
from v2d_spark.udfs.engine.tally import Tally
from v2d_spark.udfs.engine.telling import Teller, span_told
from v2d_spark.udfs.engine.work import Nothing, Work
from v2d_spark.udfs.subsamplers import CutFinder

# How a sample's video comes about: the source's own bytes, its picture copied, or encoded.
_OWN, _COPIED, _ENCODED = "own", "copied", "encoded"


def picture_samples(work: Work, teller: Teller) -> list[dict[str, Any]]:
    """The samples of a source whose picture moves.

    Raises:
        Nothing: if there are none.
        SampleError: if it cannot be decoded.
    """
    plan, rules = work.plan, work.rules
    with VideoReader(work.path, keyframes_only=work.keyframes_suffice) as reader:
        name, finder = plan.cut_finder(work.fps(reader), reader.time_base)
        stored = plan.usable_cuts(work.source["cuts"])
        if stored is not None:
            if name:
                work.columns[name] = dict(stored)
            finder = None
        spans = known_spans(work, reader, stored)
        by_cuts = spans is None and rules is not None and rules.source == "cuts"
        if not by_cuts:
            return _made(work, teller, reader, spans, name, finder)
        assert finder is not None
        video, _ = _video_way(work, unchanged=False)
        if not looks_first(work, reader, finder, video):
            return _made(work, teller, reader, spans, name, finder)
        OnePass(reader, finder).look()
        work.columns |= cut_columns(name, finder)
        spans = spans_of_cuts(work, reader, finder.result())
    with VideoReader(work.path, keyframes_only=work.keyframes_suffice) as again:
        return _made(work, teller, again, spans, None, None)


def _made(
    work: Work,
    teller: Teller,
    reader: VideoReader,
    spans: list[Span] | None,
    name: str | None,
    finder: CutFinder | None,
) -> list[dict[str, Any]]:
    plan, rules = work.plan, work.rules
    unchanged = not plan.changes_pictures and plan.rate is None
    copies = rules is not None and rules.precision != "exact" and spans is not None and unchanged and plan.sound is None
    video, way = _video_way(work, unchanged=unchanged)
    hears = bool(plan.listeners())
    audio = (work.formats or {}).get(AUDIO) if AUDIO in work.there else None
    track = SoundTrack(work.path) if (video or audio or hears) and AUDIO in work.there else None
    try:
        if track is not None and not track.exists:
            track.close()
            track = None
        job = _job(work, reader, None if copies or way == _COPIED else video, audio, track)
        shows = job.video is not None or job.image is not None or bool(plan.lookers()) or finder is not None
        sounds = track is not None and (audio is not None or hears)
        if not sounds:
            made = made_of_pictures(work, reader, job, spans, finder) if shows or (rules and not copies) else []
        else:
            made = _made_with_sound(work, reader, job, spans, finder, shows=shows)
    finally:
        if track is not None:
            work.warn(track.warning)
            track.close()
    work.warn(reader.warning)
    work.columns |= cut_columns(name, finder)
    if copies and video:
        assert spans is not None
        silent = replace(job, track=None, audio=None, image=None)
        return copied_clips(work, teller, reader, silent, spans, made, video)
    if rules is None:
        if way == _COPIED:
            assert video is not None
            made = remuxed_whole(work, teller, reader, job, made, video)
        return _told_whole(work, teller, made, job.rate, own=way == _OWN)
    samples = [sample for one in sorted(made, key=_place) for sample in _told_clip(work, teller, one, reader)]
    if not samples:
        raise no_clip(rules, shots(reader, finder.result()) if spans is None and finder else spans or ())
    return samples


def _made_with_sound(
    work: Work, reader: VideoReader, job: Job, spans: list[Span] | None, finder: CutFinder | None, *, shows: bool
) -> list[Made]:
    """What is made where sound is heard or has a file of its own; pictures are decoded only if somebody sees them."""
    if work.rules is not None:
        if shows:
            return made_of_pictures(work, reader, job, spans, finder)
        assert spans is not None
        return sound_of_spans(work, reader, job, spans)
    if shows and VIDEO in work.kept:
        return made_of_pictures(work, reader, job, spans, finder)
    heard = sound_of_whole(work, reader, job)
    if not shows:
        return [heard]
    seen = made_of_pictures(work, reader, replace(job, track=None, audio=None), spans, finder)
    return [_together(one, heard) for one in seen] or [heard]


def _job(work: Work, reader: VideoReader, video: str | None, audio: str | None, track: SoundTrack | None) -> Job:
    plan = work.plan
    image = None
    if plan.stills is not None and (work.formats is None or IMAGE in work.formats):
        image = (work.formats or {}).get(IMAGE, "jpg")
    return Job(
        plan=plan,
        folder=work.folder,
        video=video,
        audio=audio,
        image=image,
        track=track,
        sound_inside=work.sound_inside,
        cues=work.main_cues,
        clock=reader.time_base,
        origin=reader.origin,
        rate=_rate(work, reader),
        fps=work.fps(reader),
        keyframes_only=plan.keyframes_only,
        tally=Tally(),
    )


def _rate(work: Work, reader: VideoReader) -> Fraction | None:
    told = work.plan.rate
    if told is None or told.keyframes_only:
        return None
    return told.fps or work.fps(reader) / told.divisor


def _video_way(work: Work, *, unchanged: bool) -> tuple[str | None, str]:
    """The format of the video that is written, None for none; and how it comes about.

    Args:
        work: the work on the source.
        unchanged: whether its pictures stay as they are.
    """
    if VIDEO not in work.kept:
        return None, _ENCODED
    wanted = None if work.formats is None else work.formats[VIDEO]
    if work.rules is None and unchanged:
        same_sound = work.sound_inside is None or AUDIO not in work.there
        if same_sound and wanted in (None, work.look["extension"]):
            return None, _OWN
        if (format := remux_format(work.look, wanted)) is not None:
            return format, _COPIED
    return wanted or "mp4", _ENCODED


def _told_whole(work: Work, teller: Teller, made: list[Made], rate: Fraction | None, *, own: bool) -> list[dict[str, Any]]:
    """The sample that is all of the source, and its still pictures.

    Args:
        work: the work on the source.
        teller: tells of its samples.
        made: what was made of it, if anything.
        rate: frames a second of the video; None where frames keep their own times.
        own: whether the video is the source itself.
    """
    one = made[0] if made else None
    streams: dict[str, Path] = dict(one.files) if one else {}
    samples = []
    if own or streams or not work.kept:
        keeps_look = VIDEO not in streams and (own or not streams)
        sample = teller.whole(streams, work.look if keeps_look else None)
        if own:
            sample["streams"] = {VIDEO: teller.own_bytes()} | sample["streams"]
            sample["look"] = work.look
        sample["columns"] = dict(one.columns) if one else {}
        if one and VIDEO in streams:
            sample["columns"] |= _cuts_in(work, sample["look"], one, rate)
        samples.append(sample)
    if one:
        samples += teller.stills_of_whole(one.stills, one.columns)
    if not samples and AUDIO in work.kept:
        raise work.silent()
    if not samples:
        raise Nothing("no_clip", "no still picture comes of it by the settings subsample.frames")
    return samples


def _told_clip(work: Work, teller: Teller, made: Made, reader: VideoReader) -> list[dict[str, Any]]:
    is_empty = bool(work.kept) and not made.files  # its stills are samples of their own
    if is_empty and not made.stills:
        return []
    span = span_told(made.start, made.end, reader.time_base, reader.origin)
    streams = {name: teller.stream(path) for name, path in made.files.items()}
    return teller.clip(span, made.clip.span, streams, made.columns, made.stills, stills_alone=is_empty)


def _cuts_in(work: Work, look: Mapping[str, Any], made: Made, rate: Fraction | None) -> dict[str, dict[str, Any]]:
    """The columns of cuts, as they are in a file that was written of all of the source."""
    found = {name: told for name, told in work.columns.items() if told.get("cuts_pts")}
    if rate is None:
        return {name: cut_times.moved(told, made.start, look) for name, told in found.items()}
    return {name: cut_times.at_rate(told, made.start, made.end, rate, look) for name, told in found.items()}


def _place(made: Made) -> tuple[int, int]:
    return made.start, made.clip.number


def _together(seen: Made, heard: Made) -> Made:
    """What was made of one sample's picture and of its sound."""
    names = {*seen.columns, *heard.columns}
    columns = {name: {**seen.columns.get(name, {}), **heard.columns.get(name, {})} for name in names}
    return replace(seen, files={**seen.files, **heard.files}, columns=columns)
