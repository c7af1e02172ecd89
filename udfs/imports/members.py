"""What a shard is made of, whatever holds it: members with a name, a place and a size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

# What holds the samples of a shard.
TAR, FOLDER, PARQUET = KINDS = ("tar", "folder", "parquet")


@dataclass(frozen=True)
class Member:
    """A file of a shard.

    Attributes:
        name: as the shard has it.
        location: the file that its bytes are in.
        offset: where in that file they begin.
        size: in bytes.
        read: gives the bytes; to be called before the next member is asked for.
    """

    name: str
    location: str
    offset: int
    size: int
    read: Callable[[], bytes]


@dataclass
class Told:
    """What there is to tell of a shard beside its samples.

    Attributes:
        left_out: members that are in no row, by what they are: an extension such as `.npy`, or a word for the kind.
        problem: why not all of the shard could be read, a sentence; None where all was.
        is_storage: whether a disk or a store was the reason, so that another try may do better.
    """

    left_out: Counter[str] = field(default_factory=Counter)
    problem: str | None = None
    is_storage: bool = False
