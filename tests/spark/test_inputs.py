"""Reading inputs: every format, every trap, each from real files."""

from __future__ import annotations

import datetime
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from v2d_spark.inputs import InputOptions, files, spans, typed
from v2d_spark.inputs.cells import ORDER
from v2d_spark.inputs.rows import read_inputs, reading
from v2d_spark.udfs.vocabulary import InputError

Read = Callable[..., list[dict[str, Any]]]


def collected(frame: DataFrame) -> list[dict[str, Any]]:
    """Rows in their order, `columns` as a dict, what is null left out."""
    rows = []
    texts = "url, caption, problem, transform(entries, entry -> entry.value), transform(spans, span -> span.caption)"
    with reading():
        found = frame.selectExpr("*", f"is_valid_utf8(concat_ws('', {texts})) AS is_utf8").collect()
    # Python is given text whatever the bytes are; Arrow, which reads them later, is not.
    assert all(row["is_utf8"] for row in found)
    for row in sorted(found, key=lambda row: [row[name] for name in ORDER]):
        plain = {name: row[name] for name in ("url", "caption", "span_error", "problem") if row[name] is not None}
        if row["entries"]:
            plain["columns"] = {entry["key"]: entry["value"] for entry in row["entries"]}
        if row["spans"] is not None:
            plain["spans"] = [(span["start_s"], span["end_s"], span["caption"]) for span in row["spans"]]
        rows.append(plain)
    return rows


@pytest.fixture
def read(spark: SparkSession, tmp_path: Path) -> Read:
    """Read inputs: names of files of the test's folder, or (name, bytes or text) of one to be written first."""

    def place(item: str | tuple[str, bytes | str]) -> str:
        if isinstance(item, tuple):
            name, data = item
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
            return str(path)
        return item if ":" in item or item.startswith("/") else str(tmp_path / item)

    def run(*inputs: str | tuple[str, bytes | str], **options: Any) -> list[dict[str, Any]]:
        return collected(read_inputs(spark, [place(item) for item in inputs], InputOptions(**options)))

    return run


def urls(rows: list[dict[str, Any]]) -> list[str | None]:
    return [row.get("url") for row in rows]


def test_txt_is_a_url_a_line_and_keeps_commas(read: Read) -> None:
    text = '\ufeffhttp://a/1,2?x="y"  \r\n\r\n \t\n\u00a0http://b/ü\nhttp://c\rhttp://d'
    assert read(("urls.txt", text)) == [
        {"url": 'http://a/1,2?x="y"'},
        {"url": "http://b/ü"},
        {"url": "http://c"},
        {"url": "http://d"},
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_text_formats_in_other_encodings(read: Read, encoding: str) -> None:
    assert read(
        ("a.txt", "http://é\r\nhttp://b\n".encode(encoding)),
        ("b.csv", "url,caption\nhttp://c,Ä\n".encode(encoding)),
        ("c.jsonl", '{"url": "http://d", "caption": "ß"}\n'.encode(encoding)),
        ("d.json", '[{"url": "http://e",\n "caption": "ß"}]'.encode(encoding)),
    ) == [
        {"url": "http://é"},
        {"url": "http://b"},
        {"url": "http://c", "caption": "Ä"},
        {"url": "http://d", "caption": "ß"},
        {"url": "http://e", "caption": "ß"},
    ]


def test_bytes_that_are_no_text_are_replaced(read: Read) -> None:
    found = read(("a.txt", b"http://caf\xe9\n"), ("b.csv", b"url,caption\nhttp://b,caf\xe9\n"), ("c.jsonl", b'{"url":"c\xe9"}'))
    assert found == [{"url": "http://caf\ufffd"}, {"url": "http://b", "caption": "caf\ufffd"}, {"url": "c\ufffd"}]


def test_what_is_no_text_at_all_is_refused(read: Read) -> None:
    with pytest.raises(InputError, match=r"wide\.txt is no text in UTF-8"):
        read(("wide.txt", "http://a\n".encode("utf-16-le")))


def test_csv_quotes_line_ends_and_blank_lines(read: Read) -> None:
    text = (
        '\ufeff\r\n url ,caption,n\r\nhttp://a,"two\r\nlines, ""quoted""",1\r\n\r\nhttp://b,said "so",\r\n'
        '"http://c,d",,""\nhttp://e,"x"\r\n,,\r\n'
        'http://f,"""Look!"" she said.\nAnd left.",\nhttp://g,"""Look\nup,"" she said.\n""Up!""",2\n'
    )
    assert read(("a.csv", text)) == [
        {"url": "http://a", "caption": 'two\r\nlines, "quoted"', "columns": {"n": "1"}},
        {"url": "http://b", "caption": 'said "so"'},
        {"url": "http://c,d"},
        {"url": "http://e", "caption": "x"},
        {"url": "http://f", "caption": '"Look!" she said.\nAnd left.'},
        {"url": "http://g", "caption": '"Look\nup," she said.\n"Up!"', "columns": {"n": "2"}},
    ]


def test_csv_that_mixes_line_ends_keeps_its_lines_apart(read: Read) -> None:
    assert urls(read(("a.csv", "url\r\nhttp://a\nhttp://b\r\nhttp://c"), ("b.csv", "url,n\rhttp://d,1\rhttp://e,2\r"))) == [
        *("http://a", "http://b", "http://c", "http://d", "http://e"),
    ]


def test_csv_rows_that_are_ragged(read: Read) -> None:
    found = read(("a.csv", 'url,caption,n\nhttp://a\nhttp://b,x,1,\nhttp://c,one, two,3\nhttp://d,"one, two",3\n'))
    assert urls(found) == ["http://a", "http://b", None, "http://d"]
    assert "a.csv: more fields than columns: http://c,one, two,3" in found[2]["problem"]


@pytest.mark.parametrize(
    "text",
    [
        '"open\nhttp://b,y\nhttp://c,z\n',
        '"open\nhttp://b,y\nhttp://c,"z"\nhttp://d,z\n',
        # The next quote is that of a text with a comma, or with quotation marks.
        '"open,1\nhttp://b,y,"z, z",1\nhttp://d,z\n',
        '"open,1\nhttp://b,y,"""z"" z",1\nhttp://d,z\n',
        '"open,1\nhttp://b,y,"z ""z"", z",1\nhttp://d,z\n',
    ],
)
def test_a_quote_that_is_not_closed_is_noticed(read: Read, text: str) -> None:
    found = read(("a.csv", f"{'url,caption,n,m' if ',1' in text else 'url,caption'}\nhttp://a,{text}"))
    assert urls(found)[0] is None
    assert "a quote that is not closed: http://a" in found[0]["problem"]


def test_csv_files_with_other_headers_are_read_by_their_own(read: Read) -> None:
    read(
        ("in/b.csv", "caption,url\nB,http://b\n"),
        ("in/c.csv", "url,week\nhttp://c,1\n"),
        ("in/d.csv", "url,week\nhttp://d,x\n"),
    )
    found = read(("in/a.csv", "url,caption\nhttp://a,A\n"))
    found = read("in")
    assert found == [
        {"url": "http://a", "caption": "A"},
        {"url": "http://b", "caption": "B"},
        {"url": "http://c", "columns": {"week": "1"}},
        {"url": "http://d", "columns": {"week": "x"}},
    ]


def test_tsv_compressed_empty_and_header_only_files(read: Read) -> None:
    assert read(
        ("a.tsv.gz", gzip.compress(b'url\tcaption\nhttp://a\tone, two\nhttp://b\t"a\ttab"\n')),
        ("b.csv", ""),
        ("c.csv", "url,caption\n"),
        ("d.txt.gz", gzip.compress(b"http://d\n")),
        ("e.json.gz", gzip.compress(b'{\n"url": "http://e"}')),
    ) == [
        {"url": "http://a", "caption": "one, two"},
        {"url": "http://b", "caption": "a\ttab"},
        {"url": "http://d"},
        {"url": "http://e"},
    ]
    assert read(("z.csv", "")) == []


def test_names_of_columns_may_be_anything(read: Read) -> None:
    header = 'url,key,status,source_num,URL,a.b,"c `d`, e",,record'
    assert read(("a.csv", f"{header}\nhttp://a,1,2,3,4,5,6,7,8\n")) == [
        {
            "url": "http://a",
            "columns": {
                "key": "1",
                "status": "2",
                "source_num": "3",
                "URL": "4",
                "a.b": "5",
                "c `d`, e": "6",
                "_c7": "7",
                "record": "8",
            },
        }
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "link,caption\nx,y\n", r"a\.csv has no column 'url'; its columns are: link, caption\."),
        ("a.csv", "URL,caption\nx,y\n", r"a\.csv has no column 'url' \(did you mean 'URL'\?"),
        ("a.csv", "http://a?token=geheim\n", r"its columns are: http://a\?token=REDACTED \("),
        ("a.csv", "url,a,a\nx,y,z\n", r"a\.csv has two columns named 'a'"),
        ("a.jsonl", '{"link": 1}\n{"x": 2}\n', r"a\.jsonl has no column 'url'; its columns are: link, x\."),
    ],
)
def test_a_column_that_is_missing_stops_the_job(read: Read, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read((name, text))


def test_every_named_column_must_be_there(read: Read) -> None:
    rows = ("a.csv", "url,text\nx,y\n")
    for options in (
        {"caption_column": "t"},
        {"spans_column": "t"},
        {"columns": ("text", "t")},
        {"start_column": "text", "end_column": "t"},
    ):
        with pytest.raises(InputError, match="has no column 't'"):
            read(rows, **options)


def test_json_lines_hold_any_type_and_any_column(read: Read) -> None:
    lines = [
        '{"url": "http://a", "n": 3, "f": 2.5, "t": true, "o": {"x": [1, null]}, "z": null, "i": 12345678901234567890}',
        '{"url": "http://b", "n": "three", "caption": "B\\u2028"}',
        "",
        "[1]",
        '{"url": "http://c", "n": [1]} ',
        '{"url": "http://d"',
        '{"caption": "nowhere"}',
        '{"url": "http://e"}{"url": "http://f"}',
        '{"url": "http://e"}] {"url": "http://f"}',
        '{"url": "http://e"}, {"url": "http://f"}',
        '{"url": "http://g"},',
    ]
    found = read(("a.jsonl", "\ufeff" + "\r\n".join(lines)))
    assert found[0]["columns"] == {
        "n": "3",
        "f": "2.5",
        "t": "true",
        "o": '{"x":[1,null]}',
        "i": "12345678901234567890",
    }
    assert found[1] == {"url": "http://b", "caption": "B\u2028", "columns": {"n": "three"}}
    assert urls(found) == ["http://a", "http://b", None, "http://c", *(None,) * 5, "http://g"]
    assert [row.get("problem", "").partition(".jsonl: ")[2] for row in found] == [
        *("", "", "not one JSON object: [1]", "", 'not one JSON object: {"url": "http://d"', ""),
        *(f"not one JSON object: {line}" for line in lines[7:10]),
        "",
    ]


def test_json_arrays_objects_and_lines_in_a_json_file(read: Read) -> None:
    assert read(
        ("a.json", '[{"url": "http://a", "n": 1}, {"url": "http://b", "n": "x"}]'),
        ("b.json", '{\n  "url": "http://c"\n}\n'),
        ("c.json", '{"url": "http://d"}\n{"url": "http://e"}\n'),
        ("d.ndjson", '{"url": "http://f"}'),
    ) == [
        {"url": "http://a", "columns": {"n": "1"}},
        {"url": "http://b", "columns": {"n": "x"}},
        *({"url": f"http://{name}"} for name in "cdef"),
    ]


@pytest.mark.parametrize("text", ['[{"url": "http://a"}, {"url": ', "[1, 2]", "urls"])
def test_a_broken_json_document_is_named(read: Read, text: str) -> None:
    with pytest.raises(InputError, match=r"a\.json holds neither a JSON array of objects nor one object\."):
        read(("a.json", text))


@pytest.mark.parametrize("text", ['[{"url": "http://a"}]\n[{"url": "http://b"}]', '{\n"url": "http://a"}\n{"url": "http://b"}'])
def test_json_documents_behind_each_other_are_refused(read: Read, text: str) -> None:
    with pytest.raises(InputError, match=r"a\.json holds more than one JSON document; put all objects into one array, or"):
        read(("a.json", text))


def test_parquet_with_many_types(read: Read, tmp_path: Path) -> None:
    time = datetime.datetime(2024, 2, 3, 4, 5, 6, 789000, tzinfo=datetime.timezone.utc)
    table = pa.table(
        {
            "url": ["http://a", None],
            "n": pa.array([3, None], pa.int32()),
            "t": [True, None],
            "f": [0.5, None],
            "day": pa.array([time.date(), None]),
            "time": pa.array([time, None], pa.timestamp("us", tz="UTC")),
            "tags": [["x", None], None],
            "o": [{"a": 1}, None],
            "raw": [b"\x00\xff", None],
            "none": pa.nulls(2),
            "latin": pa.array([b"caf\xe9", None], pa.binary()).cast(pa.string(), safe=False),
            "latins": pa.array([[b"caf\xe9"], None], pa.list_(pa.binary())).cast(pa.list_(pa.string()), safe=False),
            "a.`b": ["dot", None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    first, second = read("a.parquet")
    assert first["columns"] == {
        "n": "3",
        "t": "true",
        "f": "0.5",
        "day": "2024-02-03",
        "time": "2024-02-03T04:05:06.789Z",
        "tags": '["x",null]',
        "o": '{"a":1}',
        "raw": "AP8=",
        "latin": "caf\ufffd",
        "latins": '["caf\ufffd"]',
        "a.`b": "dot",
    }
    assert second == {}


def test_parquet_files_of_other_schemas_and_partitions(read: Read, tmp_path: Path) -> None:
    for week, values in enumerate(([1], ["x"], [[1.5]])):
        (tmp_path / f"in/week={week}").mkdir(parents=True)
        pq.write_table(pa.table({"url": [f"http://{week}"], "n": values}), tmp_path / f"in/week={week}/part.parquet")
    assert [row["columns"] for row in read("in")] == [
        {"n": "1", "week": "0"},
        {"n": "x", "week": "1"},
        {"n": "[1.5]", "week": "2"},
    ]


def test_each_parquet_file_has_the_columns(read: Read, tmp_path: Path) -> None:
    (tmp_path / "in/text=A").mkdir(parents=True)
    pq.write_table(pa.table({"url": ["http://a"]}), tmp_path / "in/text=A/a.parquet")
    assert read("in", caption_column="text") == [{"url": "http://a", "caption": "A"}]
    pq.write_table(pa.table({"link": ["http://b"]}), tmp_path / "in/text=A/b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet has no column 'url'; its columns are: link, text\."):
        read("in")


def test_parquet_that_spark_cannot_read(read: Read, tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["a"], "t": pa.array([1], pa.timestamp("ns"))}), tmp_path / "ns.parquet")
    with pytest.raises(InputError, match=r"ns\.parquet cannot be read: .*nanoseconds"):
        read("ns.parquet")
    with pytest.raises(InputError, match=r"bad\.parquet cannot be read"):
        read(("bad.parquet", b"this is no parquet file"))


def test_a_damaged_file_is_named(read: Read) -> None:
    whole = gzip.compress("".join(f"http://{n * n}\n" for n in range(90_000)).encode())
    with pytest.raises(InputError, match=r"a\.txt\.gz cannot be read: it is damaged"):
        read(("a.txt.gz", whole[: len(whole) // 2]))
    with pytest.raises(InputError, match=r"b\.csv\.gz cannot be read"):
        read(("b.csv.gz", b"url\nhttp://a\n"))
    with pytest.raises(InputError, match=r"c\.csv is compressed"):
        read(("c.csv", gzip.compress(b"url\nhttp://a\n")))


def test_delta_tables_and_queries(spark: SparkSession, read: Read, tmp_path: Path) -> None:
    path = str(tmp_path / "t")
    spark.createDataFrame([("http://b", 2), ("http://a", 1)], "url string, n int").write.format("delta").save(path)
    spark.read.format("delta").load(path).createOrReplaceTempView("listed")
    there = [{"url": f"http://{name}", "columns": {"n": number}} for name, number in (("a", "1"), ("b", "2"))]
    for name in (
        f"delta:{path}",
        path,
        f"sql:SELECT url, n FROM delta.`{path}` -- all",
        "sql:WITH x AS (SELECT * FROM listed) SELECT * FROM x;",
    ):
        assert sorted(read(name), key=str) == there, name
    assert collected(read_inputs(spark, ["listed"], InputOptions(columns=()))) == [{"url": "http://b"}, {"url": "http://a"}]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.csv", r"There is no file .*nothing\.csv\."),
        ("*.csv", r"There is no file that matches .*\*\.csv\."),
        ("empty", r"There is no file in .*empty\."),
        ("delta:/nowhere/at/all", "The Delta table /nowhere/at/all cannot be read: "),
        ("delta:", "names nothing"),
        ("sql:SELECT 1 AS x", "The query has no column 'url'; its columns are: x"),
        (
            "sql:SELECT * FROM VALUES ('a') x(url) JOIN VALUES ('a') y(url) ON x.url = y.url",
            "The query has two columns named 'url'",
        ),
        (
            "sql:SELECT 'a' AS url, 1 AS n, 2 AS N",
            "The query has two columns named 'N'; name the wanted columns, or rename one",
        ),
        ("sql:SELECT 'a' AS url, 1 / id AS n FROM range(2)", "An input cannot be read: Division by zero"),
        ("sql:SELECT nothing FROM nowhere", "The query cannot be read: "),
        ("sql:DROP TABLE listed", "The query cannot be read: "),
        ("sql:INSERT INTO listed VALUES (1)", "The query cannot be read: "),
    ],
)
def test_what_is_not_there(read: Read, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        read(name)


def test_a_name_that_is_no_table(spark: SparkSession) -> None:
    for name in ("nowhere", "no.where", "not.a.table"):
        with pytest.raises(InputError, match=f"There is no file and no table named {re.escape(name)}"):
            read_inputs(spark, [name], InputOptions())


def test_files_folders_and_globs_together(read: Read, tmp_path: Path) -> None:
    read(("in/2/b.txt", "http://2b\n"), ("in/2/a.txt", "http://2a\n"), ("in/1.jsonl", '{"url": "http://1"}'))
    (tmp_path / "in/_SUCCESS").touch()
    (tmp_path / "in/.1.jsonl.crc").write_bytes(b"crc")
    (tmp_path / "x[1] {a} é%20.txt").write_text("http://x\n")
    (tmp_path / "y.txt").write_text("http://y\n")
    assert urls(read("y.txt", "in", "x[1] {a} é%20.txt")) == ["http://y", "http://1", "http://2a", "http://2b", "http://x"]
    assert urls(read("in/2/*.txt")) == ["http://2a", "http://2b"]
    assert urls(read((tmp_path / "in").as_uri())) == ["http://1", "http://2a", "http://2b"]


def test_files_whose_format_is_not_told(read: Read) -> None:
    with pytest.raises(InputError, match=r"The name of .*urls\.list does not tell its format; give --format"):
        read(("urls.list", "http://a\n"))
    assert urls(read("urls.list", format="txt")) == ["http://a"]
    with pytest.raises(InputError, match="no input format 'excel'; formats are: txt, csv"):
        read("urls.list", format="excel")
    with pytest.raises(InputError, match="begin with _"):
        read(("_urls.txt", "http://a\n"))


def test_a_shells_glob_is_one_argument(spark: SparkSession, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"http://{name}\n")
    paths = [str(tmp_path / f"{name}.txt") for name in "abc"]
    assert [found.argument for found in files.resolve(spark, [*paths, paths[0]], None)] == [0, 3]


def test_places_that_only_spark_reads(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("url,caption\nhttp://a,A\n")
    (tmp_path / "in/b.jsonl").write_text('{"url": "http://b"}\n')
    for module in (files, typed):
        monkeypatch.setattr(module, "is_read_here", lambda text: False)
    folder = f"file://{tmp_path}/in"
    assert urls(collected(read_inputs(spark, [folder], InputOptions()))) == ["http://a", "http://b"]
    assert urls(collected(read_inputs(spark, [f"{folder}/*.csv"], InputOptions()))) == ["http://a"]
    with pytest.raises(InputError, match="There is no file that matches"):
        read_inputs(spark, [f"{folder}/nothing.csv"], InputOptions())
    pq.write_table(pa.table({"link": ["http://c"]}), tmp_path / "in/c.parquet")
    with pytest.raises(InputError, match=r"in/c\.parquet has no column 'url'; its columns are: link\."):
        read_inputs(spark, [folder], InputOptions())


def test_captions_and_columns(read: Read) -> None:
    rows = ("a.csv", "url,caption,text,a,b\nhttp://a,C, ,1,2\n")
    assert read(rows) == [{"url": "http://a", "caption": "C", "columns": {"text": " ", "a": "1", "b": "2"}}]
    assert read(rows, caption_column="text", columns=("b", "caption")) == [
        {"url": "http://a", "columns": {"caption": "C", "b": "2"}}
    ]
    lines = ("a.jsonl", '{"link": "http://a", "text": "C", "a": 1, "b": 2}')
    assert read(lines, url_column="link", caption_column="text", columns=("b",)) == [
        {"url": "http://a", "caption": "C", "columns": {"b": "2"}}
    ]


def test_lists_of_wanted_spans(read: Read, tmp_path: Path) -> None:
    lists: list[Any] = [
        [[0, 2.5], [3, 4]],
        [["00:00:01.5", "1:02:03,250"], ["90:00", " 5401 "]],
        [],
        None,
        [[5, 3]],
        [[0, 1], [1]],
        [["one", "two"]],
        [[-1, 2]],
        "nonsense",
    ]
    rows = [{"url": f"http://{at}", "caption": "C", "clips": clips} for at, clips in enumerate(lists)]
    found = read(("a.jsonl", "\n".join(json.dumps(row) for row in rows)), spans_column="clips")
    assert [row.get("spans") for row in found[:4]] == [
        [(0.0, 2.5, "C"), (3.0, 4.0, "C")],
        [(1.5, 3723.25, "C"), (5400.0, 5401.0, "C")],
        None,
        None,
    ]
    assert {row["caption"] for row in found} == {"C"}
    assert [row.get("span_error") is not None for row in found] == [False] * 4 + [True] * 5
    assert (
        found[4]["span_error"] == "[5, 3] is not a span of time: write a start and a later end, in seconds or as HH:MM:SS.mmm"
    )
    assert "[1]" in found[5]["span_error"]
    assert found[8]["span_error"] == "wanted spans are written [[start, end], …], not nonsense"
    text = 'url,clips\nhttp://a,"[[0, 2.5], [""00:01"", 70]]"\nhttp://b,"[[\'0:01\', \'0:02\']]"\nhttp://c,\n'
    assert [row.get("spans") for row in read(("a.csv", text), spans_column="clips")] == [
        [(0.0, 2.5, None), (1.0, 70.0, None)],
        [(1.0, 2.0, None)],
        None,
    ]
    pq.write_table(pa.table({"url": ["http://a"], "clips": [[[0.0, 2.5]]]}), tmp_path / "a.parquet")
    assert read("a.parquet", spans_column="clips")[0]["spans"] == [(0.0, 2.5, None)]


def test_one_wanted_span_needs_no_list_of_lists(read: Read, tmp_path: Path) -> None:
    lists: list[Any] = [[1, 2.5], ["00:01", "1:00,5"], [1, 2, 3], [1], [2, None]]
    rows = [{"url": f"http://{at}", "clips": clips} for at, clips in enumerate(lists)]
    found = read(("a.jsonl", "\n".join(json.dumps(row) for row in rows)), spans_column="clips")
    assert [row.get("spans") for row in found[:2]] == [[(1.0, 2.5, None)], [(1.0, 60.5, None)]]
    assert [row.get("span_error") for row in found] == [
        None,
        None,
        "wanted spans are written [[start, end], …], not [1,2,3]",
        "wanted spans are written [[start, end], …], not [1]",
        "[2, null] is not a span of time: write a start and a later end, in seconds or as HH:MM:SS.mmm",
    ]
    pq.write_table(pa.table({"url": ["http://a", "http://b"], "clips": [[0.0, 2.5], [1.5, 2.0]]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"url": ["http://c"], "clips": [["00:01", "2"]]}), tmp_path / "b.parquet")
    assert [row["spans"] for row in read("a.parquet", spans_column="clips")] == [[(0.0, 2.5, None)], [(1.5, 2.0, None)]]
    assert read("b.parquet", spans_column="clips")[0]["spans"] == [(1.0, 2.0, None)]


def test_any_text_is_a_time_or_none(spark: SparkSession) -> None:
    random = Random(7)
    texts = ["".join(random.choices("0123456789:::..,e -+", k=random.randint(1, 9))) for _ in range(3000)]
    texts += [
        "",
        "0",
        "1e400",
        "NaN",
        "Infinity",
        "00:60",
        "1:60:00",
        "59:59",
        "100:00:00.001",
        "1:2:3:4",
        "٣",
        "1_000",
        "1e9",
        "999999999",
    ]
    frame = spark.createDataFrame([(text,) for text in texts], "text string")
    found = {row["text"]: row["s"] for row in frame.select("text", spans.seconds(F.col("text")).alias("s")).collect()}
    assert {text: value for text, value in found.items() if value != pytest.approx(plain_seconds(text))} == {}
    assert sum(value is not None for value in found.values()) > 300


def plain_seconds(text: str) -> float | None:
    """The same, read by Python."""
    text = text.strip(" ").replace(",", ".")
    if ":" not in text:
        value = float(text) if re.fullmatch(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII) else None
    else:
        *first, last = text.split(":")
        parts = [*first, last.partition(".")[0]]
        fraction = last.partition(".")[2]
        digits = all(re.fullmatch(r"\d+", part, re.ASCII) for part in parts) and re.fullmatch(r"\d*", fraction, re.ASCII)
        if not digits or len(parts) > 3 or any(len(part) > 2 or int(part) > 59 for part in parts[1:]):
            return None
        value = sum(int(part) * 60**at for at, part in enumerate(reversed(parts))) + float(f"0.{fraction or 0}")
    return value if value is not None and value < 1e9 else None


def test_a_row_a_span(read: Read) -> None:
    text = "url,from,to,caption\nhttp://a,1,2,one\nhttp://a,,,whole\nhttp://a,00:00:03,,x\n"
    found = read(("a.csv", text), start_column="from", end_column="to")
    assert found[0] == {"url": "http://a", "spans": [(1.0, 2.0, "one")]}
    assert found[1] == {"url": "http://a", "caption": "whole"}
    assert found[2]["spans"] == [(3.0, None, "x")]
    assert found[2]["span_error"].startswith("[00:00:03, null] is not a span of time")


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(InputError, match="needs an end column"):
        InputOptions(start_column="from")
    with pytest.raises(InputError, match="either a column of lists or a row each"):
        InputOptions(spans_column="clips", start_column="from", end_column="to")
