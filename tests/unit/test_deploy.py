"""What is handed to clusters: job scripts, settings, bundles and images are what their own tools take."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import kubernetes_validate
import pytest
import yaml
from databricks.bundles.jobs import Job

from v2d_spark import cli
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
)


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


@pytest.mark.parametrize("name", ["download", "maintain"])
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
    yield ROOT / ".ci" / "run"


@pytest.mark.parametrize("path", list(scripts()), ids=lambda path: path.name)
def test_a_script_has_nothing_that_shellcheck_knows(path: Path) -> None:
    done = subprocess.run([Path(sys.executable).parent / "shellcheck", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_image_has_nothing_that_hadolint_knows() -> None:
    image = CONF / "kubernetes" / "Dockerfile"
    done = subprocess.run([Path(sys.executable).parent / "hadolint", image], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_what_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / link).exists(), link
    for name in re.findall(r"\b((?:conf|jobs|tests)/[\w./-]+\w)", text):
        assert name == "jobs/VERB_job.py" or (ROOT / name).exists(), name
