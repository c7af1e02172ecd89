"""What Spark, Java and Python say of an error, as one sentence for a person."""

from __future__ import annotations

import re

_TRACEBACK = "Traceback (most recent call last):"
_SHOWN = 30  # characters of a query around a mistake
_SYNTAX = re.compile(
    r"Syntax error at or near (?P<near>end of input|'.+?')(?:: (?P<hint>(?:missing|extra input) .+?))?\.?$", re.DOTALL
)
_PACKAGE = r"(?:[a-z]\w*\.)+(?=[A-Z])"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded")
_NO_MEMORY = re.compile(
    r"\w*MemoryError\b|[Cc]annot allocate memory|can't start new thread|failed to map segment from shared object"
)
_DIED = re.compile(r"Python worker exited unexpectedly|ExecutorLostFailure")
# What Python, and Java, call a disk or a store that does not answer. One that lacks a file answers. The numbers: EIO, ENXIO,
# ENODEV, ENETUNREACH, ETIMEDOUT, EHOSTUNREACH, ESTALE, EREMOTEIO.
_NO_ANSWER = re.compile(
    r"OSError: (?:\[Errno (?:5|6|19|101|110|113|116|121)\]|.*does not answer)|\w+Error: (?:.* )?Generic \w+ error"
    r"|(?:TimeoutError|Connection\w*Error|(?:IO|FileSystem|SocketTimeout|HttpChannelEOF|AWS\w+|Sdk\w+|Api\w+)Exception): "
)
_AGAIN = "then run the same command again: what was committed stays."


def explain(error: Exception, asked: str | None = None) -> str:
    """Spark's complaint about a query as one sentence, without a full stop, its plan and its stack.

    Args:
        error: the complaint.
        asked: what the user typed, where it stands on lines of its own in parentheses of ours; else all of it is the user's.
    """
    whole = _text(error).split("JVM stacktrace")[0]
    # The condition's name stands before a message, its SQLSTATE after it; then come a position, the query, and its plan.
    message, state, rest = _parted(whole)
    if "[PARSE_SYNTAX_ERROR]" in message:
        told = _syntax(re.sub(r"^\s*\[[A-Z_.0-9]+\]\s*", "", message), rest, asked)
        if told is not None:
            return told
    if not state:
        message = re.sub(r"\s*\(line \d+, pos \d+\)", "", message.split("; line ")[0])
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    sentence = re.sub(r"^\[[A-Z_.0-9]+\]\s*", "", " ".join(lines[:2]))
    return sentence.rstrip(" ;:.") or type(error).__name__


def condition(error: Exception) -> str:
    """The name of Spark's error condition; "" where it has none. Through Connect it is in no message.

    Args:
        error: what Spark raised.
    """
    return str(getattr(error, "getCondition", lambda: None)() or "")


def of_executors(error: Exception) -> str | None:
    """What is wrong with the Python of executors, a sentence that says what to do; None where the error is another.

    Args:
        error: what a job of Spark failed with.
    """
    text = str(error)
    if found := re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", text):
        wrong = f"The Python of the executors has no {found[1]}"
    elif found := re.search(r"worker has different version: (\S+) than that in driver: ([\d.]+\d)", text):
        wrong = f"Executors run Python {found[1]}, and the driver Python {found[2]}"
    elif found := re.search(r'Cannot run program "([^"]+)"', text):
        wrong = f"Executors cannot start {found[1]}"
    else:
        return None
    return (
        f"{wrong}: give them an environment with v2d_spark, of the driver's version of Python, by --archives or in their "
        "image, and name it in spark.pyspark.python (docs/deploy/README.md)."
    )


def of_resources(error: Exception) -> str | None:
    """What a disk, a store or memory did not give, with what to do; None where the error is another.

    Args:
        error: what the command failed with.
    """
    if isinstance(error, ConnectionError):
        # Stores are reached by libraries that have errors of their own: this is Java, which Python talks to over a socket.
        return f"The driver's Java has ended, mostly for want of memory; give it more (spark.driver.memory), {_AGAIN}"
    text, last = _text(error), fault(error)
    if _NO_SPACE.search(text):
        return f"A disk is full ({last}); make room where the dataset is, and in scratch_dir on all hosts, {_AGAIN}"
    if found := _NO_MEMORY.search(text) or _NO_MEMORY.search(last):
        return f"There is too little memory ({found[0]}); give executors more, or less to do at once (fetch.threads), {_AGAIN}"
    if _DIED.search(text):
        return f"A task died as often as it may ({last}), mostly for want of memory; give executors more, {_AGAIN}"
    if _NO_ANSWER.match(last) or "interacting with object store" in last:
        return f"Storage failed ({last}); see that it answers, {_AGAIN}"
    return None


def fault(error: Exception) -> str:
    """An unexpected error as one line: the exception that came last, of a Python worker or of Java too."""
    text = _text(error)
    if _TRACEBACK in text:
        # Below the frames, which are indented, stands the exception.
        for line in text.rsplit(_TRACEBACK, 1)[1].splitlines():
            if line.strip() and not line[0].isspace():
                return line.strip()
    causes = [cause for cause in re.findall(r"^Caused by: (.+)", text, re.MULTILINE) if ": " in cause]
    if causes:
        return re.sub(f"^{_PACKAGE}", "", causes[-1].strip().rstrip("."))
    called = re.match(r"An error occurred while calling [\w.$]+\.\n: (.*)", text, re.DOTALL)
    if called is None:
        return f"{type(error).__name__}: {explain(error)}"
    told = re.sub(r"^.*\(TID \d+\) \([^)]*\): ", "", called[1].split("\n\tat ")[0], flags=re.DOTALL)
    name, _, message = re.sub(f"^{_PACKAGE}", "", told).partition(": ")
    return f"{name.strip()}: {explain(Exception(message))}" if message else name.strip()


def first_line(error: Exception) -> str:
    """What an error says, without a full stop: its first line, or of an error of a store what the store answered.

    Args:
        error: an error of Python's, of gRPC, or of the deltalake library.
    """
    told = re.search(r"<Code>(.*?)</Code>(?:.*?<Message>(.*?)</Message>)?", str(error), re.DOTALL)
    if told:
        return f"its store answers {told[1]}" + (f", {told[2].rstrip('.')}" if told[2] else "")
    if str(error).startswith("Generic S3 error"):
        lines = [_COLOUR.sub("", line).replace("↳", "").strip() for line in str(error).splitlines()]
        return "its store does not answer: " + (next(reversed([line for line in lines if line])))[:200].rstrip(".")
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _text(error: Exception) -> str:
    """What an error says, without the colours of deltalake's."""
    return _COLOUR.sub("", str(error))


def _parted(text: str) -> tuple[str, str, str]:
    """A message, its SQLSTATE, and what follows."""
    state = re.search(r"\s*SQLSTATE: \w{5}\b", text)
    if state:
        return text[: state.start()], state[0], text[state.end() :]
    message, _, rest = text.partition("== SQL")
    return message, "", rest


def _syntax(message: str, rest: str, asked: str | None) -> str | None:
    """A sentence about what the user typed; None if Spark tells no place in it."""
    found = _SYNTAX.match(message.strip())
    place = re.match(r"\s*\(line (\d+), pos (\d+)\)\s*== SQL ==\n(.*)", rest, re.DOTALL)
    if found is None or place is None:
        return None
    row, column = int(place[1]) - 1, int(place[2])
    lines = place[3].split("\n")
    # Below the place Spark puts a line that points at it.
    if row + 1 < len(lines) and re.fullmatch(r"-*\^+", lines[row + 1]):
        del lines[row + 1]
    statement = "\n".join(lines)
    hint = found["hint"] or ""
    if asked is None:
        first, asked = 0, statement.rstrip("\n")
        is_open = hint == "missing ')'"
    else:
        start = statement.rfind(f"\n{asked}\n")
        if start < 0:
            return None
        first = statement.count("\n", 0, start + 1)
        # Our own parenthesis closed one of the user's.
        is_open = found["near"] == "end of input"
    typed = asked.split("\n")
    row -= first
    if found["near"] == "end of input" or row >= len(typed):
        if is_open:
            return "Syntax error: a parenthesis is not closed"
        if hint == "extra input ')'":
            return "Syntax error: a parenthesis is closed that was not opened"
        return f"Syntax error: something is missing at the end, after: {_tail(asked)}"
    if row < 0:
        return None
    near = found["near"]
    if near[1:-1] in ("'", '"', "`"):
        what = typed[row][column:]
        shown = what if len(what) <= _SHOWN else f"{what[:_SHOWN]}…"
        return f"Syntax error: a quote is opened and not closed: {shown}"
    before = "\n".join([*typed[:row], typed[row][:column]])
    # What Spark misses there is mostly our own parenthesis, and what is too much is what it is near.
    return f"Syntax error at or near {near}{f', after: {_tail(before)}' if before.strip() else ''}"


def _tail(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"…{text[-_SHOWN:].lstrip()}"
