"""What the tables of a dataset must hold, in plain Python: the rules of sources, samples and keys, without a table.

A `Model` is told what is done to a dataset, in the same order. What it holds then is what the tables must say:

    model = Model(shard_size=4)
    model.ingest([InputRow("http://host/a.mp4", caption="a")])
    model.make(Making(), {"http://host/a.mp4": Bytes(sha256="…")})
    assert model.samples["000000000"].caption == "a"

It knows no Spark, no batches but their borders, and no crash: whatever happens on the way, the tables end as if it had not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

PENDING, OK, FAILED, SKIPPED, GONE = "pending", "ok", "failed", "skipped", "gone"
# Of a source whose bytes, or all that is made of them, must not come back.
SUPPRESSED = "suppressed"
# What becomes of a source that was asked whether it is what it was, and is.
UNCHANGED = "unchanged"
# Faults that may pass by themselves, of those that a test makes happen.
PASSING = frozenset(("http_5xx", "rate_limited"))
MAX_ATTEMPTS = 3
# Of a source whose wanted spans make no sense: no fetch can mend it.
NO_SPANS = "unsupported"

Columns = dict[str, str]


@dataclass(frozen=True)
class Bytes:
    """What a source is made of, or a sample: bytes that came from somewhere, or a clip that was cut out of some.

    Attributes:
        sha256: of bytes as they came; empty for a clip, whose bytes an encoder made.
        seconds: how long a video lasts; None for what is no video.
        cut: of a clip what it was cut out of, where it begins and where it ends, in seconds.
    """

    sha256: str = ""
    seconds: float | None = None
    cut: tuple[Bytes, float, float] | None = None


@dataclass(frozen=True)
class Fault:
    """Why there are no bytes: an error class."""

    error_class: str


@dataclass(frozen=True)
class Making:
    """The settings that can change a sample.

    Attributes:
        cuts: whether wanted spans are cut.
        min_length: seconds that a clip has at least.
    """

    cuts: bool = True
    min_length: float = 0.0


@dataclass(frozen=True)
class InputRow:
    """A row of an input: a whole source, or a wanted span of one."""

    url: str
    caption: str | None = None
    start: float | None = None
    end: float | None = None
    columns: Columns = field(default_factory=dict)


@dataclass(frozen=True)
class Span:
    """A wanted span."""

    start: float
    end: float
    caption: str | None
    columns: Columns = field(default_factory=dict, compare=False)


@dataclass
class Source:
    """A row of `sources`.

    `made_by` are the settings of the last attempt, `came` the bytes that came last; `origin` is the sample that it is, in a
    chain. `own` is all that ever came of it, and `parts` all clips that were ever made of it.
    """

    number: int
    identity: str
    shard: str
    key: str
    captions: list[str] | None = None
    spans: list[Span] | None = None
    columns: Columns = field(default_factory=dict)
    status: str = PENDING
    error_class: str | None = None
    attempts: int = 0
    next_clip: int = 0
    made_by: Making | None = None
    came: Bytes | None = None
    origin: Sample | None = None
    first_caption: str | None = None
    own: set[Bytes] = field(default_factory=set)
    parts: set[Bytes] = field(default_factory=set)

    @property
    def caption(self) -> str | None:
        """The caption of the whole: the first of the input's, or that of the sample that it is."""
        return self.first_caption if self.origin else self.captions[0] if self.captions else None

    @property
    def is_made(self) -> bool:
        """Whether it was made, or skipped for what was found in its bytes."""
        return self.status == OK or (self.status == SKIPPED and self.error_class != NO_SPANS)

    @property
    def is_wrong(self) -> bool:
        """Whether its wanted spans make no sense."""
        return any(span.start >= span.end for span in self.spans or ())


@dataclass
class Sample:
    """A row of `samples`.

    `made` is another number each time that it is made, as its batch is. `whole` are the wanted spans that a sample of a whole
    source holds.
    """

    key: str
    number: int
    shard: str
    content: Bytes
    made: int
    start: float | None = None
    end: float | None = None
    clip: int | None = None
    span: int | None = None
    caption: str | None = None
    captions: list[str] | None = None
    columns: Columns = field(default_factory=dict)
    whole: list[tuple[float, float]] | None = None


class Model:
    """A dataset.

    Args:
        shard_size: sources in a shard.
    """

    def __init__(self, shard_size: int) -> None:
        self.shard_size = shard_size
        self.sources: list[Source] = []
        self.samples: dict[str, Sample] = {}
        # What was deleted and does not come back: identities, and bytes as they came or were made.
        self.suppressed_names: set[str] = set()
        self.suppressed: set[Bytes] = set()
        # What became of all attempts, by status and error class: what `runs` adds up to.
        self.outcomes: Counter[tuple[str, str | None]] = Counter()
        self._made = 0
        # Numbers that were given, and are not given again.
        self._given = 0

    def source(self, number: int) -> Source:
        """The source of a number."""
        return next(source for source in self.sources if source.number == number)

    # --- what can be done to a dataset ---

    def ingest(
        self, rows: Sequence[InputRow], *, prune: bool = False, done: Callable[[str], bool] = lambda url: True
    ) -> Counter[str]:
        """Rows are added to the to-do list; returns how many sources are new, changed, refetch (among the changed) and so on.

        What was deleted is left out.

        Rows of one identity are one source; the newest input that names it replaces its captions, spans and columns. Other
        spans make it pending; the rest reaches its samples with no fetch, unless they wait for one. What is named no more is
        gone if `prune` asks for it; its number and key stay its own, for when it is named again.

        Args:
            rows: the input.
            prune: whether sources are gone that it does not name.
            done: whether a source was reached, by identity, before the command died.
        """
        told: Counter[str] = Counter()
        by_url: dict[str, list[InputRow]] = {}
        for row in rows:
            by_url.setdefault(row.url, []).append(row)
        known = {source.identity: source for source in self.sources}
        for source in self.sources:
            if prune and source.identity not in by_url and source.status != GONE and done(source.identity):
                told["gone"] += 1
                self._go(source)
        for url, group in by_url.items():
            if url in self.suppressed_names:
                told["suppressed"] += 1
                continue
            if not done(url):
                continue
            of_whole = [row.caption for row in group if row.start is None and row.caption is not None]
            captions = list(dict.fromkeys(of_whole)) or None
            spans = _spans_of(group)
            columns = group[0].columns
            if url not in known:
                source = self._add(url, captions=captions, spans=spans, columns=columns)
                told["new"] += 1
                if source.is_wrong:
                    source.status, source.error_class = SKIPPED, NO_SPANS
                    told["skipped"] += 1
                continue
            source = known[url]
            returns = source.status == GONE
            has_other_times = _times(source.spans) != _times(spans)
            if not (returns or has_other_times) and _content(source.captions, source.spans, source.columns) == _content(
                captions, spans, columns
            ):
                told["unchanged"] += 1
                continue
            told["changed"] += 1
            source.captions, source.spans, source.columns = captions, spans, columns
            told["skipped"] += source.is_wrong
            told["returned"] += returns
            told["refetch"] += has_other_times and not returns
            if returns or has_other_times:
                self._again(source)
                if source.is_wrong:
                    source.status, source.error_class = SKIPPED, NO_SPANS
                    self._remove(source)
            elif source.status == OK:
                self._tell(source)
        return told

    def retry(self, chosen: Callable[[Source], bool]) -> int:
        """Sources are pending again, their samples stay; returns how many."""
        reset = [
            source
            for source in self.sources
            if chosen(source) and source.status not in (PENDING, GONE) and source.error_class != NO_SPANS
        ]
        for source in reset:
            self._again(source)
        return len(reset)

    def due(
        self,
        *,
        only: Sequence[str] = ("new", "changed", "failed"),
        waited: bool = False,
        making: Making | None = None,
        revalidate: bool = False,
    ) -> list[Source]:
        """What a run takes in.

        Args:
            only: kinds of sources: new, changed (pending again), failed (in a way that may pass), stale.
            waited: whether what failed has waited long enough.
            making: the settings of the run, for what is stale: what is good, and was made with others.
            revalidate: whether what was made is asked for again.
        """
        kinds: dict[str, Callable[[Source], bool]] = {
            "new": lambda one: one.status == PENDING and one.made_by is None,
            "changed": lambda one: one.status == PENDING and one.made_by is not None,
            "failed": lambda one: (
                waited and one.status == FAILED and one.error_class in PASSING and one.attempts < MAX_ATTEMPTS
            ),
            "stale": lambda one: one.is_made and one.made_by != making,
        }
        return [one for one in self.sources if any(kinds[kind](one) for kind in only) or (revalidate and one.is_made)]

    def batches(self, due: Sequence[Source], size: int) -> list[list[Source]]:
        """Divide what is due into batches: whole shards, one at least, and no more than `size` sources in several."""
        shards: dict[int, list[Source]] = {}
        for source in due:
            shards.setdefault(source.number // self.shard_size, []).append(source)
        divided: list[list[Source]] = []
        for shard in shards.values():
            if divided and len(divided[-1]) + len(shard) <= size:
                divided[-1] += shard
            else:
                divided.append(list(shard))
        return divided

    def make(
        self,
        making: Making,
        answers: Mapping[str, Bytes | Fault],
        due: Iterable[Source] | None = None,
        *,
        revalidate: bool = False,
        redo_stale: bool = False,
    ) -> Counter[str]:
        """Sources are made samples of, once each; returns what became of them.

        Args:
            making: the settings.
            answers: what comes of each source that is asked for, by identity.
            due: the sources; all that are due by default.
            revalidate: whether those that were made are left as they are where the same bytes come again.
            redo_stale: whether those of them that were made with other settings are made anew all the same.
        """
        outcomes: Counter[str] = Counter()
        for source in list(self.due() if due is None else due):
            answer = answers[source.identity]
            is_stale = redo_stale and source.made_by != making
            if revalidate and source.is_made and not is_stale and answer == source.came:
                outcomes[UNCHANGED] += 1
                self.outcomes[UNCHANGED, None] += 1
                continue
            source.attempts = (0 if source.is_made else source.attempts) + 1
            source.made_by = making
            if isinstance(answer, Bytes):
                source.came = answer
                source.own.add(answer)
            self._become(source, making, answer)
            outcomes[source.status] += 1
            self.outcomes[source.status, source.error_class] += 1
        return outcomes

    def made_otherwise(self, making: Making) -> int:
        """Sources that were made with other settings, those among them of which nothing was kept."""
        return sum(source.is_made and source.made_by != making for source in self.sources)

    def reach(self, chosen: Iterable[int]) -> tuple[set[int], set[int]]:
        """Numbers of the sources that must go where some are deleted, and of those that may.

        Those that have the same bytes go too. Bytes that a source had before may lie in the tables still, or not any more.

        Args:
            chosen: numbers of the sources that are deleted.
        """
        numbers = set(chosen)
        return tuple(  # type: ignore[return-value]
            numbers | {source.number for source in self.sources if self._has(source) & bytes_}
            for bytes_ in (
                set().union(*(self._has(self.source(number)) for number in numbers)),
                set().union(*(self.source(number).own for number in numbers)),
            )
        )

    def made_only_of(self, numbers: set[int]) -> set[Bytes]:
        """What samples are that are made of some sources, and of no other."""
        others = {sample.content for sample in self.samples.values() if sample.number not in numbers}
        return {sample.content for sample in self.samples.values() if sample.number in numbers} - others

    def delete(self, numbers: set[int], suppressed: set[Bytes]) -> None:
        """Sources are gone for good, with all that was made of them.

        Args:
            numbers: of the sources.
            suppressed: bytes that do not come back.
        """
        self.suppressed_names |= {source.identity for source in self.sources if source.number in numbers}
        self.suppressed |= suppressed
        self.sources = [source for source in self.sources if source.number not in numbers]
        self.samples = {key: sample for key, sample in self.samples.items() if sample.number not in numbers}

    def take_over(self, origin: Model, *, done: Callable[[str], bool] = lambda identity: True) -> Counter[str]:
        """The sources of this dataset become what the samples of another are; returns how many are new, changed, …

        Args:
            origin: the other dataset.
            done: whether a source was reached, by identity, before the command died.
        """
        told: Counter[str] = Counter()
        known = {source.key: source for source in self.sources}
        there = sorted(origin.samples.values(), key=lambda sample: (sample.number, sample.key))
        for sample in there:
            # Wanted spans are whole in a whole sample alone.
            spans = origin.source(sample.number).spans if sample.clip is None else None
            source = known.pop(sample.key, None)
            if not done(f"sample:{sample.key}"):
                continue
            if source is None:
                source = self._add(f"sample:{sample.key}", shard=sample.shard, key=sample.key)
                told["new"] += 1
                self._take(source, sample, spans)
                continue
            assert source.origin is not None
            was = _told_of(source), source.spans
            is_again = source.status == GONE or source.origin.made != sample.made or _times(source.spans) != _times(spans)
            self._take(source, sample, spans)
            if is_again:
                told["again"] += 1
                self._again(source)
            elif was != (_told_of(source), spans):
                told["changed"] += 1
                if source.status == OK:
                    self._tell(source)
        for source in known.values():
            if source.status != GONE and done(source.identity):
                told["vanished"] += 1
                self._go(source)
        return told

    # --- how ---

    def _add(self, identity: str, *, shard: str | None = None, key: str | None = None, **told: object) -> Source:
        number, self._given = self._given, self._given + 1
        place = f"{number // self.shard_size:08d}"
        index = f"{number % self.shard_size:0{len(str(self.shard_size))}d}"
        source = Source(number, identity, shard or place, key or place + index, **told)  # type: ignore[arg-type]
        self.sources.append(source)
        return source

    def _take(self, source: Source, sample: Sample, spans: list[Span] | None) -> None:
        source.origin, source.spans = replace(sample), spans
        source.first_caption, source.captions, source.columns = sample.caption, sample.captions, sample.columns

    def _again(self, source: Source) -> None:
        source.status, source.error_class, source.attempts = PENDING, None, 0

    def _go(self, source: Source) -> None:
        self._again(source)
        source.status = GONE
        self._remove(source)

    def _become(self, source: Source, making: Making, answer: Bytes | Fault) -> None:
        """What comes of one source. One that fails keeps the samples that it has."""
        source.error_class = None
        if isinstance(answer, Fault):
            source.status, source.error_class = FAILED, answer.error_class
            return
        if answer in self.suppressed:
            self._suppress(source)
            return
        if not (making.cuts and source.spans):
            source.status = OK
            whole = self._sample(source, source.key, answer)
            whole.whole = _times(source.spans) or None
            self._replace(source, [whole])
            return
        if answer.seconds is None:
            source.status, source.error_class = FAILED, "not_media"
            return
        wanted = [
            (at, span)
            for at, span in enumerate(source.spans)
            if span.start < answer.seconds and span.end - span.start >= making.min_length - 1e-9
        ]
        if not wanted:
            source.status, source.error_class = SKIPPED, "no_clip"
            self._remove(source)
            return
        source.status = OK
        # The same span has the number that it had; a number is never used again.
        free: dict[tuple[float | None, float | None], list[int]] = {}
        for sample in sorted(self._of(source), key=lambda sample: sample.clip or 0):
            if sample.clip is not None:
                free.setdefault((sample.start, sample.end), []).append(sample.clip)
        clips = []
        for at, span in wanted:
            numbers = free.get((span.start, span.end))
            if numbers:
                number = numbers.pop(0)
            else:
                number, source.next_clip = source.next_clip, source.next_clip + 1
            content = Bytes(seconds=span.end - span.start, cut=(answer, span.start, span.end))
            # Its number is not given again all the same.
            if content in self.suppressed:
                continue
            source.parts.add(content)
            clip = self._sample(source, f"{source.key}_{number:05d}", content)
            clip.start, clip.end, clip.clip, clip.span = span.start, span.end, number, at
            clips.append(clip)
        if not clips:
            self._suppress(source)
            return
        self._replace(source, clips)

    def _suppress(self, source: Source) -> None:
        source.status, source.error_class = SKIPPED, SUPPRESSED
        self._remove(source)

    def _has(self, source: Source) -> set[Bytes]:
        """The bytes of a source: as they came last, and as the one sample that it is."""
        whole = {sample.content for sample in self._of(source) if sample.clip is None}
        return whole | ({source.came} if source.came else set())

    def _sample(self, source: Source, key: str, content: Bytes) -> Sample:
        self._made += 1
        return Sample(key, source.number, source.shard, content, self._made)

    def _replace(self, source: Source, samples: Iterable[Sample]) -> None:
        self._remove(source)
        self.samples |= {sample.key: sample for sample in samples}
        self._tell(source)

    def _of(self, source: Source) -> list[Sample]:
        return [sample for sample in self.samples.values() if sample.number == source.number]

    def _remove(self, source: Source) -> None:
        for sample in self._of(source):
            del self.samples[sample.key]

    def _tell(self, source: Source) -> None:
        """Give samples the captions and columns of their source, and of the span that each was cut by."""
        for sample in self._of(source):
            span = None if sample.span is None or source.spans is None else source.spans[sample.span]
            sample.columns = dict(source.columns) | (span.columns if span else {})
            sample.caption, sample.captions = source.caption, source.captions
            if span is not None and span.caption is not None:
                sample.caption, sample.captions = span.caption, [span.caption]
            if sample.clip is None and sample.captions is None and source.spans is not None:
                sample.captions = [one.caption for one in source.spans if one.caption is not None]


def _spans_of(rows: Iterable[InputRow]) -> list[Span] | None:
    spans = {
        (row.start, row.end, row.caption or ""): Span(row.start, row.end, row.caption, row.columns)
        for row in rows
        if row.start is not None and row.end is not None
    }
    return [spans[at] for at in sorted(spans)] or None


def _times(spans: Iterable[Span] | None) -> list[tuple[float, float]]:
    return [(span.start, span.end) for span in spans or ()]


def _content(captions: list[str] | None, spans: list[Span] | None, columns: Columns) -> object:
    return captions, [(span, span.columns) for span in spans or ()], columns


def _told_of(source: Source) -> object:
    return source.caption, _content(source.captions, source.spans, source.columns)
