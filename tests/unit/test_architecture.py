"""The house rules: which way imports run, what importing loads, and who may change a table."""

from __future__ import annotations

import ast
import configparser
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPARK_PACKAGES = {"pyspark", "py4j", "delta", "deltalake"}

#: Modules that may hold SQL which changes a table: merges, and where a catalog manages them, what makes tables and leases.
MAY_CHANGE_TABLES = {f"v2d_spark/merges/{path.name}" for path in (ROOT / "v2d_spark/merges").glob("*.py")}
MAY_CHANGE_TABLES |= {"v2d_spark/managed.py"}
#: Modules that may write tables with the deltalake library: making them, committing media, the small control tables.
MAY_WRITE_DELTA = MAY_CHANGE_TABLES | {"v2d_spark/tables.py", "v2d_spark/lease_table.py", "v2d_spark/media_log.py"}

CHANGING_SQL = re.compile(
    r"\b(MERGE\s+INTO|INSERT\s+(INTO|OVERWRITE)|UPDATE\s+\S+\s+(\w+\s+)?SET|DELETE\s+FROM|(ALTER|DROP|TRUNCATE|REPLACE|CREATE)\s+(OR\s+REPLACE\s+)?TABLE)\b",
    re.IGNORECASE,
)
DELTA_WRITES = {
    "write_deltalake",
    "create_write_transaction",
    "when_matched_update",
    "when_matched_delete",
    "when_not_matched_insert",
    "saveAsTable",
    "insertInto",
    "writeTo",
}
BEYOND_CONNECT = {"_jvm", "_jsc", "_jdf", "_jsparkSession", "sparkContext", "rdd"}


def modules(*folders: str) -> list[Path]:
    """The Python files of top-level folders, links not followed."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py") if not _is_linked(path))


def _is_linked(path: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents if parent != ROOT and ROOT in parent.parents)


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function, dotted."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def needed(path: Path) -> set[Path]:
    """The modules of `v2d_spark`, without `udfs`, that a file imports at its top or inside a function, but for types alone."""
    found: list[str] = []

    def look(node: ast.AST) -> None:
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # Of a package either a module is meant, or what its own file has.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.extend(name if name in BY_MODULE else str(node.module) for name in names)
        for inner in ast.iter_child_nodes(node):
            look(inner)

    look(parsed(path))
    return {BY_MODULE[name] for name in found if name in BY_MODULE} - {path}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every string of a file that is no docstring, with its line; an f-string as one text, its values as `x`."""
    tree = parsed(path)
    inside: set[int] = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and ast.get_docstring(node) is not None
        ):
            inside.add(id(node.body[0].value))  # type: ignore[attr-defined]
        elif isinstance(node, ast.JoinedStr):
            inside.update(id(part) for part in node.values)
            yield node.lineno, "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


PRODUCT = modules("v2d_spark", "udfs", "jobs")
DRIVER = modules("v2d_spark")
BY_MODULE = {name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in DRIVER}
#: The modules of the route on which Python opens no table.
THE_OTHER_ROUTE = {"v2d_spark/managed.py", "v2d_spark/managed_media.py"}
#: Who may call `Dataset.open` and its like, which know one of two routes: what chooses between them.
MAY_CHOOSE_A_ROUTE = {"v2d_spark/datasets.py", "v2d_spark/tables.py"}


@pytest.mark.parametrize("path", modules("udfs"), ids=name_of)
def test_udfs_import_nothing_of_the_driver(path: Path) -> None:
    found = set(imports(path))
    assert not {name for name in found if name.split(".")[0] in SPARK_PACKAGES}
    ours = {name for name in found if name.split(".")[0] in ("v2d_spark", "udfs", "jobs")}
    assert all(name == "v2d_spark.udfs" or name.startswith("v2d_spark.udfs.") for name in ours), ours


def test_the_vocabulary_imports_nothing() -> None:
    assert {name.split(".")[0] for name in imports(ROOT / "udfs" / "vocabulary.py")} == {"__future__"}


@pytest.mark.parametrize("path", DRIVER, ids=name_of)
def test_the_driver_imports_no_job(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith(("jobs", "v2d_spark.jobs", "udfs"))]


def test_no_modules_need_each_other() -> None:
    """Nor in a circle of several; not even by an import inside a function."""
    first: list[Path] = []
    left = {path: needed(path) for path in DRIVER}
    while free := [path for path, wanted in left.items() if not wanted - set(first)]:
        first += free
        left = {path: wanted for path, wanted in left.items() if path not in free}
    assert not sorted(map(name_of, left)), "these need each other, or what does"


@pytest.mark.parametrize("path", DRIVER, ids=name_of)
def test_one_module_knows_by_which_route_tables_are_reached(path: Path) -> None:
    names = {node.id for node in ast.walk(parsed(path)) if isinstance(node, ast.Name)}
    assert "ManagedDataset" not in names or name_of(path) in {"v2d_spark/datasets.py", *THE_OTHER_ROUTE}
    opened = [
        node
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Dataset"
        and node.attr in ("open", "create", "exists")
    ]
    assert not opened or name_of(path) in MAY_CHOOSE_A_ROUTE


def test_jobs_parse_call_and_nothing_else() -> None:
    allowed = {"__future__", "__future__.annotations", "sys", "v2d_spark.cli", "v2d_spark.cli.main"}
    assert {name for path in modules("jobs") for name in imports(path)} <= allowed


def run_python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_no_spark() -> None:
    run_python(
        "import sys, v2d_spark, v2d_spark.udfs.vocabulary; assert 'pyspark' not in sys.modules and 'pyarrow' not in sys.modules"
    )


def test_importing_all_udfs_loads_no_spark_and_no_driver() -> None:
    names = [
        "v2d_spark." + name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in modules("udfs")
    ]
    run_python(f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
loaded = {{name.split(".")[0] for name in sys.modules}} & {SPARK_PACKAGES}
driver = {{name for name in sys.modules if name.startswith("v2d_spark.") and not name.startswith("v2d_spark.udfs")}}
assert not loaded and not driver, (loaded, driver)
""")


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_only_merges_holds_sql_that_changes_a_table(path: Path) -> None:
    if name_of(path) in MAY_CHANGE_TABLES:
        return
    found = [(line, text) for line, text in texts(path) if CHANGING_SQL.search(text)]
    assert not found


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_few_modules_write_tables_with_the_library(path: Path) -> None:
    if name_of(path) in MAY_WRITE_DELTA:
        return
    tree = parsed(path)
    found = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in DELTA_WRITES]
    found += [name for name in imports(path) if name.split(".")[-1] in DELTA_WRITES and name.startswith("deltalake")]
    assert not found


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_nothing_reaches_past_the_dataframe_api(path: Path) -> None:
    tree = parsed(path)
    assert not [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in BEYOND_CONNECT]


@pytest.mark.parametrize("path", DRIVER, ids=name_of)
def test_tables_are_opened_and_tasks_are_given_with_what_it_takes_to_reach_their_store(path: Path) -> None:
    calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    opened = [call for call in calls if _called(call) in ("DeltaTable", "is_deltatable")]
    assert not opened or name_of(path) == "v2d_spark/delta_tables.py"
    tasks = [call.args[0] for call in calls if _called(call) == "mapInArrow" and name_of(path) != "v2d_spark/session.py"]
    assert all(isinstance(task, ast.Call) and _called(task) == "Carried" for task in tasks)


def _called(call: ast.Call) -> str:
    """The last name of what is called."""
    return getattr(call.func, "attr", None) or getattr(call.func, "id", "")


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(parsed(path))


def test_every_folder_of_code_is_a_package() -> None:
    """`find:` in setup.cfg takes packages only: a folder without `__init__.py` would be missing from the wheel."""
    folders = {path.parent for path in PRODUCT}
    assert not [name_of(folder) for folder in folders if not (folder / "__init__.py").is_file()]


def test_the_package_links_to_its_top_level_folders() -> None:
    assert {name: os.readlink(ROOT / "v2d_spark" / name) for name in ("udfs", "jobs", "conf")} == {
        "udfs": "../udfs",
        "jobs": "../jobs",
        "conf": "../conf",
    }


def test_extras_hold_requirements_and_no_unread_placeholders() -> None:
    """`dev` is made of `local` and `demo` by interpolation, so it cannot go its own way."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = {name: parser.get("options.extras_require", name).split("\n") for name in parser.options("options.extras_require")}
    assert {*extras["local"], *extras["demo"]} <= set(extras["dev"])


def test_what_is_required_is_imported() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    required = re.findall(r"^[\w-]+", parser.get("options", "install_requires"), re.MULTILINE)
    names = {
        "PyYAML": "yaml",
        "opencv-python": "cv2",
        "ffmpeg-python": "ffmpeg",
        "imageio-ffmpeg": "imageio_ffmpeg",
        "yt-dlp": "yt_dlp",
    }
    imported = {name.split(".")[0] for path in PRODUCT for name in imports(path)}
    # Spark will not hand out Arrow batches without pandas, and yt-dlp decrypts streams by Cryptodome.
    assert {names.get(name, name) for name in required} - imported - {"pandas", "pycryptodomex"} == set()
