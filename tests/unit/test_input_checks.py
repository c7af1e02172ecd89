"""What is told of local inputs before Spark starts."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from v2d_spark.inputs import InputOptions
from v2d_spark.inputs.checks import check_local
from v2d_spark.udfs.vocabulary import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "in/a.csv").write_text("url,text\nhttp://a,A\n")
    (tmp_path / "in/b.jsonl").write_text('{"url": "http://b", "text": "B"}\n')
    pq.write_table(pa.table({"url": ["http://c"], "text": ["C"]}), tmp_path / "in/c.parquet")
    (tmp_path / "link.csv").write_text("link\nhttp://a\n")
    (tmp_path / "link.json").write_text('[{"link": "http://a"}]')
    pq.write_table(pa.table({"link": ["http://a"]}), tmp_path / "link.parquet")
    (tmp_path / "URLS.TXT.GZ").write_bytes(gzip.compress(b"http://a\n"))
    (tmp_path / "URLS.TXT.BZ2").write_bytes(bz2.compress(b"http://a\n"))
    (tmp_path / "bad.parquet").write_bytes(b"this is no parquet file")
    return tmp_path


def test_what_is_there_and_what_only_spark_can_tell_passes(folder: Path) -> None:
    options = InputOptions(caption_column="text")
    there = [str(folder / "in"), str(folder / "in/*.csv"), (folder / "in/b.jsonl").as_uri()]
    check_local(
        [*there, "sql:SELECT 1", "delta:/nowhere", "a.table", "s3a://bucket/urls.csv", "/Volumes/nowhere/urls.csv"], options
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.csv", r"There is no file .*nothing\.csv\."),
        ("*.txt", r"There is no file that matches .*\*\.txt\."),
        ("empty", r"There is no file in .*empty\."),
        *(
            (f"link.{name}", rf"link\.{name} has no column 'url'; its columns are: link\.")
            for name in ("csv", "json", "parquet")
        ),
        ("bad.parquet", r"bad\.parquet cannot be read: "),
        # Spark would read the bytes as they are.
        ("URLS.TXT.GZ", r"URLS\.TXT\.GZ is compressed; give it a name that ends in \.gz\."),
        ("URLS.TXT.BZ2", r"URLS\.TXT\.BZ2 is compressed; give it a name that ends in \.bz2\."),
    ],
)
def test_a_mistake_is_told_without_spark(folder: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_local([str(folder / "in"), str(folder / name)], InputOptions())


def test_a_format_that_is_not_there_is_told_without_spark() -> None:
    with pytest.raises(InputError, match="no input format 'excel'"):
        check_local([], InputOptions(format="excel"))


@pytest.mark.parametrize(
    ("text", "format", "told"),
    [
        ("http://127.0.0.1:8765/rabbit.mp4", None, "rabbit.mp4 is a URL, and an input is a list of URLs: a file, a folder, "),
        ("HTTPS://me:secret@host/a", None, "HTTPS://REDACTED@host/a is a URL, and an input"),
        ("http://[::1/a*b", None, "write the URL into a text file, one a line, and name that file."),
        ("http://host/urls.csv.gz?x=1", None, "The list http://host/urls.csv.gz?x=1 is not read over HTTP, only from a path"),
        ("https://host/urls", "csv", "download it, and name the file."),
    ],
)
def test_a_url_is_no_input(text: str, format: str | None, told: str) -> None:
    with pytest.raises(InputError) as error:
        check_local([text], InputOptions(format=format))

    assert told in str(error.value)
