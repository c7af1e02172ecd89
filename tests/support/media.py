"""Real media in one line, made by the ffmpeg binary of the imageio-ffmpeg wheel. Same arguments, same bytes."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import imageio_ffmpeg

_FAST = {
    "libx264": ["-preset", "ultrafast"],
    "libx265": ["-preset", "ultrafast", "-x265-params", "log-level=none:pools=1:frame-threads=1"],
    "libvpx-vp9": ["-deadline", "realtime", "-cpu-used", "8", "-b:v", "200k"],
    "libvpx": ["-deadline", "realtime", "-cpu-used", "8", "-b:v", "200k"],
}
_SOUND_OF = {".webm": "libopus", ".avi": "libmp3lame", ".ogv": "libvorbis", ".mpg": "mp2", ".flv": "libmp3lame"}


def ffmpeg(*arguments: object) -> None:
    """Run ffmpeg, quietly, on one thread, with nothing in the output that differs from run to run."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


def make_video(
    path: Path,
    *,
    seconds: float = 1,
    size: tuple[int, int] = (320, 240),
    fps: float | str = 25,
    codec: str = "libx264",
    audio: bool = True,
    rotation: int = 0,
    sample_aspect: str | None = None,
    keyframe_every: int | None = None,
    start: float = 0,
    options: tuple[object, ...] = (),
) -> Path:
    """Make a video of a test picture and a tone; the container goes by the path's suffix.

    `rotation` is clockwise, in degrees; `keyframe_every` in frames; `start` in seconds of the test picture, so that
    videos with another start differ; `options` are ffmpeg's, before the output.
    """
    video = ["-c:v", codec, *_FAST.get(codec, []), "-threads", 1]
    if codec != "gif":
        video += ["-pix_fmt", "yuv420p"]
    if sample_aspect:
        video += ["-vf", f"setsar={sample_aspect}"]
    if keyframe_every:
        video += ["-g", keyframe_every, "-keyint_min", keyframe_every, "-sc_threshold", 0]
    audio = audio and codec != "gif"
    sound = ["-c:a", _SOUND_OF.get(path.suffix, "aac"), "-ac", 2, "-ar", 48000, "-shortest"] if audio else ["-an"]
    plain = path.with_name(f"{path.stem}.unrotated{path.suffix}") if rotation else path
    picture = f"testsrc2=size={size[0]}x{size[1]}:rate={fps}:duration={start + seconds}"
    if start:
        picture += f",trim=start={start},setpts=PTS-STARTPTS"
    ffmpeg(
        *("-f", "lavfi", "-i", picture),
        *(("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}") if audio else ()),
        *(*video, *sound, "-t", seconds, "-fflags", "+bitexact", "-flags", "+bitexact", *options, plain),
    )
    if rotation:
        ffmpeg("-display_rotation:v:0", -rotation, "-i", plain, "-c", "copy", "-fflags", "+bitexact", path)
        plain.unlink()
    return path


def make_audio(
    path: Path, *, seconds: float = 1, rate: int = 44100, channels: int = 2, options: tuple[object, ...] = ()
) -> Path:
    """Make a tone; codec and container go by the path's suffix."""
    ffmpeg(
        *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={rate}:duration={seconds}"),
        *("-ac", channels, "-fflags", "+bitexact", "-flags", "+bitexact", *options, path),
    )
    return path


def make_image(path: Path, *, size: tuple[int, int] = (320, 240), options: tuple[object, ...] = ()) -> Path:
    """Make a still picture; the format goes by the path's suffix."""
    source = f"testsrc2=size={size[0]}x{size[1]}:duration=1"
    ffmpeg("-f", "lavfi", "-i", source, "-frames:v", 1, "-update", 1, "-flags", "+bitexact", *options, path)
    return path


def samples_folder() -> Path:
    """The folder of the iscc-samples wheel: `video/demo.mp4`, `audio/demo.mp3`, `image/demo.jpg`, `text/demo.html`, …"""
    spec = importlib.util.find_spec("iscc_samples")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "files"
