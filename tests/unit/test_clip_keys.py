from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from v2d_spark.udfs.clip_keys import ClipSpan, clip_key, numbered, still_key


def span(start: int, end: int, time_base: str = "1/25") -> ClipSpan:
    return ClipSpan(start, end, time_base)


def test_new_clips_are_numbered_in_their_order() -> None:
    assert numbered([(span(5, 9), 1), (span(0, 5), 2)], [], 0) == ([0, 1], 2)


def test_a_span_that_comes_again_keeps_its_number_and_new_ones_take_unused_ones() -> None:
    known = [(span(0, 5), 0), (span(5, 9), 1)]

    assert numbered([(span(5, 9), 1), (span(9, 20), 2), (span(0, 6), 3)], known, 7) == ([1, 7, 8], 9)
    assert numbered([(span(0, 5, "1/50"), 1)], known, 2) == ([2], 3)


def test_stills_of_a_clip_share_its_number() -> None:
    assert numbered([(span(0, 5), 2), (span(0, 5), 2), (span(5, 6), 3)], [], 4) == ([4, 4, 5], 6)


def test_a_span_that_is_wanted_twice_is_two_clips() -> None:
    clips = [(span(0, 5), 0), (span(0, 5), 1)]
    numbers, unused = numbered(clips, [], 0)

    assert (numbers, unused) == ([0, 1], 2)
    assert numbered(clips, [(span(0, 5), 1), (span(0, 5), 0)], 2) == (numbers, unused)


def test_keys_tell_what_they_are_of() -> None:
    assert still_key(clip_key("000000010002", 3), 1) == "000000010002_00003_f00001"


SPANS = st.builds(span, st.integers(0, 3), st.integers(4, 6), st.sampled_from(["1/25", "1/30"]))
CLIPS = st.lists(st.tuples(SPANS, st.integers(0, 2)), max_size=12)


@given(st.lists(CLIPS, max_size=5))
def test_numbers_are_kept_and_never_used_again(runs: list[list[tuple[ClipSpan, int]]]) -> None:
    """Runs over one source, whatever each finds in it; a clip that does not come loses its row, as in `samples`."""
    rows: list[tuple[ClipSpan, int]] = []
    unused = 0
    ever: dict[int, ClipSpan] = {}
    for clips in runs:
        numbers, after = numbered(clips, rows, unused)
        again, _ = numbered(clips, [(clip[0], number) for clip, number in zip(clips, numbers, strict=True)], after)

        assert again == numbers
        assert after >= unused
        assert all(number < after for number in numbers)
        assert len({*zip(clips, numbers, strict=True)}) == len({*clips}) == len({*numbers})
        for (at, _), number in zip(clips, numbers, strict=True):
            assert ever.setdefault(number, at) == at
        unused = after
        rows = [(clip[0], number) for clip, number in zip(clips, numbers, strict=True)]
