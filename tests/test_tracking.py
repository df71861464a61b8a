"""Runs, data sets, models and the registry are tracked in a real SQLite store."""

import json
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from models.config import ROOT
from models.storage import FILES
from models.text import normalise
from pipeline import terminal, tracking
from pipeline.commands import score
from pipeline.commands.register import main as register_command
from pipeline.config import Tracking
from pipeline.config_files import flatten, load_config
from pipeline.corpora import load_corpus
from pipeline.evaluating import evaluate
from pipeline.metrics import flatten_metrics
from pipeline.registering import register as register_folder
from pipeline.tracking.artifacts import verified_copy
from pipeline.tracking.serve import ServeOptions, serve
from pipeline.tracking.ui import show

pytest_plugins = ["tracked_run"]
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")


@pytest.fixture
def connected(tracked):
    tracking.connect(tracked.config.tracking)
    return tracked


@pytest.fixture
def run(connected):
    return mlflow.get_run(connected.first.run_id)


def artifacts(run_id) -> Path:
    return Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/"))


def model_artifact(tracked) -> Path:
    return Path(mlflow.artifacts.download_artifacts(f"runs:/{tracked.first.run_id}/model"))


def test_parameters_are_the_resolved_config(tracked, run):
    assert run.data.params == dict(flatten(tracked.config.model_dump(mode="json")))


def test_metrics_are_those_of_the_evaluation(tracked, run):
    metrics = tracked.first.evaluation.metrics.model_dump()
    baselines = metrics.pop("baselines")
    assert run.data.metrics == pytest.approx(tracking.metric_names(flatten_metrics(metrics), "validation"))
    assert {"validation/macro_f1", "validation/posts", "labels/assault/f1", "labels/assault/support"} <= set(run.data.metrics)
    assert run.data.tags["evaluated"] == "validation"
    assert json.loads((artifacts(tracked.first.run_id) / "baselines.json").read_text()) == baselines


@pytest.mark.parametrize(
    ("evaluated", "name"),
    [("test", "test/posts"), ("all posts", "all_posts/posts"), ("held-out folds of train", "held_out/posts")],
)
def test_metrics_over_all_labels_are_grouped_by_the_posts_they_were_measured_on(evaluated, name):
    found = tracking.metric_names({"posts": 2.0, "behaviour.passed": 0.5, "new_texts_only.posts": 1.0}, evaluated)
    assert found == {name: 2.0, "behaviour/passed": 0.5, "new_texts_only/posts": 1.0}


def test_logged_model_has_the_metrics_too(tracked, connected):
    model = mlflow.get_logged_model(tracking.find_model(tracked.first.model.digest_))
    assert model.source_run_id == tracked.again.run_id, "the newest of two models with the same bytes"
    metrics = {metric.key: metric for metric in model.metrics if metric.run_id == tracked.again.run_id}
    assert metrics["validation/macro_f1"].value == pytest.approx(tracked.again.evaluation.metrics.macro_f1)
    assert {metric.dataset_name for metric in metrics.values()} == {str(tracked.data)}


def test_run_says_what_it_is_and_how_long_it_took(tracked, run):
    assert re.fullmatch(rf"train metoo blend · {tracked.data.name} · 20\d\d-\d\d-\d\d \d\d:\d\d", run.info.run_name)
    note = run.data.tags["mlflow.note.content"]
    metrics = tracked.first.evaluation.metrics
    assert f"Macro-F1 is **{metrics.macro_f1:.3f}**" in note
    assert f"| assault | {metrics.labels['assault'].support} | {metrics.labels['assault'].precision:.3f} |" in note
    assert run.data.tags["model_digest"] == tracked.first.model.digest_
    (child,) = [mlflow.get_logged_model(output.model_id) for output in run.outputs.model_outputs]
    assert run.info.start_time < child.creation_timestamp - 300, "the run begins before training, not when the model is logged"


def test_experiment_opens_as_model_training(tracked, connected):
    assert mlflow.get_experiment_by_name("first").tags["mlflow.experimentKind"] == "custom_model_development"


def test_data_set_has_source_digest_and_counts(tracked, run):
    (logged,) = run.inputs.dataset_inputs
    assert {tag.key: tag.value for tag in logged.tags} == {"mlflow.data.context": "training"}
    assert json.loads(logged.dataset.source) == {"uri": str(tracked.data)}
    assert run.data.tags["data_sha256"].startswith(logged.dataset.digest)
    assert len(run.data.tags["data_sha256"]) == 64
    counts = json.loads(logged.dataset.profile)
    assert counts["validation"]["posts"] == 80
    assert counts["validation"]["assault"] == sum("assault" in post["labels"] for post in tracked.posts[-80:])


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("posts.jsonl", {"uri": "posts.jsonl"}),
        ("train=posts.jsonl", {"uri": "posts.jsonl"}),
        ("dev=posts.jsonl", {"uri": "posts.jsonl"}),
        ("unlabelled=posts.jsonl", {"uri": "posts.jsonl"}),
        ("data/starter", {"uri": str(ROOT / "data/starter")}),
        ("hive=1/posts.jsonl", {"uri": "hive=1/posts.jsonl"}),
        ("hub:someone/posts", {"path": "someone/posts"}),
        ("test=hub:someone/posts", {"path": "someone/posts"}),
    ],
)
def test_every_kind_of_source_is_logged(connected, source, wanted):
    corpus = load_corpus(connected.config.data, connected.config.labels, seed=0)
    with mlflow.start_run() as active:
        tracking.log_corpus(corpus, [source, "more.csv"], "training")
    (logged,) = mlflow.get_run(active.info.run_id).inputs.dataset_inputs
    assert logged.dataset.name == f"{source} + more.csv"
    found = json.loads(logged.dataset.source)
    if "uri" in wanted:
        assert found["uri"] == str(Path(wanted["uri"]).absolute())
    else:
        assert found["path"] == wanted["path"]


def test_files_of_a_run(tracked, run):
    folder = artifacts(tracked.first.run_id)
    assert yaml.safe_load((folder / "config.yaml").read_text()) == tracked.config.model_dump(mode="json")
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["mlflow"] == mlflow.__version__
    curves = {path.stem: path.read_bytes() for path in folder.glob("curves/*.png")}
    assert set(curves) == set(tracked.config.labels.names)
    assert all(content.startswith(b"\x89PNG") for content in curves.values())


def test_model_has_signature_and_example(connected):
    info = mlflow.models.get_model_info(f"runs:/{connected.first.run_id}/model")
    assert info.signature.inputs.input_names() == ["text"]
    assert info.signature.outputs.input_names() == [*(f"prob_{name}" for name in connected.first.model.labels), "labels", "error"]
    assert info.saved_input_example_info


def test_model_artifact_is_code_and_directory_without_pickle(connected):
    folder = model_artifact(connected)
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert {"code/models/text.py", "code/models/serving.py", "data/model/model.json"} <= set(files)
    assert {name.split("/")[1] for name in files if name.startswith("code/")} == {"models"}
    assert not [name for name in files if "__pycache__" in name or name.endswith((".pkl", ".pickle", ".joblib", ".pyc"))]
    assert not [name for name in files if (folder / name).read_bytes()[:1] == b"\x80"], "how a pickle begins"
    assert not [name for name in files if name.startswith("code/") and name.endswith((".safetensors", ".json"))], "another model"
    assert sorted(path.name for path in (folder / "data" / "model").iterdir()) == sorted(FILES), "the model, and not whose posts made it"
    for name in FILES:
        assert (folder / "data" / "model" / name).read_bytes() == (connected.out / name).read_bytes()


def test_fingerprints_are_a_file_of_the_run_for_its_owner_alone_and_in_no_model(connected, tmp_path):
    found = tracking.find_fingerprints(connected.first.model.digest_, tmp_path)
    assert found.parent == tmp_path
    assert found.read_bytes() == (connected.out / "fingerprints.json").read_bytes()
    for path in (found, connected.out / "fingerprints.json"):
        assert path.stat().st_mode & 0o777 == 0o600
    everywhere = {path.parent.parent.name for path in (connected.folder / "mlruns").rglob("fingerprints.json")}
    assert everywhere >= {connected.first.run_id, connected.again.run_id}
    models = list((connected.folder / "mlruns").rglob("model.json"))
    assert models
    assert not [path for model in models for path in model.parent.iterdir() if path.name not in FILES]


def test_what_training_and_mlflow_wrote_is_for_its_owner_alone(tracked):
    written = [tracked.folder / name for name in ("mlflow.db", "mlruns", "mlartifacts", "model", "again")]
    found = [path for place in written if place.exists() for path in [place, *place.rglob("*")]]
    assert len(found) > 40
    # MLflow copies files with the modes that they have, such as those of our code, but into folders that nobody else can enter.
    assert [path for path in found if path.stat().st_mode & 0o077 and (path.is_dir() or "mlruns" not in path.parts)] == []


def test_a_model_that_nobody_trained_here_has_no_fingerprints(connected, tmp_path):
    assert tracking.find_fingerprints("0" * 64, tmp_path) is None


def test_no_text_or_author_reaches_the_store(connected):
    quick = load_config((), connected.quick, [str(connected.data)], tracking=connected.config.tracking.model_dump())
    evaluate(connected.first.model, quick, connected.folder / "evaluation")
    files = [connected.folder / "mlflow.db", *(path for path in (connected.folder / "mlruns").rglob("*") if path.is_file())]
    assert {path.name for path in files} >= {"mlflow.db", "predictions.parquet", "metrics.json", "vocabulary.json", "config.yaml"}
    tables = [json.dumps(pq.read_table(path).to_pylist()).encode() for path in files if path.suffix == ".parquet"]
    content = b"\n".join([path.read_bytes() for path in files] + tables)
    posts = [post for post in connected.posts if len(post["text"]) > 30]
    assert json.dumps(posts[0]["id"]).encode() in content, "the search sees inside the tables"
    for post in posts:
        for text in (post["text"], normalise(post["text"]), post["author"]):
            assert text.encode() not in content
            assert json.dumps(text)[1:-1].encode() not in content


def test_first_version_becomes_champion_and_the_second_does_not(connected):
    assert (connected.first.version, connected.again.version) == ("1", "2")
    assert mlflow.MlflowClient().get_registered_model("disclosure").aliases == {"champion": 1}


def test_version_says_what_it_is_and_how_good(connected):
    version = mlflow.MlflowClient().get_model_version("disclosure", "2")
    metrics = connected.again.evaluation.metrics
    assert version.tags["macro_f1"] == f"{metrics.macro_f1:.4f}"
    assert version.source == f"models:/{tracking.find_model(connected.again.model.digest_)}"
    assert version.run_id == connected.again.run_id
    assert version.description.startswith("**blend**, trained on ")
    assert f"labels `metoo`; model `{connected.again.model.digest_[:12]}`." in version.description
    assert f"Macro-F1 is **{metrics.macro_f1:.3f}**" in version.description
    assert "champion" in mlflow.MlflowClient().get_registered_model("disclosure").description


@pytest.mark.parametrize("location", ["models:/disclosure@champion", "models:/disclosure/1", "runs:/{run}/model"])
def test_model_directory_is_found(tracked, location):
    found = tracking.fetch_model(location.format(run=tracked.first.run_id), tracked.config.tracking)
    assert (found / "model.json").read_bytes() == (tracked.out / "model.json").read_bytes()


@pytest.mark.parametrize(
    "location", ["models:/nobody/1", "models:/disclosure@nobody", "models:/disclosure/99", "models:/disclosure", "runs:/0/model"]
)
def test_model_that_is_not_there_is_one_line(tracked, location, refused):
    with refused(location):
        tracking.fetch_model(location, tracked.config.tracking)


def test_artifact_that_is_no_model_of_ours(tracked, refused):
    with refused("is not a model from this pipeline"):
        tracking.fetch_model(f"runs:/{tracked.first.run_id}/curves", tracked.config.tracking)


@pytest.fixture
def own_store(tracked, tmp_path, monkeypatch):
    """A client of a copy of the store with the two models, which the environment also names."""
    uri = tracked.store_copy(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracking.connect(Tracking(uri=uri))
    return mlflow.MlflowClient()


def register(client, name, **version):
    client.create_registered_model(name)
    client.create_model_version(name, "folder", **version)
    client.set_registered_model_alias(name, "champion", "1")


def test_champion_is_served(own_store):
    assert tracking.model_to_serve() == "models:/disclosure@champion"


def test_of_two_champions_the_one_updated_last_is_served(own_store):
    register(own_store, "another", tags={"model_digest": "1"})
    assert tracking.model_to_serve() == "models:/another@champion"
    own_store.update_registered_model("disclosure", "described")
    assert tracking.model_to_serve() == "models:/disclosure@champion"
    assert tracking.model_to_serve("another") == "models:/another@champion"


def test_champion_of_another_pipeline_is_served_only_by_name(own_store):
    register(own_store, "fraud")
    assert tracking.model_to_serve() == "models:/disclosure@champion"
    assert tracking.model_to_serve("fraud") == "models:/fraud@champion"


def test_without_a_champion_the_newest_model_is_served(tracked, own_store, monkeypatch):
    monkeypatch.setattr(sys, "ps1", "", raising=False)  # PySpark, which MLflow looks for, takes xdist for its doctests
    own_store.delete_registered_model_alias("disclosure", "champion")
    newest = tracking.find_model(tracked.again.model.digest_)
    with mlflow.start_run():
        mlflow.create_external_model(name="of-another-pipeline")
        mlflow.initialize_logged_model(name="unfinished", tags={"model_digest": "1"})
    assert tracking.model_to_serve() == f"models:/{newest}"


def test_name_without_a_champion_is_one_line(own_store, refused):
    own_store.create_registered_model("new")
    for name in ("new", "nobody"):
        with refused(f"--name {name}", "champion"):
            tracking.model_to_serve(name)


def test_serving_from_a_store_without_a_model_is_one_line(own_store, refused):
    own_store.delete_registered_model("disclosure")
    for model in own_store.search_logged_models([str(experiment.experiment_id) for experiment in own_store.search_experiments()]):
        own_store.delete_logged_model(model.model_id)
    with refused("make train"):
        serve(Tracking(), ServeOptions(port=0))


def test_serving_on_a_port_in_use_is_one_line(refused):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with refused(f"127.0.0.1:{port}", "PORT"):
            serve(Tracking(), ServeOptions(port=port))


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////proc/none/mlflow.db", "nosuch://store"])
def test_store_out_of_reach_is_one_line_within_seconds(uri, refused):
    start = time.monotonic()
    with refused("MLflow store"):
        tracking.connect(Tracking(uri=uri))
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b"])
def test_name_that_mlflow_does_not_take_is_said_at_once(tracked, name, refused):
    with refused("--register"):
        tracking.connect(tracked.config.tracking, register=name)


def test_store_that_fails_within_a_run_names_what_is_kept(tracked, tmp_path, refused):
    tracking.connect(Tracking(uri=tracked.store_copy(tmp_path)))
    run = tracking.run("name", Path("runs/model"))
    run.__enter__()
    (tmp_path / "mlflow.db").write_bytes(b"no longer a database" * 1000)
    with refused("runs/model is written", "failed"):
        run.__exit__(None, None, None)


@pytest.mark.parametrize(("raised", "status"), [(OSError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_run_whose_work_fails_is_marked_so_and_the_error_is_its_own(connected, raised, status):
    with pytest.raises(raised, match="disk full"), tracking.run("name", Path("runs/model")) as run_id:
        raise raised("disk full")
    assert mlflow.get_run(run_id).info.status == status


def test_storing_that_fails_names_what_is_kept(refused):
    with refused("runs/model is written", "disk full"), tracking.storing(Path("runs/model")):
        raise OSError("disk full")


def test_run_within_a_run_of_the_notebook(connected):
    with mlflow.start_run() as outer, tracking.run("name", Path("runs/model")) as run_id:
        pass
    assert mlflow.get_run(run_id).data.tags["mlflow.parentRunId"] == outer.info.run_id


def test_long_values_are_cut_not_refused(connected):
    config = load_config((), (), ["x" * 10_000])
    with tracking.run("name", Path("runs/model")) as run_id:
        tracking.log_config(config)
    assert mlflow.get_run(run_id).data.params["data.sources"].startswith("['xxx")


def test_sources_with_any_name_are_logged_with_their_weights(connected):
    weights = {"forum (UK)": 0.5, "https://x.example/f": 2, "r&d": 1}
    config = load_config((), [f"data.weights={json.dumps(weights)}", 'thresholds.mix={"r&d": 3}'])
    with tracking.run("name", Path("runs/model")) as run_id:
        tracking.log_config(config)
    params = mlflow.get_run(run_id).data.params
    assert json.loads(params["data.weights"]) == weights
    assert json.loads(params["thresholds.mix"]) == {"r&d": 3}


def test_password_of_the_store_is_not_logged(connected):
    config = load_config((), (), tracking={"uri": "postgresql://me:secret@host/db", "experiment": "first"})
    with tracking.run("name", Path("runs/model")) as run_id:
        tracking.log_config(config)
    assert mlflow.get_run(run_id).data.params["tracking.uri"] == "postgresql://me:***@host/db"
    assert "secret" not in (artifacts(run_id) / "config.yaml").read_text()


def test_password_is_not_in_the_error(refused):
    with refused("postgresql://me:***@localhost/db"):
        tracking.connect(Tracking(uri="postgresql://me:secret@localhost/db"))


def test_store_is_the_configs_then_the_environments_then_a_file_here(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///environment.db")
    assert tracking.store_uri(Tracking(uri="sqlite:///config.db")) == "sqlite:///config.db"
    assert tracking.store_uri(Tracking()) == "sqlite:///environment.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking.store_uri(Tracking()) == "sqlite:///mlflow.db"


def test_mlflow_tells_nobody_about_us():
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_ui_of_a_server_is_named_and_no_other_is_started(capsys):
    show(Tracking(uri="https://me:secret@mlflow.example.org/"), "127.0.0.1", 5000)
    assert "open https://me:***@mlflow.example.org/#/experiments?" in capsys.readouterr().out


def test_ui_is_started_on_the_store_without_telemetry(own_store, monkeypatch, capsys):
    started = []
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    show(Tracking(), "127.0.0.1", port)
    ((_, command, environment),) = started
    assert command[1:] == ["-m", "mlflow", "ui", *command[4:]]
    assert environment["MLFLOW_BACKEND_STORE_URI"] == os.environ["MLFLOW_TRACKING_URI"]
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    experiment = mlflow.get_experiment_by_name("disclosure").experiment_id
    assert f"open http://127.0.0.1:{port}/#/experiments/{experiment}/runs?workflowType=machine_learning" in capsys.readouterr().out


def test_serving_sends_no_telemetry(own_store, monkeypatch):
    started = []
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    serve(Tracking(), ServeOptions(port=0))
    ((_, command, environment),) = started
    assert Path(command[1]) == ROOT / "pipeline/tracking/server"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    settings = json.loads(command[2])
    tags = own_store.get_model_version_by_alias("disclosure", "champion").tags
    about = {"uri": "models:/disclosure@champion", "digest": tags["model_digest"], "artifact": tags["artifact_sha256"]}
    assert settings["about"] == about
    copy = Path(settings["model"])
    assert (copy / "code" / "models" / "serving.py").read_bytes() == (ROOT / "models" / "serving.py").read_bytes()
    assert copy.parent.stat().st_mode & 0o777 == 0o700, "nobody else changes what was checked"
    shutil.rmtree(copy.parent)


def _another_module(artifact: Path) -> None:
    (artifact / "code" / "ftfy.py").write_text("raise SystemExit('somebody else runs code')\n")


def _another_loader(artifact: Path) -> None:
    file = artifact / "MLmodel"
    file.write_text(file.read_text().replace("loader_module: models.serving", "loader_module: antigravity"))


def _linked_module(artifact: Path) -> None:
    (artifact / "code" / "numpy").symlink_to(artifact / "code" / "models")


def _changed_module(artifact: Path) -> None:
    file = artifact / "code" / "models" / "serving.py"
    file.write_text(file.read_text() + "\n")


def _missing_module(artifact: Path) -> None:
    (artifact / "code" / "models" / "cache.py").unlink()


def _changed_weights(artifact: Path) -> None:
    (weights,) = artifact.glob("data/*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[::-1])


@pytest.mark.parametrize("change", [_another_module, _another_loader, _linked_module, _changed_module, _missing_module, _changed_weights])
@pytest.mark.parametrize("champion", [True, False])
def test_a_logged_model_that_was_changed_is_not_served(tracked, own_store, tmp_path, monkeypatch, refused, change, champion):
    monkeypatch.setattr(os, "execve", lambda *arguments: pytest.fail("its code runs"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "ps1", "", raising=False)  # as above
    if not champion:
        own_store.delete_registered_model_alias("disclosure", "champion")
    real = mlflow.artifacts.download_artifacts

    def download(uri, dst_path):
        found = real(uri, dst_path=dst_path)
        change(Path(found))
        return found

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    with refused("models:/", "its code is not run" if change is not _linked_module else "is a link", "disclosure register DIR"):
        serve(Tracking(), ServeOptions(port=0))
    assert not [*tmp_path.glob("disclosure-serve-*")], "nothing of it is left"


def test_what_using_a_logged_model_leaves_in_it_changes_nothing_and_is_not_run(tracked, own_store, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    real = mlflow.artifacts.download_artifacts

    def download(uri, dst_path):
        found = Path(real(uri, dst_path=dst_path))
        (found / "code" / "models" / "__pycache__").mkdir()
        (found / "code" / "models" / "__pycache__" / "serving.cpython-311.pyc").write_bytes(b"somebody's")
        (found / "registered_model_meta").write_text("model_name: x")
        return str(found)

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    copy = verified_copy("models:/disclosure@champion")
    assert not [*copy.rglob("__pycache__")]


def test_a_model_that_an_earlier_release_logged_is_served_once_it_is_registered_again(tracked, own_store, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for version in own_store.search_model_versions("name = 'disclosure'"):
        own_store.delete_model_version_tag("disclosure", version.version, "artifact_sha256")
    for model in mlflow.search_logged_models(["1"], output_format="list"):
        own_store.delete_logged_model_tag(model.model_id, "artifact_sha256")
    with refused("no digest of its code was recorded", "disclosure register DIR --name NAME"):
        verified_copy("models:/disclosure@champion")
    found = register_folder(tracked.out, "disclosure", Tracking(uri=os.environ["MLFLOW_TRACKING_URI"]))
    assert (found.version, found.new) == ("3", True)
    own_store.set_registered_model_alias("disclosure", "champion", "3")
    assert verified_copy("models:/disclosure@champion").is_dir()


def test_model_trained_before_is_registered_with_its_card(tracked, own_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(tracked.out, tmp_path / "mine")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# The card\n" + "long " * 2000 + "\nline\n" * 500)
    tracked_in = Tracking(uri=os.environ["MLFLOW_TRACKING_URI"])
    found = register_folder(folder, "later", tracked_in)
    assert (found.version, found.new, found.champion) == ("1", True, True)
    version = own_store.get_model_version("later", "1")
    assert version.source == f"models:/{tracking.find_model(tracked.first.model.digest_)}", "what is logged is not logged again"
    assert "| assault |" in version.description
    assert "# The card" in version.description
    assert "license: mit" not in version.description
    assert len(version.description) <= 5000
    again = register_folder(folder, "later", tracked_in)
    assert (again.version, again.new) == ("1", False)


def test_the_released_model_is_registered_by_its_name(tracked, own_store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("models.storage.RELEASED", tracked.out)
    register_command(Path("released"), "given")
    assert capsys.readouterr().out == "model    the released model is version 1 of given, the champion\n"


def test_model_that_the_store_does_not_hold_is_logged_when_it_is_registered(tracked, empty_store, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'other.db')}"
    assert register_folder(tracked.out, "later", Tracking(uri=uri)).champion
    found = tracking.fetch_model("models:/later@champion", Tracking(uri=uri))
    assert (found / "model.json").read_bytes() == (tracked.out / "model.json").read_bytes()
    with refused("--name a/b"):
        register_folder(tracked.out, "a/b", Tracking(uri=uri))
    with refused(f"{tmp_path}: is not a model directory"):
        register_folder(tmp_path, "later", Tracking(uri=uri))


def test_a_registered_model_scores_files(tracked, own_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("posts.jsonl").write_text('{"id": "1", "text": "I believe you."}\n')
    for location in ("models:/disclosure@champion", "models:/disclosure/1", f"runs:/{tracked.first.run_id}/model"):
        out = f"scores-{location.split(':')[0]}-{location[-1]}"
        done = CliRunner().invoke(terminal.command_line(score.main), ["posts.jsonl", "--model", location, "--out", out, "--workers", "1"])
        assert done.exit_code == 0, done.output
        assert json.loads(Path(out, "manifest.json").read_text())["model"] == tracked.first.model.digest_
    done = CliRunner().invoke(terminal.command_line(score.main), ["posts.jsonl", "--model", "models:/nobody@champion"])
    assert "models:/nobody@champion: was not found in MLflow store" in str(done.exception)
