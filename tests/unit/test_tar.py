"""The tar writer beside Python's own."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v2d_spark.udfs.tar import TarWriter, header


def archive(members: list[tuple[str, bytes]]) -> bytes:
    sink = io.BytesIO()
    writer = TarWriter(sink)
    for name, content in members:
        writer.add(name, content)
    writer.close()
    assert writer.bytes == len(sink.getvalue())
    return sink.getvalue()


def archive_of_tarfile(members: list[tuple[str, bytes]]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return sink.getvalue()


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=150)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=4))
def test_bytes_are_those_of_tarfile(members: list[tuple[str, bytes]]) -> None:
    assert archive(members) == archive_of_tarfile(members)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 10240 - 1536, 8**11 - 1, 8**11])
def test_headers_are_those_of_tarfile(size: int) -> None:
    member = tarfile.TarInfo("000000010002.mp4")
    member.size, member.mode = size, 0o644
    assert header("000000010002.mp4", size) == member.tobuf(tarfile.PAX_FORMAT)


def test_tar_itself_lists_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(archive([("0001.mp4", b"x" * 700), ("0001.txt", b""), ("é" * 90 + ".json", b"{}")]))
    listed = subprocess.run(
        ["tar", "tvf", path], capture_output=True, text=True, check=True, env={"TZ": "UTC", "LC_ALL": "C.UTF-8"}
    )
    lines = listed.stdout.splitlines()
    assert [line.split()[2] for line in lines] == ["700", "0", "2"]
    assert lines[0].startswith("-rw-r--r-- 0/0") and "1970-01-01 00:00" in lines[0]


def test_pieces_must_add_up() -> None:
    writer = TarWriter(io.BytesIO())
    with pytest.raises(ValueError, match=r"0001\.mp4 has 3 bytes and not 4"):
        writer.add_chunks("0001.mp4", 4, [b"ab", memoryview(b"c")])
