"""The image, the services and the examples for schedulers: nothing that they need is missing, and they name only what exists."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from test_docs import options_of

from pipeline import terminal
from pipeline.commands import disclosure, serve

ROOT = Path(__file__).resolve().parent.parent
# Top-level files and folders that are for people and developers alone.
NOT_COPIED = {
    ".ci",
    ".dockerignore",
    ".gitignore",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "Dockerfile",
    "Makefile",
    "SECURITY.md",
}
NOT_COPIED |= {"benchmarks", "compose.yaml", "docs", "tests"}
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
PAGE = (ROOT / "docs/how_to/containers.md").read_text("utf-8")
SCHEDULE = (ROOT / "docs/how_to/schedule.md").read_text("utf-8")


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with their arguments."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in "\n".join(lines).replace("\\\n", " ").splitlines())]


STEPS = instructions((ROOT / "Dockerfile").read_text("utf-8"))


def copied() -> set[str]:
    return {name.rstrip("/") for word, rest in STEPS if word == "COPY" for name in rest.split()[:-1]}


def test_whatever_is_in_the_repository_is_copied_or_known_not_to_be_needed():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=True, text=True).stdout.splitlines()
    top = {name.split("/")[0] for name in tracked}
    assert copied() | NOT_COPIED == top | {"Dockerfile", ".dockerignore", "compose.yaml"}
    assert not copied() & NOT_COPIED


def test_what_the_installation_reads_is_copied():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    named = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"], *project["build-system"]["backend-path"]}
    named |= {pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert named <= copied()


def test_exactly_what_is_copied_is_sent_to_the_builder():
    first, *rest = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert first == "*"
    tracked = subprocess.run(["git", "ls-files", "data"], cwd=ROOT, capture_output=True, check=True, text=True).stdout.splitlines()
    inside = {"/".join(name.split("/")[:2]) for name in tracked}  # a user's own corpora may lie beside them
    assert {line[1:] for line in rest if line.startswith("!")} == copied() - {"data"} | inside
    assert [line for line in rest if not line.startswith("!")] == ["**/__pycache__"]


def test_image_is_slim_needs_no_compiler_and_does_not_run_as_root():
    words = [word for word, _ in STEPS]
    assert STEPS[:2] == [("ARG", "PYTHON=python:3.11-slim-bookworm"), ("FROM", "${PYTHON}")]
    installs = [rest for word, rest in STEPS if word == "RUN" and "install" in rest]
    assert not [rest for rest in installs if "apt" in rest]
    locked, ours = installs
    assert {"--require-hashes", "--no-deps", "--only-binary", ":all:", "requirements/server.txt"} <= set(locked.split())
    assert {"--no-deps", "--no-index", "--no-build-isolation", "--editable"} <= set(ours.split())
    (user,) = [rest for word, rest in STEPS if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert words.index("USER") > max(number for number, word in enumerate(words) if word in {"RUN", "COPY"})
    assert json.loads(dict(STEPS)["ENTRYPOINT"]) == ["disclosure"]


def test_services_of_ours_run_with_a_read_only_file_system_and_without_rights():
    assert {"mlflow", "job", "score", "serve"} <= set(OURS)
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["tmpfs"] == "/tmp", name  # noqa: S108
        assert "no-new-privileges:true" in service["security_opt"], name
        assert (service["build"]["context"], *service["build"]["args"]) == (".", "PYTHON")


def test_services_refer_to_what_exists():
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", [])) <= SERVICES.keys(), name
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[0]
            assert source in COMPOSE["volumes"] or source.startswith("./"), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        host = re.compile(r"https?://([\w-]+):")
        assert set(host.findall(json.dumps(service.get("environment", {})))) <= SERVICES.keys(), name


def test_images_are_named_by_variables_and_without_a_host():
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    assert all(re.fullmatch(r"\$\{\w+_IMAGE:-[\w-]+(/[\w-]+)?:[\w.-]+\}", image) for image in images), images


def test_page_names_each_variable_with_its_default():
    used = dict(re.findall(r"\$\{(\w+)(?::-([^}]*))?(?::\?[^}]*)?\}", (ROOT / "compose.yaml").read_text("utf-8")))
    table = PAGE.split("| variable | default |")[1].split("\n\n")[0]
    rows = {name: default for names, default in re.findall(r"^\| (.+?) \| (.+?) \|", table, re.MULTILINE) for name in names.split(", ")}
    assert {f"`{name}`" for name in used} == rows.keys() - {"---"}
    assert [name for name, default in used.items() if default and f"`{default}`" not in rows[f"`{name}`"] and name not in {"SCORES"}] == []
    assert "`./scores`" in rows["`SCORES`"]


def test_page_names_each_service():
    table = PAGE.split("| service | what it does |")[1].split("\n\n")[0]
    assert {name for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)} == SERVICES.keys()


def test_services_start_commands_that_exist_with_options_that_exist():
    assert SERVICES["score"]["entrypoint"] == ["disclosure", "score"]
    shown = re.findall(r"^\$ docker compose run --rm (\w+) (\S+)(.*)$", PAGE, re.MULTILINE)
    assert {service for service, *_ in shown} == {"job", "score"}
    for service, first, rest in shown:
        main = disclosure.COMMANDS[first if service == "job" else service]
        assert set(re.findall(r"(--[a-z-]+)", rest)) <= options_of(main)
    command, *options = SERVICES["serve"]["command"]
    assert disclosure.COMMANDS[command] is serve.main
    assert {option for option in options if option.startswith("--")} <= options_of(serve.main)


def test_bucket_is_made_once(monkeypatch):
    import boto3
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "invented")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")  # where a bucket must not be made twice
    program = SERVICES["bucket"]["command"][0].replace('create_bucket(Bucket="mlflow"', 'create_bucket(Bucket="mlflow", **PLACE')
    place = {"PLACE": {"CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}}
    with mock_aws():
        for _ in range(2):
            exec(compile(program, "compose.yaml", "exec"), dict(place))  # noqa: S102  # ours
        assert [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]] == ["mlflow"]


# ---- schedulers ----

AGAIN = {
    terminal.USAGE_ERROR: False,
    terminal.TOO_MANY_REJECTS: False,
    terminal.INCOMPLETE: True,
    terminal.NO_POSTS: False,
    terminal.LOCKED: True,
    terminal.STOPPED: True,
    terminal.TERMINATED: True,
    1: False,
    137: True,
}


def test_page_says_of_each_exit_code_whether_to_try_again():
    rows = re.findall(r"^\| ([\d, ]+) \| .+? \| (yes|no)\b", SCHEDULE, re.MULTILINE)
    assert {int(code): again == "yes" for codes, again in rows for code in codes.split(",")} == AGAIN


def test_kubernetes_tries_again_what_may_succeed():
    (block,) = re.findall(r"^```yaml\n(.*?)^```", SCHEDULE, re.DOTALL | re.MULTILINE)
    job = yaml.safe_load(block)["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    rule = next(rule["onExitCodes"] for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "FailJob")
    assert set(rule["values"]) == {code for code, again in AGAIN.items() if not again} - {terminal.USAGE_ERROR}
    assert (rule["containerName"], pod["restartPolicy"]) == (container["name"], "Never")
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    (program,) = container["args"]
    assert "exec disclosure score" in program
    assert set(re.findall(r"(--[a-z-]+)", program)) <= options_of(disclosure.COMMANDS["score"])
    done = subprocess.run(["sh", "-n", "-c", program], capture_output=True, check=True, text=True)
    assert done.stderr == ""


@pytest.fixture
def airflow(monkeypatch):
    """Stands in for Airflow, which is far larger than this project: decorators that only call, and its exceptions."""
    exceptions = ModuleType("airflow.exceptions")
    for name in ("AirflowException", "AirflowFailException", "AirflowSkipException"):
        setattr(exceptions, name, type(name, (Exception,), {}))
    sdk = ModuleType("airflow.sdk")
    sdk.task = lambda **_: lambda function: lambda: function("2017-10-15")
    sdk.dag = lambda **_: lambda function: function
    for name, module in {"airflow": ModuleType("airflow"), "airflow.exceptions": exceptions, "airflow.sdk": sdk}.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("code", [0, *AGAIN, -9])
def test_airflow_tries_again_what_may_succeed(airflow, monkeypatch, code):
    (program,) = re.findall(r"^```python\n(.*?)^```", SCHEDULE, re.DOTALL | re.MULTILINE)
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command) or SimpleNamespace(returncode=code))
    again = AGAIN.get(code, code != 0) or code == terminal.USAGE_ERROR  # the model is in MLflow, which may be away
    expected = "AirflowSkipException" if code == terminal.NO_POSTS else "AirflowException" if again else "AirflowFailException"
    run = compile(program, "schedule.md", "exec")
    if code:
        with pytest.raises(Exception, match=str(code) if code != terminal.NO_POSTS else "no posts") as caught:
            exec(run, {})  # noqa: S102  # ours
        assert type(caught.value).__name__ == expected
    else:
        exec(run, {})  # noqa: S102
    ((_, command, *rest),) = commands
    assert command in disclosure.COMMANDS
    assert {option for option in rest if option.startswith("--")} <= options_of(disclosure.COMMANDS[command])
