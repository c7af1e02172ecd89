"""A source in, samples out: what the child does when it is asked to subsample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine import cut_times
from v2d_spark.udfs.engine.copies import (
    copied,
    copy_format,
    holds_sound,
    is_same,
    is_span,
    remux_format,
    remuxed,
)
from v2d_spark.udfs.engine.formats import AUDIO, IMAGE, VIDEO
from v2d_spark.udfs.engine.geometry import Geometry, still
from v2d_spark.udfs.engine.one_pass import Choice, OnePass, cut_columns
from v2d_spark.udfs.engine.plan import Plan, compiled
from v2d_spark.udfs.engine.probe import probe
from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.engine.sample import Job, Made
from v2d_spark.udfs.engine.sound import SoundCut, SoundFile, SoundTrack
from v2d_spark.udfs.engine.spans import Fixed, Open, Shots, Span, Tracker, Whole, chosen, divided, in_turns, on_keyframes
from v2d_spark.udfs.engine.still_part import Still
from v2d_spark.udfs.engine.subtitles import Cue, cue_in, cues_within, main_track, read_subtitles
from v2d_spark.udfs.engine.tally import Tally, check_count
from v2d_spark.udfs.engine.times import exact
from v2d_spark.udfs.engine.video_file import encoder_bytes
from v2d_spark.udfs.engine.video_part import HELD_BYTES
from v2d_spark.udfs.subsamplers import CutFinder, Listener, Shape, Sound
from v2d_spark.udfs.vocabulary import SampleError

# Bytes of pictures that may wait until it is known whether they begin a shot; beyond, cuts are found in a pass of its own.
_MOST_HELD = 320 << 20
# Bytes that decoder, encoders and pictures that wait may take together, which with all else is less than 500 MB.
_MOST_TAKEN = 460_000_000
_DECODED = 20  # pictures that a decoder holds, and whoever looks at them
_MOST_AT_ONCE = 64  # clips that overlap: each has files of its own
_ROUNDED = Fraction(1, 1000)  # seconds by which two accounts of one time may differ
_SOUND_FORMATS = {"mp3": "mp3", "aac": "m4a", "alac": "m4a", "flac": "flac", "opus": "opus"}
_SOUND_BESIDE = {"mp4": "m4a", "webm": "opus", "mkv": "m4a"}  # format of sound that goes into a video of each
_EXTENSIONS = {"jpg", "png", "webp"}
_USUAL_BITS = 12  # a pixel, of 8-bit 4:2:0
# How a sample's video comes about: the source's own bytes, its picture copied, or encoded.
_OWN, _COPIED, _ENCODED = "own", "copied", "encoded"


class _Nothing(Exception):
    """No sample comes of it: an error class and a reason."""


def subsample(
    path: str, folder: str, plan: Mapping[str, Any], source: Mapping[str, Any], *, timeout: float, memory_limit: int
) -> dict[str, Any]:
    """Make the samples of one source.

    Args:
        path: the source's file.
        folder: where the samples' files go; it is empty.
        plan: `subsample`, `encode_formats`, `encode`, `captions_are_subtitles`.
        source: `key`; `spans` that the input wants, as [start, end, caption] in seconds; `cuts` and `subtitles` as a table
            holds them; each may be None.
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
    work = _Work(path, Path(folder), wanted, source, look, timeout, memory_limit)
    try:
        answer["samples"] = work.samples()
    except _Nothing as nothing:
        answer["skipped"] = list(nothing.args)
    answer["warning"] = "; ".join(work.warnings) or None
    answer["columns"] = work.columns
    answer["subtitles"] = work.cues or None
    return answer


class _Work:
    """The work on one source."""

    def __init__(
        self,
        path: str,
        folder: Path,
        plan: Plan,
        source: Mapping[str, Any],
        look: Mapping[str, Any],
        timeout: float,
        memory_limit: int,
    ) -> None:
        self.path = path
        self.folder = folder
        self.plan = plan
        self.source = source
        self.look = look
        self.timeout = timeout
        self.memory_limit = memory_limit
        self.warnings: list[str] = []
        self.columns: dict[str, dict[str, Any]] = {}
        self.cues: list[Cue] = list(source["subtitles"] or ())
        if source["subtitles"] is None and look["probe"]["subtitle_streams"]:
            self.cues = read_subtitles(path)
        self.main_cues = main_track(self.cues)  # what clips are cut by, and captions are made of
        self.clips = 0  # that were told of
        self.formats = plan.formats
        self.rules = plan.rules
        if self.rules is not None and self.rules.source == "input" and not source["spans"]:
            # video2dataset cuts by the subtitles wherever they are the captions.
            by_cues = plan.captions_are_subtitles and self.cues
            self.rules = replace(self.rules, source="subtitles") if by_cues else None

    # --- which streams are made ---

    def samples(self) -> list[dict[str, Any]]:
        """Make them."""
        kind = self.look["kind"]
        if kind == IMAGE:
            return [self._image()]
        if self.formats and not set(self.formats) & self._there():
            if kind == VIDEO and VIDEO not in self.formats and IMAGE in self.formats:
                raise _Nothing("no_image", "it is a video, and subsample.frames, which makes pictures of it, is off")
            if VIDEO in self.formats or IMAGE in self.formats:
                raise _Nothing("no_video", "there is no picture in it")
            raise _Nothing("no_audio", "there is no sound in it")
        return self._sound_samples() if kind == AUDIO else self._video_samples()

    def _there(self) -> set[str]:
        """Streams that can be made of this source."""
        there = {AUDIO} if self.look["probe"]["audio_streams"] else set()
        if self.look["kind"] == VIDEO:
            there |= {VIDEO, IMAGE} if self.plan.stills else {VIDEO}
        return there

    @property
    def _kept(self) -> set[str]:
        """Streams that are kept of a video."""
        if self.formats is None:
            return {IMAGE} if self.plan.stills is not None else {VIDEO}
        return set(self.formats) & self._there()

    @property
    def _stills_alone(self) -> bool:
        """Whether still pictures are all that is kept of a video."""
        return self._kept == {IMAGE}

    def _image(self) -> dict[str, Any]:
        """A still picture, changed or not."""
        if self.formats is not None and self.formats and IMAGE not in self.formats:
            raise _Nothing("no_video" if VIDEO in self.formats else "no_audio", "it is a still picture")
        sample = self._whole_sample({}, self.look)
        if self.formats == {}:
            return sample
        own = self.look["extension"]
        format = (self.formats or {}).get(IMAGE) or (own if own in _EXTENSIONS else "png")
        if own == format and not self.plan.changes_pictures:
            sample["streams"] = {IMAGE: self._own_bytes()}
            return sample
        with VideoReader(self.path) as reader:
            frame = next(reader.frames())
            picture = Geometry(self.plan.subsamplers)(frame, reader.sample_aspect)
        path = self.folder / f"00000.{format}"
        path.write_bytes(still(picture, format, self.plan.encode.image_quality))
        return self._whole_sample({IMAGE: path}, None)

    # --- sources with a picture that moves ---

    def _video_samples(self) -> list[dict[str, Any]]:
        plan = self.plan
        with VideoReader(self.path, keyframes_only=self._keyframes_suffice()) as reader:
            name, finder = plan.cut_finder(reader.fps, reader.time_base)
            stored = plan.usable_cuts(self.source["cuts"])
            if stored is not None:
                if name:
                    self.columns[name] = dict(stored)
                finder = None
            spans = self._known_spans(reader, stored)
            by_cuts = spans is None and self.rules is not None and self.rules.source == "cuts"
            if not by_cuts or not self._looks_first(finder, reader):
                return self._made_of(reader, spans, name, finder)
            assert finder is not None
            OnePass(reader, finder).look()
            self.columns |= cut_columns(name, finder)
            spans = self._spans_of_cuts(finder.result(), reader)
        with VideoReader(self.path, keyframes_only=self._keyframes_suffice()) as again:
            return self._made_of(again, spans, None, None)

    def _keyframes_suffice(self) -> bool:
        """Whether nobody sees any other frame.

        Frames of AVI are told their times by those before, and interlaced ones are made whole from those beside them.
        """
        plan, rules = self.plan, self.rules
        if self.look["extension"] == "avi" or self.look["probe"]["video"]["field_order"] not in (None, "progressive"):
            return False
        looked_at = any(one.finds_cuts for one in plan.subsamplers) or bool(plan.lookers())
        if looked_at or (rules is not None and rules.source == "cuts"):
            return False
        if plan.keyframes_only:
            return True
        at_keyframes = plan.stills is not None and plan.stills.at == "keyframes" and VIDEO not in self._kept
        return at_keyframes and rules is None

    def _looks_first(self, finder: CutFinder | None, reader: VideoReader) -> bool:
        """Whether all cuts must be known before the first clip is made."""
        assert finder is not None and self.rules is not None
        plan = self.plan
        needs_length = plan.stills is not None and plan.stills.at in ("count", "sharpest")
        longest_alone = any(getattr(one.settings, "mode", None) == "longest" for one in plan.subsamplers if one.finds_cuts)
        if self.rules.needs_all or finder.late is None or needs_length or longest_alone:
            return True
        held = finder.late * _picture_bytes(reader)
        video, _ = self._video_way(unchanged=False, whole=False)
        others = _DECODED * _picture_bytes(reader) + (self._encoder_bytes(video) if video else 0)
        waiting = HELD_BYTES if video and self.rules.min_length else 0
        return held > _MOST_HELD or others <= _MOST_TAKEN < others + held + waiting

    def _known_spans(self, reader: VideoReader, stored: Mapping[str, Any] | None) -> list[Span] | None:
        """The clips, where they are known before the first frame; None for a whole sample, and where they are not."""
        rules = self.rules
        if rules is None:
            return None
        if rules.source == "cuts":
            return None if stored is None else self._spans_of_cuts(stored, reader)
        length = self._length(reader)
        spans = self._raw_spans(float(length))
        within = [replace(span, end=min(span.end, length)) for span in spans if span.end is not None and span.start < length]
        return self._narrowed(within, reader)

    def _length(self, reader: VideoReader) -> Fraction:
        """Seconds of the source, a little more rather than less."""
        told = self.look["duration_s"] or 0.0
        picture = self.look["probe"]["video"]["duration_s"] or 0.0
        return max(exact(max(told, picture)), reader.joins.length) + 2 * reader.step * reader.time_base

    def _raw_spans(self, length_s: float) -> list[Span]:
        rules = self.rules
        assert rules is not None
        if rules.source == "input":
            told = self.source["spans"]
            spans = [Span(exact(start), exact(end), at, text) for at, (start, end, text) in enumerate(told)]
            return [replace(span, start=max(span.start, Fraction(0))) for span in spans if span.end and span.end > 0]
        if rules.source == "subtitles":
            if not self.cues:
                raise _Nothing("no_clip", "it has no subtitles")
            return [Span(exact(cue["start_s"]), exact(cue["end_s"]), None, cue["text"]) for cue in self.main_cues]
        count = int(Fraction(length_s) / rules.window_s) + 1
        return [Span(at * rules.window_s, (at + 1) * rules.window_s) for at in range(count)]

    def _spans_of_cuts(self, told: Mapping[str, Any], reader: VideoReader) -> list[Span]:
        base = Fraction(told["time_base"])
        origin = reader.origin * reader.time_base
        spans = [Span(first * base - origin, end * base - origin) for first, end in told["cuts_pts"]]
        return self._narrowed(spans, reader)

    def _narrowed(self, spans: Sequence[Span], reader: VideoReader) -> list[Span]:
        """What the rules leave of spans that do not go beyond the source."""
        rules = self.rules
        assert rules is not None
        if rules.precision == "keyframe_adjusted":
            origin = reader.origin * reader.time_base
            keyframes = [exact(time) - origin for time in self.look["probe"]["keyframes_s"] or ()]
            pieces = on_keyframes(spans, sorted({*keyframes, exact(self.look["duration_s"] or 0.0)}), rules)
        else:
            pieces = divided(spans, rules)
        pieces = chosen(pieces, rules, self.source["key"])
        if not pieces:
            raise _Nothing("no_clip", "none of its parts is a clip by the settings subsample.clip")
        check_count(len(pieces))
        return pieces

    def _made_of(
        self, reader: VideoReader, spans: list[Span] | None, name: str | None, finder: CutFinder | None
    ) -> list[dict[str, Any]]:
        plan, rules = self.plan, self.rules
        rate = self._rate(reader)
        unchanged = not plan.changes_pictures and plan.rate is None
        copies = rules is not None and rules.precision != "exact" and spans is not None and unchanged and plan.sound is None
        video, way = self._video_way(unchanged, whole=rules is None)
        audio = (self.formats or {}).get(AUDIO) if self._there() & {AUDIO} else None
        image = None
        if plan.stills is not None and (self.formats is None or IMAGE in self.formats):
            image = (self.formats or {}).get(IMAGE, "jpg")
        hears = bool(plan.listeners())
        track = SoundTrack(self.path) if (video or audio or hears) and AUDIO in self._there() else None
        try:
            if track is not None and not track.exists:
                track.close()
                track = None
            job = Job(
                plan=plan,
                folder=self.folder,
                video=None if copies or way == _COPIED else video,
                audio=audio,
                image=image,
                track=track,
                sound_inside=self._sound_inside,
                cues=self.main_cues,
                clock=reader.time_base,
                origin=reader.origin,
                rate=rate,
                fps=reader.fps,
                keyframes_only=plan.keyframes_only,
                tally=Tally(),
            )
            made: list[Made] = []
            sounds = track is not None and (audio is not None or hears)
            shows = job.video is not None or image is not None or bool(plan.lookers()) or finder is not None
            if sounds and rules is None and VIDEO not in self._kept:
                made = [self._sound_of_whole(reader, job)]
                if shows:
                    seen = self._passed(reader, replace(job, track=None, audio=None), spans, finder)
                    made = [_together(one, made[0]) for one in seen] or made
            elif shows or (rules is not None and not sounds and not copies):
                made = self._passed(reader, job, spans, finder)
            elif sounds and rules is None:
                made = [self._sound_of_whole(reader, job)]
            elif sounds:
                assert spans is not None
                made = self._sound_of_spans(reader, job, spans)
        finally:
            if track is not None:
                if track.warning:
                    self.warnings.append(track.warning)
                track.close()
        if reader.warning:
            self.warnings.append(reader.warning)
        self.columns |= cut_columns(name, finder)
        if copies and video:
            assert spans is not None
            return self._copied(reader, replace(job, track=None, audio=None, image=None), spans, made, video)
        if rules is None:
            if way == _COPIED:
                assert video is not None
                made = self._remuxed(reader, job, made, video)
            return self._whole(made, way == _OWN, rate)
        samples = [sample for one in sorted(made, key=_place) for sample in self._samples_of(one, reader)]
        if not samples:
            raise _Nothing("no_clip", "none of its parts is a clip by the settings subsample.clip")
        return samples

    def _rate(self, reader: VideoReader) -> Fraction | None:
        told = self.plan.rate
        if told is None or told.keyframes_only:
            return None
        return told.fps or reader.fps / told.divisor

    def _video_way(self, unchanged: bool, *, whole: bool) -> tuple[str | None, str]:
        """The format of the video that is written, None for none; and how it comes about."""
        formats = self.formats
        if VIDEO not in self._kept:
            return None, _ENCODED
        wanted = None if formats is None else formats[VIDEO]
        if whole and unchanged:
            same_sound = self._sound_inside is None or AUDIO not in self._there()
            if same_sound and wanted in (None, self.look["extension"]):
                return None, _OWN
            if (format := remux_format(self.look, wanted)) is not None:
                return format, _COPIED
        return wanted or "mp4", _ENCODED

    @property
    def _sound_inside(self) -> Sound | None:
        """What becomes of the sound in the video: where sound has a file of its own, that is what changes."""
        return None if AUDIO in (self.formats or ()) else self.plan.sound

    def _passed(self, reader: VideoReader, job: Job, spans: list[Span] | None, finder: CutFinder | None) -> list[Made]:
        """Go over the frames, once; again only where more clips overlap than can be made at once."""
        rules, changing = self.rules, self.plan.subsamplers
        if rules is None:
            length = self._length(reader)
            tracker: Tracker = Whole(length)
            return OnePass(reader, finder).make(job, changing, tracker, Choice(whole=True), by_cuts=False)
        if spans is None:
            tracker = Shots(
                rules.max_length,
                first_piece_only=rules.max_length_strategy == "first",
                time_base=reader.time_base,
            )
            return OnePass(reader, finder).make(job, changing, tracker, Choice.by(rules), by_cuts=True)
        made: list[Made] = []
        begun = 0
        choice = Choice.of_known(rules, reader)
        for turn, some in enumerate(in_turns(spans, self._at_once(reader, job))):
            tracker = Fixed(some, origin=reader.origin, time_base=reader.time_base, first_number=begun)
            begun += len(some)
            if turn == 0:
                made += OnePass(reader, finder).make(job, changing, tracker, choice, by_cuts=False)
                continue
            with VideoReader(self.path, keyframes_only=self._keyframes_suffice()) as again:
                track = SoundTrack(self.path) if job.track else None
                try:
                    made += OnePass(again, None).make(replace(job, track=track), changing, tracker, choice, by_cuts=False)
                finally:
                    if track is not None:
                        track.close()
        return made

    def _at_once(self, reader: VideoReader, job: Job) -> int:
        """How many clips can be made at once: each has an encoder, which holds many pictures."""
        if job.video is None:
            return _MOST_AT_ONCE
        left = _MOST_TAKEN - _DECODED * _picture_bytes(reader)
        return min(max(1, left // self._encoder_bytes(job.video)), _MOST_AT_ONCE)

    def _encoder_bytes(self, format: str) -> int:
        """Bytes that one clip takes while it is encoded."""
        shape = Shape(self.look["width"], self.look["height"])
        for subsampler in self.plan.subsamplers:
            filtered = subsampler.filters(shape)
            shape = filtered.shape if filtered else shape
        return encoder_bytes(format, self.plan.encode, shape.width, shape.height)

    # --- what is said of samples ---

    def _sound_of_whole(self, reader: VideoReader, job: Job) -> Made:
        """The sound of a source of which nobody wants to see anything: no picture is decoded."""
        assert job.track is not None
        start = reader.start
        begin = start * reader.time_base
        if VIDEO not in self._kept:  # sound that comes before the picture counts
            begin = min(job.track.start, reader.origin * reader.time_base)
        files, columns = self._sound(job.track, begin, None, 0, job.audio, self.plan.sound)
        length = self.look["duration_s"] or 0.0
        told = {name: listener.result(length) for name, listener in columns}
        return Made(Open(0, Span(Fraction(0), None)), start, start, files, [], told)

    def _sound_of_spans(self, reader: VideoReader, job: Job, spans: Sequence[Span]) -> list[Made]:
        """The sound of clips that nobody wants to see: no picture is decoded. Their times are those of the spans."""
        track, rules, base = job.track, self.rules, reader.time_base
        assert track is not None and rules is not None
        origin = reader.origin * base
        last = self._length(reader) - 2 * reader.step * base
        made = []
        for number, span in enumerate(sorted(spans, key=lambda one: one.start)):
            assert span.end is not None
            end = min(span.end, last)
            if end <= span.start or end - span.start < rules.min_length:
                continue
            track.forget(origin + span.start)
            files, listeners = self._sound(track, origin + span.start, origin + end, number, job.audio, self.plan.sound)
            told = {name: listener.result(float(end - span.start)) for name, listener in listeners}
            start_pts, end_pts = (reader.origin + round(time / base) for time in (span.start, end))
            made.append(Made(Open(number, span), start_pts, end_pts, files, [], told))
        return made

    def _remuxed(self, reader: VideoReader, job: Job, made: list[Made], format: str) -> list[Made]:
        """The source in another container, or with other sound; its picture is encoded anew only where it must be."""
        path = self.folder / f"00000-copy.{format}"
        sound: Path | None = None
        look = self.look
        if AUDIO in self._there() and (self._sound_inside is not None or not holds_sound(format, look)):
            with SoundTrack(self.path) as track:
                start = reader.origin * reader.time_base
                files, _ = self._sound(track, start, None, 1, _SOUND_BESIDE[format], self._sound_inside, listens=False)
                sound = files[AUDIO]
        copied = remuxed(self.path, path, format, look, sound, self.timeout)
        if sound is not None:
            sound.unlink()
        if copied and not is_same(look, self._written(path)[1]):
            path.unlink()
            copied = False
        if copied:
            one = made[0] if made else Made(Open(0, Span(Fraction(0), None)), reader.start, reader.start, {}, [], {})
            # It has what cannot be decoded, too.
            return [replace(one, start=reader.start, files={VIDEO: path, **one.files})]
        wanted = None if self.formats is None else self.formats[VIDEO]
        with VideoReader(self.path) as again, SoundTrack(self.path) as track:
            encoded = replace(job, video=wanted or "mp4", audio=None, image=None, track=track if track.exists else None)
            (other,) = self._passed(again, encoded, None, None)
        one = made[0] if made else other
        return [replace(one, files={**other.files, **one.files})]

    def _whole(self, made: list[Made], own: bool, rate: Fraction | None) -> list[dict[str, Any]]:
        one = made[0] if made else None
        streams: dict[str, Path] = dict(one.files) if one else {}
        samples = []
        if not self._stills_alone:
            sample = self._whole_sample(streams, None if VIDEO in streams else self.look if own or not streams else None)
            if own:
                sample["streams"] = {VIDEO: self._own_bytes()} | sample["streams"]
                sample["look"] = self.look
            sample["columns"] = dict(one.columns) if one else {}
            if one and VIDEO in streams:
                sample["columns"] |= self._cuts_in(sample["look"], one, rate)
            samples.append(sample)
        if one:
            samples += [self._still(still, number, None, None, one.columns) for number, still in enumerate(one.stills)]
        if not samples:
            raise _Nothing("no_clip", "no still picture comes of it by the settings subsample.frames")
        return samples

    def _cuts_in(self, look: Mapping[str, Any], made: Made, rate: Fraction | None) -> dict[str, dict[str, Any]]:
        """The columns of cuts, as they are in a file that was written of all of the source."""
        found = {name: told for name, told in self.columns.items() if told.get("cuts_pts")}
        if rate is None:
            return {name: cut_times.moved(told, made.start, look) for name, told in found.items()}
        return {name: cut_times.at_rate(told, made.start, made.end, rate, look) for name, told in found.items()}

    def _whole_sample(self, streams: Mapping[str, Path], look: Mapping[str, Any] | None) -> dict[str, Any]:
        told = {name: self._written(path) for name, path in streams.items()}
        cues = self.cues or None
        return {
            "clip": None,
            "still": None,
            "frame_s": None,
            "span": None,
            "wanted": None,
            "caption": _text(self.main_cues) if self.plan.captions_are_subtitles else None,
            "subtitles": cues,
            "streams": {name: stream for name, (stream, _) in told.items()},
            "look": look or _main_look({name: seen for name, (_, seen) in told.items()}) or self.look,
            "columns": {},
        }

    def _samples_of(self, made: Made, reader: VideoReader) -> list[dict[str, Any]]:
        self.clips += 1
        base, origin = reader.time_base, reader.origin
        span = _span(made.start, made.end, base, origin)
        streams = {name: self._written(path) for name, path in made.files.items()}
        samples = []
        if not self._stills_alone:
            samples.append(self._clip(span, made.clip.span, streams, made.columns))
        samples += [self._still(still, at, span, made.clip.span, made.columns) for at, still in enumerate(made.stills)]
        return samples

    def _clip(
        self,
        span: dict[str, Any],
        wanted: Span,
        streams: Mapping[str, tuple[dict[str, Any], dict[str, Any]]],
        columns: dict[str, dict[str, Any]],
    ) -> dict[str, Any]:
        cues = cues_within(self.cues, span["start_s"], span["end_s"])
        look = _main_look({name: seen for name, (_, seen) in streams.items()})
        if look is None:
            length = span["end_s"] - span["start_s"]
            look = dict(self.look) | {
                "duration_s": length,
                "probe": self.look["probe"] | {"duration_s": length, "keyframes_s": None, "size": None},
            }
        return {
            "clip": self.clips,
            "still": None,
            "frame_s": None,
            "span": span,
            "wanted": wanted.wanted,
            "caption": self._caption(wanted, span),
            "subtitles": cues if self.cues else None,
            "streams": {name: stream for name, (stream, _) in streams.items()},
            "look": look,
            "columns": columns,
        }

    def _caption(self, wanted: Span, span: Mapping[str, Any]) -> str | None:
        """The caption of a clip, or of a picture of it, that was made of a wanted span."""
        by_cues = self.rules is not None and self.rules.source == "subtitles"
        if not self.plan.captions_are_subtitles:
            return None if by_cues else wanted.caption
        if by_cues:
            return wanted.caption
        return _text(cues_within(self.main_cues, span["start_s"], span["end_s"])) or wanted.caption

    def _still(
        self,
        still: Still,
        number: int,
        span: dict[str, Any] | None,
        wanted: Span | None,
        columns: Mapping[str, dict[str, Any]],
    ) -> dict[str, Any]:
        """A still picture of a clip, or of the whole source where there is no span, with what was measured of that."""
        stream, look = self._written(still.path)
        cues = None if still.cue is None else [cue_in(still.cue, span["start_s"], span["end_s"]) if span else still.cue]
        caption = None
        if cues and self.plan.captions_are_subtitles:
            caption = _text(cues)
        elif span and wanted:
            caption = self._caption(wanted, span)
        return {
            "clip": self.clips if span else None,
            "still": number,
            "frame_s": still.time_s,
            "span": span,
            "wanted": wanted.wanted if wanted else None,
            "caption": caption,
            "subtitles": cues,
            "streams": {IMAGE: stream},
            "look": look,
            "columns": dict(columns),
        }

    def _written(self, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is said of a file, and what it holds: read from what was written."""
        look = probe(str(path), keyframes=self.plan.wants_keyframes, memory_limit=self.memory_limit)
        return {"path": str(path), "content_type": look["content_type"], "extension": look["extension"]}, look

    def _own_bytes(self) -> dict[str, Any]:
        return {"path": None, "content_type": self.look["content_type"], "extension": self.look["extension"]}

    def _copied(
        self, reader: VideoReader, job: Job, spans: Sequence[Span], made: Sequence[Made], video: str
    ) -> list[dict[str, Any]]:
        """Clips whose streams are copied; what was looked at and heard of them is added.

        A few files cannot be cut so: the format cannot hold what is in them, or what comes is not as long as the span. Such
        spans are cut exactly.
        """
        measured = {one.clip.span: one for one in made}
        format = copy_format(self.look, None if self.formats is None else video)
        samples: list[dict[str, Any]] = []
        left = []
        for number, span in enumerate(sorted(spans, key=lambda one: one.start)):
            stem = self.folder / f"{number:05d}-copy"
            copy = copied(self.path, stem, format, span, reader, self.look, self.timeout) if format else None
            stream = self._held(*copy, reader.time_base) if copy else None
            if copy is None or stream is None:
                left.append(span)
                continue
            samples += self._of_copy(span, _span(*copy[1:], reader.time_base, reader.origin), stream, measured.get(span))
        if left:
            with VideoReader(self.path) as again, SoundTrack(self.path) as track:
                exact = replace(job, video=video, track=track if track.exists else None, tally=Tally())
                for one in self._passed(again, exact, left, None):
                    told = _span(one.start, one.end, reader.time_base, reader.origin)
                    stream = self._written(one.files[VIDEO])
                    samples += self._of_copy(one.clip.span, told, stream, measured.get(one.clip.span))
        if not samples:
            raise _Nothing("no_clip", "none of its parts is a clip by the settings subsample.clip")
        return sorted(samples, key=lambda sample: (sample["span"]["start_pts"], sample["wanted"] or 0))

    def _held(self, path: Path, start: int, end: int, base: Fraction) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """What was copied; None, and no file, where that is not the span."""
        try:
            stream, look = self._written(path)
        except SampleError:
            path.unlink()
            return None
        if not is_span(self.look, look, float((end - start) * base)):
            path.unlink()
            return None
        return stream, look

    def _of_copy(
        self, span: Span, told: dict[str, Any], stream: tuple[dict[str, Any], dict[str, Any]], also: Made | None
    ) -> list[dict[str, Any]]:
        self.clips += 1
        streams = {VIDEO: stream}
        streams |= {name: self._written(file) for name, file in (also.files if also else {}).items()}
        columns = also.columns if also else {}
        samples = [self._clip(told, span, streams, columns)]
        return samples + [self._still(still, at, told, span, columns) for at, still in enumerate(also.stills if also else ())]

    # --- sources of sound alone ---

    def _sound_samples(self) -> list[dict[str, Any]]:
        plan = self.plan
        if self.rules is not None and self.rules.source == "cuts":
            raise _Nothing("no_video", "there is no picture in which cuts could be found")
        codec = self.look["probe"]["audio"]["codec"] or ""
        own = _SOUND_FORMATS.get(codec, "wav" if codec.startswith("pcm") else "m4a")
        format = own if self.formats is None else self.formats.get(AUDIO)
        if plan.stills is not None and self.formats is None:
            raise _Nothing("no_video", "there is no picture in it")
        with SoundTrack(self.path) as track:
            if not track.exists:
                raise SampleError("unsupported", "its sound cannot be decoded")
            if self.rules is None:
                keeps = format is None or (plan.sound is None and (self.formats is None or format == self.look["extension"]))
                sample = self._heard(track, None, 0, None if keeps else format)
                if keeps and format is not None:
                    sample["streams"], sample["look"] = {AUDIO: self._own_bytes()}, self.look
                return [sample]
            length = self.look["duration_s"] or 0.0
            last = None if self.look["duration_s"] is None else exact(length)
            spans = [
                replace(span, end=span.end if last is None else min(span.end, last))
                for span in self._raw_spans(length)
                if span.end is not None and (last is None or span.start < last)
            ]
            spans = chosen(divided(spans, self.rules), self.rules, self.source["key"])
            check_count(len(spans))
            samples = []
            for number, span in sorted(enumerate(spans), key=lambda one: one[1].start):
                samples.append(self._heard(track, span, number, format))
                track.forget(self._sound_origin(track) + span.start)
        if not samples:
            raise _Nothing("no_clip", "none of its parts is a clip by the settings subsample.clip")
        return samples

    def _sound_origin(self, track: SoundTrack) -> Fraction:
        """Time stamp of the source's beginning, in seconds: subtitles may begin before the sound does."""
        told = self.look["probe"]["start_s"]
        begins_later = told is not None and track.start - exact(told) > _ROUNDED
        return exact(told) if begins_later else track.start

    def _sound(
        self,
        track: SoundTrack,
        start: Fraction,
        end: Fraction | None,
        number: int,
        format: str | None,
        sound: Sound | None,
        *,
        listens: bool = True,
    ) -> tuple[dict[str, Path], list[tuple[str, Listener]]]:
        """Write sound between two times, in seconds, to a file of a format, None for none, and let it be heard."""
        listeners = self.plan.listeners() if listens else []
        ears = [listener for _, listener in listeners]
        bit_rate = self.plan.encode.audio_bit_rate
        if format is None:
            if ears:
                cut = SoundCut(track, None, codec=None, start=start, sound=sound, bit_rate=bit_rate, listeners=ears)
                for time in track.steps(end):
                    cut.packets(time)
                cut.finish(end)
            return {}, listeners
        path = self.folder / f"{number:05d}.{format}"
        file = SoundFile(str(path), format, track, start=start, sound=sound, bit_rate=bit_rate, listeners=ears)
        try:
            file.close(end)
        except BaseException:
            file.discard()
            path.unlink(missing_ok=True)
            raise
        return {AUDIO: path}, listeners

    def _heard(self, track: SoundTrack, span: Span | None, number: int, format: str | None) -> dict[str, Any]:
        """One sample of sound."""
        origin = self._sound_origin(track)
        start = origin + span.start if span else track.start
        end = None if span is None or span.end is None else origin + span.end
        files, listeners = self._sound(track, start, end, number, format, self.plan.sound)
        if track.warning and track.warning not in self.warnings:
            self.warnings.append(track.warning)
        if span is None:
            sample = self._whole_sample(files, None)
            length = self.look["duration_s"] or 0.0
        else:
            assert span.end is not None
            self.clips += 1
            rate = Fraction(1, track.rate)
            told = _span(round(start / rate), round((end or start) / rate), rate, round(origin / rate))
            sample = self._clip(told, span, {name: self._written(file) for name, file in files.items()}, {})
            length = float(span.end - span.start)
        for name, listener in listeners:
            sample["columns"].setdefault(name, {}).update(listener.result(length))
        return sample


def _span(start: int, end: int, base: Fraction, origin: int) -> dict[str, Any]:
    return {
        "start_pts": start,
        "end_pts": end,
        "time_base": f"{base.numerator}/{base.denominator}",
        "start_s": float((start - origin) * base),
        "end_s": float((end - origin) * base),
    }


def _picture_bytes(reader: VideoReader) -> int:
    """Bytes of a decoded picture; 10 bits and full chroma take up to four times those of 8-bit 4:2:0."""
    codec = reader.stream.codec_context
    bits = codec.format.padded_bits_per_pixel if codec.format else _USUAL_BITS
    return codec.width * codec.height * bits // 8


def _place(made: Made) -> tuple[int, int]:
    return made.start, made.clip.number


def _together(seen: Made, heard: Made) -> Made:
    """What was made of one sample's picture and of its sound."""
    names = {*seen.columns, *heard.columns}
    columns = {name: {**seen.columns.get(name, {}), **heard.columns.get(name, {})} for name in names}
    return replace(seen, files={**seen.files, **heard.files}, columns=columns)


def _text(cues: Sequence[Cue]) -> str | None:
    return " ".join(cue["text"] for cue in cues) or None


def _main_look(looks: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """What a sample of several streams is: its video, or else what it has."""
    return looks.get(VIDEO) or looks.get(AUDIO) or looks.get(IMAGE)
