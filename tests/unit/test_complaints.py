"""One sentence of what Spark, Java and Python say. The texts are those of pyspark 4.2, their stacks shortened."""

from __future__ import annotations

import pytest

from v2d_spark.complaints import explain, fault, of_executors, of_resources

FRAME = """Traceback (most recent call last):
  File "/site-packages/pyspark/worker.py", line 3622, in main
    process()
    ^^^^^^^^^"""


def refused(
    complaint: str, row: int, column: int, asked: str, *, around: tuple[str, str] = ("SELECT * FROM (\n", "\n)")
) -> Exception:
    """Spark's report of a wrong query that stands in parentheses: with the query, and a line that points at the place."""
    lines = f"{around[0]}{asked}{around[1]}".split("\n")
    lines.insert(row, f"{'-' * column}^^^")
    query = "\n".join(lines)
    return Exception(
        f"\n[PARSE_SYNTAX_ERROR] Syntax error at or near {complaint}. SQLSTATE: 42601 (line {row}, pos {column})\n\n"
        f"== SQL ==\n{query}\n"
    )


@pytest.mark.parametrize(
    ("asked", "complaint", "row", "column", "told"),
    [
        ("SELEC key FROM samples", "'FROM': missing ')'", 2, 10, "Syntax error at or near 'FROM', after: SELEC key"),
        ("SELEC 1", "'1': extra input '1'", 2, 6, "Syntax error at or near '1', after: SELEC"),
        (
            "SELECT key\n  FROM samples\nWHERE > 3",
            "'>'",
            4,
            6,
            "Syntax error at or near '>', after: SELECT key FROM samples WHERE",
        ),
        ("SELECT 1; SELECT 2", "';': missing ')'", 2, 8, "Syntax error at or near ';', after: SELECT 1"),
        ("SELECT key,, width FROM samples", "','", 2, 11, "Syntax error at or near ',', after: SELECT key,"),
        (") + 1", "')'", 2, 0, "Syntax error at or near ')'"),
        ("SELECT 'abc FROM samples", "'''", 2, 7, "Syntax error: a quote is opened and not closed: 'abc FROM samples"),
        ('SELECT "abc', "'\"'", 2, 7, 'Syntax error: a quote is opened and not closed: "abc'),
        (f"'{'x' * 99}", "'''", 2, 0, f"Syntax error: a quote is opened and not closed: '{'x' * 29}…"),
        ("width >", "')'", 3, 0, "Syntax error: something is missing at the end, after: width >"),
        (
            "width > 1 AND\ncaption LIKE",
            "')'",
            4,
            0,
            "Syntax error: something is missing at the end, after: width > 1 AND caption LIKE",
        ),
        (f"{'x' * 99} >", "')'", 3, 0, f"Syntax error: something is missing at the end, after: …{'x' * 28} >"),
        ("(width > 1", "end of input: missing ')'", 3, 1, "Syntax error: a parenthesis is not closed"),
        ("SELECT (1", "end of input", 3, 1, "Syntax error: a parenthesis is not closed"),
        ("width > 1)", "')': extra input ')'", 3, 0, "Syntax error: a parenthesis is closed that was not opened"),
    ],
)
def test_a_syntax_error_is_told_in_what_the_user_typed(asked: str, complaint: str, row: int, column: int, told: str) -> None:
    assert explain(refused(complaint, row, column, asked), asked) == told
    deeper = ("WITH x AS (…) SELECT * FROM (\nSELECT * FROM x WHERE (\n", "\n)\n)")
    assert explain(refused(complaint, row + 1, column, asked, around=deeper), asked) == told


def test_an_expression_that_stands_alone_is_all_the_users() -> None:
    for complaint, told in (
        ("end of input", "something is missing at the end, after: width +"),
        ("end of input: missing ')'", "a parenthesis is not closed"),
    ):
        assert explain(refused(complaint, 1, 7, "width +", around=("", ""))) == f"Syntax error: {told}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column, variable, or function parameter with name `widht` cannot be "
            "resolved. "
            "Did you mean one of the following? [`width`, `fps`]. SQLSTATE: 42703; line 2 pos 7;\n"
            "'Project [*]\n+- 'Filter ('widht > 2)\n",
            "A column, variable, or function parameter with name `widht` cannot be resolved. "
            "Did you mean one of the following? [`width`, `fps`]",
        ),
        (
            "\n[INVALID_TYPED_LITERAL] The value of the typed literal \"DATE\" is invalid: '2020-13-45'. SQLSTATE: 42604\n"
            "== SQL (line 2, position 8) ==\nSELECT date '2020-13-45'\n       ^^^^^^^^^^^^^^^^^\n",
            "The value of the typed literal \"DATE\" is invalid: '2020-13-45'",
        ),
        (
            "[USER_RAISED_EXCEPTION] my's [a; line 3] (line 1, pos 2) SQLSTATE: P0001",
            "my's [a; line 3] (line 1, pos 2)",
        ),
        (
            '[MISSING_AGGREGATION] The expression "key" is based on other columns.\nAdd them to the GROUP BY. '
            "SQLSTATE: 42803;\n"
            "Project [key#203]\n+- Aggregate\n",
            'The expression "key" is based on other columns. Add them to the GROUP BY',
        ),
        ("[DELTA_TABLE_NOT_FOUND] Delta table `/etc` doesn't exist.", "Delta table `/etc` doesn't exist"),
        ("Kernel error -> Generic S3 error\n  \x1b[31m↳\x1b[0m HTTP error", "Kernel error -> Generic S3 error ↳ HTTP error"),
        ("", "Exception"),
    ],
)
def test_a_complaint_is_a_whole_sentence(text: str, told: str) -> None:
    assert explain(Exception(text)) == told


WORKER = "An exception was thrown from the Python worker:\n"
JAVA = (
    "An error occurred while calling o928.collectToPython.\n: org.apache.spark.SparkException: Job aborted due to "
    "stage failure: "
    "Task 0 in stage 41.0 failed 4 times, most recent failure: Lost task 0.3 in stage 41.0 (TID 41) "
    "(192.0.2.2 executor driver): "
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            f"{WORKER}{FRAME}\nStopIteration\n\n"
            f"The above exception was the direct cause of the "
            f"following exception:\n\n{FRAME}\nRuntimeError: generator raised StopIteration",
            "RuntimeError: generator raised StopIteration",
        ),
        (
            f"{WORKER}{FRAME}\nKeyError: 'k'\n\n"
            f"During handling of the above exception, another "
            f"exception occurred:\n\n{FRAME}\nValueError: two\nlines: of it\n",
            "ValueError: two",
        ),
        (
            f"{JAVA}org.apache.spark.api.python.PythonException: {FRAME}\n"
            f"OSError: [Errno 28] No "
            "space left on device\n\n"
            "\tat org.apache.spark.api.python.BasePythonRunner.x(PythonRunner.scala:1)\n\nDriver stacktrace:\n\tat y",
            "OSError: [Errno 28] No space left on device",
        ),
        (
            f"{JAVA}java.lang.reflect.InvocationTargetException\n"
            f"\tat java.base/java.lang.reflect.Method.invoke(Method.java:569)\n"
            "Caused by: java.lang.IllegalArgumentException: Invalid UUID string: x\n"
            "\tat java.base/java.util.UUID.fromString(UUID.java:258)"
            "\n\t... 28 more\n\nDriver stacktrace:\n\tat org.apache.spark.scheduler.DAGScheduler.x(DAGScheduler.scala:3318)\n",
            "IllegalArgumentException: Invalid UUID string: x",
        ),
        (
            f"{JAVA}org.apache.spark.SparkException: Python worker exited unexpectedly (crashed).\n\tat x\n"
            f"Caused by: java.io.EOFException\n\tat y\n",
            "SparkException: Python worker exited unexpectedly (crashed)",
        ),
        (
            "[DIVIDE_BY_ZERO] Division by zero. SQLSTATE: 22012\n== SQL (line 1, position 8) ==\nSELECT 1 / 0\n       ^^^^^\n",
            "AnalysisException: Division by zero",
        ),
        ("a fault", "AnalysisException: a fault"),
        ("Traceback (most recent call last):", "AnalysisException: Traceback (most recent call last)"),
    ],
)
def test_a_fault_is_the_exception_that_came_last(text: str, told: str) -> None:
    class AnalysisException(Exception):
        """Named as Spark's."""

    assert fault(AnalysisException(text)) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            f"Job aborted due to stage failure: Task 0 failed 4 times: PythonException: {FRAME}\n"
            "ModuleNotFoundError: No module named 'v2d_spark'\n",
            "The Python of the executors has no v2d_spark: ",
        ),
        (
            "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9 than that in driver: 3.11, PySpark cannot",
            "Executors run Python 3.9, and the driver Python 3.11: ",
        ),
        (
            'java.io.IOException: Cannot run program "./env/bin/python": error=2, No such file or directory',
            "Executors cannot start ./env/bin/python: ",
        ),
    ],
)
def test_a_python_of_executors_that_does_not_fit_is_told_with_what_to_do(text: str, told: str) -> None:
    sentence = of_executors(Exception(text))
    assert sentence is not None and sentence.startswith(told) and "--archives" in sentence


def test_a_module_that_this_process_lacks_is_none_of_theirs() -> None:
    assert of_executors(ModuleNotFoundError("No module named 'torch'")) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            f"{JAVA}org.apache.spark.api.python.PythonException: {FRAME}\nOSError: [Errno 28] No space left on device\n\n",
            "A disk is full (OSError",
        ),
        ("Generic LocalFileSystem error: Unable to copy data to file: No space left on device (os error 28)", "A disk is full"),
        (f"{JAVA}java.io.IOException: No space left on device\n\tat java.base/java.io.x", "A disk is full (IOException"),
        (f"{JAVA}org.apache.spark.api.python.PythonException: {FRAME}\nMemoryError\n\n\tat x", "There is too little memory"),
        (
            f"{JAVA}{FRAME}\nImportError: \n\nOriginal error was: libx.so: failed to map segment from shared object\n",
            "There is too little memory (failed to map",
        ),
        (
            f"{JAVA}org.apache.spark.api.python.PythonException: {FRAME}\nOSError: [Errno 5] s3://b does not answer: E",
            "Storage failed",
        ),
        (
            "Generic S3 error: Error performing PUT http://127.0.0.1/b/x in 3.2s, after 10 retries",
            "Storage failed (OSError: Generic",
        ),
        (
            "Kernel error -> Generic S3 error\n↳ Error getting list response body\n↳ HTTP error",
            "Storage failed (OSError: Kernel error -> Generic",
        ),
    ],
)
def test_what_fails_beside_us_is_told_with_what_to_do(text: str, told: str) -> None:
    kind = OSError if text.startswith(("Generic S3", "Generic Local", "Kernel")) else Exception
    sentence = of_resources(kind(text))

    assert sentence is not None and sentence.startswith(told), sentence
    assert "run the same command again" in sentence


def test_a_driver_without_its_java_is_no_store_that_is_silent() -> None:
    sentence = of_resources(ConnectionRefusedError(111, "Connection refused"))
    assert sentence is not None and sentence.startswith("The driver's Java has ended, ") and "spark.driver.memory" in sentence


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file or directory"),
        OSError(24, "Too many open files"),
        ValueError("x"),
        Exception("a fault"),
    ],
)
def test_a_fault_of_ours_is_none_of_resources(error: Exception) -> None:
    assert of_resources(error) is None
