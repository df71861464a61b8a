"""train.py --sweep: interruptions do not change the best config, only train posts are used, and every trial is a run."""

import csv
import itertools
import json
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import mlflow
import pytest
import yaml
from conftest import invent
from filelock import FileLock
from typer.testing import CliRunner

from models import Classifier
from models.config import ROOT, Network
from models.tokens import PostTokenizer
from pipeline import tracking
from pipeline.commands.train import _sweep, main
from pipeline.config import Tracking
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.metrics import Metrics, compute_metrics
from pipeline.report.sweep import trial_progress
from pipeline.sweep import Sweep, Trial, load_sweep, sweep
from pipeline.sweep.space import overlay_of
from pipeline.sweep.study import TrialJudge, open_study, sweep_digest
from pipeline.sweep.trials import TRIAL_METRICS, ranked
from pipeline.terminal import command_line

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

SETTINGS = ["calibration.folds=3", "features.char_ngrams=null", "model.type=svm", "model.C=0.02", "calibration.method=sigmoid"]
SPACE = {
    "model.type": ["svm", "logistic"],
    "model.C": {"low": 0.01, "high": 10, "log": True},
    "features.word_min_df": {"low": 1, "high": 4},
}
SWEEP = {"trials": 4, "space": SPACE}
NAMES = ("alpha", "beta", "gamma")
LABELS = {"name": "two", "labels": [{"name": name, "definition": name} for name in NAMES[:2]], "auxiliary": ["gamma"]}
FILES = ("best.yaml", "trials.csv", "sweep.yaml")


@dataclass(frozen=True)
class Here:
    """The test's working directory, with posts, a store and a sweep."""

    folder: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def posts(self) -> list[dict]:
        return [json.loads(line) for path in sorted(self.folder.glob("data/*.jsonl")) for line in path.read_text().splitlines()]

    def config(self, *settings: str):
        ours = [f"labels={self.folder}/labels.yaml", "data.sources=[data]", f"tracking.uri={self.uri}", "tracking.experiment=sweeps"]
        return load_config((), [*SETTINGS, *ours, *settings])

    def sweep(self, *settings, out="out", progress=lambda step: None, **changes):
        (self.folder / "sweep.yaml").write_text(yaml.safe_dump({**SWEEP, **changes}))
        config = self.config(*settings)
        return sweep(config, load_sweep(Path("sweep.yaml"), config), Path(out), origin="sweep.yaml", progress=progress)

    def files(self, out="out") -> list[bytes]:
        return [(self.folder / out / name).read_bytes() for name in FILES]

    def runs(self):
        """Return the runs of sweeps, and the runs of their trials in the order of the trials."""
        tracking.connect(Tracking(uri=self.uri, experiment="sweeps"))
        found = mlflow.search_runs(experiment_names=["sweeps"], output_format="list")
        trials = [run for run in found if "mlflow.parentRunId" in run.data.tags]
        return [run for run in found if run not in trials], sorted(trials, key=lambda run: int(run.data.tags["trial"]))


def write_posts(path: Path, n_posts: int, seed: int) -> None:
    found = invent(n_posts, n_posts // 2, seed)
    rows = [
        {
            "id": f"{path.stem}-{number}",
            "text": text,
            "labels": list(itertools.compress(NAMES, given)),
            "author": f"{path.stem} person {author}",
        }
        for number, (text, given, author) in enumerate(
            zip(found.texts, [[*y, *a] for y, a in zip(found.Y, found.auxiliary, strict=True)], found.groups, strict=True)
        )
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def swept(tmp_path_factory, empty_store):
    """A sweep that was not interrupted, which tests must not change."""
    here = Here(tmp_path_factory.mktemp("swept"))
    (here.folder / "data").mkdir()
    (here.folder / "labels.yaml").write_text(yaml.safe_dump(LABELS))
    for seed, (split, posts) in enumerate({"train": 120, "validation": 20, "test": 20}.items()):
        write_posts(here.folder / "data" / f"{split}.jsonl", posts, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here.folder)
        shutil.copy(empty_store, here.folder)
        return here, here.sweep()


@pytest.fixture
def here(swept, empty_store, tmp_path, monkeypatch):
    """A folder with the same posts, an empty store and no sweep."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(swept[0].folder / "data", tmp_path / "data")
    shutil.copy(swept[0].folder / "labels.yaml", tmp_path)
    shutil.copy(empty_store, tmp_path)
    return Here(tmp_path)


@pytest.fixture
def again(swept, here):
    """A copy of the finished sweep, which tests continue."""
    shutil.copytree(swept[0].folder / "out", here.folder / "out")
    return here


@pytest.fixture
def fits(monkeypatch):
    """A list that records every config that is fitted."""
    found, metrics = [], TrialJudge.metrics

    def counted(self, config):
        found.append(config)
        return metrics(self, config)

    monkeypatch.setattr(TrialJudge, "metrics", counted)
    return found


def interrupt(*_):
    raise KeyboardInterrupt


def call(*arguments) -> str:
    result = CliRunner().invoke(command_line(main), [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return result.stdout


def test_first_trial_is_the_config_as_it_is_and_the_best_is_the_greatest(swept):
    _, result = swept
    assert result.trials[0].values == {"model.type": "svm", "model.C": 0.02, "features.word_min_df": 2}
    assert [trial.number for trial in result.trials] == list(range(4))
    assert len({json.dumps(trial.values) for trial in result.trials}) == 4
    assert ranked(result.trials)[0].value == max(trial.value for trial in result.trials) > result.trials[0].value


def test_best_config_trains_to_the_metric_of_its_trial(swept, monkeypatch):
    here, result = swept
    monkeypatch.chdir(here.folder)
    best = load_config([here.folder / "out" / "best.yaml"])
    corpus = load_corpus(best.data, best.labels, seed=best.seed)
    model, posts = Classifier.from_config(best.of_model()), corpus.to_learn_from()
    model.fit_tokens(posts.tokenised(model.tokenizer))
    metrics = compute_metrics(posts.Y, model.held_out_, model.decide(model.held_out_), model.labels, model.thresholds_)
    found = ranked(result.trials)[0]
    assert metrics.mean_average_precision == found.value
    assert metrics.macro_f1 == found.metrics["macro_f1"]


def test_best_config_says_where_it_came_from_and_holds_what_differs(swept):
    here, result = swept
    text = (here.folder / "out" / "best.yaml").read_text()
    best = ranked(result.trials)[0]
    assert f"# Trial {best.number}, the best of 4 of sweep.yaml: mean_average_precision {best.value:.4f}" in text
    assert set(yaml.safe_load(text)) == {"labels", "model", "features", "calibration", "data", "tracking"}
    assert (
        load_config([here.folder / "out" / "best.yaml"]).of_model()
        == here.config(*(f"{key}={value}" for key, value in best.values.items())).of_model()
    )


def test_trials_are_runs_within_the_run_of_the_sweep(swept):
    here, result = swept
    (sweep,), trials = here.runs()
    assert (sweep.info.run_id, sweep.info.status) == (result.run_id, "FINISHED")
    assert sweep.data.params["model.type"] == "svm"
    assert sweep.data.metrics["held_out/mean_average_precision"] == pytest.approx(ranked(result.trials)[0].value)
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {sweep.info.run_id}
    for trial, run in zip(result.trials, trials, strict=True):
        assert (run.info.run_name, run.info.status) == (f"trial {trial.number}", "FINISHED")
        assert run.data.params == {key: str(value) for key, value in trial.values.items()}
        assert run.data.metrics == pytest.approx(tracking.metric_names(trial.metrics, "held-out folds"))
        assert run.info.end_time - run.info.start_time == pytest.approx(trial.seconds * 1000, abs=2)
    folder = Path(mlflow.artifacts.download_artifacts(f"runs:/{sweep.info.run_id}/"))
    assert [(folder / name).read_bytes() for name in FILES] == here.files()


def test_run_of_the_sweep_holds_train_alone(swept):
    (sweep,), _ = swept[0].runs()
    assert set(json.loads(sweep.inputs.dataset_inputs[0].dataset.profile)) == {"sources", "train"}


def test_no_text_or_author_is_written_anywhere(swept):
    here, _ = swept
    files = [path for path in here.folder.rglob("*") if path.is_file() and here.folder / "data" not in path.parents]
    content = b"\n".join(path.read_bytes() for path in files)
    assert b"features.word_min_df" in content
    for post in here.posts:
        assert len(post["text"]) <= 30 or post["text"].encode() not in content
        assert post["author"].encode() not in content


def arguments(here) -> list[str]:
    """Return the arguments of the command line for the same sweep."""
    (here.folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    settings = [*SETTINGS, "labels=labels.yaml", f"tracking.uri={here.uri}"]
    options = ["--data", "data", "--sweep", "sweep.yaml", "--out", "out", "--experiment", "sweeps"]
    return options + [part for setting in settings for part in ("--set", setting)]


@pytest.mark.slow
def test_sweep_killed_within_a_trial_ends_as_if_undisturbed(swept, here):
    dies = (
        f"import os, signal, sys; sys.path.insert(0, {str(ROOT)!r}); from pipeline.sweep.study import TrialJudge\n"
        "metrics, fitted = TrialJudge.metrics, []\n"
        "def die_in_the_third(self, config):\n"
        "    fitted.append(config)\n"
        "    return metrics(self, config) if len(fitted) < 3 else os.kill(os.getpid(), signal.SIGKILL)\n"
        "TrialJudge.metrics = die_in_the_third\n"
        "from pipeline import terminal; from pipeline.commands.train import main; terminal.run(main)"
    )
    command = [sys.executable, "-c", dies, *arguments(here)]
    killed = subprocess.run(command, cwd=here.folder, capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (here.folder / "out" / "best.yaml").exists()
    done = CliRunner().invoke(command_line(main), arguments(here), catch_exceptions=False)
    assert "continuing after 2 of 4 trials" in done.stderr
    for said in ("Best of 4 trials", "train.py --config out/best.yaml", "a sweep trains no model"):
        assert said in done.stdout
    best, trials, spec = here.files()
    # The best config names another store; everything else is the same.
    assert (best.replace(str(here.folder).encode(), b""), trials, spec) == (
        swept[0].files()[0].replace(str(swept[0].folder).encode(), b""),
        *swept[0].files()[1:],
    )
    assert load_config([Path("out/best.yaml")]).data.sources == ["data"]
    (sweep,), runs = here.runs()
    assert sweep.info.status == "FINISHED"
    assert [(run.data.tags["trial"], run.info.status) for run in runs] == [(str(number), "FINISHED") for number in range(4)]


def test_sweep_stopped_and_made_longer_tries_what_an_undisturbed_one_tries(here, monkeypatch):
    """This also holds from the eleventh trial on, when Optuna begins to learn from earlier trials."""
    config = here.config()
    corpus = load_corpus(config.data, config.labels, seed=0).only_train()

    def tried(out: str, lengths: tuple[int, ...], stops: set[int] = frozenset()) -> list:
        fits = itertools.count()

        def metrics(self, config):
            if next(fits) in stops:
                raise KeyboardInterrupt
            return all_metrics(-abs(config.model.C - 1))

        monkeypatch.setattr(TrialJudge, "metrics", metrics)
        for length in lengths:
            sweep = Sweep.model_validate({"trials": length, "space": SPACE})
            with suppress(KeyboardInterrupt), open_study(sweep, config, corpus, Path(out), lambda step: None) as study:
                list(study.run())
        return [(trial.values, trial.value) for trial in study.done]

    undisturbed = tried("one", (13,))
    assert len(undisturbed) == 13
    assert tried("other", (6, 8, 12, 13), {0, 11}) == undisturbed


def test_sweep_that_ended_is_not_fitted_again(again, swept, fits):
    assert again.sweep().trials == swept[1].trials
    assert fits == []
    assert len(again.runs()[1]) == 4, "a store without its runs gets them"
    again.sweep()
    assert [len(runs) for runs in again.runs()] == [1, 4]


def test_longer_sweep_goes_on_and_a_shorter_one_has_ended(again, swept, fits):
    longer = again.sweep(trials=5).trials
    assert (longer[:4], len(longer), len(fits)) == (swept[1].trials, 5, 1)
    assert again.sweep(trials=3).trials == longer[:3]
    assert len(fits) == 1


def test_other_lessons_under_the_same_name_are_another_sweep(here):
    lessons = here.folder / "lessons"
    config = here.config("calibration.method=stacked", f"model.network.lessons={lessons}")
    (here.folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    sweep, corpus = load_sweep(Path("sweep.yaml"), config), load_corpus(config.data, config.labels, seed=config.seed)
    digests = [lessons.write_bytes(content) and sweep_digest(sweep, config, corpus) for content in (b"some", b"others", b"some")]
    assert digests[0] == digests[2] != digests[1]


def test_lessons_of_every_network_in_the_space_count(here):
    lessons = here.folder / "lessons"
    config = here.config("calibration.method=stacked")
    space = {"model.network": [None, {"lessons": str(lessons)}]}
    (here.folder / "sweep.yaml").write_text(yaml.safe_dump({**SWEEP, "space": space}))
    sweep, corpus = load_sweep(Path("sweep.yaml"), config), load_corpus(config.data, config.labels, seed=config.seed)
    digests = [lessons.write_bytes(content) and sweep_digest(sweep, config, corpus) for content in (b"some", b"others", b"some")]
    assert digests[0] == digests[2] != digests[1]


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ([], {"seed": 1}),
        ([], {"metric": "macro_f1"}),
        ([], {"space": {"model.C": [0.1, 0.2]}}),
        (["calibration.folds=4"], {}),
        (["calibration.method=stacked"], {}),
    ],
)
def test_changed_sweep_starts_afresh(again, fits, settings, changes):
    told = []
    result = again.sweep(*settings, **changes, trials=1, progress=told.append)
    assert any("starting from the beginning" in step for step in told)
    assert fits
    assert "mean_average_precision" in result.trials[0].metrics


def test_changed_posts_start_afresh(again, fits):
    path = again.folder / "data" / "train.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), "author": "somebody else"}), *rest]))
    again.sweep(trials=1)
    assert len(fits) == 1


def test_metric_decides_which_trial_is_best(again):
    result = again.sweep(metric="macro_f1", trials=2)
    assert ranked(result.trials)[0].metrics["macro_f1"] == max(trial.metrics["macro_f1"] for trial in result.trials)
    assert all(trial.value == trial.metrics["macro_f1"] for trial in result.trials)


def test_labels_of_other_splits_change_nothing(again, swept, fits):
    for split in ("validation", "test"):
        path = again.folder / "data" / f"{split}.jsonl"
        posts = [{**json.loads(line), "labels": ["alpha"]} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(post) + "\n" for post in posts))
    assert again.sweep().trials == swept[1].trials
    assert fits == [], "it is the same sweep"


def test_only_train_is_kept_of_a_corpus(swept):
    here, _ = swept
    config = here.config(f"data.sources=[{here.folder}/data]")
    assert list(load_corpus(config.data, config.labels, seed=0).only_train().splits) == ["train"]


def test_values_tried_before_are_not_fitted_again(here, fits):
    result = here.sweep(space={"model.type": ["svm", "logistic"]}, trials=4)
    assert (len(result.trials), len(fits)) == (4, 2)


def test_posts_are_tokenised_once_per_text_setting(swept, monkeypatch):
    here, _ = swept
    config = here.config(f"data.sources=[{here.folder}/data]")
    calls, tokenise = [], PostTokenizer.read
    monkeypatch.setattr(PostTokenizer, "read", lambda self, texts: calls.append(self) or tokenise(self, texts))
    validation = TrialJudge(load_corpus(config.data, config.labels, seed=0).only_train())
    for settings in (["model.C=0.1"], ["text.attribute=NORM"], ["model.C=0.3"]):
        validation.metrics(here.config(*settings).of_model())
    assert len(calls) == 2


def test_config_that_cannot_be_fitted_is_a_failed_trial_with_its_reason(here):
    result = here.sweep(space={"text.spacy_pipeline": ["blank", "no_such_pipeline"]}, trials=4)
    failed = [trial for trial in result.trials if trial.reason]
    assert 0 < len(failed) < 4
    assert all("no_such_pipeline" in trial.reason and trial.value is None for trial in failed)
    runs = here.runs()[1]
    assert [run.info.status == "FAILED" for run in runs] == [bool(trial.reason) for trial in result.trials]
    assert "no_such_pipeline" in runs[failed[0].number].data.tags["failed"]
    rows = list(csv.DictReader((here.folder / "out" / "trials.csv").read_text().splitlines()))
    assert [bool(row["reason"]) for row in rows] == [bool(trial.reason) for trial in result.trials]
    assert yaml.safe_load((here.folder / "out" / "best.yaml").read_text())["text"]["spacy_pipeline"] == "blank"


def test_all_trials_failing_is_one_line(here, refused):
    with refused("none of 2 trials could be fitted", "no_such_pipeline"):
        here.sweep(space={"text.spacy_pipeline": ["no_such_pipeline"]}, trials=2)
    assert not (here.folder / "out" / "best.yaml").exists()
    assert here.runs()[0][0].info.status == "FAILED"


def test_changed_sweep_that_fails_leaves_no_results_of_the_one_before(again, swept, refused):
    with refused("none of 4 trials could be fitted"):
        again.sweep("calibration.folds=99")
    assert not [name for name in FILES if (again.folder / "out" / name).exists()]
    again.sweep()
    assert again.files()[1:] == swept[0].files()[1:]


def test_results_stand_while_their_own_sweep_goes_on(again, monkeypatch):
    before = again.files()
    monkeypatch.setattr(TrialJudge, "metrics", interrupt)
    with pytest.raises(KeyboardInterrupt):
        again.sweep(trials=5)
    assert again.files() == before


def all_metrics(value: float) -> Metrics:
    """Return metrics that all have this value, without any label."""
    return Metrics(posts=1, labels={}, **dict.fromkeys(TRIAL_METRICS, value))


@pytest.mark.parametrize(
    ("space", "outside"),
    [
        (
            {"model.type": ["logistic"], "model.C": [0.1, 0.02]},
            "model.type 'svm'",
        ),
        (
            {"model.type": ["svm"], "model.C": {"low": 0.1, "high": 1}},
            "model.C 0.02",
        ),
        ({"model.type": ["svm"], "model.C": {"low": 0.02, "high": 1}}, None),
    ],
)
def test_config_outside_the_space_is_said(here, monkeypatch, space, outside):
    monkeypatch.setattr(TrialJudge, "metrics", lambda self, config: all_metrics(0.5))
    told = []
    first = here.sweep(space=space, trials=1, progress=told.append).trials[0]
    said = [f"the config itself is not tried, because it is outside the space ({outside})"] if outside else []
    assert [step for step in told if "the config itself" in step] == said
    assert (first.values == {"model.type": "svm", "model.C": 0.02}) == (outside is None)


def test_whole_number_listed_for_a_real_one_is_the_config_itself(here, monkeypatch):
    monkeypatch.setattr(TrialJudge, "metrics", lambda self, config: all_metrics(0.5))
    assert here.sweep("model.C=2", space={"model.C": [1, 2, 3]}, trials=1).trials[0].values == {"model.C": 2}


@pytest.mark.parametrize("network", [{"lessons": "some.safetensors", "filters": 6}, Network(lessons="some.safetensors").model_dump()])
def test_network_that_is_listed_in_full_or_in_part_is_the_config_itself(here, network):
    config = here.config("calibration.method=stacked", f"model.network={json.dumps(network)}")
    space = {"model.network": [None, network], "model.C": [0.02]}
    inside, outside = Sweep.model_validate({"space": space}).start(config)
    assert (inside, outside) == ({"model.network": network, "model.C": 0.02}, {})


def test_too_few_positives_are_one_line(here, refused):
    posts = [{"id": str(number), "text": f"text number {number}", "labels": ["alpha"] * (number < 2)} for number in range(30)]
    (here.folder / "few.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    with refused("none of 2 trials", "train posts with it"):
        here.sweep("data.sources=[train=few.jsonl]", trials=2)


def test_store_out_of_reach_is_found_before_the_first_trial(here, fits, monkeypatch, refused):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with refused("MLflow store http://127"):
        here.sweep("tracking.uri=http://127.0.0.1:9")
    assert fits == []
    assert not (here.folder / "out").exists()


def test_store_that_goes_away_costs_no_trial(swept, empty_store, here, fits, refused, monkeypatch):
    log_trial = tracking.SweepRun.log_trial

    def wreck(self, trial):
        if trial.number == 1:
            (here.folder / "mlflow.db").write_bytes(b"no longer a database" * 1000)
        log_trial(self, trial)

    with monkeypatch.context() as patch, refused("the trials so far are in out, but tracking them in MLflow failed"):
        patch.setattr(tracking.SweepRun, "log_trial", wreck)
        here.sweep()
    assert len(fits) == 2
    shutil.copy(empty_store, here.folder / "mended.db")
    mended = here.sweep("tracking.uri=sqlite:///mended.db").trials
    assert len(fits) == 4
    assert [trial.value for trial in mended] == [trial.value for trial in swept[1].trials]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("space: {model.c: [1]}", ["unknown key 'model.c'", "did you mean 'model.C'?"]),
        ("space: {modle.C: [1]}", ["unknown key 'modle'", "did you mean 'model'?"]),
        ("trails: 3\nspace: {model.C: [1]}", ["unknown key 'trails'", "did you mean 'trials'?"]),
        ("space: {model.C: {lo: 1, high: 2}}", ["unknown key 'space.model.C.lo'", "did you mean 'space.model.C.low'?"]),
        ("space: {model.C: {high: 2}}", ["'space.model.C.low' is missing"]),
        ("trials: 3", ["'space' is missing"]),
        ("space: {}", ["space: got a dict", "at least 1 item"]),
        ("trials: 0\nspace: {model.C: [1]}", ["trials: got 0", "greater than or equal to 1"]),
        ("metric: f2\nspace: {model.C: [1]}", ["metric: got 'f2'", "'macro_f1'"]),
        ("space: {model.C: {low: 0, high: 1}}", ["model.C: got 0", "greater than 0"]),
        ("space: {model.C: {low: 0, high: 1, log: true}}", ["space.model.C: low is 0", "log: true", "see configs/sweeps/linear.yaml"]),
        ("space: {model.C: {low: 2, high: 1}}", ["low is 2 and high is 1"]),
        ("space: {model.C: {low: 1, high: .inf}}", ["space.model.C.high: got inf", "finite"]),
        ("space: {model: {type: [svm]}}", ["space.model: must be a range or a list", "as in model.type: [svm, logistic]"]),
        ("space: {model: {C: {low: 1, high: 2}}}", ["space.model: must be a range or a list"]),
        ("space: {model.C: 3}", ["space.model.C: got 3; must be {low: …, high: …}", "list of choices"]),
        ("space: {model.type: [svm, svn]}", ["model.type: got 'svn'", "'svm'"]),
        ("space: {model.type: [svm, svm]}", ["space.model.type: a choice is listed twice"]),
        ("space: {model.type: []}", ["space.model.type: got a list", "at least 1 item"]),
        ("space: {model.C: [2020-01-01]}", ["model.C: got a date"]),
        ("space: {features.word_min_df: {low: 1.5, high: 3}}", ["features.word_min_df: got 1.5", "integer"]),
        ("space: {features.word_ngrams: {low: 1, high: 2}}", ["space.features.word_ngrams cannot be a range", "choices"]),
        ("space: {seed: [1, 2]}", ["space.seed cannot be swept; the keys that can are text.spacy_pipeline", "calibration.method"]),
        ("space: {calibration.folds: [3, 5]}", ["space.calibration.folds cannot be swept"]),
        ("space: {model: [{C: 1}, {C: 2}]}", ["space.model cannot be swept"]),
        ("space: {data.sources: [[a], [b]]}", ["space.data.sources cannot be swept"]),
        ("space: [", ["not valid YAML"]),
        ("- space", ["got a list"]),
    ],
)
def test_sweep_that_cannot_be_used(tmp_path, content, parts, refused):
    (tmp_path / "sweep.yaml").write_text(content)
    with refused(tmp_path / "sweep.yaml", *parts):
        load_sweep(tmp_path / "sweep.yaml", load_config())


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_sweep_fits_the_default_config(path):
    assert load_sweep(path, load_config()).trials >= 10


def test_wrong_key_is_one_line_and_leaves_nothing(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text("space: {model.c: [1]}")
    assert script(main, "--sweep", "sweep.yaml") == (2, "", "error: sweep.yaml: space: unknown key 'model.c'; did you mean 'model.C'?\n")
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_ctrl_c_keeps_the_trials_and_says_how_to_go_on(here, monkeypatch, capsys):
    metrics, fitted = TrialJudge.metrics, []

    def interrupted(self, config):
        fitted.append(config)
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return metrics(self, config)

    (here.folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrialJudge, "metrics", interrupted)
        _sweep(here.config(), Path("sweep.yaml"), Path("out"), dry_run=False)
    assert "kept in out; run the same command again" in capsys.readouterr().err
    assert here.runs()[0][0].info.status == "KILLED"
    told = []
    assert len(here.sweep(trials=2, progress=told.append).trials) == 2
    assert "continuing after 1 of 2 trials" in told
    assert here.runs()[0][0].info.status == "FINISHED"


def test_ctrl_c_before_the_first_trial_promises_nothing(here, monkeypatch, capsys):
    (here.folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    monkeypatch.setattr("pipeline.sweep.run.load_training_corpus", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _sweep(here.config(), Path("sweep.yaml"), Path("out"), dry_run=False)
    assert "kept" not in capsys.readouterr().err
    assert not (here.folder / "out").exists()


def test_setting_that_was_logged_in_part_is_logged_again(here, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(mlflow, "log_dict", interrupt)
        here.sweep(trials=1)
    here.sweep(trials=1)
    (sweep,), _ = here.runs()
    assert (sweep.info.status, len(sweep.inputs.dataset_inputs)) == ("FINISHED", 1)
    names = {artifact.path for artifact in mlflow.MlflowClient().list_artifacts(sweep.info.run_id)}
    assert names == {*FILES, "config.yaml", "environment.json"}


def test_trial_that_was_logged_in_part_is_one_run(here, monkeypatch):
    terminated, calls = mlflow.MlflowClient.set_terminated, itertools.count()

    def interrupted_once(*arguments, **options):
        return terminated(*arguments, **options) if next(calls) else interrupt()

    monkeypatch.setattr(mlflow.MlflowClient, "set_terminated", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        here.sweep(trials=2)
    here.sweep(trials=2)
    assert [(run.data.tags["trial"], run.info.status) for run in here.runs()[1]] == [("0", "FINISHED"), ("1", "FINISHED")]


def test_dry_run_checks_the_sweep_and_writes_nothing(here, refused):
    before = sorted(here.folder.iterdir())
    (here.folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    assert "Corpus" in call("--data", "data", "--sweep", "sweep.yaml", "--set", "labels=labels.yaml", "--dry-run")
    (here.folder / "sweep.yaml").write_text("space: {model.c: [1]}")
    with refused("did you mean 'model.C'?"):
        call("--data", "data", "--sweep", "sweep.yaml", "--dry-run")
    assert sorted(here.folder.iterdir()) == [*before, here.folder / "sweep.yaml"]


def test_folder_that_holds_something_else_is_left_alone(here, fits, refused):
    (here.folder / "full").mkdir()
    (here.folder / "full" / "notes.txt").write_text("mine")
    with refused("full: holds other files, such as notes.txt"):
        here.sweep(out="full")
    with refused("mlflow.db", "cannot be read"):
        here.sweep(out="mlflow.db")
    assert [path.name for path in (here.folder / "full").iterdir()] == ["notes.txt"]
    assert fits == []


def test_folder_in_use_or_with_a_damaged_study_is_one_line(again, fits, refused):
    with FileLock(again.folder / "out" / "lock"), refused("out: another sweep is using this folder"):
        again.sweep()
    (again.folder / "out" / "study.db").write_bytes(b"no database" * 1000)
    with refused("out/study.db: cannot be used"):
        again.sweep()
    assert fits == []


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_overlay_gives_the_config_back(path, tmp_path):
    config = load_config([path], ["seed=3"], ["here.csv"])
    (tmp_path / "best.yaml").write_text(yaml.safe_dump(overlay_of(config, {"model.C": config.model.C})))
    assert load_config([tmp_path / "best.yaml"]) == config


def test_password_of_the_store_is_in_no_overlay():
    config = load_config((), (), tracking={"uri": "postgresql://me:secret@host/db", "experiment": "other"})
    assert overlay_of(config, {"model.C": 0.15}) == {"tracking": {"experiment": "other"}, "model": {"C": 0.15}}


def trial(number, value, reason=None):
    start = datetime(2020, 1, 1)
    return Trial(number, {"model.C": 1.0}, value, {}, reason, start, start + timedelta(seconds=2))


def test_progress_is_a_line_a_trial_in_a_log(capsys):
    with trial_progress(3) as (progress, ended):
        progress("reading the data")
        for each in (trial(0, None, "too few posts"), trial(1, 0.5), trial(2, 0.25)):
            ended(each)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "reading the data",
        "trial 0: failed: too few posts, none fitted yet",
        "trial 1: 0.5000, best 0.5000 (trial 1)",
        "trial 2: 0.2500, best 0.5000 (trial 1)",
    ]


def test_progress_is_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with trial_progress(3) as (progress, ended):
        progress("reading the data")
        ended(trial(0, 0.5))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "best 0.5000 (trial 0)" in printed.err
    assert "1/3" in printed.err


def test_reason_with_brackets_is_shown_as_it_is_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with trial_progress(1) as (_, ended):
        ended(trial(0, None, "got [red]x[/b]"))
    assert "failed: got [red]x[/b]" in capsys.readouterr().err
