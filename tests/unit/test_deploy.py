"""What is handed to clusters: job scripts, settings, bundles and images are what their own tools take."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import kubernetes_validate
import pytest
import yaml
from databricks.bundles.jobs import Job
from packaging.requirements import Requirement
from packaging.version import Version

from v2d_spark import cli, commits
from v2d_spark.session import PATIENCE
from v2d_spark.udfs.vocabulary import V2dError

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
PAGES = sorted((ROOT / "docs" / "deploy").glob("*.md"))
DEFAULTS = sorted(CONF.glob("spark-defaults.*.conf"))
#: What Spark's settings may begin with.
SPARK_PREFIXES = (
    "spark.sql.",
    "spark.databricks.",
    "spark.driver.",
    "spark.executor.",
    "spark.kubernetes.",
    "spark.ui.",
    "spark.dynamicAllocation.",
    "spark.delta.logStore.",
    "spark.hadoop.fs.s3.impl",
    "spark.hadoop.fs.s3a.",
)
#: What lets Spark's commits to S3 exclude others, and how long it asks a store.
FOR_S3 = {f"spark.delta.logStore.{scheme}.impl": commits.LOG_STORE for scheme in ("s3", "s3a")}
FOR_S3 |= {f"spark.hadoop.fs.s3a.{name}": value for name, value in PATIENCE.items()}


def settings_of(path: Path) -> dict[str, str]:
    """The settings in a properties file; one that is there twice is a mistake."""
    pairs = [
        line.split(None, 1)
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    assert len({key for key, _ in pairs}) == len(pairs), path
    return {key: value.strip() for key, value in pairs}


def bundle() -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load((CONF / "databricks" / "databricks.yml").read_text(encoding="utf-8"))
    return told


def filled(value: Any, variables: dict[str, Any]) -> Any:
    """A part of the bundle with its variables put in; an unknown one is a mistake."""
    if isinstance(value, dict):
        return {key: filled(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, variables) for inner in value]
    if isinstance(value, str):
        whole = re.fullmatch(r"\$\{var\.(\w+)\}", value)
        if whole:
            return variables[whole[1]]
        return re.sub(r"\$\{var\.(\w+)\}", lambda found: str(variables[found[1]]), value)
    return value


def jobs() -> dict[str, Any]:
    told = bundle()
    variables = {name: declared.get("default", f"s3://bucket/{name}") for name, declared in told["variables"].items()}
    jobs: dict[str, Any] = filled(told["resources"]["jobs"], variables)
    return jobs


@pytest.mark.parametrize("name", ["download", "command", "maintain"])
def test_a_job_of_the_bundle_is_one_as_databricks_declares_it(name: str) -> None:
    job = jobs()[name]
    assert Job.from_dict(job).as_dict() == job
    with pytest.raises(ValueError, match="max_concurent_runs"):
        Job.from_dict({**job, "max_concurent_runs": 1})


def test_the_tasks_of_the_bundle_are_commands_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [task for job in jobs().values() for task in job["tasks"]]
    (point,) = [point for point in entry_points(name="v2d_task") if point.dist is not None and point.dist.name == "v2d_spark"]
    assert point.load() is cli.task
    for task in tasks:
        wheel = task["python_wheel_task"]
        assert (wheel["package_name"], wheel["entry_point"]) == ("v2d_spark", "v2d_task")
        # With an unknown option each is refused for that alone: its other words are understood.
        assert cli.main([*wheel["parameters"], "--no-such-option"]) == 2
        assert capsys.readouterr().err.strip() == "Error: No such option '--no-such-option'."
        settings = [word for word in wheel["parameters"] if re.match(r"\w+=", word)]
        assert cli.main(["config", "show", *settings]) == 0
        assert capsys.readouterr().err == ""


def test_a_task_that_ends_badly_raises(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli.interrupts, "answer", lambda: None)
    monkeypatch.setattr(sys, "argv", ["v2d_task", "download", "--dataset"])
    with pytest.raises(V2dError, match="exit code 2"):
        cli.task()
    assert "requires an argument" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["v2d_task", "--version"])
    cli.task()


def test_databricks_has_the_same_settings_in_both_places() -> None:
    settings = settings_of(CONF / "spark-defaults.databricks.conf")
    clusters = [cluster["new_cluster"] for job in jobs().values() for cluster in job["job_clusters"]]
    assert clusters and all(cluster["spark_conf"] == settings for cluster in clusters)


def test_emr_has_the_same_settings_in_both_places() -> None:
    run = json.loads((CONF / "emr" / "job-run.json").read_text(encoding="utf-8"))
    (defaults,) = run["configurationOverrides"]["applicationConfiguration"]
    serverless = {key: value for key, value in defaults["properties"].items() if not key.startswith("spark.emr-serverless.")}
    assert serverless == settings_of(CONF / "spark-defaults.emr.conf")


def test_a_session_that_is_not_ours_is_given_what_ours_has_for_s3() -> None:
    settings = settings_of(CONF / "spark-defaults.s3.conf")
    assert settings == FOR_S3 | {"spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem"}


def test_emr_may_write_to_s3() -> None:
    settings = settings_of(CONF / "spark-defaults.emr.conf")
    assert settings.items() >= FOR_S3.items()
    assert settings["spark.jars"].endswith(f",s3://BUCKET/v2d/{commits.jar().name}")
    page = (ROOT / "docs" / "deploy" / "emr.md").read_text(encoding="utf-8")
    assert f"aws s3 cp conf/{commits.jar().name} " in page


def aws_errors(service: str, operation: str, words: dict[str, Any]) -> str:
    """What AWS's description of its interface has against the arguments of a call."""
    model = botocore.session.get_session().get_service_model(service)
    shape = model.operation_model(operation).input_shape
    return str(botocore.validate.ParamValidator().validate(words, shape).generate_report())


def test_what_aws_is_given_is_what_it_takes() -> None:
    run = json.loads((CONF / "emr" / "job-run.json").read_text(encoding="utf-8"))
    assert not aws_errors("emr-serverless", "StartJobRun", {**run, "clientToken": "x"})
    steps = json.loads((CONF / "emr" / "step.json").read_text(encoding="utf-8"))
    assert not aws_errors("emr", "AddJobFlowSteps", {"JobFlowId": "j-1", "Steps": steps})
    assert "Unknown parameter" in aws_errors("emr", "AddJobFlowSteps", {"JobFlowId": "j-1", "Steps": [{**steps[0], "Nam": ""}]})


def test_what_the_page_of_emr_types_is_what_aws_takes(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "deploy" / "emr.md").read_text(encoding="utf-8")
    told = {option: json.loads(text) for option, text in re.findall(r"--([a-z-]+) '([{\[].*?[\]}])'", page, re.DOTALL)}
    assert set(told) == {"assume-role-policy-document", "configurations", "network-configuration"}
    cluster = {"Name": "v2d", "Instances": {}, "Configurations": told["configurations"]}
    assert not aws_errors("emr", "RunJobFlow", cluster)
    application = {
        "type": "SPARK",
        "releaseLabel": "x",
        "clientToken": "x",
        "networkConfiguration": told["network-configuration"],
    }
    assert not aws_errors("emr-serverless", "CreateApplication", application)
    (word,) = re.findall(r"```json\n(.*)\n```", page)
    assert cli.main(["config", "show", json.loads(word)]) == 0
    assert "one_driver: true" in capsys.readouterr().out


def test_the_policy_of_emr_allows_nothing_but_the_bucket() -> None:
    policy = json.loads((CONF / "emr" / "job-role-policy.json").read_text(encoding="utf-8"))
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        assert set(statement) == {"Sid", "Effect", "Action", "Resource"}
        assert all(re.fullmatch(r"s3:[A-Z]\w+", action) for action in statement["Action"])
        assert all(re.fullmatch(r"arn:aws:s3:::BUCKET(/[a-z0-9]+/\*)?", resource) for resource in statement["Resource"])


@pytest.mark.parametrize("path", sorted((CONF / "kubernetes").glob("*.yaml")), ids=lambda path: path.name)
def test_a_manifest_is_what_kubernetes_takes(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        kubernetes_validate.validate(document, "1.30", strict=True)
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate({**document, "spek": {}}, "1.30", strict=True)


@pytest.mark.parametrize("path", DEFAULTS, ids=lambda path: path.name)
def test_settings_of_spark_are_settings(path: Path) -> None:
    for key, value in settings_of(path).items():
        assert key.startswith(SPARK_PREFIXES) or key in ("spark.jars", "spark.speculation"), key
        assert value


def scripts() -> Iterator[Path]:
    yield CONF / "slurm" / "v2d.sbatch"
    yield CONF / "emr" / "bootstrap.sh"
    yield CONF / "gpus.sh"
    yield ROOT / ".ci" / "run"


@pytest.mark.parametrize("path", list(scripts()), ids=lambda path: path.name)
def test_a_script_has_nothing_that_shellcheck_knows(path: Path) -> None:
    done = subprocess.run([Path(sys.executable).parent / "shellcheck", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_image_has_nothing_that_hadolint_knows() -> None:
    image = CONF / "kubernetes" / "Dockerfile"
    done = subprocess.run([Path(sys.executable).parent / "hadolint", image], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def stand_in(folder: Path, name: str, text: str) -> Path:
    """A command that a script runs in place of the one of that name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_script_for_gpus_says_them_as_spark_wants_it(tmp_path: Path) -> None:
    stand_in(tmp_path, "nvidia-smi", "printf '0\\n1\\n'")
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([CONF / "gpus.sh"], env=env, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == {"name": "gpu", "addresses": ["0", "1"]}
    stand_in(tmp_path, "nvidia-smi", "exit 9")
    assert subprocess.run([CONF / "gpus.sh"], env=env, capture_output=True, timeout=60).returncode == 9


def slurm_settings(folder: Path, *, of_ours: str, **variables: str) -> dict[str, str]:
    """The settings that the script for Slurm makes, in which the later of two lines holds. `of_ours` are Delta's jars."""
    python = f"""case "$2" in
*pyspark.__file__*) echo {folder / "spark"} ;;
*v2d_spark.jobs*) echo /jobs ;;
*delta_jars*) echo {of_ours} ;;
*delta_coordinates*) echo io.delta:delta:1 ;;
*) echo secret ;;
esac"""
    stand_in(folder / "env" / "bin", "python", python)
    stand_in(folder / "spark" / "bin", "spark-class", "echo Starting Spark master at spark://here:1; exec sleep 60")
    stand_in(folder / "spark" / "bin", "spark-submit", f'cp "$SPARK_CONF_DIR/spark-defaults.conf" {folder / "told"}')
    stand_in(folder / "bin", "srun", "exec sleep 60")
    env = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "V2D_ENV": str(folder / "env"), **variables}
    env |= {"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_ON_NODE": "8"}
    script = [CONF / "slurm" / "v2d.sbatch", "status"]
    done = subprocess.run(script, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = (folder / "told").read_text().splitlines()
    return dict(re.split(r"[\s=]+", line, maxsplit=1) for line in lines if line.strip() and not line.startswith("#"))  # type: ignore[misc]


def test_settings_for_slurm_are_the_users_but_for_what_the_script_must_say(tmp_path: Path) -> None:
    settings = slurm_settings(tmp_path, of_ours="/delta.jar")
    assert (settings["spark.driver.memory"], settings["spark.executor.memory"]) == ("4g", "8g")
    assert (settings["spark.cores.max"], settings["spark.jars"]) == ("16", "/delta.jar")
    assert "spark.jars.packages" not in settings
    assert slurm_settings(tmp_path, of_ours="", V2D_DRIVER_MEMORY="9g")["spark.driver.memory"] == "9g"

    mine = tmp_path / "mine.conf"
    mine.write_text(
        "# spark.jars /no.jar\nspark.speculation true\nspark.cores.max 1\nspark.authenticate false\n"
        "spark.jars=/s3.jar\nspark.jars.packages  org:hadoop-aws:1"
    )
    settings = slurm_settings(tmp_path, of_ours="/delta.jar", V2D_SETTINGS=str(mine))
    assert (settings["spark.speculation"], settings["spark.cores.max"], settings["spark.authenticate"]) == (
        "true",
        "16",
        "true",
    )
    assert (settings["spark.jars"], settings["spark.jars.packages"]) == ("/delta.jar,/s3.jar", "org:hadoop-aws:1")
    settings = slurm_settings(tmp_path, of_ours="", V2D_SETTINGS=str(mine))
    assert (settings["spark.jars"], settings["spark.jars.packages"]) == ("/s3.jar", "io.delta:delta:1,org:hadoop-aws:1")


def documents() -> Iterator[Path]:
    """What users read and copy from."""
    yield from (ROOT / "README.md", ROOT / "Makefile", *ROOT.glob("docs/*.md"), *PAGES)
    yield from (path for path in CONF.rglob("*") if path.is_file() and path.suffix != ".jar")


def extras() -> dict[str, list[Requirement]]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    section = parser["options.extras_require"]
    return {name: [Requirement(line) for line in section[name].split("\n") if line] for name in section}


def test_versions_that_users_are_told_are_those_that_are_tested() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    delta = {version("delta-spark"), *re.findall(r"delta-spark == ([\d.]+)", makefile)}
    spark = {version("pyspark"), *re.findall(r"pyspark == ([\d.]+)", makefile)}
    assert len(delta) == len(spark) == 2
    allowed = {requirement.name: requirement.specifier for requirement in extras()["local"]}
    assert all(number in allowed["delta-spark"] for number in delta) and all(number in allowed["pyspark"] for number in spark)
    count = 0
    for path in documents():
        text = path.read_text(encoding="utf-8")
        told = re.findall(r"delta-spark_(?:[\d.]+_)?2\.13[:-](\d[\d.]*\d)", text)
        assert set(told) <= delta, path
        images = re.findall(r"apache/spark:([\d.]+)-", text)
        assert set(images) <= spark, path
        hadoop = re.findall(r"hadoop-aws[:-](\d[\d.]*\d)", text)
        assert all(Version(number).release >= commits.HADOOP for number in hadoop), path
        count += len(told) + len(images) + len(hadoop)
    assert count > 10


def test_extras_that_users_are_told_are_there() -> None:
    known = extras()
    told: set[str] = set()
    for path in documents():
        text = path.read_text(encoding="utf-8")
        for found in re.findall(r"(?:EXTRAS=|'\.\[|'v2d_spark\[)(\w+(?:,\w+)*)", text):
            told.update(found.split(","))
    assert {"s3", "torch", "local"} <= told <= set(known)
    (s3fs,) = known["s3"]
    assert str(s3fs) in (CONF / "databricks" / "databricks.yml").read_text(encoding="utf-8")


def test_python_with_s3_is_what_emr_and_kubernetes_get() -> None:
    assert "make pack PYTHON=python3.11 EXTRAS=s3" in (ROOT / "docs" / "deploy" / "emr.md").read_text(encoding="utf-8")
    image = (CONF / "kubernetes" / "Dockerfile").read_text(encoding="utf-8")
    assert "\nARG EXTRAS=s3\n" in image and f"COPY --chmod=644 conf/{commits.jar().name} /opt/spark/jars/" in image


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_what_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / link).exists(), link
    for name in re.findall(r"\b((?:conf|jobs|tests)/[\w./-]+\w)", text):
        assert name == "jobs/VERB_job.py" or (ROOT / name).exists(), name
