"""What the first bytes of an input say, whatever they are."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v2d_spark.inputs import InputOptions
from v2d_spark.inputs.files import FORMATS, spark_path
from v2d_spark.inputs.heads import look
from v2d_spark.udfs.vocabulary import InputError

OPTIONS = InputOptions()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([name for name in FORMATS if name != "parquet"]),
    st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | st.text(max_size=20).map(lambda text: text.encode("utf-16", "replace")),
    st.booleans(),
)
def test_any_bytes_are_looked_at_or_refused(name: str, data: bytes, is_whole: bool) -> None:
    try:
        found = look("file", name, data, is_whole, OPTIONS)
    except InputError as error:
        assert "file" in str(error)
    else:
        assert found is None or found.encoding in ("UTF-8", "UTF-16")


# Characters of a name; a header's names are taken without the blanks around them.
NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Z"), exclude_characters="\ufeff"), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(NAMES, max_size=5, unique=True), st.sampled_from(["\n", "\r\n"]), st.sampled_from([("csv", ","), ("tsv", "\t")])
)
def test_a_header_is_read_as_it_was_written(names: list[str], line_end: str, format: tuple[str, str]) -> None:
    text = io.StringIO()
    header = ["url", *(name for name in names if name != "url")]
    csv.writer(text, lineterminator=line_end, delimiter=format[1]).writerow(header)
    found = look("file", format[0], text.getvalue().encode(), True, OPTIONS)
    assert found and found.header == tuple(header)


@pytest.mark.parametrize(
    ("name", "text", "format"),
    [
        ("json", '[{"url": 1}]', "json"),
        ("json", '{\n"url": 1}', "json"),
        ("json", '\n{"url": 1}\n{"url": 2}', "jsonl"),
        ("json", '{"url": "a\u2028b"}', "jsonl"),
        ("jsonl", '{"url": 1}', "jsonl"),
        ("jsonl", "nonsense", "jsonl"),
        ("txt", "http://a", "txt"),
    ],
)
def test_json_is_told_by_what_it_holds(name: str, text: str, format: str) -> None:
    found = look("file", name, text.encode(), True, OPTIONS)
    assert found and found.format == format


def test_a_column_may_come_late_in_a_long_file_of_json_lines() -> None:
    options = InputOptions(caption_column="text")
    line = b'{"url": "http://a"}\n'
    assert look("file", "jsonl", line, False, options)
    with pytest.raises(InputError, match="file has no column 'text'; its columns are: url"):
        look("file", "jsonl", line, True, options)
    with pytest.raises(InputError, match="file has no column 'url'"):
        look("file", "jsonl", b'{"link": "http://a"}\n', False, options)


@pytest.mark.parametrize(
    ("text", "is_whole", "message"),
    [
        ('[{"link": "http://a", "n": 1},\n {"link": "http://b"}]', True, "no column 'url'; its columns are: link, n"),
        ('{\n"URL": "http://a"}', True, "did you mean 'URL'"),
        ('[{"url": "http://a"}]', True, "no column 'text'"),
        (' [ {"link": "[{"} , {"link": "http:/', False, "no column 'url'"),
    ],
)
def test_a_json_document_has_the_columns_too(text: str, is_whole: bool, message: str) -> None:
    with pytest.raises(InputError, match=message):
        look("file", "json", text.encode(), is_whole, InputOptions(caption_column="text"))


def test_a_json_document_is_looked_at_as_far_as_it_goes() -> None:
    options = InputOptions(caption_column="text")
    for text in ('[{"url": "http://a"}, {"te', "[[[", "[" * 60_000, "[{", "[]", "[\n]"):
        assert look("file", "json", text.encode(), False, options), text


def test_urls_without_a_header_are_told_how_to_be_read() -> None:
    with pytest.raises(InputError, match=r"its columns are: http://a \(the first row is read as .* with --format txt\)\."):
        look("file", "csv", b"http://a\nhttp://b\n", True, OPTIONS)


def test_nothing_at_all_has_no_rows() -> None:
    assert look("file", "csv", b"\xef\xbb\xbf\r\n \n", True, OPTIONS) is None


def test_a_path_is_no_pattern_for_spark() -> None:
    assert spark_path("/a/b*[1]{x}?.csv") == r"file:/a/b\*\[1\]\{x\}\?.csv"
    assert spark_path("s3a://bucket/a b.csv") == "s3a://bucket/a b.csv"
