"""Makes local sessions start sooner: fetches Delta's jars, and keeps the classes that Spark loads as Java has them in memory.

Finding, reading and checking some 20,000 classes in 280 jars is a third of what a short job costs. Java can write them
into an archive when a process ends, and map that at the next start: application class data sharing,
https://openjdk.org/jeps/350. The process whose classes are kept is a small job that does once what jobs do.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import wave
from pathlib import Path

from v2d_spark.session import ARCHIVE, delta_jars, end_java, get_session, local_session
from v2d_spark.udfs.vocabulary import SessionError

_LONGEST_S = 900


def prepare() -> Path:
    """Fetch Delta's jars if they are not here, and make the archive anew.

    Returns:
        The archive. Java passes over it where it does not fit: with other jars, or another Java.

    Raises:
        SessionError: if Spark does not start, or the archive cannot be written; the message says what to do.
    """
    try:
        ARCHIVE.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=ARCHIVE.parent) as folder:
            made = Path(folder) / ARCHIVE.name
            # A process has one Java for its life, and an archive fits only the class path it was made with: with the jars.
            if not delta_jars():
                _run("jars", made)
            _run("classes", made)
            if not made.exists():
                raise SessionError(f"Java has made no archive of classes in {ARCHIVE.parent}; look whether the disk is full.")
            made.replace(ARCHIVE)
    except OSError as error:
        raise SessionError(f"{ARCHIVE} cannot be written ({error.strerror}); run this as who made the environment.") from None
    return ARCHIVE


def _run(what: str, archive: Path) -> None:
    command = [sys.executable, "-m", __spec__.name, what, str(archive)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LONGEST_S)
    except subprocess.TimeoutExpired:
        raise SessionError(f"Spark has not done a small job in {_LONGEST_S // 60} minutes; look what else runs here.") from None
    if done.returncode:
        raise SessionError((done.stderr.strip().splitlines() or ["Spark does not start."])[-1])


def _work(folder: Path) -> None:
    """What jobs do, on two sounds: everything new, something changed, something tried again; a query, an export."""
    from v2d_spark import api
    from v2d_spark.inputs import InputOptions

    dataset = str(folder / "dataset")
    settings = [f"allow_locations=[{folder}]", f"scratch_dir={folder / 'scratch'}", "batch.sources=1"]
    urls = []
    for number in range(2):
        path = folder / f"{number}.wav"
        with wave.open(str(path), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(8000)
            sound.writeframes(bytes(8000))
        urls.append(str(path))
    sources = folder / "sources.csv"
    options = InputOptions(start_column="start", end_column="end")
    for caption, end in (("one", 0.2), ("another", 0.3)):
        sources.write_text(f"url,caption,start,end\n{urls[0]},{caption},0,0.2\n{urls[1]},{caption},0,{end}\n")
        api.download([str(sources)], dataset, options=options, overrides=settings)
    api.retry(dataset, where="true", overrides=settings)
    api.download([], dataset, overrides=settings)
    api.sql(dataset, "SELECT status, count(*) FROM sources GROUP BY status").collect()
    api.export(dataset, str(folder / "shards"), where="duration_s > 0", overrides=settings)


def _main(what: str, archive: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="v2d-prepare-") as name:
        if what == "jars":
            get_session(scratch=name)
            return
        spark = local_session("v2d prepare", Path(name), java_options=[f"-XX:ArchiveClassesAtExit={archive}"])
        _work(Path(name))
        end_java(spark)


if __name__ == "__main__":
    try:
        _main(sys.argv[1], Path(sys.argv[2]))
    except SessionError as error:
        sys.exit(str(error))
