"""A job of 200 files that is killed at random moments, and what must be there when it has ended all the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.support import cli
from tests.support.media import make_video
from tests.support.server import MediaServer
from tests.support.standalone import WORKER
from tests.support.tables import ask, rows
from v2d_spark import config
from v2d_spark.datasets import open_dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.engine import media_child

FILES = 200
SHARD = 25
BATCH = 50
_DEATH_S = 30
_END_S = 400
# Of what does nothing for a while; also between a host's word that it will go, and its end.
_PAUSE_S = 8
_SLOW_S = 12
# Kills after which the job does not go on.
FATAL = ("driver", "script", "group")
# What happens to hosts of a cluster.
HOST_KINDS = ("host", "host daemon", "retire", "standstill", "straggler")

Start = Callable[..., "subprocess.Popen[bytes]"]


def _nothing() -> list[psutil.Process]:
    return []


class Job:
    """200 sources on a server: most are good, some slow, some bad; and the command that fetches them.

    Args:
        folder: for the list, the scratch folder and the datasets.
        server: where the media is.
        start: starts a command in a process group of its own.
        beside: the processes that work for it and are not of its tree: those of a cluster's hosts.
    """

    def __init__(
        self,
        folder: Path,
        server: MediaServer,
        start: Start = cli.start,
        beside: Callable[[], list[psutil.Process]] = _nothing,
    ) -> None:
        self.folder = folder
        self.server = server
        self.start = start
        self._beside = beside
        self.scratch = folder / "scratch"
        self.list = folder / "urls.csv"
        contents = [make_video(folder / f"{n}.mp4", seconds=0.2, size=(64, 48), start=n).read_bytes() for n in range(5)]
        clips = [self._clip(folder / f"{n}.mp4") for n in range(5)]
        self.expected: dict[str, list[Any]] = {"sources": [], "samples": []}
        lines = ["url,caption,start,end"]
        for number in range(FILES):
            name = f"{number:03d}.mp4"
            server.bodies[name] = contents[number % 5]
            is_bad, has_span = number % 17 == 3, number % 10 == 0
            url = server.url(f"status/404?of={name}" if is_bad else f"slow/{name}?rate=20000" if number % 3 == 0 else name)
            lines.append(f"{url},caption {number},{'0,0.1' if has_span else ','}")
            body = (clips if has_span else contents)[number % 5]
            self._expect(number, url, body, is_bad=is_bad, has_span=has_span)
        self.list.write_text("\n".join(lines))

    def _clip(self, video: Path) -> bytes:
        """What is made of the span that some sources want."""
        folder = video.with_suffix("")
        folder.mkdir()
        source = {"key": "", "spans": [[0.0, 0.1, None]], "cuts": None, "subtitles": None}
        answer = media_child().subsample(path=video, folder=folder, plan=config.load().plan, source=source, timeout=60)
        return (folder / answer["samples"][0]["streams"]["video"]["path"]).read_bytes()

    def _expect(self, number: int, url: str, body: bytes, *, is_bad: bool, has_span: bool) -> None:
        """What an undisturbed run leaves of a source."""
        caption = f"caption {number}"
        common = {"key": f"{number // SHARD:08d}{number % SHARD:0{len(str(SHARD))}d}", "url": url}
        spans = [{"start_s": 0.0, "end_s": 0.1, "caption": caption, "columns": {}}] if has_span else None
        outcome = {"status": "failed", "error_class": "http_404"} if is_bad else {"status": "ok", "error_class": None}
        self.expected["sources"].append({**common, "caption": None if has_span else caption, "spans": spans, **outcome})
        if not is_bad:
            sample = {"caption": caption, "clips": None}
            checks = {"video_sha256": hashlib.sha256(body).hexdigest(), "video_size": len(body)}
            key = common["key"] + ("_00000" if has_span else "")
            self.expected["samples"].append({**common, "key": key, **sample, **checks})

    def arguments(self, dataset: Path | str) -> list[object]:
        """The command line."""
        return [
            "download",
            self.list,
            "--dataset",
            dataset,
            "--start-column=start",
            "--end-column=end",
            "--quiet",
            f"allow_hosts=[127.0.0.1:{self.server.port}]",
            f"scratch_dir={self.scratch}",
            f"shard_size={SHARD}",
            f"batch.sources={BATCH}",
            "inline_limit=3000",
            "fetch.threads=3",
        ]

    def run(self, dataset: Path | str, *more: object) -> None:
        """Run the command to its end, with more arguments than usual."""
        code, told = self.ended(self.start(*self.arguments(dataset), *more))
        assert code == 0, told

    def ended(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        """Wait for a command to end: its exit code, and what it told."""
        try:
            told, _ = process.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            told, _ = process.communicate()
            raise AssertionError(f"{process.args} does not end:\n{told.decode()}") from None
        return process.returncode, told.decode()

    def run_and_kill(self, dataset: Path | str, kinds: Sequence[str], chance: random.Random) -> bool:
        """Run the command, and do harm to parts of it, one after the other, each at a random moment.

        Args:
            dataset: where it writes.
            kinds: what is done, of those that `kill` knows.
            chance: chooses the moments, and which one of several.

        Returns:
            Whether all was done before it ended.
        """
        asked = self.server.requests.total()
        # Early enough that enough is left for the kills to come.
        after = chance.randrange(1, FILES // 6)
        more_s = chance.random() * 3
        process = self.start(*self.arguments(dataset))
        tree: list[psutil.Process] = []
        done = 0
        for kind in kinds:
            while process.poll() is None and self.server.requests.total() - asked < after:
                time.sleep(0.02)
            time.sleep(more_s)
            was_done = False
            while process.poll() is None and not was_done:
                tree = [*_tree(process), *self._beside()]
                was_done = kill(kind, tree, chance)
                time.sleep(0.02)
            done += was_done
            after += chance.randrange(1, FILES // 10)
            more_s = chance.random() * 1.5
        code, told = self.ended(process)
        assert kinds[-1] in FATAL or code == 0, told
        # What a host runs besides goes on.
        _gone, left = psutil.wait_procs([one for one in tree if not _is_host(one)], timeout=_DEATH_S)
        # One that is dead, and that nobody has buried yet, has no command line.
        alive = [words for one in left if (words := _command_line(one))]
        assert not alive, f"{kinds}: {alive} outlived the driver"
        return done == len(kinds)


def complaint(told: str) -> str:
    """What a command that failed says of it, amidst what Spark logs."""
    return "\n".join(line for line in told.splitlines() if line.startswith("Error: "))


def _tree(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    return []


def kill(kind: str, tree: list[psutil.Process], chance: random.Random) -> bool:
    """Do harm to a part of a job, and wait until it is done.

    Args:
        kind: `driver` and `script` (Java and Python of the driver under spark-submit; of the command `v2d` the first is
            Python), `group` (both at once, with executors that have no host), which end it; `worker`, `daemon` (that forks
            the workers), `executor` die; `decommission` (of an executor); `pause` (one stands still for a while). Of hosts of
            a standalone cluster: `host` (all at once dies), `host daemon` (what starts its executors dies), `retire` (it
            says that it will go, and goes), `standstill` and `straggler` (all of it, for a while, does nothing or little).
        tree: all processes of the job, its first one first.
        chance: chooses one of several.

    Returns:
        Whether there was one.
    """
    if not tree:
        return False
    if kind == "group":
        os.killpg(tree[0].pid, signal.SIGKILL)
        return True
    victims = _victims(kind, tree)
    if not victims:
        return False
    victim = chance.choice(victims)
    with contextlib.suppress(psutil.NoSuchProcess):
        all_of_it = [victim, *victim.children(recursive=True)]
        if kind == "decommission":
            victim.send_signal(signal.SIGPWR)
        elif kind == "pause":
            _stop([victim], _PAUSE_S)
        elif kind == "host":
            _send(all_of_it, signal.SIGKILL)
        elif kind == "retire":
            victim.send_signal(signal.SIGPWR)
            time.sleep(_PAUSE_S)
            _send([victim, *victim.children(recursive=True)], signal.SIGKILL)
        elif kind == "standstill":
            _stop(all_of_it, _PAUSE_S)
        elif kind == "straggler":
            until = time.monotonic() + _SLOW_S
            while time.monotonic() < until:
                _stop([victim, *victim.children(recursive=True)], 0.4)
                time.sleep(0.1)
        else:
            victim.kill()
        return True
    return False


def _stop(processes: list[psutil.Process], seconds: float) -> None:
    _send(processes, signal.SIGSTOP)
    time.sleep(seconds)
    _send(processes, signal.SIGCONT)


def _send(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _is_host(process: psutil.Process) -> bool:
    return WORKER in _command_line(process)


def _victims(kind: str, tree: list[psutil.Process]) -> list[psutil.Process]:
    if kind == "driver":
        return tree[:1]
    if kind == "script":
        return [process for process in tree if any(word.endswith("_job.py") for word in _command_line(process)[1:2])]
    if kind in HOST_KINDS:
        return [process for process in tree if _is_host(process)]
    if kind not in ("worker", "daemon"):
        return [process for process in tree if "CoarseGrainedExecutorBackend" in " ".join(_command_line(process))]
    # Each executor has a daemon, which forks its workers.
    python = [process for process in tree if "pyspark.daemon" in " ".join(_command_line(process))]
    daemons = {process.pid for process in python} - {process.pid for process in python if _parent(process) in python}
    return [process for process in python if (process.pid in daemons) == (kind == "daemon")]


def _parent(process: psutil.Process) -> psutil.Process | None:
    try:
        return process.parent()
    except psutil.Error:
        return None


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def state(dataset: Path | str) -> dict[str, Any]:
    """What does not depend on how often a job was killed."""
    opened = open_dataset(str(dataset))
    return {
        "sources": ask(opened, "SELECT key, url, caption, spans, status, error_class FROM sources ORDER BY key"),
        "samples": ask(opened, "SELECT key, url, caption, clips, video_sha256, video_size FROM samples ORDER BY key"),
    }


def check_files(dataset: Path | str) -> None:
    """Every sample's bytes are in `media` once, whole, inline or as a side file; and every batch is in `runs` once."""
    opened = open_dataset(str(dataset))
    media = ask(opened, "SELECT key, batch_id, video FROM media WHERE video IS NOT NULL")
    found = {(row["key"], row["batch_id"]): row["video"] for row in media}
    assert len(found) == len(media)
    for sample in rows(opened, "samples"):
        video = found[sample["key"], sample["batch_id"]]
        inline = video["inline"]
        body = locations.read_bytes(locations.join(opened.path, video["uri"])) if inline is None else inline
        assert hashlib.sha256(body).hexdigest() == sample["video_sha256"]
    batches = [row["batch_id"] for row in ask(opened, "SELECT batch_id FROM runs")]
    assert len(batches) == len(set(batches))
