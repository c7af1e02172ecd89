"""A source in, samples out: what the child does when it is asked to subsample."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine.formats import AUDIO, IMAGE, VIDEO
from v2d_spark.udfs.engine.geometry import Geometry, still
from v2d_spark.udfs.engine.picture_samples import picture_samples
from v2d_spark.udfs.engine.plan import compiled
from v2d_spark.udfs.engine.probe import probe
from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.engine.sound_samples import sound_samples
from v2d_spark.udfs.engine.telling import Teller
from v2d_spark.udfs.engine.work import Nothing, Work

_STILL_FORMATS = {"jpg", "png", "webp"}  # by their extensions


def subsample(
    path: str, folder: str, plan: Mapping[str, Any], source: Mapping[str, Any], *, timeout: float, memory_limit: int
) -> dict[str, Any]:
    """Make the samples of one source.

    Args:
        path: the source's file.
        folder: where the samples' files go; it is empty.
        plan: `subsample`, `encode_formats`, `encode`, `captions_are_subtitles`.
        source: `key`; `spans` that the input wants, as [start, end, caption] in seconds; `cuts` and `subtitles` as a table
            holds them; `whole`, where the file has parts alone, each at its own time: `duration_s` and `fps` of all of it. Each
            may be None.
        timeout: seconds that copying a span may take.
        memory_limit: bytes.

    Returns:
        `look`, `skipped` (error class and reason, where nothing comes of it), `warning`, `columns` and `subtitles` of the
        source, and `samples`.

    Raises:
        SampleError: if the source cannot be decoded.
    """
    wanted = compiled(plan)
    rules = wanted.rules
    copies = rules is not None and rules.precision != "exact"
    # Spans are held against the length of the source: it must be known.
    look = probe(path, keyframes=wanted.wants_keyframes or copies, memory_limit=memory_limit, counts=True)
    if whole := source.get("whole"):
        look = _of_whole(look, whole)
    source_look = look
    if not wanted.wants_keyframes:
        source_look = look | {"probe": look["probe"] | {"keyframes_s": None}}
    answer: dict[str, Any] = {
        "look": source_look,
        "skipped": None,
        "warning": None,
        "columns": {},
        "subtitles": None,
        "samples": [],
    }
    reason = wanted.drop(look)
    if reason:
        return answer | {"skipped": ["not_selected", reason]}
    work = Work(path, Path(folder), wanted, source, look, timeout, memory_limit)
    try:
        answer["samples"] = _samples(work)
    except Nothing as nothing:
        answer["skipped"] = list(nothing.args)
    answer["warning"] = "; ".join(work.warnings) or None
    answer["columns"] = work.columns
    answer["subtitles"] = work.cues or None
    return answer


def _of_whole(look: dict[str, Any], whole: Mapping[str, float | None]) -> dict[str, Any]:
    """A look into parts of a source, with what is known of all of it in place of what the parts would tell."""
    described, seconds = look["probe"], whole["duration_s"]
    picture = described["video"]
    fps = (whole["fps"] or picture["base_fps"]) if picture else None
    video = picture and picture | {"fps": fps, "frames": None, "duration_s": seconds, "bit_rate": None}
    audio = described["audio"] and described["audio"] | {"duration_s": seconds, "bit_rate": None}
    described = described | {"video": video, "audio": audio, "duration_s": seconds, "bit_rate": None}
    return look | {"duration_s": seconds, "fps": fps, "probe": described}


def _samples(work: Work) -> list[dict[str, Any]]:
    kind, formats, teller = work.look["kind"], work.formats, Teller(work)
    if kind == IMAGE:
        return [_image(work, teller)]
    if formats and not set(formats) & work.there:
        if kind == VIDEO and VIDEO not in formats and IMAGE in formats:
            raise Nothing("no_image", "it is a video, and subsample.frames, which makes pictures of it, is off")
        if VIDEO in formats or IMAGE in formats:
            raise Nothing("no_video", "there is no picture in it")
        raise work.silent()
    return sound_samples(work, teller) if kind == AUDIO else picture_samples(work, teller)


def _image(work: Work, teller: Teller) -> dict[str, Any]:
    """A still picture, changed or not."""
    if work.formats and IMAGE not in work.formats:
        raise Nothing("no_video" if VIDEO in work.formats else "no_audio", "it is a still picture")
    if work.formats == {}:
        return teller.whole({}, work.look)
    own = work.look["extension"]
    format = (work.formats or {}).get(IMAGE) or (own if own in _STILL_FORMATS else "png")
    if (work.formats is None or own == format) and not work.plan.changes_pictures:
        return teller.whole({}, work.look) | {"streams": {IMAGE: teller.own_bytes()}}
    with VideoReader(work.path) as reader:
        frame = next(reader.frames())
        picture = Geometry(work.plan.subsamplers, still=True)(frame, reader.sample_aspect)
    path = work.folder / f"00000.{format}"
    path.write_bytes(still(picture, format, work.plan.encode.image_quality))
    return teller.whole({IMAGE: path})
