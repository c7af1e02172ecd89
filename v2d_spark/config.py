"""Settings: one YAML, typed frozen dataclasses, unknown keys refused with the nearest known name."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import os
import re
import shlex
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from v2d_spark import named_secrets
from v2d_spark import storage as stores
from v2d_spark.storage import StorageSettings
from v2d_spark.udfs import locations, spool
from v2d_spark.udfs.engine.settings import PRESETS, DecodeSettings, EncodeSettings
from v2d_spark.udfs.enrichers import enrichers
from v2d_spark.udfs.fetch.guard import Guard
from v2d_spark.udfs.fetch.platform_settings import PLAYLISTS, PlatformSettings
from v2d_spark.udfs.fetch.settings import LONGEST_S, PROXY, Access, FetchSettings
from v2d_spark.udfs.settings import setting
from v2d_spark.udfs.subsamplers import Shape, Subsampler, subsamplers
from v2d_spark.udfs.vocabulary import ConfigError, InputError

PRESET_PACKAGE = "v2d_spark"
#: What each stream may be stored as.
ENCODE_FORMATS = {
    "video": ("mp4", "mkv", "webm"),
    "audio": ("m4a", "mp3", "flac", "wav", "opus"),
    "image": ("jpg", "png", "webp"),
}
#: How tables are reached: by their folders from Python, or by their names through Spark alone (docs/catalogs.md).
AUTO, DIRECT, SPARK = "auto", "direct", "spark"
MEDIA_ROUTES = (AUTO, DIRECT, SPARK)
# Subsamplers that are on unless they are switched off: wanted spans are cut.
_ALWAYS_ON = ("clip",)
# Bytes: with as much in a row group before it, what a column holds stays under 2 GiB, where Arrow and Parquet end.
LARGEST_INLINE = (1 << 30) - 1
_WHOLE = 1 << 63
# What a header of HTTP can hold: Latin-1 without control characters.
_HEADER = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_ANY_SHAPE = Shape(640, 480)


# A batch on few cores, and what each core adds where there are many.
_BATCH_SOURCES, _BATCH_SOURCES_PER_CORE = 50_000, 2_500
_BATCH_BYTES, _BATCH_BYTES_PER_CORE = 20 << 30, 2 << 30


@dataclass(frozen=True)
class BatchSettings:
    """How much one round of commits takes in."""

    sources: int = setting(
        0, "sources in a batch, rounded to whole shards; 0 for 50,000, or 2,500 a core where that is more", minimum=0
    )
    bytes: int = setting(
        0, "bytes after which a batch starts no new download; 0 for 20 GiB, or 2 GiB a core where that is more", minimum=0
    )
    seconds: float = setting(600.0, "seconds after which a batch starts no new download", minimum=0.1, maximum=LONGEST_S)
    tasks: int = setting(0, "Spark tasks of a batch; 0 fits them to the cores", minimum=0, maximum=1_000_000)
    file_bytes: int = setting(1 << 30, "bytes after which a task begins another file of media", minimum=1)
    row_group_bytes: int = setting(32 << 20, "bytes of a row group of media", minimum=1 << 10, maximum=1 << 30)

    def sources_for(self, cores: int) -> int:
        """Sources in a batch: what cores have done with them takes longer than the batch's commits (docs/scaling.md).

        Args:
            cores: how many tasks run at once.
        """
        return self.sources or max(_BATCH_SOURCES, _BATCH_SOURCES_PER_CORE * cores)

    def bytes_for(self, cores: int) -> int:
        """Bytes after which a batch starts no new download.

        Args:
            cores: how many tasks run at once.
        """
        return self.bytes or max(_BATCH_BYTES, _BATCH_BYTES_PER_CORE * cores)


@dataclass(frozen=True)
class ExportSettings:
    """How samples leave."""

    tasks: int = setting(0, "Spark tasks of an export; 0 fits them to the cores", minimum=0, maximum=1_000_000)
    buffer_bytes: int = setting(256 << 20, "bytes of media a task may hold at once", minimum=1 << 20)
    verify: bool = setting(False, "compare each stream's checksum while it is read")


@dataclass(frozen=True)
class CostSettings:
    """What things cost, in whatever money; 0 for what is not known."""

    core_hour: float = setting(0.0, "money that a core costs for an hour, busy or not", minimum=0)
    gb: float = setting(0.0, "money that it costs to fetch a GB (1,000,000,000 bytes)", minimum=0)


@dataclass(frozen=True)
class MaintainSettings:
    """When looking after a dataset has something to do."""

    small_files: int = setting(16, "as many small files of a narrow table are put together", minimum=2)
    dead_share: float = setting(
        0.5, "share of its bytes that no sample refers to, above which a file of media is written anew", minimum=0, maximum=1
    )


if TYPE_CHECKING:
    EnrichSettings = Any
else:
    # One field an enricher, named as it is.
    EnrichSettings = dataclasses.make_dataclass(
        "EnrichSettings",
        [(name, kind.Settings, dataclasses.field(default_factory=kind.Settings)) for name, kind in enrichers().items()],
        frozen=True,
        namespace={"__doc__": "Settings of all enrichments.", "__module__": __name__},
    )


def _chosen_subsamplers() -> dict[str, Any]:
    return {name: kind.Settings() for name, kind in subsamplers().items() if name in _ALWAYS_ON}


# Sections that hold a section for each member of a registry: the members' Settings by name.
_REGISTRIES: dict[str, Callable[[], dict[str, type[Any]]]] = {
    "subsample": lambda: {name: kind.Settings for name, kind in subsamplers().items()},
}


@dataclass(frozen=True)
class Settings:
    """All settings of a job, as `conf/*.yaml` and `key=value` give them.

    Attributes:
        subsample: settings of the subsamplers that are on, by name.
    """

    scratch_dir: str = setting(
        "", "folder for what is being fetched, on each host; empty for v2d_spark-UID in the temporary one, on a cluster Spark's"
    )
    inline_limit: int = setting(
        16 << 20, "streams over this many bytes go to files/ beside the tables", minimum=0, maximum=LARGEST_INLINE
    )
    shard_size: int = setting(1000, "sources in a shard; fixed when a dataset is made", minimum=1)
    files_root: str = setting(
        "", "folder of the tables and files of a dataset that is named CATALOG.SCHEMA; needed when it gets this name"
    )
    media_route: str = setting(
        AUTO,
        "how the tables of a new dataset that is named CATALOG.SCHEMA are reached: direct, Python opens them in files_root; "
        "spark, the catalog manages them and Spark alone opens them, by name; auto is spark where files_root is in /Volumes",
    )
    allow_private_networks: bool = setting(False, "whether input URLs may point to non-public addresses")
    allow_hosts: list[str] = setting([], "host, host:port or address range that input URLs may point to all the same")
    allow_locations: list[str] = setting([], "prefixes of local paths and fsspec URLs that input rows may name")
    storage: dict[str, StorageSettings] = setting(
        {}, "how buckets of S3 are reached, by prefix: access_key, secret_key, endpoint, … (docs/storage.md)"
    )
    encode_formats: dict[str, str] | None = setting(
        None,
        "streams that are kept, and as what: video as mp4, mkv or webm, audio as m4a, mp3, flac, wav or opus, image as jpg, "
        "png or webp; null keeps what comes as it comes, {} keeps metadata alone",
        changes_samples=True,
    )
    keep_originals: bool = setting(False, "keep the bytes of sources beside what is made of them")
    captions_are_subtitles: bool = setting(
        False,
        "give each clip the text of its subtitles as its caption; a source with subtitles and without wanted spans is cut by "
        "them, unless subsample.clip says what it is cut by",
        changes_samples=True,
    )
    fetch: FetchSettings = dataclasses.field(default_factory=FetchSettings)
    platform: PlatformSettings = dataclasses.field(default_factory=PlatformSettings)
    decode: DecodeSettings = dataclasses.field(default_factory=DecodeSettings)
    encode: EncodeSettings = dataclasses.field(default_factory=EncodeSettings)
    subsample: dict[str, Any] = dataclasses.field(default_factory=_chosen_subsamplers)
    batch: BatchSettings = dataclasses.field(default_factory=BatchSettings)
    cost: CostSettings = dataclasses.field(default_factory=CostSettings)
    export: ExportSettings = dataclasses.field(default_factory=ExportSettings)
    enrich: EnrichSettings = dataclasses.field(default_factory=EnrichSettings)
    maintain: MaintainSettings = dataclasses.field(default_factory=MaintainSettings)

    @property
    def scratch(self) -> str:
        """The folder for what is being fetched, as an absolute path; by default one of this user's own."""
        if self.scratch_dir:
            return str(locations.local_path(self.scratch_dir).absolute())
        return str(spool.default_folder())

    @property
    def access(self) -> Access:
        """What input rows may reach."""
        return Access(self.allow_private_networks, tuple(self.allow_hosts), tuple(self.allow_locations))

    @property
    def subsamplers(self) -> list[Subsampler]:
        """The subsamplers that are on."""
        kinds = subsamplers()
        return [kinds[name](chosen) for name, chosen in self.subsample.items()]

    @property
    def engine_for_all(self) -> bool:
        """Whether the media engine works on every source, not only on those with wanted spans."""
        does_more = any(one.name != "probe" and one.spans() is None for one in self.subsamplers)
        cut_by_others = any(rules.source != "input" for one in self.subsamplers if (rules := one.spans()))
        return does_more or cut_by_others or self.captions_are_subtitles or self.encode_formats is not None

    @property
    def spans_suffice(self) -> bool:
        """Whether of a source with wanted spans nothing else is looked at or kept."""
        of_spans = all(not one.needs_whole for one in self.subsamplers) and self.cuts_spans and not self.keep_originals
        rules = next((rules for one in self.subsamplers if (rules := one.spans())), None)
        # What is copied goes by the keyframes of all of it.
        return of_spans and rules is not None and rules.precision == "exact" and not self.captions_are_subtitles

    @property
    def cuts_spans(self) -> bool:
        """Whether wanted spans are cut out of their sources."""
        return any(one.spans() is not None for one in self.subsamplers)

    @property
    def plan(self) -> dict[str, Any]:
        """What the media engine is told to do with each source, as plain values."""
        return {
            "subsample": {name: dataclasses.asdict(chosen) for name, chosen in self.subsample.items()},
            "encode_formats": self.encode_formats,
            "encode": dataclasses.asdict(self.encode),
            "captions_are_subtitles": self.captions_are_subtitles,
        }

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the settings that can change a sample, and the versions of the subsamplers that are on.

        What only measures is left out, as enrichments are: it is known of each sample how it was measured.
        """
        makers = [one for one in self.subsamplers if not one.only_measures]
        usual = {f"platform.{name}": value for name, value, _ in _leaves(PlatformSettings())}
        apart = ("enrich.", *(f"subsample.{one.name}." for one in self.subsamplers if one.only_measures))
        made_of = {
            name: value
            for name, value, field in _leaves(self)
            if field.metadata.get("changes_samples") and not name.startswith(apart)
        }
        # Most sources are no pages: they are as they were before these settings were there.
        made_of = {name: value for name, value in made_of.items() if name not in usual or usual[name] != value}
        made_of |= {f"subsample.{one.name}": one.version for one in makers}
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain nested dicts, as YAML would hold them; what is off is false."""
        values: dict[str, Any] = _plain(dataclasses.asdict(self))
        for section, members in _REGISTRIES.items():
            values[section] = {name: values[section].get(name, False) for name in members()}
        return values


def _plain(value: Any) -> Any:
    """Lists in place of tuples."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def load(config: str | Path | Mapping[str, Any] | None = None, overrides: Sequence[str] = ()) -> Settings:
    """Read settings.

    Args:
        config: a YAML file, the name of a preset, a dict of the same shape, or nothing for the defaults.
        overrides: `key=value` texts; nested keys are dotted (`fetch.threads=4`), values are YAML. A single text stands for
            a list of one.

    Returns:
        The settings, checked.

    Raises:
        ConfigError: if the file is missing or unreadable, or a key or value is wrong.
    """
    values = dict(config) if isinstance(config, Mapping) else _read(config)
    for override in overrides:
        _override(values, override)
    settings: Settings = _build(Settings, values, "")
    _check_reach(settings)
    stores.check(settings.storage)
    _check_formats(settings.encode_formats)
    if settings.media_route not in MEDIA_ROUTES:
        raise ConfigError(f"Setting media_route must be {_listed(MEDIA_ROUTES, 'or')}, not {settings.media_route!r}.")
    if settings.encode.preset not in PRESETS:
        raise ConfigError(f"Setting encode.preset must be one of {', '.join(PRESETS)}, not {settings.encode.preset!r}.")
    for one in settings.subsamplers:
        one.check()
    _check_kept(settings)
    return settings


def _check_formats(formats: Mapping[str, str] | None) -> None:
    for stream, format in (formats or {}).items():
        if stream not in ENCODE_FORMATS:
            raise ConfigError(
                f"Setting encode_formats names streams, which are {_listed(ENCODE_FORMATS)}; {stream!r} is none of them."
            )
        if format not in ENCODE_FORMATS[stream]:
            raise ConfigError(
                f"Setting encode_formats.{stream} must be {_listed(ENCODE_FORMATS[stream], 'or')}, not {format!r}."
            )


def _check_kept(settings: Settings) -> None:
    """Refuse subsamplers whose work would be in no stream that is kept."""
    formats, members = settings.encode_formats, settings.subsamplers
    makes_stills = any(one.stills() for one in members)
    if makes_stills and formats is not None and "image" not in formats:
        raise ConfigError(
            "subsample.frames makes still pictures, which encode_formats does not keep; set encode_formats.image to"
            f" {_listed(ENCODE_FORMATS['image'], 'or')}, or switch subsample.frames off."
        )
    if formats == {}:  # metadata alone: the same settings tell what there would be
        return
    kept = set(formats) if formats is not None else {"image"} if makes_stills else set(ENCODE_FORMATS)
    is_heard = any(one.listener() for one in members)
    for one in members:
        streams: set[str] = set()  # that show what it does
        if one.sound() is not None:
            streams |= {"video", "audio"} | (kept if is_heard else set())
        if one.filters(_ANY_SHAPE) is not None:
            streams |= {"video", "image"}
        if (rate := one.rate()) is not None:
            streams |= {"video", "image"} if rate.keyframes_only else {"video"}
        if streams and not streams & kept:
            names = " or ".join(f"encode_formats.{name}" for name in ENCODE_FORMATS if name in streams)
            raise ConfigError(
                f"subsample.{one.name} changes what is not kept; set {names}, or switch subsample.{one.name} off."
            )


def _listed(names: Iterable[str], link: str = "and") -> str:
    *some, last = names
    return f"{', '.join(some)} {link} {last}"


def _check_reach(settings: Settings) -> None:
    """Read here what executors will read, so that a mistake is told at once."""
    Guard(settings.access)
    try:
        for location in (settings.scratch, *filter(locations.is_local, settings.allow_locations)):
            locations.local_path(location)
    except InputError as error:
        raise ConfigError(str(error)) from None
    agents = {"fetch.user_agent": settings.fetch.user_agent, "fetch.contact": settings.fetch.contact or "none"}
    for name, text in (agents | {"platform.user_agent": settings.platform.user_agent or "none"}).items():
        if not _HEADER.fullmatch(text):
            raise ConfigError(f"Setting {name} must be one line of Latin letters and signs, as HTTP has them, not {text!r}.")
    playlists = settings.platform.playlists
    if playlists not in PLAYLISTS:
        raise ConfigError(f"Setting platform.playlists must be {_listed(PLAYLISTS, 'or')}, not {playlists!r}.")
    for proxy in settings.fetch.proxies:
        match = PROXY.fullmatch(proxy)
        if not named_secrets.is_name(proxy) and (match is None or match["login"]):
            raise ConfigError(
                "Setting fetch.proxies holds http://HOST:PORT; with user and password it is a secret, and named: env:NAME, "
                "file:PATH, or on Databricks secret:SCOPE/KEY."
            )
    if settings.platform.cookies:
        named_secrets.check("platform.cookies", settings.platform.cookies)
    if settings.fetch.ca_file:
        from v2d_spark.udfs.fetch.connections import tls_context

        tls_context(settings.fetch.ca_file)


def presets() -> list[str]:
    """The names of the settings files that come with the package."""
    folder = resources.files(PRESET_PACKAGE) / "conf"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


@dataclass(frozen=True)
class Documented:
    """One setting, as the reference tells of it.

    Attributes:
        name: dotted.
        default: its value where nobody sets it.
        doc: what it is.
        changes_samples: whether another value can give other samples.
    """

    name: str
    default: Any
    doc: str
    changes_samples: bool


def reference() -> Iterator[Documented]:
    """Yield every setting, those of subsamplers that are off by default among them."""
    every: dict[str, Any] = {
        section: {name: kind() for name, kind in members().items()} for section, members in _REGISTRIES.items()
    }
    for name, value, field in _leaves(dataclasses.replace(Settings(), **every)):
        yield Documented(name, value, field.metadata.get("doc", ""), bool(field.metadata.get("changes_samples")))


def _leaves(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{prefix}{field.name}.")
        elif not prefix and field.name in _REGISTRIES:
            for name, member in value.items():
                yield from _leaves(member, f"{field.name}.{name}.")
        else:
            yield prefix + field.name, value, field


def _read(config: str | Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    if os.path.isfile(config):  # noqa: PTH113 - pathlib raises where a name is too long
        try:
            text = Path(config).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ConfigError(f"{config} is not text in UTF-8; save it so.") from None
        except OSError as error:
            raise ConfigError(f"{config} cannot be read: {error.strerror or error}.") from None
    elif str(config) in presets():
        text = (resources.files(PRESET_PACKAGE) / "conf" / f"{config}.yaml").read_text(encoding="utf-8")
    else:
        raise ConfigError(
            f"There is no settings file {str(config)!r} and no preset of that name; presets are: {', '.join(presets())}."
        )
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a day that no calendar has, 2024-99-99
        raise ConfigError(f"{config} is not valid YAML: {' '.join(str(error).split())}.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{config} must hold `key: value` lines, not a {type(values).__name__}.")
    return values


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"{override!r} is not of the form key=value.")
    try:
        value = yaml.safe_load(text) if text else ""
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"The value in {override!r} is not valid YAML; {_hint(key.strip(), text)}.") from None
    *parents, last = key.strip().split(".")
    place = values
    for parent in parents:
        inner = place.get(parent)
        place[parent] = dict(inner) if isinstance(inner, Mapping) else {}
        place = place[parent]
    place[last] = value


def _hint(key: str, text: str) -> str:
    """How a value that is not YAML is written, as a shell takes it."""
    if text.startswith(("[", "{")):
        example = f"{key}=[a, b]" if text.startswith("[") else f"{key}={{a: b}}"
        return f"quote all of it for the shell, as in {shlex.quote(example)}"
    return f"quote it, as in {shlex.quote(f'{key}={json.dumps(text, ensure_ascii=False)}')}"


def _build(kind: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    arguments = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in fields:
            raise ConfigError(_unknown(str(key), prefix, list(fields)))
        if not prefix and key in _REGISTRIES:
            default = fields[key].default_factory
            assert default is not dataclasses.MISSING
            arguments[key] = _members(name, value, _REGISTRIES[key](), default())
        elif dataclasses.is_dataclass(hints[key]):
            arguments[key] = _build(typing.cast("type[Any]", hints[key]), _section(name, value), f"{name}.")
        else:
            arguments[key] = _value(name, value, hints[key])
            _check_range(name, arguments[key], fields[key].metadata)
    return kind(**arguments)


def _section(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"Setting {name} holds settings of its own ({name}.…), not {value!r}.")
    return value


def _members(section: str, values: Any, kinds: Mapping[str, type[Any]], default: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name: a mapping, true or nothing switches one on, false off."""
    chosen = dict(default)
    for key, value in ({} if values is None else _section(section, values)).items():
        if key not in kinds:
            raise ConfigError(_unknown(str(key), f"{section}.", list(kinds)))
        if value is False:
            chosen.pop(key, None)
        else:
            given = {} if value is None or value is True else _section(f"{section}.{key}", value)
            chosen[key] = _build(kinds[key], given, f"{section}.{key}.")
    return {key: chosen[key] for key in kinds if key in chosen}


def _unknown(key: str, prefix: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1)
    if nearest:
        return f"There is no setting {prefix}{key}; did you mean {prefix}{nearest[0]}?"
    homes = [one.name for one in reference() if one.name.endswith(f".{key}")]
    if homes:
        return f"There is no setting {prefix}{key}; did you mean {homes[0]}?"
    if f"{prefix}{key}".startswith("spark."):
        return f"{prefix}{key} is a setting of Spark; give it to spark-submit, or in spark-defaults, not here."
    return f"There is no setting {prefix}{key}; `v2d config show` lists all."


def _value(name: str, value: Any, kind: Any) -> Any:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _value(name, value, parts[0])
    if origin in (list, tuple):
        if isinstance(value, str) and parts[0] is str:
            value = [value] if value else []
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"Setting {name} must be a list such as [a, b], not {value!r}.")
        return origin(_value(f"{name}[{at}]", item, parts[0]) for at, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"Setting {name} must be a mapping such as {{a: b}}, not {value!r}.")
        return {_value(name, key, parts[0]): _value(f"{name}.{key}", item, parts[1]) for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast("type[Any]", kind), _section(name, value), f"{name}.")
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[kind]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < _WHOLE else math.inf
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"Setting {name} must be {wanted}, not {value!r}.")
    if (kind is float and not math.isfinite(value)) or (kind is int and not -_WHOLE <= value < _WHOLE):
        raise ConfigError(f"Setting {name} must be {wanted} that a machine can hold, not {value!r}.")
    return value


def _check_range(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    if value is None:
        return
    minimum, maximum = metadata.get("minimum"), metadata.get("maximum")
    if minimum is not None and value < minimum:
        raise ConfigError(f"Setting {name} must be at least {_number(minimum)}, not {value!r}.")
    if maximum is not None and value > maximum:
        raise ConfigError(f"Setting {name} must be at most {_number(maximum)}, not {value!r}.")


def _number(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"
