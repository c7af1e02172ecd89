"""`v2d demo`, as it is typed after a fresh install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import webdataset as wds

from v2d_spark.demo.footage import BUNNY_CREDIT, CLIPS, KALI_CREDIT

TIMEOUT_S = 300  # the goal is 90 on a machine of 2 cores that does nothing else


def test_the_demo_goes_the_whole_way(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "v2d_spark.cli", "demo", "--to", "demo data"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "160"},
        timeout=TIMEOUT_S,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout
    for fault in ("http_404", "not_media", "truncated", "too_slow", "forbidden_reference", "forbidden_address"):
        assert fault in told
    for credit in (BUNNY_CREDIT, KALI_CREDIT):
        assert credit in told
    assert "$ v2d download 'demo data/urls.csv' --dataset 'demo data/dataset'" in told
    assert f"0 new, 0 changed, {len(CLIPS) + 6} known" in told
    assert "000000000000.mp4" in told
    tars = sorted(str(path) for path in (tmp_path / "demo data" / "shards").glob("*.tar"))
    samples = list(wds.WebDataset(tars, shardshuffle=False).decode())
    assert len(samples) > 20
    assert all(sample["txt"] and sample["json"]["credit"] for sample in samples)
