"""How buckets are reached, as the settings and Hadoop say it; secrets are named and never told."""

from __future__ import annotations

import json
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from v2d_spark import commits, config, named_secrets, session
from v2d_spark import storage as settling
from v2d_spark.udfs import storage
from v2d_spark.udfs.storage import Store
from v2d_spark.udfs.vocabulary import ConfigError, SessionError

SECRET = "do-not-tell"


class Session:
    """What is asked of a session."""

    def __init__(self, conf: dict[str, str]) -> None:
        self.conf = types.SimpleNamespace(getAll=conf, get=lambda name, default=None: conf.get(name, default))

    def sql(self, query: str) -> Any:
        return types.SimpleNamespace(collect=lambda: [{"version": self.hadoop}])

    hadoop = "3.4.2"


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = storage.settled()
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    yield
    settling.settle({}, None)
    storage.use(before)


def settle(values: dict[str, dict[str, Any]], conf: dict[str, str] | None = None) -> config.Settings:
    settings = config.load({"storage": values})
    settling.settle(settings.storage, Session(conf) if conf is not None else None)  # type: ignore[arg-type]
    return settings


def test_a_prefix_has_its_own_keys_and_the_longest_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{SECRET}\n")
    monkeypatch.setenv("MY_KEY", "AKIA")
    keys = {"access_key": "env:MY_KEY", "secret_key": f"file:{tmp_path / 'key'}"}
    settings = settle({"s3a://bucket": {"anonymous": True}, "s3://bucket/mine": keys | {"region": "eu-west-1"}})

    assert storage.store_of("s3://bucket/mine/x").secret_key == SECRET
    assert storage.store_of("s3://bucket/mine").access_key == "AKIA"
    assert storage.store_of("s3://bucket/mine2").anonymous
    assert storage.store_of("s3://other/x") == Store("s3://")
    told = json.dumps(settings.to_dict()) + repr(settings) + repr(storage.settled())
    assert SECRET not in told
    assert "AKIA" not in told


def test_what_hadoop_knows_python_knows() -> None:
    conf = {
        "spark.hadoop.fs.s3a.access.key": "A",
        "spark.hadoop.fs.s3a.secret.key": SECRET,
        "spark.hadoop.fs.s3a.endpoint": "minio.example:9000",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.endpoint.region": "x",
        "spark.hadoop.fs.s3a.bucket.a.dotted.name.endpoint": "https://other.example",
        "spark.hadoop.fs.s3a.bucket.open.aws.credentials.provider": "org.apache.hadoop.fs.s3a.AnonymousAWSCredentialsProvider",
        "spark.hadoop.fs.s3a.bucket.paid.requester.pays.enabled": "true",
        "spark.executor.memory": "1g",
    }
    settle({"s3://mine": {"one_driver": True}, "s3://other": {"anonymous": True}}, conf)

    everywhere = storage.store_of("s3://bucket/x")
    assert (everywhere.access_key, everywhere.secret_key, everywhere.endpoint) == ("A", SECRET, "http://minio.example:9000")
    assert everywhere.deltalake_options()["aws_allow_http"] == "true"
    assert everywhere.fsspec_options()["config_kwargs"]["s3"] == {"addressing_style": "path"}
    assert storage.store_of("s3://a.dotted.name/x").endpoint == "https://other.example"
    assert storage.store_of("s3://open/x").anonymous
    assert storage.store_of("s3://paid/x").requester_pays
    # What the setting leaves out is as Hadoop has it.
    mine = storage.store_of("s3://mine/x")
    assert (mine.one_driver, mine.access_key, mine.endpoint) == (True, "A", "http://minio.example:9000")
    assert storage.store_of("s3://other").access_key is None


def test_the_server_of_aws_is_left_to_the_region() -> None:
    (store,) = settling.of_hadoop({"spark.hadoop.fs.s3a.endpoint": "s3.eu-central-1.amazonaws.com"})

    assert store.endpoint is None


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"gs://bucket": {}}, "prefixes such as s3://bucket"),
        ({"s3://bucket": {"access_key": SECRET, "secret_key": "env:X"}}, "names a secret and never holds it; write env:NAME"),
        ({"s3://bucket": {"access_key": "env:X"}}, "needs access_key and secret_key"),
        ({"s3://bucket": {"access_key": "env:X", "secret_key": "env:X", "anonymous": True}}, "anonymous and has keys"),
        ({"s3://bucket": {"endpoint": "minio:9000"}}, "endpoint must be a URL"),
        ({"s3://bucket": {"endpont": "x"}}, "did you mean storage.s3://bucket.endpoint"),
        ({"s3://bucket": 1}, "holds settings of its own"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load({"storage": values})

    assert told in str(caught.value)
    assert SECRET not in str(caught.value)


def test_secrets_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOBODY_SET_IT", raising=False)
    for name, told in (
        ("env:NOBODY_SET_IT", "the variable NOBODY_SET_IT, which is not set"),
        (f"file:{tmp_path / 'none'}", "cannot be read: No such file"),
        ("secret:scope", "a scope and a key"),
        ("secret:scope/key", "no session that could be asked"),
    ):
        with pytest.raises(ConfigError, match=told):
            named_secrets.value("x", name)
    with pytest.raises(ConfigError, match="which there are only there"):
        named_secrets.value("x", "secret:scope/key", Session({}))  # type: ignore[arg-type]


def test_secrets_of_databricks(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = types.SimpleNamespace(get=lambda scope, key: {("scope", "key"): SECRET}[scope, key])
    module = types.ModuleType("pyspark.dbutils")
    module.DBUtils = lambda spark: types.SimpleNamespace(secrets=secrets)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyspark.dbutils", module)

    assert named_secrets.value("x", "secret:scope/key", Session({})) == SECRET  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="which Databricks does not give"):
        named_secrets.value("x", "secret:scope/none", Session({}))  # type: ignore[arg-type]


def test_a_session_whose_commits_could_overwrite_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"spark.delta.logStore.s3a.impl": commits.LOG_STORE}

    def check(dataset: str, conf: dict[str, str], hadoop: str = "3.4.2") -> None:
        session = Session(conf)
        session.hadoop = hadoop
        commits.check(session, dataset)  # type: ignore[arg-type]

    check("/a/folder", {})
    check("abfss://container@account/ds", {})
    check("s3a://bucket/ds", chosen)
    check("s3a://bucket/ds", chosen, "3.5.0")
    with pytest.raises(
        SessionError, match=r"is not set; start the session with --jars .*v2d-s3-logstore.jar --conf spark.delta"
    ):
        check("s3a://bucket/ds", {})
    with pytest.raises(SessionError, match=r"is io\.delta\.storage\.S3DynamoDBLogStore"):
        check("s3a://bucket/ds", {"spark.delta.logStore.s3a.impl": "io.delta.storage.S3DynamoDBLogStore"})
    for there in (chosen, {}):
        with pytest.raises(SessionError, match=r"Hadoop is 3.4.1, and .* needs 3.4.2"):
            check("s3a://bucket/ds", there, "3.4.1")
    with pytest.raises(SessionError, match=r"spark\.delta\.logStore\.s3\.impl is not set"):
        check("s3://bucket/ds", chosen)
    settle({"s3://bucket/ds": {"one_driver": True}})
    check("s3a://bucket/ds", {})
    settle({})
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    check("s3://bucket/ds", {})


@pytest.mark.parametrize(("hadoop", "is_given"), [("3.4.1", False), ("3.4.2", True), ("3.5.0", True)])
def test_a_hadoop_that_cannot_commit_only_where_nothing_is_is_not_told_to(
    monkeypatch: pytest.MonkeyPatch, hadoop: str, is_given: bool
) -> None:
    monkeypatch.setattr(session, "_s3_coordinates", lambda: f"org.apache.hadoop:hadoop-aws:{hadoop}")
    jars: Any = types.SimpleNamespace(conf=dict, on_disk=lambda: [Path("x.jar")])
    conf = session._reaching_s3(jars, jars)
    chosen = {name: value for name, value in conf.items() if "logStore" in name}
    assert set(chosen.values()) == ({commits.LOG_STORE} if is_given else set())


def test_the_jar_comes_with_the_package() -> None:
    with zipfile.ZipFile(commits.jar()) as jar:
        assert jar.namelist()[-1] == f"{commits.LOG_STORE.replace('.', '/')}.class"
