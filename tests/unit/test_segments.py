"""Pieces of streams that hold wanted spans."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2d_spark.udfs.fetch.segments import playlist_seconds, wanted_segments, with_pieces

PLAYLIST = """#EXTM3U
#EXT-X-VERSION:4
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-MAP:URI="init.mp4"
#EXTINF:2.0,
#EXT-X-BYTERANGE:100@50
all.ts
#EXT-X-KEY:METHOD=AES-128,URI="key"
#EXTINF:2.5,
#EXT-X-BYTERANGE:200
all.ts
#EXTINF:1.5,
third.ts

#EXT-X-ENDLIST""".splitlines()


def test_a_playlist_of_some_pieces_keeps_what_holds_for_them() -> None:
    assert playlist_seconds(PLAYLIST) == [2.0, 2.5, 1.5]
    assert list(with_pieces(PLAYLIST, [1, 2])) == [
        "#EXTM3U",
        "#EXT-X-VERSION:4",
        "#EXT-X-MEDIA-SEQUENCE:7",
        '#EXT-X-MAP:URI="init.mp4"',
        '#EXT-X-KEY:METHOD=AES-128,URI="key"',
        "#EXT-X-MEDIA-SEQUENCE:8",
        "#EXTINF:2.5,",
        "#EXT-X-BYTERANGE:200@150",
        "all.ts",
        "#EXT-X-MEDIA-SEQUENCE:9",
        "#EXTINF:1.5,",
        "third.ts",
        "#EXT-X-ENDLIST",
    ]
    assert playlist_seconds([*PLAYLIST, "more.ts"]) == []
    assert playlist_seconds([*PLAYLIST, "#EXT-X-DISCONTINUITY"]) == []


@pytest.mark.parametrize(
    ("spans", "chosen"),
    [
        ([(10.5, 11.5)], [0, 4, 5, 6]),
        ([(0.0, 1.0)], [0, 1]),
        ([(39.0, 99.0)], [0, 18, 19]),
        ([(100.0, 101.0)], [0]),
        ([(4.0, 6.0), (30.0, 31.0)], [0, 1, 2, 3, 14, 15, 16]),
        ([(0.0, 39.0)], None),
    ],
)
def test_pieces_of_spans(spans: list[tuple[float, float]], chosen: list[int] | None) -> None:
    assert wanted_segments([2.0] * 20, spans) == chosen


@given(
    st.lists(st.floats(0.1, 20), min_size=1, max_size=40),
    st.lists(st.tuples(st.floats(0, 400), st.floats(0.1, 50)), min_size=1, max_size=5),
)
def test_every_moment_of_a_span_is_in_a_piece(seconds: list[float], spans: list[tuple[float, float]]) -> None:
    chosen = wanted_segments(seconds, [(start, start + length) for start, length in spans])
    if chosen is None:
        return
    ends = [sum(seconds[: place + 1]) for place in range(len(seconds))]
    for start, length in spans:
        for place, end in enumerate(ends):
            if end > start + 1e-6 and end - seconds[place] < start + length - 1e-6:
                assert place in chosen
        first = next((place for place, end in enumerate(ends) if end > start + 1e-6), None)
        if first is not None and length > 1e-6 and ends[first] - seconds[first] < start + length - 1e-6:
            assert max(first - 1, 0) in chosen  # where its first picture may be
    assert chosen == sorted(set(chosen))
    assert chosen[0] == 0
