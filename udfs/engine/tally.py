"""Counts the samples of one source: what is told of all of them must fit into one message."""

from __future__ import annotations

from v2d_spark.udfs.vocabulary import SampleError

MOST_SAMPLES = 20_000  # some 3 KB are told of each; see `protocol.MAX_MESSAGE`


class Tally:
    """Samples of a source so far."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, count: int) -> None:
        """Count samples; those that are thrown away again are counted below 0.

        Raises:
            SampleError: if there are too many.
        """
        self._count += count
        check_count(self._count)


def check_count(count: int) -> None:
    """Refuse a source of which too many samples would come.

    Raises:
        SampleError: if there are too many.
    """
    if count > MOST_SAMPLES:
        raise too_many(f"more than {MOST_SAMPLES} samples come of it")


def too_many(what: str) -> SampleError:
    """The fault of a source of which too many samples come, with what can be done about it."""
    advice = "raise subsample.clip.min_length or window_s, or subsample.frames.every_s"
    return SampleError("unsupported", f"{what}, which is too many: {advice}")


__all__ = ["MOST_SAMPLES", "Tally", "check_count", "too_many"]
