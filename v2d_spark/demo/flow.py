"""What the demo does: the verbs, as a person would type them, in one Spark session."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tarfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from v2d_spark.demo.footage import CLIPS, make_footage
from v2d_spark.demo.server import FootageServer
from v2d_spark.demo.urls import write_urls
from v2d_spark.printing import print_table
from v2d_spark.udfs.vocabulary import EXIT_DONE, EXIT_INTERRUPTED, V2dError

_SHARD_SIZE = 10
_MEMBERS_SHOWN = 6
# The slow server shall be given up within the demo's time.
_LIMITS = ("fetch.min_rate=20000", "fetch.min_rate_seconds=1", "fetch.retries=1")

_QUESTIONS = (
    (
        "What failed, and why?",
        "SELECT error_class, substring_index(url, '/', -1) AS file, error_message FROM sources WHERE status = 'failed'"
        " ORDER BY error_class",
    ),
    (
        "What is there?",
        "SELECT probe.container, count(*) AS samples, array_join(array_sort(collect_set(probe.video.codec)), ' ') AS codecs,"
        " max(width) AS widest, round(sum(duration_s), 1) AS seconds FROM samples GROUP BY 1 ORDER BY samples DESC, 1",
    ),
    (
        "Whom must we credit?",
        "SELECT columns['credit'] AS credit, count(*) AS samples, round(sum(duration_s), 1) AS seconds"
        " FROM samples GROUP BY 1 ORDER BY samples DESC, 1",
    ),
)


def run_demo(to: Path, console: Console) -> None:
    """Show the main job: URLs, tables, SQL, tars; and that nothing good is done twice.

    Args:
        to: folder for the footage, the dataset and the tars; what an earlier run left there is used again.
        console: where to tell what happens.

    Raises:
        V2dError: with one sentence that says what to change.
        KeyboardInterrupt: if it was interrupted.
    """
    to.mkdir(parents=True, exist_ok=True)
    made = make_footage(to / "footage")
    _say(console, f"{len(CLIPS)} clips in {to / 'footage'}, {made} of them made now. They are cut from works of others:")
    for credit in dict.fromkeys(clip.credit for clip in CLIPS):
        console.print(f"  {credit}", highlight=False, markup=False)

    urls, dataset, shards = to / "urls.csv", str(to / "dataset"), str(to / "shards")
    port_file = to / "port"  # the same URLs every time, or all would be new
    with FootageServer(to / "footage", int(port_file.read_text()) if port_file.exists() else 0) as server:
        port_file.write_text(str(server.port))
        count = write_urls(urls, server.port)
        _say(
            console, f"{count} URLs with captions are in {urls}; {count - len(CLIPS)} of them are bad. Fetch them into tables:"
        )
        if Path(dataset).exists():
            _say(console, "(An earlier run did that. Only faults that may pass by themselves are due again, after a minute.)")
        download = ["download", str(urls), "--dataset", dataset, f"allow_hosts=[127.0.0.1:{server.port}]", *_LIMITS]
        export = ["export", "--dataset", dataset, "--to", shards, "--where", "width >= 200", "--shard-size", str(_SHARD_SIZE)]
        _run(console, download)
        _say(console, "Ask the tables:")
        for question, query in _QUESTIONS:
            console.print(f"\n{question}", style="bold")
            _run(console, ["sql", "--dataset", dataset, query])
        _say(console, "Write WebDataset tars of what is at least 200 pixels wide:")
        _run(console, export)
        _list_tars(console, to / "shards")
        _say(console, "The same again: nothing good is fetched or written twice.")
        _run(console, download)
        _run(console, export)
    _say(console, "The server has ended, so these URLs cannot be fetched again. What you can go on with:")
    activate = Path(sys.prefix) / "bin" / "activate"
    commands = [f"v2d status --dataset {shlex.quote(dataset)}", "v2d download YOUR.csv --dataset pets"]
    if not shutil.which("v2d") and activate.is_file():
        commands.insert(0, f". {shlex.quote(str(activate))}")
    for command in commands:
        console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)


def _say(console: Console, text: str) -> None:
    console.print(f"\n{text}", style="bold cyan", highlight=False, markup=False, soft_wrap=True)


def _run(console: Console, arguments: list[str]) -> None:
    """Print a command as one would type it, then run it in this process."""
    from v2d_spark.cli import main

    console.print(f"$ v2d {' '.join(map(_quoted, arguments))}", style="green", highlight=False, markup=False, soft_wrap=True)
    code = main(arguments)
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if code != EXIT_DONE:
        raise V2dError("The demo ends here, because the command above failed.")


def _quoted(argument: str) -> str:
    """Quote for the shell, with double quotes where that is easier to read."""
    if "'" in argument and not set(argument) & set('"$`\\!'):
        return f'"{argument}"'
    return shlex.quote(argument)


def _list_tars(console: Console, folder: Path) -> None:
    table = Table(title=f"{folder}", title_justify="left")
    table.add_column("tar")
    table.add_column("member")
    table.add_column("bytes", justify="right")
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        for number, member in enumerate(members[:_MEMBERS_SHOWN]):
            table.add_row(path.name if number == 0 else "", member.name, f"{member.size:,}")
        if len(members) > _MEMBERS_SHOWN:
            table.add_row("", f"… and {len(members) - _MEMBERS_SHOWN} more", "", end_section=True)
    print_table(table)
    _show_json(console, folder)


def _show_json(console: Console, folder: Path) -> None:
    """Print what a sample's .json says."""
    for path in sorted(folder.glob("*.tar"))[:1]:
        with tarfile.open(path) as tar:
            name = next(name for name in tar.getnames() if name.endswith(".json"))
            file = tar.extractfile(name)
            text = file.read().decode() if file else ""
        _say(console, f"{name} says:")
        console.print(json.dumps(json.loads(text), indent=2, ensure_ascii=False), highlight=False, markup=False, soft_wrap=True)
