"""Broken files: whatever is done to a real one, the answer is samples or one sentence, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.media import make_audio, make_image, make_video, samples_folder
from tests.support.subsampling import check_answer, subsample
from v2d_spark.udfs.engine import MediaChild
from v2d_spark.udfs.vocabulary import ERROR_CLASSES, SampleError

Change = tuple[str, float, float, bytes]

# What a broken file may be called. It is no fault of ours, and none that passes by itself, but for `truncated`.
TRUE_CLASSES = {
    "decoder_crashed",
    "decoder_error",
    "decoder_memory",
    "decoder_timeout",
    "empty",
    "forbidden_reference",
    "no_audio",
    "no_video",
    "not_media",
    "truncated",
    "unsupported",
}
PLAN: dict[str, dict[str, Any]] = {
    "clip": {"source": "cuts", "max_length": 0.4},
    "cuts": {},
    "resolution": {"size": 32},
    "frame_rate": {"fps": 10},
    "audio": {"rate": 16000},
    "frames": {"at": "count", "count": 1},
    "measure": {},
}
FEW_FILES = 16  # that a child has open between two requests, with its pipes
FORMATS = {"video": "mp4", "audio": "m4a", "image": "jpg"}


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaChild]:
    """Its temporary files, if it makes any, go to the folder `scratch`."""
    scratch = tmp_path_factory.getbasetemp() / "scratch"
    scratch.mkdir()
    child = MediaChild()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(scratch))
        yield child
    child.close()


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Small real files of many kinds."""
    folder = tmp_path_factory.mktemp("seeds")
    codecs = {"webm": "libvpx", "avi": "mpeg4", "mpg": "mpeg2video", "mkv": "libx265", "ogv": "libtheora", "gif": "gif"}
    names = ["mp4", "webm", "avi", "mpg", "mkv", "ogv", "flv", "ts", "mov", "gif", "fragments.mp4"]
    fragments = ("-movflags", "frag_keyframe+empty_moov")
    files = [
        make_video(
            folder / f"seed.{name}",
            size=(64, 48),
            codec=codecs.get(name, "libx264"),
            options=fragments if name == "fragments.mp4" else (),
        )
        for name in names
    ]
    files += [make_audio(folder / f"seed.{name}", seconds=0.5, rate=16000) for name in ("mp3", "flac", "ogg", "m4a")]
    files += [make_image(folder / f"seed.{name}", size=(64, 48)) for name in ("jpg", "png")]
    return [file.read_bytes() for file in files]


@pytest.fixture(scope="module")
def large_seeds(seeds: list[bytes]) -> list[bytes]:
    """And the first part of real files of many more kinds."""
    paths = [path for kind in ("video", "audio") for path in sorted((samples_folder() / kind).iterdir())]
    return seeds + [path.read_bytes()[:300_000] for path in paths]


change = st.tuples(
    st.sampled_from(["flip", "write", "cut", "repeat", "splice", "zero"]),
    # Headers are where most harm is done: half of all places are in the first few hundred bytes.
    st.one_of(st.floats(0, 1), st.floats(0, 0.03)),
    st.floats(0, 0.3),
    st.binary(min_size=1, max_size=8),
)
broken = st.tuples(
    st.integers(0, 10_000), st.integers(0, 10_000), st.lists(change, min_size=1, max_size=8), st.sampled_from([1, 1, 0.7, 0.2])
)


def break_file(seed: bytes, other: bytes, changes: list[Change], share: float) -> bytes:
    """Change a file: places and lengths are parts of its length."""
    data = bytearray(seed[: max(1, int(len(seed) * share))])
    for kind, place, length, octets in changes:
        start = int(place * (len(data) - 1)) if data else 0
        end = start + 1 + int(length * len(data))
        if kind == "flip":
            for position in range(start, min(len(data), start + len(octets))):
                data[position] ^= octets[position - start]
        elif kind == "write":
            data[start : start + len(octets)] = octets
        elif kind == "cut":
            del data[start:end]
        elif kind == "repeat":
            data[start:start] = data[start:end]
        elif kind == "splice":
            data[start:end] = other[int(place * len(other)) :][: end - start]
        else:
            data[start:end] = bytes(min(end, len(data)) - start)
    return bytes(data)


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def is_true(fault: SampleError) -> None:
    assert fault.error_class in TRUE_CLASSES & set(ERROR_CLASSES)
    assert fault.message.strip() and "\n" not in fault.message and len(fault.message) < 300


def survives(child: MediaChild, folder: Path, seeds: list[bytes], case: tuple[int, int, list[Change], float]) -> None:
    """Break a file, and have samples made of it: an answer or a true sentence, and nothing left behind."""
    which, other, changes, share = case
    source, samples = folder / "broken", folder / "samples"
    shutil.rmtree(samples, ignore_errors=True)
    source.write_bytes(break_file(seeds[which % len(seeds)], seeds[other % len(seeds)], changes, share))
    before = child.pid
    others = {process.pid for process in psutil.Process().children()} - {before}
    files = open_files(os.getpid())

    try:
        answer = subsample(child, source, samples, PLAN, formats=FORMATS, timeout=20)
    except SampleError as fault:
        is_true(fault)
    else:
        if answer["skipped"]:
            assert answer["samples"] == [] and list(samples.iterdir()) == []
        else:
            check_answer(child, answer, samples)

    assert list((folder / "scratch").iterdir()) == []
    if before and child.pid == before:
        assert open_files(os.getpid()) == files
        # What a fault left open is closed by the garbage collector at the latest: some may be open for a while.
        assert open_files(before) <= FEW_FILES
    assert {process.pid for process in psutil.Process().children()} <= others | {child.pid}


def works(child: MediaChild, folder: Path, good: bytes) -> None:
    """Check that the next good file gives what it always gives."""
    samples = folder / "good_samples"
    shutil.rmtree(samples, ignore_errors=True)
    (folder / "good").write_bytes(good)
    answer = subsample(child, folder / "good", samples, PLAN, formats=FORMATS)
    # A second of one shot in pieces of 0.4 s, and of each a still picture.
    assert len([sample for sample in answer["samples"] if sample["clip"] is not None]) >= 3
    check_answer(child, answer, samples)


FUZZ = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck), "database": None}


@settings(max_examples=50, **FUZZ)
@given(case=broken)
def test_broken_files(
    child: MediaChild,
    tmp_path_factory: pytest.TempPathFactory,
    seeds: list[bytes],
    case: tuple[int, int, list[Change], float],
) -> None:
    survives(child, tmp_path_factory.getbasetemp(), seeds, case)


def test_a_good_file_after_broken_ones(child: MediaChild, tmp_path: Path, seeds: list[bytes]) -> None:
    works(child, tmp_path, seeds[0])


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@settings(max_examples=1000, **FUZZ)
@given(case=broken)
def test_a_thousand_broken_files(
    child: MediaChild,
    tmp_path_factory: pytest.TempPathFactory,
    large_seeds: list[bytes],
    case: tuple[int, int, list[Change], float],
) -> None:
    folder = tmp_path_factory.getbasetemp()
    survives(child, folder, large_seeds, case)
    if case[0] % 10 == 0:
        works(child, folder, large_seeds[0])
