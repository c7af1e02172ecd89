"""The internet as it is, while something goes wrong on our own side; afterwards nothing is lost, doubled or left."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disks import small_disk
from tests.support.internet import Internet, wrong
from tests.support.killing import Job, check_files
from tests.support.leftovers import none_left
from tests.support.media import make_video
from tests.support.s3 import Fault, S3Server, told_by_environment
from tests.support.submit import Submit
from tests.support.tables import ask
from tests.support.tasks import make_task, run, sources
from v2d_spark import config
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations, spool
from v2d_spark.udfs.fetch.settings import Access

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

COUNT = 400


class _Mixed(Job):
    """Downloads the mixture; what `Job` knows of its own 200 files is not so here."""

    def __init__(self, folder: Path, internet: Internet, start: Submit) -> None:
        self.folder, self.server, self.start = folder, internet.server, start
        self.scratch, self.list = folder / "scratch", folder / "urls.txt"
        self.urls = internet.urls(COUNT, bad=0.5, seed=COUNT)
        self.list.write_text("\n".join(one.url for one in self.urls))
        self._beside = list
        self._settings = internet.settings

    def arguments(self, dataset: Path | str) -> list[object]:
        more = [f"scratch_dir={self.scratch}", "batch.sources=100", "shard_size=50", "fetch.threads=8"]
        return ["download", self.list, "--dataset", dataset, "--quiet", *self._settings, *more]


@pytest.fixture
def internet(tmp_path: Path) -> Iterator[Internet]:
    with Internet(tmp_path / "internet") as running:
        yield running
        assert running.other.connections == 0


# The kinds of one run after the other; each of a run happens in it.
_KILLS = ([("worker", "daemon")], [("executor", "worker")], [("group",), ("daemon",)])


@pytest.mark.parametrize("runs", _KILLS, ids=lambda runs: "-".join(kind for kinds in runs for kind in kinds))
def test_what_is_killed_in_the_middle_is_made_good(tmp_path: Path, internet: Internet, runs: list[tuple[str, ...]]) -> None:
    dataset, chance = tmp_path / "dataset", random.Random(1)
    with none_left() as mark:
        job = _Mixed(tmp_path, internet, Submit(environment={**mark, **internet.environment}))
        for kinds in runs:
            assert job.run_and_kill(dataset, kinds, chance), f"it ended before its {kinds} were killed"
        job.run(dataset)

    assert not (told := wrong(dataset, job.urls)), "\n".join(told)
    check_files(dataset)
    # What killed tasks left goes when the next one starts on their host.
    spool.sweep(str(job.scratch))
    assert list(job.scratch.iterdir()) == []


def test_a_disk_that_is_full_fails_no_source_for_good(tmp_path: Path, internet: Internet) -> None:
    dataset = tmp_path / "dataset"
    with none_left() as mark:
        # Executors of their own: what Spark itself writes is on another disk.
        job = _Mixed(tmp_path, internet, Submit(environment={**mark, **internet.environment}))
        with small_disk(job.scratch, "100k"):
            job.run(dataset)
            assert list(job.scratch.iterdir()) == []
        assert not (told := wrong(dataset, job.urls, frozenset(("storage",)))), "\n".join(told)
        check_files(dataset)
        failed = _failed_storage(dataset)
        print(f"{failed} of {COUNT} found no room")
        assert failed > COUNT // 10

        code, said = job.ended(job.start("retry", "--dataset", dataset, "--where", "error_class = 'storage'"))
        assert code == 0, said
        job.run(dataset)

    assert not (told := wrong(dataset, job.urls)), "\n".join(told)
    check_files(dataset)
    assert list(job.scratch.iterdir()) == []


def _failed_storage(dataset: Path) -> int:
    (told,) = ask(Dataset.open(str(dataset)), "SELECT count(*) AS n FROM sources WHERE error_class = 'storage'")
    return int(told["n"])


def test_a_store_of_sources_that_fails_at_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read by fsspec comes as it is, or says that it is the store's fault."""
    video = make_video(tmp_path / "video.mp4", size=(320, 240), seconds=4.0)
    with S3Server("bucket") as store, told_by_environment(store, monkeypatch):
        for number in range(120):
            with locations.write_whole(f"s3://bucket/{number}.mp4") as file:
                file.write(video.read_bytes())
        reads = {"method": "GET", "path": "/bucket/[0-9]", "times": 1_000_000}
        for fault in (
            Fault(**reads, chance=0.2, status=503),
            Fault(**reads, chance=0.2, cut=1000),
            Fault(**reads, chance=0.2, cut=0),
            Fault(**reads, chance=0.1, lose=True),
        ):
            store.harm(fault)
        settings = config.load(None, ["fetch.retries=0"])
        urls = [f"s3://bucket/{number}.mp4" for number in range(120)]

        def rows(wanted: list[str], batch: int) -> dict[str, str | None]:
            task = make_task(
                tmp_path, settings, access=Access(allow_locations=("s3://bucket",)), fetch=settings.fetch, batch_id=batch
            )
            made, _, _ = run(task, sources(wanted))
            body = video.read_bytes()
            assert all(row["video"]["inline"] == body for row in made if row["is_sample"])
            return {row["url"]: row["error_class"] for row in made if row["role"] == "source"}

        found = rows(urls, 1)
        failed = [url for url, error_class in found.items() if error_class is not None]
        print(f"{len(failed)} of {len(urls)} failed, {sum(asked['harmed'] for asked in store.requests())} reads were harmed")
        assert {found[url] for url in failed} <= {"storage"}
        assert any(asked["harmed"] for asked in store.requests())
        store.heal()
        if failed:
            assert set(rows(failed, 2).values()) == {None}
