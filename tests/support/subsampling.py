"""Asking the media engine for samples, and checking what it says against what it wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from v2d_spark.udfs.engine import MediaChild

Answer = dict[str, Any]
Sample = dict[str, Any]
#: Encoding as fast as can be: what is tested is which pictures there are, not how good they look.
FAST = {"preset": "ultrafast", "crf": 26}


def subsample(
    child: MediaChild,
    path: Path,
    folder: Path,
    settings: Mapping[str, Mapping[str, Any]],
    *,
    spans: Sequence[tuple[float, float]] | None = None,
    captions: Sequence[str] | None = None,
    cuts: Mapping[str, Any] | None = None,
    subtitles: Sequence[Mapping[str, Any]] | None = None,
    formats: Mapping[str, str] | None = None,
    encode: Mapping[str, Any] | None = None,
    captions_are_subtitles: bool = False,
    key: str = "000000000007",
    timeout: float = 60,
) -> Answer:
    """Make samples of a file.

    Args:
        child: who does it.
        path: the file.
        folder: where samples are written; made if missing.
        settings: of each subsampler that is on, by name.
        spans: of the input, in seconds from the beginning.
        captions: of the spans.
        cuts: as a table holds them.
        subtitles: cues of the source.
        formats: `encode_formats`.
        encode: settings `encode.*`; `FAST` where None.
        captions_are_subtitles: as the setting of that name.
        key: of the source.
        timeout: seconds.
    """
    folder.mkdir(exist_ok=True)
    plan = {
        "subsample": {name: dict(values) for name, values in settings.items()},
        "encode_formats": None if formats is None else dict(formats),
        "encode": dict(FAST if encode is None else encode),
        "captions_are_subtitles": captions_are_subtitles,
    }
    texts = captions or [None] * len(spans or ())
    source = {
        "key": key,
        "spans": None if spans is None else [[start, end, text] for (start, end), text in zip(spans, texts, strict=True)],
        "cuts": None if cuts is None else dict(cuts),
        "subtitles": None if subtitles is None else [dict(cue) for cue in subtitles],
    }
    return child.subsample(path=path, folder=folder, plan=plan, source=source, timeout=timeout)


def written(sample: Sample, stream: str = "video") -> Path:
    """The file of a sample's stream."""
    return Path(sample["streams"][stream]["path"])


def check_answer(child: MediaChild, answer: Answer, folder: Path) -> None:
    """Check that the answer names all files in the folder and no others, and says of each what its bytes say."""
    paths = [
        stream["path"] for sample in answer["samples"] for stream in sample["streams"].values() if stream["path"] is not None
    ]
    assert sorted(paths) == sorted(str(path) for path in folder.rglob("*") if path.is_file())
    for sample in answer["samples"]:
        for name, stream in sample["streams"].items():
            if stream["path"] is None:
                continue
            found = child.probe(Path(stream["path"]), keyframes=False, timeout=60)
            assert (found.content_type, found.extension) == (stream["content_type"], stream["extension"])
            if found.kind == sample["look"]["kind"] == name:
                check_look(sample["look"], vars(found))


def check_look(said: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Check that a sample's look is what the probe says of its bytes."""
    for name, value in found.items():
        if name != "probe":
            assert said[name] == (pytest.approx(value, abs=0.0015) if isinstance(value, float) else value), name
    for part in ("video", "audio"):
        for name, value in (found["probe"][part] or {}).items():
            told = said["probe"][part][name]
            assert told == (pytest.approx(value, rel=0.01, abs=0.002) if isinstance(value, float) else value), (part, name)
