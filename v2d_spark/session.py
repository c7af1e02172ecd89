"""The Spark session: the one that is there, else a local one that knows Delta.

A session that somebody else made (Databricks, spark-submit, Spark Connect, a notebook) is taken as it is, its settings
are left alone. Only where there is none, a local one is started with `conf/spark-defaults.local.conf`.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from v2d_spark import commits, connect, interrupts, storage
from v2d_spark.config import Settings
from v2d_spark.udfs import storage as stores
from v2d_spark.udfs.spool import Spool
from v2d_spark.udfs.vocabulary import SessionError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

MIN_JAVA = 17
MAVEN_URL = "https://repo1.maven.org/maven2/"
#: Where the classes that Spark loads are kept as Java has them in memory; `v2d prepare` makes it. It fits the jars of one
#: environment only, and goes with it.
ARCHIVE = Path(sys.prefix) / "var" / "v2d_spark" / "classes.jsa"
DELTA_EXTENSION = "io.delta.sql.DeltaSparkSessionExtension"

#: How long Hadoop asks a store of S3 that does not answer, of what stands behind `fs.s3a.`: minutes, as Python's
#: libraries do. By itself it waits for an answer for 200 s, and asks a store that wants fewer requests 20 times, each time
#: twice as long after the one before: for two days.
PATIENCE = {
    "attempts.maximum": "2",
    "retry.limit": "6",
    "retry.throttle.limit": "9",
    "connection.timeout": "20s",
    "connection.establish.timeout": "15s",
    "connection.request.timeout": "30s",
}

# Marks a session as made here.
_OWN = "spark.v2d.local"
# Set in a session of ours whose workers have been started.
_WARM = "spark.v2d.warm"
_FEW_ROWS = 20_000
_SIZE_OF_MOST = ("spark.dynamicAllocation.maxExecutors", "spark.executor.cores")
# Spark's own value where nobody sets a limit is 2³¹ - 1.
_NO_LIMIT = 100_000
# Workers that are started before there is work for them.
_MOST_WARM = 8
#: Settings by which queries are not compiled to Java first.
INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}

# Set by those who start a driver for us, before any Python of ours runs.
_FOREIGN_MARKS = ("PYSPARK_GATEWAY_PORT", "SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED", "DATABRICKS_RUNTIME_VERSION")


def get_session(app_name: str = "v2d", *, scratch: str | None = None) -> SparkSession:
    """The session that is there, else a new local one.

    Args:
        app_name: shown by Spark's own tools for a session made here.
        scratch: folder for the local session's temporary files; that of the default settings if not given.

    Returns:
        A session that can read and write Delta tables.

    Raises:
        SessionError: if pyspark, Java, Delta or a Spark Connect server is missing or does not fit; the message says what to do.
    """
    _require_pyspark()
    session = session_there()
    if session is not None:
        _check_foreign(session)
    else:
        session = local_session(app_name, Path(scratch or Settings().scratch))
    storage.settle(None, session)
    return session


def session_there() -> SparkSession | None:
    """The session that is there; None where there is none, and one would have to be started."""
    is_anothers = any(mark in os.environ for mark in _FOREIGN_MARKS)
    if "pyspark" not in sys.modules and not is_anothers:
        return None
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    if session is None and connect.is_wanted():
        session = connect.connected()
    elif session is None and (_has_context() or is_anothers):
        # A session is active in the thread that made it; in another thread, a builder without settings finds it.
        _use_this_python()
        session = SparkSession.builder.getOrCreate()
        interrupts.take_back()
    return session


@contextlib.contextmanager
def interpreted(spark: SparkSession, rows: int) -> Iterator[None]:
    """Run queries over a few rows as they are: to compile each to Java first takes longer than it saves.

    Settings of a session that is not ours are left alone.

    Args:
        spark: the session.
        rows: about how many the queries are over.
    """
    with _setting(spark, INTERPRETED if rows <= _FEW_ROWS else {}):
        yield


@contextlib.contextmanager
def narrowly_read(spark: SparkSession) -> Iterator[None]:
    """Plan reads of a few narrow columns as what they are.

    Spark divides files by all of their bytes, into a task for each 128 MB, and the rows go on in as many parts. Settings
    of a session that is not ours are left alone.

    Args:
        spark: the session.
    """
    with _setting(spark, {"spark.sql.files.maxPartitionBytes": str(1 << 40)}):
        yield


@contextlib.contextmanager
def _setting(spark: SparkSession, values: Mapping[str, str]) -> Iterator[None]:
    """Set values of a session of ours while inside."""
    if spark.conf.get(_OWN, None) is None:
        yield
        return
    before = {name: str(spark.conf.get(name)) for name in values}
    try:
        for name, value in values.items():
            spark.conf.set(name, value)
        yield
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)


@contextlib.contextmanager
def with_values(spark: SparkSession, values: Mapping[str, str]) -> Iterator[None]:
    """Set values of a session while inside, be it ours or not: the guide lists what is set in a session that is not ours.

    Args:
        spark: the session.
        values: by name.
    """
    before = {name: spark.conf.get(name, None) for name in values}
    try:
        for name, value in values.items():
            spark.conf.set(name, value)
        yield
    finally:
        for name, old in before.items():
            if old is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, old)


def warm_workers(spark: SparkSession) -> None:
    """Start a few Python workers while the driver does something else, in a local session of ours that has had none.

    They take a second to start.

    Args:
        spark: the session.
    """
    if spark.conf.get(_OWN, None) is None or spark.conf.get(_WARM, None) is not None:
        return
    spark.conf.set(_WARM, "true")
    count = min(parallelism(spark), _MOST_WARM)

    def warm() -> None:
        # A task that starts none is one that starts one later.
        with contextlib.suppress(Exception):
            spark.range(0, count, 1, count).mapInArrow(_import_tasks, "id bigint").collect()

    threading.Thread(target=warm, name="warm", daemon=True).start()


def _import_tasks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    import v2d_spark.udfs.download  # noqa: F401

    yield from batches


def parallelism(spark: SparkSession) -> int:
    """How many tasks the session runs at once, as far as it tells.

    Args:
        spark: the session.

    Returns:
        At least 1.
    """
    local = re.fullmatch(r"local(?:\[(\*|\d+)(?:,\s*\d+)?\])?", spark.conf.get("spark.master", None) or "")
    # How many cores another host has is not known here.
    if local and not (local[1] == "*" and connect.is_wanted()):
        return (os.cpu_count() or 1) if local[1] == "*" else int(local[1] or 1)
    told = spark.conf.get("spark.default.parallelism", None)
    if told:
        return max(1, int(told))
    if most := _most_cores(spark):
        return most
    from pyspark.sql import functions as F

    # A range is split into as many partitions as there are cores now; the DataFrame API has no other way to ask. In a session
    # that has just begun executors still come: the first job waits for one of them, and is told two cores.
    count = 0
    while (now := spark.range(1 << 16).select(F.spark_partition_id()).distinct().count()) > count:
        count = now
    return max(1, count)


def _most_cores(spark: SparkSession) -> int | None:
    """The cores that a session which grows by need may have; None where that is not told.

    It starts executors for tasks that wait, so one that is given as many tasks as it has cores never grows.
    """
    if str(spark.conf.get("spark.dynamicAllocation.enabled", "false")).lower() != "true":
        return None
    executors, cores = (str(spark.conf.get(name, None)) for name in _SIZE_OF_MOST)
    is_told = executors.isdigit() and cores.isdigit() and int(executors) < _NO_LIMIT
    return int(executors) * int(cores) or None if is_told else None


def is_own(spark: SparkSession) -> bool:
    """Whether a session is one that this package started."""
    return spark.conf.get(_OWN, None) is not None


def has_lasting_catalog(spark: SparkSession) -> bool:
    """Whether the session's own catalog may be there after it: not that of a session of ours without a metastore."""
    return not is_own(spark) or spark.conf.get("spark.sql.catalogImplementation") != "in-memory"


def is_on_this_host(spark: SparkSession) -> bool:
    """Whether the tasks surely run on this process's own host."""
    # A Spark Connect server may be anywhere, whatever its own master is.
    return not connect.is_wanted() and (spark.conf.get("spark.master", None) or "").startswith("local[")


def scratch_of_tasks(spark: SparkSession, settings: Settings) -> str:
    """The scratch folder for tasks of a session; empty where each is to take that of its executor.

    The driver's default may be on a small disk of another host, or belong to another user there.

    Args:
        spark: the session.
        settings: the settings.
    """
    return settings.scratch if settings.scratch_dir or is_on_this_host(spark) else ""


def _require_pyspark() -> None:
    try:
        import pyspark
    except ModuleNotFoundError:
        raise SessionError("pyspark is not installed; run: pip install 'v2d_spark[local]'.") from None
    if int(pyspark.__version__.split(".")[0]) < 4:
        raise SessionError(f"Spark {pyspark.__version__} is not served; use Spark 4.0 to 4.2 (pip install 'v2d_spark[local]').")


def _has_context() -> bool:
    from pyspark import SparkContext

    return SparkContext._active_spark_context is not None


def _use_this_python() -> None:
    """Make workers on this host run the driver's Python; on a cluster the executors' Python is the cluster's business."""
    from pyspark import SparkConf

    if SparkConf().get("spark.master", "").startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)


def _check_foreign(spark: SparkSession) -> None:
    if int(spark.version.split(".")[0]) < 4:
        raise SessionError(f"This session is Spark {spark.version}; v2d_spark needs Spark 4.0 to 4.2.")
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return
    if DELTA_EXTENSION not in (spark.conf.get("spark.sql.extensions", None) or ""):
        raise SessionError(
            "This Spark session has no Delta Lake; start it with --packages "
            f"io.delta:delta-spark_{'.'.join(spark.version.split('.')[:2])}_2.13:<version> "
            f"--conf spark.sql.extensions={DELTA_EXTENSION} "
            "--conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog."
        )


def local_session(app_name: str, scratch: Path, *, java_options: Sequence[str] = ()) -> SparkSession:
    """A new local session.

    Args:
        app_name: shown by Spark's own tools.
        scratch: folder for its temporary files.
        java_options: more options for Java; by default those that take classes from the archive of `v2d prepare`.

    Raises:
        SessionError: as `get_session`.
    """
    _check_java()
    coordinates = delta_coordinates()
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    conf = _local_defaults()
    # Quoted: a folder's name may have spaces.
    conf["spark.driver.extraJavaOptions"] += "".join(f' "{option}"' for option in java_options or archive_options(ARCHIVE))
    conf[_OWN] = "true"
    conf["spark.driver.memory"] = f"{_driver_memory_mb()}m"
    conf["spark.sql.shuffle.partitions"] = str(max(4, os.cpu_count() or 1))
    # Spark's temporary files lie in a folder of this process, which a later start sweeps if this one is killed.
    own = Spool(str(scratch))
    own.__enter__()
    atexit.register(own.__exit__, None, None, None)
    conf["spark.local.dir"] = str(own.folder)
    conf["spark.sql.warehouse.dir"] = str(own.folder / "warehouse")
    jars = _Jars(coordinates)
    conf.update(jars.conf())
    for_s3 = _Jars(_s3_coordinates()) if stores.is_reached() else None
    if for_s3 is not None:
        conf.update(_reaching_s3(jars, for_s3))
    conf |= {"spark.master": "local[*,4]", "spark.app.name": app_name}
    builder = SparkSession.builder
    for key, value in conf.items():
        builder = builder.config(key, value)
    log = own.folder / "spark.log"
    try:
        with _jvm_output_to(log):
            if interrupts.are_ours():
                # Before the session, whose first calls take long enough for a Ctrl-C to reach Spark's handler.
                SparkContext.getOrCreate(SparkConf().setAll(list(conf.items())))
                interrupts.take_back()
            session = builder.getOrCreate()
    except KeyboardInterrupt:
        if interrupts.are_ours() and SparkContext._gateway is None:
            # Java that is not connected yet would wait for ever.
            _kill_children()
        raise
    except Exception as error:
        fetched = coordinates if for_s3 is None or not jars.on_disk() else _s3_coordinates()
        raise SessionError(_why_no_start(log, fetched, error)) from None
    jars.remember()
    if for_s3 is not None:
        for_s3.remember()
    return session


def end_java(spark: SparkSession) -> None:
    """Stop a local session, and wait until its Java has ended: this process can start no other."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    assert gateway is not None
    spark.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()  # it ends when nothing more can come from here
    gateway.proc.wait()


def _kill_children() -> None:
    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children, timeout=5)


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    install = f"install Java {MIN_JAVA} or 21 (Debian: apt install openjdk-17-jre-headless; macOS: brew install openjdk@17)"
    if home and not Path(str(java)).is_file():
        raise SessionError(f"JAVA_HOME is {home}, where there is no bin/java; correct it, or {install}.")
    if java is None:
        raise SessionError(f"Spark needs Java, and there is none; {install}.")
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        raise SessionError(f"{java} does not run; {install}.") from None
    version = re.search(r'version "(?:1\.)?(\d+)', told)
    if version and int(version[1]) < MIN_JAVA:
        raise SessionError(f"{java} is Java {version[1]}, and Spark 4 needs {MIN_JAVA} or later; {install}, or set JAVA_HOME.")


def archive_options(archive: Path) -> list[str]:
    """Options for Java to take classes from an archive if it is there and fits; what it says of that goes to stderr."""
    return [f"-XX:SharedArchiveFile={archive}", "-Xlog:disable", "-Xlog:all=warning:stderr"]


def delta_jars() -> list[Path]:
    """Delta's jars, where an earlier local session, or `v2d prepare`, has fetched those that fit; else none.

    Raises:
        SessionError: as `delta_coordinates`.
    """
    return _Jars(delta_coordinates()).on_disk()


def _s3_coordinates() -> str:
    """Maven coordinates of what lets Spark read and write S3: of the version of Hadoop that pyspark brings."""
    from pyspark.find_spark_home import _find_spark_home

    for jar in (Path(_find_spark_home()) / "jars").glob("hadoop-client-api-*.jar"):
        return f"org.apache.hadoop:hadoop-aws:{jar.stem.removeprefix('hadoop-client-api-')}"
    raise SessionError("This Spark brings no Hadoop, and so cannot read s3a: paths; use pyspark from PyPI.")


def _reaching_s3(delta: _Jars, for_s3: _Jars) -> dict[str, str]:
    """Settings by which a new session reads and writes S3, and commits there as the deltalake library does."""
    if not delta.on_disk():
        raise SessionError("Delta's jars are not here yet, and those for S3 come after them; run v2d prepare first.")
    conf = for_s3.conf()
    path = os.pathsep.join(map(str, (*delta.on_disk(), commits.jar(), *for_s3.on_disk())))
    conf["spark.driver.extraClassPath"] = path
    # Where it does not, `commits.check` has a word to say.
    excludes_others = commits.is_served_by(_s3_coordinates().rpartition(":")[2])
    for scheme in stores.SCHEMES:
        if excludes_others:
            conf[f"spark.delta.logStore.{scheme}.impl"] = commits.LOG_STORE
        conf[f"spark.hadoop.fs.{scheme}.impl"] = "org.apache.hadoop.fs.s3a.S3AFileSystem"
    conf |= {f"spark.hadoop.fs.s3a.{name}": value for name, value in PATIENCE.items()}
    # Who asks, Hadoop takes from the environment too, and where by itself only of AWS.
    reached = stores.Store(stores.ANY)
    if endpoint := reached.deltalake_options().get("aws_endpoint_url"):
        conf |= {"spark.hadoop.fs.s3a.endpoint": endpoint, "spark.hadoop.fs.s3a.path.style.access": "true"}
    if region := reached.deltalake_options().get("aws_region"):
        conf["spark.hadoop.fs.s3a.endpoint.region"] = region
    return conf


def delta_coordinates() -> str:
    """Maven coordinates of the Delta jar that fits, as the installed delta-spark names them.

    Raises:
        SessionError: if delta-spark is not installed, or does not fit the installed pyspark.
    """
    try:
        delta_version = importlib.metadata.version("delta_spark")
    except importlib.metadata.PackageNotFoundError:
        raise SessionError("delta-spark is not installed; run: pip install 'v2d_spark[local]'.") from None
    import pyspark
    from packaging.requirements import Requirement

    for text in importlib.metadata.requires("delta_spark") or []:
        requirement = Requirement(text)
        if requirement.name == "pyspark" and not requirement.specifier.contains(pyspark.__version__, prereleases=True):
            raise SessionError(
                f"delta-spark {delta_version} works with pyspark {requirement.specifier}, and {pyspark.__version__} is "
                "installed; run: pip install --upgrade 'v2d_spark[local]'."
            )
    from delta.pip_utils import configure_spark_with_delta_pip
    from pyspark.sql import SparkSession

    # The name of the artifact changed between versions of Delta; its own helper knows it and sets it on a builder.
    builder = SparkSession.Builder()
    builder._options = {}
    coordinates = str(configure_spark_with_delta_pip(builder)._options["spark.jars.packages"])
    # Delta 4.0 is made for Spark 4.0; its metadata allows any later one. From 4.1 on the artifact names its Spark.
    if ":delta-spark_2.13:" in coordinates and not pyspark.__version__.startswith("4.0."):
        raise SessionError(
            f"delta-spark {delta_version} works with pyspark 4.0, and {pyspark.__version__} is installed; "
            "run: pip install --upgrade 'v2d_spark[local]'."
        )
    return coordinates


def _local_defaults() -> dict[str, str]:
    folder = resources.files("v2d_spark") / "conf"
    lines = (folder / "spark-defaults.local.conf").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(None, 1) for line in lines if line.strip() and not line.startswith("#"))
    conf = {key: value.strip() for key, value in pairs}
    log4j = f'"-Dlog4j2.configurationFile=file:{folder / "log4j2.local.properties"}"'
    conf["spark.driver.extraJavaOptions"] = f"{conf.get('spark.driver.extraJavaOptions', '')} {log4j}".strip()
    return conf


def _driver_memory_mb() -> int:
    """A quarter of what the machine, or the container, has: Python workers need the rest."""
    total = psutil.virtual_memory().total
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return max(1024, min(16 << 10, (total >> 20) // 4))


class _Jars:
    """Delta's jars, or those for S3: fetched once through Ivy, afterwards put on the class path from disk.

    Args:
        coordinates: `group:artifact:version`.
    """

    def __init__(self, coordinates: str) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "v2d_spark"
        self._folder = cache / coordinates.replace(":", "_")
        self._coordinates = coordinates
        # Names the jars of a resolution that ended well, one a line.
        self._list = self._folder / "jars.txt"

    def on_disk(self) -> list[Path]:
        """The jars, where an earlier start fetched them; else none."""
        with contextlib.suppress(OSError):
            jars = [self._folder / "jars" / name for name in self._list.read_text().split()]
            if all(jar.is_file() for jar in jars):
                return jars
        return []

    def conf(self) -> dict[str, str]:
        """Settings that bring the jars into a new session."""
        if jars := self.on_disk():
            return {"spark.driver.extraClassPath": os.pathsep.join(map(str, jars))}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SessionError(f"Jars cannot be kept in {self._folder} ({error.strerror}); set XDG_CACHE_HOME.") from None
        url = os.environ.get("V2D_MAVEN_URL", MAVEN_URL)
        settings = self._folder / "ivysettings.xml"
        settings.write_text(
            '<ivysettings><settings defaultResolver="maven"/><resolvers>'
            f'<ibiblio name="maven" m2compatible="true" root="{url}"/></resolvers></ivysettings>'
        )
        return {
            "spark.jars.packages": self._coordinates,
            "spark.jars.ivy": str(self._folder),
            "spark.jars.ivySettings": str(settings),
        }

    def remember(self) -> None:
        """After a start that went well: note which of the jars Spark does not bring itself."""
        if self._list.exists():
            return
        from pyspark.find_spark_home import _find_spark_home

        def artifact(jar: Path) -> str:
            return re.sub(r"-\d[^/]*\.jar$", "", jar.name)

        own = {artifact(jar) for jar in (Path(_find_spark_home()) / "jars").glob("*.jar")}
        # Ivy names a jar group_artifact-version.jar.
        jars = sorted((self._folder / "jars").glob("*.jar"))
        ours = [jar.name for jar in jars if artifact(jar).split("_", 1)[-1] not in own]
        with contextlib.suppress(OSError):
            beside = self._list.with_suffix(f".{os.getpid()}")
            beside.write_text("\n".join(ours))
            beside.replace(self._list)


@contextlib.contextmanager
def _jvm_output_to(log: Path) -> Iterator[None]:
    """What the JVM and its Python workers print, from their start on, goes to a file instead of the user's terminal."""
    sys.stderr.flush()
    sys.stdout.flush()
    # VACUUM prints to the standard output, in the middle of what a command prints for a program.
    kept = {fd: os.dup(fd) for fd in (1, 2)}
    try:
        with log.open("ab") as file:
            for fd in kept:
                os.dup2(file.fileno(), fd)
        yield
    finally:
        sys.stderr.flush()
        sys.stdout.flush()
        for fd, was in kept.items():
            os.dup2(was, fd)
            os.close(was)


def _why_no_start(log: Path, coordinates: str, error: Exception) -> str:
    told = log.read_text(errors="replace") if log.exists() else ""
    if "unresolved dependency" in told or "UNRESOLVED DEPENDENCIES" in told or ("Host " in told and "not found" in told):
        return (
            f"The jar {coordinates} cannot be had from {os.environ.get('V2D_MAVEN_URL', MAVEN_URL)}; check the network, "
            "or set V2D_MAVEN_URL to a Maven repository that answers here."
        )
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    last = next((line for line in lines if "rror" in line or "xception" in line), lines[-1] if lines else str(error))
    return f"Spark does not start: {last[:300]}."
