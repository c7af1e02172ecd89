"""What a soak does to a dataset. Each is a function of the world: it runs a command, and does the same to the model.

To add one, write a function under `@operation(weight)`: choose what is done with `world.chance`, say it with `world.note`,
run the command in `world.run`, which kills some of them, and do the same to `world.model`, as far as it was done.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pyarrow.parquet as pq

from tests.soak import checks
from tests.soak.world import OPTIONS, Stopping, World
from tests.support import tables
from tests.support.model import FAILED, OK, InputRow, Making, Model, Source
from v2d_spark import api
from v2d_spark.choice import Choice
from v2d_spark.steps.ingest import IngestResult
from v2d_spark.steps.maintain import RETAIN_HOURS
from v2d_spark.steps.making import MakeResult
from v2d_spark.tables import Dataset

Operation = Callable[[World], None]
# Sources in a small batch: it has one shard, or two with little in them.
SMALL = 5
OPERATIONS: dict[str, tuple[Operation, int, Callable[[World], bool]]] = {}


def operation(weight: int, *, when: Callable[[World], bool] = lambda world: True) -> Callable[[Operation], Operation]:
    """Register an operation.

    Args:
        weight: how often it comes, among the others.
        when: whether it can come now; there is a dataset with sources in any case.
    """

    def register(function: Operation) -> Operation:
        OPERATIONS[function.__name__] = function, weight, when
        return function

    return register


def next_operation(world: World) -> Operation:
    """Choose what comes next."""
    if not world.model.sources:
        return OPERATIONS["add"][0]
    there = [(function, weight) for function, weight, when in OPERATIONS.values() if when(world)]
    return world.chance.choices([function for function, _ in there], [weight for _, weight in there])[0]


# --- what happens to the site ---


@operation(2)
def site(world: World) -> None:
    """Bytes change, vanish, come back; a server fails, and recovers. The dataset does not know yet."""
    for url in world.some_urls(4):
        if world.chance.random() < 0.5:
            world.serve(url)
        else:
            world.fail(url)
        world.note(f"{_short(url)} {world.answers[url]}")


def _unsettle(world: World) -> None:
    """Before a command some sources become others."""
    if world.chance.random() < 0.3:
        site(world)


# --- ingest and download ---


@operation(6)
def add(world: World) -> None:
    """New rows, among rows that are known and as they were; with a download or without."""
    urls = [world.new_url() for _ in range(world.chance.randint(2, 5))]
    rows = [row for url in urls for row in world.rows_of(url)]
    for url in urls[1:]:
        if world.chance.random() < 0.2:
            world.fail(url)
    for source in world.chance.sample(world.model.sources, min(2, len(world.model.sources))):
        rows += _rows_as_they_were(source)
    deleted = sorted(world.model.suppressed_names)
    for url in world.chance.sample(deleted, min(len(deleted), world.chance.choice((0, 0, 2)))):
        rows += world.rows_of(url)
    world.chance.shuffle(rows)
    _take_in(world, rows)


@operation(2)
def prune(world: World) -> None:
    """All that is wanted is named; what is not is gone, and may come back another day."""
    rows = world.rows_of(world.new_url())
    for source in world.model.sources:
        if world.chance.random() < 0.85:
            rows += _rows_as_they_were(source)
    _take_in(world, rows, prune=True)


@operation(6)
def change(world: World) -> None:
    """Known sources with other captions, columns or spans."""
    rows = []
    for url in world.some_urls(4):
        source = next(source for source in world.model.sources if source.identity == url)
        rows += world.rows_of(url, like=source if world.chance.random() < 0.6 else None)
    _unsettle(world)
    _take_in(world, rows)


@operation(4)
def redo(world: World) -> None:
    """Some are to be done again, and are."""
    retry(world)
    _unsettle(world)
    download(world)


@operation(4, when=lambda world: bool(world.model.due(waited=True)))
def download(world: World) -> None:
    """What is due, with all that makes it end early, take in more or less."""
    _unsettle(world)
    chance, making = world.chance, world.making()
    waited, stops, size = chance.random() < 0.4, chance.random() < 0.3, chance.choice((1, SMALL, 1000))
    batches, limit = chance.randint(0, 2), chance.choice((None, None, 3))
    _download(world, making, Choice(limit=limit), waited=waited, size=size, stops_after=batches if stops else None)


@operation(2)
def redo_stale(world: World) -> None:
    """Other settings, and what was made with others is made anew."""
    making = world.making()
    only = world.chance.choice((("stale",), ("new", "changed", "stale"), ("failed", "stale")))
    _download(world, making, Choice(only=only), waited=True, size=world.chance.choice((SMALL, 1000)))


@operation(2)
def revalidate(world: World) -> None:
    """Good sources are asked whether they are what they were."""
    site(world)
    only = world.chance.choice((("new", "changed", "failed"), ("stale",)))
    _download(world, world.making(), Choice(only=only, revalidate=True), waited=False, size=1000)


def _download(world: World, making: Making, choice: Choice, *, waited: bool, size: int, stops_after: int | None = None) -> None:
    """Run a download with no inputs; it stops after some batches, if that is a number."""
    due = world.model.due(only=choice.only, waited=waited, making=making, revalidate=choice.revalidate)[: choice.limit]
    world.note(
        f"download with {making}, {choice}: {[source.number for source in due]} due, waited {waited}, batches of {size}, "
        f"stops {'never' if stops_after is None else stops_after}"
    )
    settings = world.settings(making, batch={"sources": size})
    watcher = None if stops_after is None else Stopping(stops_after)
    before, was_unsettled = world.dataset.versions(), world.is_unsettled
    with world.time_passed() if waited else nullcontext(), _asked(world) as asked:
        told = world.run(lambda: api.download([], world.path, config=settings, watcher=watcher, choice=choice)[1])
    if stops_after is not None:
        due = [source for batch in world.model.batches(due, size)[:stops_after] for source in batch]
    due = _as_far_as_done(world, due)
    statuses = world.model.make(making, world.answers, due, revalidate=choice.revalidate, redo_stale="stale" in choice.only)
    if told:
        _check_made(told, statuses, world.model, making)
        asked(due)
    if not due and not was_unsettled and not world.is_unsettled:
        after = world.dataset.versions()
        assert {**after, "leases": 0} == {**before, "leases": 0}, "a run with nothing to do wrote to a table"


@operation(2)
def retry(world: World) -> None:
    """Sources are to be done again, chosen by SQL."""
    conditions: list[tuple[str | None, Callable[[Source], bool]]] = [
        (None, lambda source: source.status == FAILED),
        ("error_class = 'http_404'", lambda source: source.error_class == "http_404"),
        ("status = 'skipped'", lambda source: source.status == "skipped"),
        ("source_num % 5 = 1", lambda source: source.number % 5 == 1),
        ("status = 'ok' AND source_num % 7 = 2", lambda source: source.status == OK and source.number % 7 == 2),
    ]
    where, chosen = world.chance.choice(conditions)
    world.note(str(where))
    told = world.run(lambda: api.retry(world.path, where, config=world.settings(Making())))
    reset = world.model.retry(lambda source: chosen(source) and world.is_written(source.identity))
    assert told in (None, reset), f"{told} sources were reset, not {reset}"


def _take_in(world: World, rows: Sequence[InputRow], *, prune: bool = False) -> None:
    """Ingest rows, or download them."""
    files = world.write(rows)
    for row in rows:
        world.note(
            f"{_short(row.url)}"
            + (f" [{row.start:g}, {row.end:g}]" if row.start is not None else "")
            + f" {row.caption!r} {row.columns or ''}"
        )
    if world.chance.random() < 0.4:
        settings = world.settings(Making())
        told = world.run(lambda: api.ingest(files, world.path, prune=prune, options=OPTIONS, config=settings))
        counted = world.model.ingest(rows, prune=prune, done=world.is_written)
        if told:
            _check_ingested(told, counted, rows)
        return
    making = world.making()
    world.note(f"downloaded with {making}")
    settings = world.settings(making, batch={"sources": world.chance.choice((SMALL, 1000))})
    with _asked(world) as asked:
        both = world.run(lambda: api.download(files, world.path, prune=prune, options=OPTIONS, config=settings))
    counted = world.model.ingest(rows, prune=prune, done=world.is_written)
    due = _as_far_as_done(world, world.model.due())
    statuses = world.model.make(making, world.answers, due)
    if both:
        ingested, made = both
        assert ingested is not None
        _check_ingested(ingested, counted, rows)
        _check_made(made, statuses, world.model, making)
        asked(due)


def _as_far_as_done(world: World, due: Sequence[Source], path: str | None = None) -> list[Source]:
    """What samples were made of, where a command may have died on the way."""
    if not world.died:
        return list(due)
    made = world.numbers_made(path)
    return [source for source in due if source.number in made]


def _rows_as_they_were(source: Source) -> list[InputRow]:
    """Rows that say of a source what is known of it."""
    rows = [InputRow(source.identity, span.caption, span.start, span.end, span.columns) for span in source.spans or ()]
    rows += [InputRow(source.identity, caption, columns=source.columns) for caption in source.captions or ()]
    if not rows:
        rows.append(InputRow(source.identity, columns=source.columns))
    return rows


# --- what is made of it ---


@operation(2)
def export(world: World) -> None:
    """Tars, again into the same folder; one that died is gone on with by the next."""
    update = world.has_exported and world.chance.random() < 0.7
    world.note("updated" if update else "made")
    told = world.attempt(lambda: api.export(world.path, str(world.tars), update=update, config=world.settings(Making())))
    if told:
        assert world.is_unsettled or told.samples == len(world.model.samples)
        checks.check_export(world, world.tars)


@operation(3)
def subsample(world: World) -> None:
    """A dataset made from this one, again and again."""
    if world.is_unsettled:
        # Any command that writes ends what another began: this one has nothing else to do.
        assert api.retry(world.path, "false", config=world.settings(Making())) == 0
        world.unsettled.discard(world.path)
    making = world.making()
    world.note(str(making))
    settings = world.settings(making)
    with _asked(world) as asked:
        both = world.run(lambda: api.subsample(world.path, world.made_path, config=settings), world.made_path)
    if not world.has_made:
        return
    compared = world.made.take_over(world.model, done=world.is_written)
    answers = {source.identity: source.origin.content for source in world.made.sources if source.origin}
    due = _as_far_as_done(world, world.made.due(), world.made_path)
    statuses = world.made.make(making, answers, due)
    if both:
        told, made = both
        found = Counter({name: getattr(told, name) for name in ("new", "changed", "again", "vanished")})
        assert found == compared, (told, compared)
        _check_made(made, statuses, world.made, making)
    asked([])


@operation(2)
def enrich(world: World) -> None:
    """Samples are probed, out of the bytes that are stored."""
    before, was_unsettled = world.dataset.versions()["media"], world.is_unsettled
    with _asked(world) as asked:
        told = world.run(lambda: api.enrich("probe", world.path, config=world.settings(Making())))
    asked([])
    assert was_unsettled or world.dataset.versions()["media"] == before, "a probe wrote to media"
    if told:
        probed = {row["key"] for row in tables.rows(world.dataset, "samples") if row["probe"] and row["probe"]["streams"]}
        expected = {key for key, sample in world.model.samples.items() if sample.content.seconds is not None}
        assert probed == expected, f"{probed} were probed, not {expected}, by {told.report}"


# --- deletion ---


@operation(3, when=lambda world: len(world.model.sources) > 3)
def delete(world: World) -> None:
    """Some go for good, with all that has the same bytes, here and in the dataset made from this one."""
    chosen = world.chance.sample([source.number for source in world.model.sources], world.chance.choice((1, 1, 2)))
    must, may = world.model.reach(chosen)
    world.note(f"{chosen}, with them {sorted(must)}, at most {sorted(may)}")
    where = f"source_num IN ({', '.join(map(str, chosen))})"
    settings = world.settings(Making())
    told = world.run(lambda: api.delete(world.path, where, reason="asked for", config=settings))
    again = world.died
    if again:
        _end_deletion(world, where)
    world.unsettled.clear()
    gone = {source.number for source in world.model.sources} - {
        row["source_num"] for row in tables.rows(world.dataset, "sources")
    }
    assert must <= gone <= may, f"{gone} are gone"
    if told:
        assert told.found.sources == len(gone) + len(_made_of(world, gone)), told
        assert [export.destination for export in told.exports] == _exports_of(world, gone), told
    texts = _texts_of(world, gone)
    of_made = _made_of(world, gone)
    _forget(world.dataset, world, world.model, gone)
    if world.has_made:
        _forget(Dataset.open(world.made_path), world, world.made, of_made)
    checks.check_erased([Path(world.path), *([Path(world.made_path)] if world.has_made else [])], texts)


def _end_deletion(world: World, where: str) -> None:
    """What was cut off is ended: by the same command, or by others where it was begun."""
    ends: list[Callable[[], object]] = [lambda: api.delete(world.path, where, config=world.settings(Making()))]
    if tables.rows(world.dataset, "deletions"):
        begun = {row["deletion"] for row in tables.rows(world.dataset, "deletions") if row["finished_at"] is None}
        ended = {row["deletion"] for row in tables.rows(world.dataset, "deletions") if row["finished_at"] is not None}
        if begun - ended:
            ends += [lambda: api.delete(world.path), lambda: api.maintain(world.path)]
    number = world.chance.randrange(len(ends))
    world.note(f"ended in way {number} of {len(ends)}")
    ends[number]()


def _made_of(world: World, numbers: set[int]) -> set[int]:
    """The sources of the dataset made from this one that are samples of some sources."""
    return {source.number for source in world.made.sources if source.origin and source.origin.number in numbers}


def _exports_of(world: World, numbers: set[int]) -> list[str]:
    """The exports that ended once, and that have samples of some sources, in the state that they are in now."""
    if not any(row["destination"] == str(world.tars) for row in tables.rows(world.dataset, "exports")):
        return []
    keys = [source.key for source in world.model.sources if source.number in numbers]
    shards = [path for path in world.tars.glob("*.parquet") if not path.name.startswith("_")]
    there = {key for path in shards for key in pq.read_table(path)["key"].to_pylist()}
    return [str(world.tars)] if any(key.partition("_")[0] in keys for key in there) else []


def _texts_of(world: World, numbers: set[int]) -> list[bytes]:
    """What no file must have any more of some sources, of which rows are gone."""
    texts = []
    for source in (source for source in world.model.sources if source.number in numbers):
        texts.append(source.identity.encode())
        for bytes_ in world.served.get(source.identity, ()):
            if bytes_.seconds is None:
                texts.append(world.bodies[bytes_][:30])
            elif bytes_ == source.came:
                texts.append(world.bodies[bytes_])
    return texts


def _forget(dataset: Dataset, world: World, model: Model, numbers: set[int]) -> None:
    """Do to a model what a deletion did."""
    told = {row["value"] for row in tables.rows(dataset, "suppressions") if row["kind"] == "sha256"}
    sources = [source for source in model.sources if source.number in numbers]
    had = {one for source in sources for one in source.own | source.parts}
    suppressed = {one for one in had if world.sha256(one) in told}
    known = {world.sha256(one) for one in had | model.suppressed}
    assert None in known or told <= known, "bytes are suppressed that were never here"
    must = {source.came for source in sources if source.came} if model is world.model else set()
    assert must | {one for one in model.made_only_of(numbers) if world.sha256(one)} <= suppressed, "bytes are not suppressed"
    model.delete(numbers, suppressed)
    lost = [sample.key for sample in model.samples.values() if sample.content in model.suppressed]
    assert not lost, f"what {lost} are made of is suppressed, and they are not deleted"
    world.clear(dataset)


# --- care ---


@operation(3)
def maintain(world: World) -> None:
    """What nothing refers to goes; what was begun by an ingest is ended, batches are left to the next command."""
    before = _exported(world) if not world.is_unsettled and world.chance.random() < 0.5 else None
    for path in (world.path, world.made_path)[: 2 if world.has_made else 1]:
        hours = world.chance.choice((0, 0, RETAIN_HOURS))
        world.note(f"{path.rpartition('/')[2]} keeps {hours:g} hours")
        told = world.attempt(lambda path=path, hours=hours: api.maintain(path, retain_hours=hours))  # type: ignore[misc]
        dataset = Dataset.open(path)
        if not hours:
            world.clear(dataset)
        if told and not hours:
            checks.check_tidy(dataset)
    if before is not None:
        after = _exported(world)
        other = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        assert not other, f"{other} are other ones after maintenance"


def _exported(world: World) -> dict[str, bytes]:
    """What a new export gives, by its files' names: without what is told of the tables' versions."""
    folder = world.folder / "fresh"
    api.export(world.path, str(folder), config=world.settings(Making()))
    found = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(("_", "."))}
    shutil.rmtree(folder)
    return found


@operation(1)
def optimize(world: World) -> None:
    """Somebody compacts tables by hand."""
    for name in world.chance.sample(("sources", "samples", "media", "runs"), 2):
        world.note(name)
        world.spark.sql(f"OPTIMIZE {world.dataset.sql_name(name)}").collect()


@operation(1)
def vacuum(world: World) -> None:
    """Somebody removes what old versions alone refer to."""
    name = "spark.databricks.delta.retentionDurationCheck.enabled"
    world.spark.conf.set(name, "false")
    try:
        for table in ("sources", "samples", "media"):
            world.spark.sql(f"VACUUM {world.dataset.sql_name(table)} RETAIN 0 HOURS").collect()
    finally:
        world.spark.conf.unset(name)


# --- how ---


@contextmanager
def _asked(world: World) -> Iterator[Callable[[Sequence[Source]], None]]:
    """Gives what makes sure that, inside, these sources were asked for, once each, and no others."""
    before = Counter(world.server.requests)

    def check(due: Sequence[Source]) -> None:
        asked = Counter({f"/{path}": 1 for path in (source.identity.rpartition("/")[2] for source in due)})
        assert world.server.requests - before == asked, "other sources were fetched than those that were due"

    yield check


def _check_ingested(told: IngestResult, counted: Counter[str], rows: Sequence[InputRow]) -> None:
    names = ("new", "changed", "unchanged", "refetch", "returned", "gone", "skipped", "suppressed")
    assert {name: getattr(told, name) for name in names} == {name: counted[name] for name in names}
    assert (told.rows, told.repeated) == (len(rows), len(rows) - len({row.url for row in rows}))


def _check_made(told: MakeResult, statuses: Counter[str], model: Model, making: Making) -> None:
    assert told.report.statuses == statuses, (told.report.statuses, statuses, told.report.messages)
    assert told.made_otherwise == model.made_otherwise(making)


def _short(url: str) -> str:
    return url.rpartition("/")[2].removesuffix(".mp4")
