"""More, and larger, than most people have: nothing grows with it that must not."""

from __future__ import annotations

import hashlib
import json
import random
import tarfile
from pathlib import Path

import pytest

from tests.support import cli
from tests.support.media import make_video
from tests.support.peaks import DRIVER, JVM, WORKER, run
from tests.support.server import MediaServer
from tests.support.tables import ask
from v2d_spark.tables import Dataset

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]


def test_a_hundred_thousand_tiny_files(tmp_path: Path) -> None:
    peaks = {}
    with MediaServer(bodies={"tiny.bin": random.Random(1).randbytes(1024)}) as server:
        for count in (10_000, 100_000):
            listed, dataset = tmp_path / f"{count}.txt", tmp_path / f"ds{count}"
            listed.write_text("\n".join(server.url(f"tiny.bin?n={number}") for number in range(count)))
            asked = server.requests.total()
            settings = [f"allow_hosts=[127.0.0.1:{server.port}]", f"scratch_dir={tmp_path / 'scratch'}", "fetch.probe=false"]
            seconds, peaks[count] = run(["download", listed, "--dataset", dataset, "--quiet", *settings])
            print(f"{count} files: {count / seconds:.0f} a second, {peaks[count]}")

            assert server.requests.total() - asked == count
            server.log.clear()
            opened = Dataset.open(str(dataset))
            (told,) = ask(opened, "SELECT count(*) AS n, count(DISTINCT key) AS keys, sum(video_size) AS size FROM samples")
            assert (told["n"], told["keys"]) == (count, count)
            (told,) = ask(opened, "SELECT count(*) AS n, max(source_num) AS last FROM sources WHERE status = 'ok'")
            assert (told["n"], told["last"]) == (count, count - 1)
    # The driver holds some hundred bytes a source of a batch at most, and of batches there are two at once.
    assert peaks[100_000][DRIVER] < peaks[10_000][DRIVER] + 100
    assert peaks[100_000][JVM] < peaks[10_000][JVM] + 400
    assert peaks[100_000][WORKER] < peaks[10_000][WORKER] + 100


def write_large(path: Path, size: int) -> str:
    """Make a file of so many bytes, whole pieces of 64 MiB; its sha256."""
    path.parent.mkdir()
    piece, digest = random.Random(2).randbytes(64 << 20), hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size // len(piece)):
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def test_eight_files_of_a_gibibyte_at_once(tmp_path: Path) -> None:
    size, count = 1 << 30, 8
    digest = write_large(tmp_path / "site" / "long.mp4", size)
    with MediaServer(tmp_path / "site") as server:
        (tmp_path / "list.txt").write_text("\n".join(server.url(f"long.mp4?n={number}") for number in range(count)))
        settings = [f"allow_hosts=[127.0.0.1:{server.port}]", f"scratch_dir={tmp_path / 'scratch'}", "fetch.probe=false"]
        # One task has them all, at once.
        settings += ["batch.tasks=1", f"fetch.max_spool_bytes={count * size}"]
        seconds, peaks = run(["download", tmp_path / "list.txt", "--dataset", tmp_path / "ds", "--quiet", *settings])
    print(f"{count * size / seconds / 1e6:.0f} MB a second, {peaks}")
    told = ask(Dataset.open(str(tmp_path / "ds")), "SELECT video_size, video_sha256 FROM samples")
    assert [(row["video_size"], row["video_sha256"]) for row in told] == [(size, digest)] * count
    assert peaks[WORKER] < 600
    assert not list((tmp_path / "scratch").iterdir())


def test_a_file_of_more_than_two_gibibytes_goes_in_and_out(tmp_path: Path) -> None:
    size = (2 << 30) + (64 << 20)
    digest = write_large(tmp_path / "site" / "long.mp4", size)
    with MediaServer(tmp_path / "site") as server:
        (tmp_path / "list.txt").write_text(server.url("long.mp4"))
        settings = [f"allow_hosts=[127.0.0.1:{server.port}]", f"scratch_dir={tmp_path / 'scratch'}", "fetch.probe=false"]
        _, peaks = run(["download", tmp_path / "list.txt", "--dataset", tmp_path / "ds", "--quiet", *settings])
    assert peaks[WORKER] < 600
    (sample,) = ask(Dataset.open(str(tmp_path / "ds")), "SELECT key, video_size, video_sha256 FROM samples")
    assert (sample["video_size"], sample["video_sha256"]) == (size, digest)

    _, peaks = run(["export", "--dataset", tmp_path / "ds", "--to", tmp_path / "tars", "--quiet", "export.verify=true"])

    assert peaks[WORKER] < 600
    (tar,) = (tmp_path / "tars").glob("*.tar")
    with tarfile.open(tar) as opened:
        (member,) = [member for member in opened if member.size == size]
        found, content = hashlib.sha256(), opened.extractfile(member)
        assert content is not None
        while chunk := content.read(1 << 20):
            found.update(chunk)
    assert found.hexdigest() == digest


def test_a_source_of_five_thousand_clips(tmp_path: Path) -> None:
    clips, length = 5000, 3 / 25  # of three frames each
    video = make_video(tmp_path / "long.mp4", seconds=clips * length, size=(64, 48), audio=False)
    spans = [[number * length, (number + 1) * length] for number in range(clips)]
    (tmp_path / "list.jsonl").write_text(json.dumps({"url": str(video), "spans": spans}))
    settings = [f"allow_locations=[{tmp_path}]", f"scratch_dir={tmp_path / 'scratch'}"]
    _, peaks = run(
        ["download", tmp_path / "list.jsonl", "--dataset", tmp_path / "ds", "--quiet", "--spans-column=spans", *settings]
    )
    assert peaks[WORKER] < 600
    told = ask(Dataset.open(str(tmp_path / "ds")), "SELECT clip_index, start_s FROM samples ORDER BY clip_index")
    assert [row["clip_index"] for row in told] == list(range(clips))
    assert [round(row["start_s"], 3) for row in told] == [round(start, 3) for start, _ in spans]

    done = cli.v2d("export", "--dataset", tmp_path / "ds", "--to", tmp_path / "tars", "--quiet", timeout=1800)

    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(next((tmp_path / "tars").glob("*.tar"))) as opened:
        assert sum(name.endswith(".mp4") for name in opened.getnames()) == clips
