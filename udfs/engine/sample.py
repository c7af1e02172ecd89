"""One sample while its frames go by: everything that is made of it, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from v2d_spark.udfs.engine.geometry import Deinterlacer, is_interlaced
from v2d_spark.udfs.engine.plan import Plan
from v2d_spark.udfs.engine.seen import Seen
from v2d_spark.udfs.engine.sound import SoundCut, SoundFile, SoundTrack
from v2d_spark.udfs.engine.spans import Open
from v2d_spark.udfs.engine.still_part import Still, StillPart
from v2d_spark.udfs.engine.subtitles import Cue
from v2d_spark.udfs.engine.tally import Tally
from v2d_spark.udfs.engine.times import exact
from v2d_spark.udfs.engine.video_file import SoundInside, VideoFormat
from v2d_spark.udfs.engine.video_part import VideoPart
from v2d_spark.udfs.subsamplers import Sound

_SOUND_STEP = Fraction(1)  # seconds after which sound that has a file of its own is written on


@dataclass(frozen=True)
class Job:
    """What is made of the samples of one source.

    Attributes:
        plan: the plan.
        folder: where files go.
        video: format of the video that is written; None for none.
        audio: format of the sound file that is written; None for none.
        image: format of the still pictures; None for none.
        track: the source's sound; None where nobody wants it, or there is none.
        sound_inside: what becomes of the sound in the video; None leaves it.
        cues: the source's subtitles.
        clock: seconds of a unit of the source's time stamps.
        origin: time stamp of the source's beginning.
        rate: frames a second of what is written; None where frames keep their own times.
        fps: of the source, about.
        keyframes_only: whether samples begin with a keyframe and show no other frames.
        tally: counts the samples.
    """

    plan: Plan
    folder: Path
    video: str | None
    audio: str | None
    image: str | None
    track: SoundTrack | None
    sound_inside: Sound | None
    cues: Sequence[Cue]
    clock: Fraction
    origin: int
    rate: Fraction | None
    fps: Fraction
    tally: Tally
    keyframes_only: bool = False


@dataclass
class Made:
    """A sample that is done.

    Attributes:
        clip: its span, and its number among all.
        start: time stamp of its first frame.
        end: time stamp of its end.
        files: path by stream.
        stills: still pictures, in order.
        columns: what was measured, by subsampler.
    """

    clip: Open
    start: int
    end: int
    files: dict[str, Path]
    stills: list[Still]
    columns: dict[str, dict[str, Any]]


class SampleInMaking:
    """One sample, from its first frame on.

    Args:
        job: what is made.
        clip: its span.
        start: time stamp of its first frame.
        hold: seconds that it must last to be wanted.
        duration: seconds that it will last; None where nobody knows yet.
        whole: whether it is all of the source.
    """

    def __init__(self, job: Job, clip: Open, start: int, *, hold: Fraction, duration: Fraction | None, whole: bool) -> None:
        self.clip = clip
        self.start = start
        self._job = job
        self._whole = whole
        self._start_s = start * job.clock
        self._stem = str(job.folder / f"{clip.number:05d}")
        self._lookers = job.plan.lookers()
        self._listeners = job.plan.listeners() if job.track else []
        self._deinterlacer: Deinterlacer | None = None
        self._pending: Seen | None = None
        self._last: Seen | None = None
        self._sound_due = math.ceil((self._start_s + _SOUND_STEP) / job.clock)
        self._audio: SoundFile | None = None
        self._heard: SoundCut | None = None
        self._video = self._video_part(hold) if job.video else None
        self._stills = self._still_part(duration) if job.image and job.plan.stills else None
        if job.audio and job.track:
            self._audio = SoundFile(
                f"{self._stem}.{job.audio}",
                job.audio,
                job.track,
                start=self._start_s,
                sound=job.plan.sound,
                bit_rate=job.plan.encode.audio_bit_rate,
                listeners=self._ears(),
            )
        elif job.track and self._listeners and not self._video:
            self._heard = self._cut(None)
        self._shows = self._video is not None or self._stills is not None

    def _ears(self) -> list[Any]:
        return [listener for _, listener in self._listeners]

    def _cut(self, output: av.container.OutputContainer | None) -> SoundCut:
        job = self._job
        assert job.track is not None
        return SoundCut(
            job.track,
            output,
            codec=None,
            start=self._start_s,
            sound=job.sound_inside,
            bit_rate=job.plan.encode.audio_bit_rate,
            listeners=[] if job.audio else self._ears(),
        )

    def _video_part(self, hold: Fraction) -> VideoPart:
        job = self._job
        assert job.video is not None
        clock = 1 / job.rate if job.rate else job.clock

        def add_sound(output: av.container.OutputContainer) -> SoundInside:
            return self._cut(output)

        return VideoPart(
            f"{self._stem}.{job.video}",
            VideoFormat(job.video, job.plan.encode, job.rate or job.fps, clock),
            start=self.start,
            clock=job.clock,
            rate=job.rate,
            hold=hold,
            add_sound=add_sound if job.track else None,
        )

    def _still_part(self, duration: Fraction | None) -> StillPart:
        job = self._job
        assert job.image is not None and job.plan.stills is not None
        return StillPart(
            self._stem,
            job.plan.stills,
            job.image,
            job.plan.encode.image_quality,
            start=self.start,
            origin=job.origin,
            clock=job.clock,
            duration=duration,
            cues=self._cues() if job.plan.stills.at == "cues" else [],
            tally=job.tally,
        )

    def _cues(self) -> list[tuple[Fraction, Cue]]:
        """The cues that begin in this sample, each with the seconds from its first frame on.

        What counts is the span that is wanted: its first frame may come a little later than the cue that it is cut by,
        and its last one may still be shown when the next cue begins.
        """
        first = self._start_s - self._job.origin * self._job.clock
        begin, end = self.clip.span.start, self.clip.span.end
        if end is None:  # from cut to cut
            begin = first
        cues = []
        for cue in self._job.cues:
            time = exact(cue["start_s"])
            if self._whole or (begin <= time and (end is None or time < end)):
                cues.append((max(time - first, Fraction(0)), cue))
        return sorted(cues, key=lambda one: one[0])

    @property
    def waits_for_sound(self) -> bool:
        """Whether its sound is yet to be opened, from the sample's beginning on."""
        return self._video is not None and not self._video.is_begun

    @property
    def is_complete(self) -> bool:
        """Whether no later frame can change what is made of it."""
        others = self._video or self._audio or self._heard or self._lookers
        return not others and self._stills is not None and self._stills.is_complete

    def take(self, seen: Seen) -> None:
        """Take a frame in."""
        self._last = seen
        if self._lookers:
            time_s = float((seen.pts - self.start) * self._job.clock)
            for _, looker in self._lookers:
                looker.look(time_s, seen.image(looker.view))
        if self._job.keyframes_only and not seen.frame.key_frame:
            pass
        elif self._shows:
            for whole in self._made_whole(seen):
                self._show_pending(whole.pts)
                self._pending = whole
        else:
            self._pending = seen
        self._write_sound(seen.pts)

    def _made_whole(self, seen: Seen) -> list[Seen]:
        if self._deinterlacer is None:
            if not is_interlaced(seen.frame):
                return [seen]
            # The frames of a clip all go the same way, or they would change places.
            self._deinterlacer = Deinterlacer()
        return [seen.become(frame) for frame in self._deinterlacer.push(seen.frame)]

    def _show_pending(self, until: int) -> None:
        if self._pending is None:
            return
        if self._video:
            self._video.show(self._pending, until)
        if self._stills:
            self._stills.show(self._pending, until)

    def _write_sound(self, pts: int) -> None:
        if pts < self._sound_due:
            return
        time = pts * self._job.clock
        self._sound_due = math.ceil((time + _SOUND_STEP) / self._job.clock)
        if self._audio:
            self._audio.advance(time)
        if self._heard:
            self._heard.advance(time)

    def _write_rest_of_sound(self, end: Fraction | None) -> None:
        """Write sound that is left to all who want it, side by side: it may outlast the picture by hours."""
        if self._job.track is None:
            return
        for time in self._job.track.steps(end):
            if self._video:
                self._video.advance(time)
            if self._audio:
                self._audio.advance(time)
            if self._heard:
                self._heard.advance(time)

    def close(self, end: int) -> Made:
        """Finish what is made.

        Args:
            end: time stamp of the first frame that is no more of it, or of the source's end.
        """
        if self._deinterlacer:
            assert self._last is not None
            for frame in self._deinterlacer.flush():
                self._show_pending(frame.pts or 0)
                self._pending = self._last.become(frame)
        assert self._pending is not None
        self._show_pending(end)
        self._job.tally.add(1)
        sound_end = None if self._whole else end * self._job.clock
        files: dict[str, Path] = {}
        if self._video:
            self._video.end_picture(self._pending, end)
        self._write_rest_of_sound(sound_end)
        if self._video:
            self._video.close(sound_end)
            files["video"] = Path(self._video.path)
        if self._audio:
            self._audio.close(sound_end)
            if self._audio.has_sound:
                files["audio"] = Path(f"{self._stem}.{self._job.audio}")
        if self._heard:
            self._heard.finish(sound_end)
        if self._stills:
            self._stills.close()
        duration_s = float((end - self.start) * self._job.clock)
        return Made(self.clip, self.start, end, files, self._stills.stills if self._stills else [], self._columns(duration_s))

    def _columns(self, duration_s: float) -> dict[str, dict[str, Any]]:
        columns: dict[str, dict[str, Any]] = {}
        for name, looker in self._lookers:
            columns.setdefault(name, {}).update(looker.result(duration_s))
        for name, listener in self._listeners:
            columns.setdefault(name, {}).update(listener.result(duration_s))
        return columns

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._video:
            self._video.discard()
            Path(self._video.path).unlink(missing_ok=True)
        if self._audio:
            self._audio.discard()
            Path(f"{self._stem}.{self._job.audio}").unlink(missing_ok=True)
        if self._stills:
            self._stills.discard()
