"""`v2d demo`, on the shared session."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import imageio_ffmpeg
import pytest
import webdataset as wds

from v2d_spark.cli import main
from v2d_spark.demo.footage import BUNNY_CREDIT, CLIPS, KALI_CREDIT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_the_demo_goes_the_whole_way(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    assert main(["demo", "--to", "demo data"]) == 0

    told = capfd.readouterr().out
    for fault in ("http_404", "not_media", "truncated", "too_slow", "forbidden_reference", "forbidden_address"):
        assert fault in told
    for credit in (BUNNY_CREDIT, KALI_CREDIT):
        assert credit in told
    assert "$ v2d download 'demo data/urls.csv' --dataset 'demo data/dataset'" in told
    assert f"0 new, 0 changed, {len(CLIPS) + 6} known" in told
    assert "000000000000.mp4" in told
    assert '"credit": "' in told
    assert "v2d status --dataset 'demo data/dataset'" in told
    tars = sorted(str(path) for path in (tmp_path / "demo data" / "shards").glob("*.tar"))
    samples = list(wds.WebDataset(tars, shardshuffle=False).decode())
    assert len(samples) > 20
    assert all(sample["txt"] and sample["json"]["credit"] for sample in samples)
    footage = tmp_path / "demo data" / "footage"
    assert {clip.name: told for clip in CLIPS if (told := faults(footage / clip.name))} == {}


def faults(path: Path) -> str:
    """What ffmpeg says of packets that do not decode."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return done.stderr or ("" if done.returncode == 0 else f"exit code {done.returncode}")
