"""Opening and making datasets, whatever they are called and however their tables are reached.

A dataset is called by its folder or by a name in a catalog, and its tables are reached by one of two routes: `direct`, where
Python opens their folders (`tables.Dataset`), and `spark`, where the catalog manages them (`managed.ManagedDataset`). Which it
is, is settled here and nowhere else. What the routes do otherwise is what `ManagedDataset` overrides, `leases` and `media_log`
among it; an export, whose tasks read files, asks `is_direct`.
"""

from __future__ import annotations

from collections.abc import Collection

from v2d_spark import catalogs
from v2d_spark.catalogs import CatalogSchema, Entry
from v2d_spark.config import AUTO, SPARK
from v2d_spark.managed import ManagedDataset
from v2d_spark.schema import SOURCES
from v2d_spark.tables import DEFAULT_SHARD_SIZE, Dataset, resolve_folder
from v2d_spark.udfs.vocabulary import DatasetError, NoDatasetError


def open_dataset(path: str, media_route: str = AUTO) -> Dataset:
    """Open a dataset that is there.

    Args:
        path: its folder, or its name in a catalog.
        media_route: the setting: how its tables are to be reached.

    Raises:
        DatasetError: if there is none, it cannot be read, its tables are reached by another route, or a newer version of this
            package made it.
    """
    place = resolve(path)
    dataset = _open_named(place) if _is_name(place) else Dataset.open(path)
    if media_route == SPARK and dataset.catalog is None:
        raise DatasetError(_no_managed_folder(dataset.name))
    if media_route not in (AUTO, dataset.route):
        raise DatasetError(
            f"The tables of {dataset.name} are reached by media_route={dataset.route} since it was made, and not by "
            f"{media_route}; leave media_route out, or make another dataset."
        )
    return dataset


def dataset_exists(path: str) -> bool:
    """Whether there is a dataset, of whatever version.

    Args:
        path: its folder, or its name in a catalog.

    Raises:
        DatasetError: if its store, or its catalog, does not say.
    """
    place = resolve(path)
    return CatalogSchema.find(place).has(SOURCES.name) if _is_name(place) else Dataset.exists(path)


def create_dataset(
    path: str,
    *,
    shard_size: int = DEFAULT_SHARD_SIZE,
    made_from: str | None = None,
    files_root: str = "",
    media_route: str = AUTO,
) -> Dataset:
    """Open a dataset, or make one with all its tables, empty.

    Args:
        path: its folder, or its name in a catalog.
        shard_size: sources in a shard, for a new dataset; one that is there keeps its own.
        made_from: `identifier` of the dataset that it is made from; None for one that is made from URLs.
        files_root: folder of a new dataset that has a name in a catalog; a dataset that is there already gets the name.
        media_route: how the tables of such a new dataset are reached; `makes_managed` tells what auto is.

    Raises:
        DatasetError: if the folder cannot be written, is another's or not the one that is named, has shards of another size, or
            was made from something else; or if the tables cannot be entered in the catalog.
    """
    place = resolve(path)
    if not _is_name(place):
        if files_root and resolve(files_root) != place:
            raise DatasetError(f"{path} is a folder; files_root is for a dataset that is named CATALOG.SCHEMA, leave it out.")
        if media_route == SPARK:
            raise DatasetError(_no_managed_folder(path))
        return Dataset.create(path, shard_size=shard_size, made_from=made_from)
    if not dataset_exists(path):
        catalog = CatalogSchema.find(place)
        if not files_root or _is_name(resolve(files_root)):
            raise DatasetError(
                f"There is no dataset in {place} yet: say by files_root=FOLDER where its tables and files are to be (for a "
                f"folder of that name, give ./{place} as the dataset)."
            )
        catalog.check_lasting()
        if makes_managed(path, files_root, media_route):
            catalog.check_keeps_tables()
            ManagedDataset.make(catalog, resolve(files_root), shard_size)
        else:
            made = Dataset.create(files_root, shard_size=shard_size, made_from=made_from)
            _enter(catalog, made, made.table_names())
    dataset = open_dataset(path, media_route)
    if files_root and resolve(files_root) != dataset.path:
        raise DatasetError(
            f"The tables and files of {path} are in {dataset.path}, and not in {files_root}; leave files_root out."
        )
    if dataset.catalog is not None and dataset.is_direct:
        # What was made meanwhile by those who call it by its folder.
        _enter(dataset.catalog, dataset, set(dataset.table_names()) - dataset.catalog.tables)
    dataset.check_made(path, shard_size, made_from)
    return dataset


def makes_managed(path: str, files_root: str, media_route: str) -> bool:
    """Whether a new dataset would have tables that its catalog manages.

    Args:
        path: what it is called.
        files_root: folder of what lies beside the tables.
        media_route: `auto`, `direct` or `spark`; `auto` is that where `files_root` is in a volume of Unity Catalog, in which
            no table may be.
    """
    if not _is_name(resolve(path)):
        return False
    return media_route == SPARK or (media_route == AUTO and files_root.startswith("/Volumes/"))


def resolve(path: str) -> str:
    """What a dataset is called, as all of the code has it: its folder, absolute, no slash at the end; or its name.

    Args:
        path: a local path, `file:` URL, or URL of an object store; or a name in a catalog.

    Raises:
        DatasetError: if it is none of these.
        InputError: if it is below the home folder of somebody who is not known here.
    """
    return catalogs.canonical(path) if catalogs.is_name(path) else resolve_folder(path)


def _is_name(resolved: str) -> bool:
    """Whether what `resolve` gave is a name: folders are absolute."""
    return "/" not in resolved


def _open_named(name: str) -> Dataset:
    """The dataset whose tables are entered in a schema, or are managed there."""
    catalog = CatalogSchema.find(name)
    entry = catalog.entry(SOURCES.name)
    if entry is not None and entry.is_on_spark_route:
        return ManagedDataset(catalog, catalog.properties(SOURCES.name))
    return Dataset.open(_folder_of(catalog, entry), catalog)


def _folder_of(catalog: CatalogSchema, entry: Entry | None) -> str:
    """The folder of a dataset that is entered in a schema."""
    if entry is None:
        # A session that forgets its catalog has not what others entered in one of that name.
        kind = NoDatasetError if catalog.is_lasting else DatasetError
        raise kind(
            f"There is no dataset in {catalog.name}; `v2d ingest` or `v2d download` with an input and files_root=FOLDER makes "
            f"one (for a folder of that name, give ./{catalog.name})."
        )
    folder, _, name = entry.location.rpartition("/")
    if name != SOURCES.name:
        raise NoDatasetError(f"{catalog.name} has a table {SOURCES.name} that is none of v2d_spark's; choose another schema.")
    return folder


def _enter(catalog: CatalogSchema, dataset: Dataset, names: Collection[str]) -> None:
    """Enter tables of a dataset in a folder in a schema."""
    # By the table of sources it is known that all of them are there.
    for name in sorted(names, key=lambda name: name == SOURCES.name):
        catalog.enter(name, dataset.table_path(name))


def _no_managed_folder(path: str) -> str:
    return f"{path} is a folder, which media_route=spark is not for: name the dataset CATALOG.SCHEMA, or leave media_route out."
