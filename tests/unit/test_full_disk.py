"""A disk that has no room for what is made of a file is no fault of the file, and changes nothing of how it is made."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from yt_dlp.utils import DownloadError

from tests.support.media import make_video
from v2d_spark import config
from v2d_spark.udfs.engine import media_child
from v2d_spark.udfs.fetch.platform_child import error_of
from v2d_spark.udfs.vocabulary import ERROR_CLASSES, SampleError


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ([], "00000.mp4"),
        (["encode_formats={video: mkv, audio: mp3}"], "00000.mp3"),
        (["encode_formats={image: jpg}", "subsample.frames.at=first"], "00000_00000.jpg"),
        # Where the span cannot be copied it is encoded, to other bytes.
        (["subsample.clip.precision=low"], "00000-copy.mp4.0.part"),
    ],
)
def test_a_source_comes_again(tmp_path: Path, settings: list[str], name: str) -> None:
    video = make_video(tmp_path / "video.mp4", seconds=2.0, size=(64, 48))
    (tmp_path / "made").mkdir()
    # What is written there finds no room, as in a file on a disk that is full.
    (tmp_path / "made" / name).symlink_to("/dev/full")
    source = {"key": "", "spans": [[0.0, 1.0, None]], "cuts": None, "subtitles": None}

    with pytest.raises(SampleError) as caught:
        media_child().subsample(
            path=video, folder=tmp_path / "made", plan=config.load(None, settings).plan, source=source, timeout=60
        )

    assert (caught.value.error_class, caught.value.message) == ("storage", "the disk of scratch_dir is full")
    assert ERROR_CLASSES["storage"]


def test_what_a_page_leads_to_comes_again() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    # As yt-dlp has it in the middle of a file; a file that cannot be opened ends in the fault itself.
    told = DownloadError("unable to write data: [Errno 28] No space left on device", (OSError, full, None))
    assert [error_of(fault).error_class for fault in (full, told)] == ["storage", "storage"]
