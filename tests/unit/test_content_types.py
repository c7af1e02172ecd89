"""One table of content types and extensions, both ways."""

from __future__ import annotations

import pytest

from v2d_spark.udfs.content_types import EXTENSIONS, content_type_of, extension
from v2d_spark.udfs.engine import formats


def test_whatever_the_engine_finds_has_its_extension_in_the_table() -> None:
    assert formats.content_types() - EXTENSIONS.keys() == set()


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/mxf", "mxf"),
        ("application/vnd.rn-realmedia", "rm"),
        ("application/x-shockwave-flash", "swf"),
        ("video/x-yuv4mpeg", "y4m"),
        ("audio/webm", "weba"),
        ("audio/3gpp", "3gp"),
        ("audio/x-wavpack", "wv"),
        ("image/x-portable-pixmap", "ppm"),
    ],
)
def test_extensions_are_those_that_players_know(content_type: str, expected: str) -> None:
    assert extension(content_type, "video") == expected


def test_a_name_tells_a_type_with_its_extension() -> None:
    assert all(EXTENSIONS[str(content_type_of(f"a.{suffix}"))] == suffix for suffix in EXTENSIONS.values())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b.MP4", "video/mp4"),
        ("x.jpeg", "image/jpeg"),
        ("c.tar.wav", "audio/wav"),
        ("a.php", None),
        ("noname", None),
        ("", None),
    ],
)
def test_what_a_name_tells(name: str, expected: str | None) -> None:
    assert content_type_of(name) == expected
