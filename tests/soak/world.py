"""A dataset under test: the site that its sources are on, what is done to it, and the model of what it must hold."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow.parquet as pq
import pytest

from tests.soak.crash import dies
from tests.support.holders import make_dead
from tests.support.media import make_video
from tests.support.model import Bytes, Fault, InputRow, Making, Model, Source
from tests.support.server import MediaServer
from tests.support.tables import ask
from v2d_spark import changes, config, merges
from v2d_spark.inputs import InputOptions
from v2d_spark.lease_table import BATCHES_PER_EPOCH
from v2d_spark.steps.export.destination import MARK
from v2d_spark.steps.making import Unwatched
from v2d_spark.tables import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Result = TypeVar("Result")

SHARD = 4
# Videos of as many seconds, ten pictures a second; wanted spans end where pictures do. No two have a picture in common.
_SECONDS = (2.0, 2.0, 2.0, 1.0, 1.0)
_APART_S = 3
# Of what is served anew as a video one in so many is another one than all that were there before.
_NEW_VIDEO = 0.5
_FAULTS = {404: "http_404", 403: "http_403", 503: "http_5xx", 429: "rate_limited"}
OPTIONS = InputOptions(start_column="start", end_column="end")


@dataclass(frozen=True)
class Video:
    """What a video's name may answer with."""

    body: bytes
    seconds: float


class Videos:
    """Small videos, each another one, which are made when they are asked for.

    Args:
        folder: where they are made.
        chance: which one of them it is.
    """

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._folder = folder
        self._chance = chance
        self._made: list[Video] = []

    def one(self) -> Video:
        """A video, which may be that of other sources too."""
        if self._made and self._chance.random() > _NEW_VIDEO:
            return self._chance.choice(self._made[-8:])
        number = len(self._made)
        seconds = _SECONDS[number % len(_SECONDS)]
        path = make_video(
            self._folder / f"{number}.mp4", seconds=seconds, size=(64, 48), fps=10, start=_APART_S * number, audio=False
        )
        self._made.append(Video(path.read_bytes(), seconds))
        return self._made[-1]


class Stopping(Unwatched):
    """Somebody presses Ctrl-C once some batches are begun.

    Args:
        batches: how many.
    """

    def __init__(self, batches: int) -> None:
        self._left = batches

    def stopping(self) -> bool:
        """Asked before each batch."""
        self._left -= 1
        return self._left < 0


class World:
    """All that a soak is about.

    Args:
        spark: the session.
        folder: an empty one.
        server: what the sources are on.
        chance: what decides.
    """

    def __init__(self, spark: SparkSession, folder: Path, server: MediaServer, chance: random.Random) -> None:
        self.spark = spark
        self.folder = folder
        self.server = server
        self.chance = chance
        self.videos = Videos(folder / "videos", chance)
        self.path, self.made_path = str(folder / "dataset"), str(folder / "made")
        self.model, self.made = Model(SHARD), Model(SHARD)
        # What comes of each URL that was ever named, and the wanted spans that were given for it.
        self.answers: dict[str, Bytes | Fault] = {}
        # All bodies that were ever served, and by which URL.
        self.bodies: dict[Bytes, bytes] = {}
        self.served: dict[str, set[Bytes]] = {}
        # What clips came out as: the same content is the same bytes each time.
        self.clips: dict[Bytes, str] = {}
        # By dataset the highest batch of which rows of media may be gone.
        self.cleared: dict[str, int] = {}
        self.story: list[str] = []
        # The datasets that a command died in, which left the tables to the next one.
        self.unsettled: set[str] = set()
        # Whether the last command died.
        self.died = False
        self._newest = 0
        self._written: set[str] = set()
        self._clock_is_ahead = False
        self._inputs = 0

    @property
    def dataset(self) -> Dataset:
        """The dataset, opened anew."""
        return Dataset.open(self.path)

    @property
    def has_dataset(self) -> bool:
        """Whether it was made yet."""
        return Dataset.exists(self.path)

    @property
    def has_made(self) -> bool:
        """Whether a dataset was made from it yet."""
        return Dataset.exists(self.made_path)

    @property
    def is_unsettled(self) -> bool:
        """Whether a command died in the dataset, and no other has ended yet what it began."""
        return self.path in self.unsettled

    @property
    def tars(self) -> Path:
        """The folder that is exported to."""
        return self.folder / "tars"

    @property
    def has_exported(self) -> bool:
        """Whether an export was begun there yet."""
        return (self.tars / MARK).exists()

    def clear(self, dataset: Dataset) -> None:
        """Rows of `media` may have been removed, of any batch that there is."""
        self.cleared[dataset.path] = max((row["batch_id"] for row in dataset.read_control("runs", ["batch_id"])), default=0)

    def note(self, text: str) -> None:
        """Tell a part of what happens."""
        self.story[-1] += f"; {text}"

    # --- the site ---

    def new_url(self) -> str:
        """A URL that no source has, and that answers well; one in two is of videos. Some have bytes that were deleted."""
        kind, bytes_ = self.chance.choice(("video", "other")), None
        deleted = sorted((one for one in self.model.suppressed if one in self.bodies), key=lambda one: one.sha256)
        if deleted and self.chance.random() < 0.2:
            bytes_ = self.chance.choice(deleted)
            kind = "other" if bytes_.seconds is None else "video"
        url = self.server.url(f"{kind}{len(self.answers)}.mp4")
        self.serve(url, bytes_)
        return url

    def serve(self, url: str, bytes_: Bytes | None = None) -> None:
        """Let a URL answer with new bytes, or with some that are known."""
        name = url.rpartition("/")[2]
        self.server.failing.pop(name, None)
        if bytes_ is None:
            seconds: float | None = None
            if name.startswith("video"):
                video = self.videos.one()
                body, seconds = video.body, video.seconds
            else:
                # Some are over `inline_limit`.
                body = f"{self.chance.random()} is no video.\n".encode() * self.chance.choice((3, 20, 60))
            bytes_ = Bytes(hashlib.sha256(body).hexdigest(), seconds)
            self.bodies[bytes_] = body
        self.server.bodies[name] = self.bodies[bytes_]
        self.served.setdefault(url, set()).add(bytes_)
        self.answers[url] = bytes_

    def fail(self, url: str) -> None:
        """Let a URL answer with a fault."""
        status, error_class = self.chance.choice(list(_FAULTS.items()))
        self.server.failing[url.rpartition("/")[2]] = status
        self.answers[url] = Fault(error_class)

    def some_urls(self, most: int) -> list[str]:
        """URLs that sources have."""
        known = [source.identity for source in self.model.sources]
        return self.chance.sample(known, min(len(known), self.chance.randint(1, most)))

    # --- what commands are given ---

    def rows_of(self, url: str, *, like: Source | None = None) -> list[InputRow]:
        """Input rows of a URL: whole, or of wanted spans, or both.

        Args:
            url: the URL.
            like: a source whose spans are wanted again, with other captions and columns.
        """
        chance = self.chance

        def text() -> str | None:
            return chance.choice((None, "a", "b", "ünï 'quoted'", f"caption {chance.randint(0, 99)}"))

        def columns() -> dict[str, str]:
            return {name: str(chance.randint(0, 3)) for name in ("license", "week") if chance.random() < 0.6}

        rows = []
        if like is not None:
            rows = [InputRow(url, text(), span.start, span.end, columns()) for span in like.spans or ()]
            rows += [InputRow(url, text(), columns=columns()) for _ in range(0 if rows else 1)]
        elif chance.random() < (0.7 if "video" in url else 0.1):
            for _ in range(chance.randint(1, 3)):
                # Wholly before the end of the shorter videos, or wholly behind it.
                second = chance.choice((0, 0, 0, 1))
                start, end = sorted(chance.sample(range(11), 2))
                if chance.random() < 0.03:
                    start, end = end, start
                rows.append(InputRow(url, text(), second + start / 10, second + end / 10, columns()))
        if not rows or chance.random() < 0.3:
            rows.append(InputRow(url, text(), columns=columns()))
        # One span with two captions at once, or twice the same.
        if chance.random() < 0.2:
            rows.append(chance.choice(rows))
        return rows

    def write(self, rows: Sequence[InputRow]) -> list[str]:
        """Write input rows into one file or two, in their order."""
        self._inputs += 1
        cut = self.chance.randint(0, len(rows)) if self.chance.random() < 0.3 else len(rows)
        files = []
        for part, some in enumerate((rows[:cut], rows[cut:])):
            if some:
                # In the order of arguments, not of names.
                path = self.folder / "inputs" / f"{self._inputs:04d}-{'ba'[part]}.jsonl"
                path.parent.mkdir(exist_ok=True)
                path.write_text("".join(json.dumps(_cells(row), ensure_ascii=False) + "\n" for row in some), encoding="utf-8")
                files.append(str(path))
        return files

    def making(self) -> Making:
        """Settings: mostly the usual ones."""
        return self.chance.choice((Making(),) * 6 + (Making(min_length=0.3), Making(cuts=False)))

    def settings(self, making: Making, **more: Any) -> config.Settings:
        """The settings as the product takes them."""
        clip: Any = {"min_length": making.min_length} if making.cuts else False
        values = {
            "allow_hosts": ["127.0.0.1"],
            "scratch_dir": str(self.folder / "scratch"),
            "shard_size": SHARD,
            "inline_limit": 1000,
            "fetch": {"probe": False, "retries": 0},
            "encode": {"preset": "ultrafast"},
            "subsample": {"clip": clip},
            "batch": {"sources": 1000},
        }
        return config.load({name: {**value, **more.pop(name, {})} if isinstance(value, dict) else value
                            for name, value in values.items()} | more)  # fmt: skip

    # --- running them ---

    def run(self, call: Callable[[], Result], path: str | None = None) -> Result | None:
        """Run a command that writes to a dataset. Some die on the way; the next one must end what they began.

        Args:
            call: the command.
            path: the dataset that it writes to; the first by default.

        Returns:
            What the command gave; None where it died. What it had done by then, `is_written` and `numbers_made` tell.
        """
        path = path or self.path
        held = Dataset.open(path).read_control("leases") if Dataset.exists(path) else []
        self._newest = max((row["epoch"] for row in held), default=0)
        result = self.attempt(call)
        (self.unsettled.add if self.died else self.unsettled.discard)(path)
        self._written = self._find_written(path) if self.died else set()
        return result

    def attempt(self, call: Callable[[], Result]) -> Result | None:
        """Run a command that changes nothing which another would have to end; some die on the way.

        Args:
            call: the command.

        Returns:
            What the command gave; None where it died.
        """
        chance = self.chance
        dying, place, after = chance.random() < 0.4, chance.randrange(8), chance.random() < 0.5
        self.died = False
        if not dying:
            return call()
        results: list[Result] = []
        died = dies(lambda: results.append(call()), place, after=after)
        self.note(f"died {died}" if died else f"would have died at step {place}")
        self.died = died is not None
        return results[0] if results and not died else None

    def is_written(self, identity: str) -> bool:
        """Whether the last command reached a source: all of them, but where it died.

        A death between two commits leaves the tables for the next command to end; but what is in `sources`, or is marked as
        begun, counts.
        """
        return not self.died or identity in self._written

    def numbers_made(self, path: str | None = None) -> set[int]:
        """The sources that the last command made samples of, dead or not: those in `media`."""
        made = ask(Dataset.open(path or self.path), f"SELECT source_num FROM media WHERE role = 'source' AND {self._since}")
        return {row["source_num"] for row in made}

    def sha256(self, content: Bytes) -> str | None:
        """The checksum of bytes; None of a clip that was never seen."""
        return content.sha256 or self.clips.get(content)

    @property
    def _since(self) -> str:
        return f"batch_id > {self._newest + 1} * {BATCHES_PER_EPOCH}"

    def _find_written(self, path: str) -> set[str]:
        dataset = Dataset.open(path)
        written = {row["identity"] for row in ask(dataset, f"SELECT identity FROM sources WHERE {self._since}")}
        known = {row["source_num"]: row["identity"] for row in ask(dataset, "SELECT source_num, identity FROM sources")}
        for one in changes.begun(dataset):
            if one.batch_id > (self._newest + 1) * BATCHES_PER_EPOCH:
                for name in (changes.COMPARED, changes.GONE):
                    folder = Path(changes.staging(dataset, one.batch_id)) / name
                    numbers = pq.read_table(folder, columns=["source_num"])["source_num"].to_pylist() if folder.exists() else []
                    written |= {known[number] for number in numbers if number is not None}
        return written

    @contextmanager
    def time_passed(self) -> Iterator[None]:
        """Inside, what failed has waited long enough."""
        self._clock_is_ahead = True
        try:
            yield
        finally:
            self._clock_is_ahead = False

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Inside, nobody is known to be alive, so that leases of the dead are taken over, and the clock is ours.

        Else a run of an hour would see more failed sources come due than one of a minute.
        """
        began = datetime.now(timezone.utc)
        real = merges.due_condition

        def due_condition(dataset: Dataset, now: datetime, *arguments: Any, **more: Any) -> str:
            return real(dataset, now + timedelta(hours=1) if self._clock_is_ahead else began, *arguments, **more)

        with pytest.MonkeyPatch.context() as patch:
            make_dead(patch)
            patch.setattr(merges, "due_condition", due_condition)
            yield


def _cells(row: InputRow) -> dict[str, Any]:
    # Columns that are named must be in each file.
    cells = {"url": row.url, "start": row.start, "end": row.end, **row.columns}
    return cells if row.caption is None else {**cells, "caption": row.caption}
