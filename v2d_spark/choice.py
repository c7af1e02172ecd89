"""Which sources a run takes in: what a user says of it with `--only`, `--where`, `--limit` and `--revalidate`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from v2d_spark.udfs.vocabulary import ConfigError

#: Kinds of sources, by the words of `--only`.
NEW, CHANGED, FAILED, STALE = "new", "changed", "failed", "stale"
KINDS = {
    NEW: "never made",
    CHANGED: "pending again: its wanted spans are other ones now, its input came back, or `retry` asked for it",
    FAILED: "failed in a way that may pass, and its time has come",
    STALE: "made with other settings; never redone unless asked for",
}
#: What a run takes in unless it is told otherwise.
USUAL = (NEW, CHANGED, FAILED)


@dataclass(frozen=True)
class Choice:
    """Which sources a run takes in.

    Attributes:
        only: kinds of sources, of `KINDS`.
        where: a condition on `sources` that they must meet too; None for none.
        limit: so many at most, the first ones by `source_num`; None for all.
        revalidate: whether good sources are asked for too, and made anew where they are others than they were.

    Raises:
        ConfigError: if a kind is unknown, none is named, or the limit is less than one.
    """

    only: tuple[str, ...] = USUAL
    where: str | None = None
    limit: int | None = None
    revalidate: bool = False

    def __post_init__(self) -> None:
        known = ", ".join(KINDS)
        for word in self.only:
            if word not in KINDS:
                nearest = difflib.get_close_matches(str(word), KINDS, n=1)
                hint = f"; did you mean {nearest[0]}?" if nearest else "."
                raise ConfigError(f"--only takes {known}, not {word!r}{hint}")
        if not self.only and not self.revalidate:
            raise ConfigError(f"--only names no kind of sources; it takes {known}.")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit must be 1 or more, not {self.limit}.")

    @property
    def condition(self) -> str | None:
        """The condition on `sources`; None where there is none, or an empty one."""
        return self.where if self.where and self.where.strip() else None

    @classmethod
    def named(cls, only: str | None, where: str | None = None, limit: int | None = None, *, revalidate: bool = False) -> Choice:
        """The choice that options of the command line make.

        Args:
            only: kinds, divided by commas; the usual ones if not given.
            where: as the attribute.
            limit: as the attribute.
            revalidate: as the attribute.

        Raises:
            ConfigError: as the class.
        """
        if only is None:
            return cls(where=where, limit=limit, revalidate=revalidate)
        words = tuple(dict.fromkeys(word for part in only.split(",") if (word := part.strip().lower())))
        return cls(words, where, limit, revalidate)
