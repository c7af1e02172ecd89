"""What `v2d ingest` reads: the options that say which columns hold what.

`files` finds what the inputs name, `rows` reads it into one DataFrame, `spans` makes seconds of wanted spans. Importing
this package loads no Spark.
"""

from __future__ import annotations

from dataclasses import dataclass

from v2d_spark.udfs.vocabulary import InputError

#: Taken as the caption where none is named.
DEFAULT_CAPTION_COLUMN = "caption"


@dataclass(frozen=True)
class InputOptions:
    """Which columns of the inputs hold what.

    Attributes:
        format: format of all files (`files.FORMATS`); by their extensions if None.
        url_column: the URL.
        caption_column: the caption; if None, `caption` where there is one.
        spans_column: wanted spans, `[[start, end], …]`.
        start_column: start of the row's one wanted span.
        end_column: its end.
        columns: other columns to keep; all if None.
    """

    format: str | None = None
    url_column: str = "url"
    caption_column: str | None = None
    spans_column: str | None = None
    start_column: str | None = None
    end_column: str | None = None
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if (self.start_column is None) != (self.end_column is None):
            raise InputError("A start column needs an end column, and the other way round; give both.")
        if self.spans_column is not None and self.start_column is not None:
            raise InputError(
                "Wanted spans are either a column of lists or a row each; give a spans column or start and end columns."
            )

    @property
    def named(self) -> tuple[str, ...]:
        """The columns that must be there."""
        roles = (self.url_column, self.caption_column, self.spans_column, self.start_column, self.end_column)
        return (*(name for name in roles if name is not None), *(self.columns or ()))
