import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import invent, training
from rich.console import Console
from school import lessons_of
from scipy.stats import binom
from sklearn.metrics import f1_score

from benchmarks import ablation, intervals, safecity, scoring, serving, spark, thresholds, throughput, watching
from benchmarks.throughput import distinct_posts, forget, main, measure, of_length
from models import Classifier, text
from models.config import Label, LabelSet
from models.errors import InputError
from models.fitting import folds_of
from models.fitting import lessons_of as lessons_given
from models.text import normalise
from pipeline import terminal
from pipeline.config import Watch
from pipeline.config_files import load_config

pytest_plugins = ["taught"]

ROOT = Path(__file__).parent.parent
COMMANDS = sorted(path.name for path in ROOT.glob("benchmarks/*.py") if "terminal.run(" in path.read_text("utf-8"))
MODULES = sorted(
    f"pipeline.commands.{path.stem}" for path in ROOT.glob("pipeline/commands/*.py") if "terminal.run(" in path.read_text("utf-8")
)
SIGNS = {
    "workplace_harassment": "my boss at the office",
    "street_harassment": "a stranger on the street",
    "assault": "he attacked me at night",
    "solidarity_support": "i believe you all",
}
NAMES_OF = [((False, False), "abcd"), ((True, False), "ab"), ((True, True), "ab")]  # rows of the throughput table by length
GIVEN = np.tile([[0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], (6, 1))
FILLER = ["today", "we", "walked", "by", "the", "river", "and", "nobody", "said", "a", "word", "about", "rain", "or", "bread"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("corpus"), random.Random(0)
    posts = []
    for number in range(150):
        labels = [name for name in SIGNS if rng.random() < 0.3]
        words = [SIGNS[name] for name in labels] + rng.choices(FILLER, k=8)
        posts.append({"id": str(number), "text": " ".join(words), "labels": labels, "author": f"writer {number}"})
    for name, chosen in {"train": posts[:100], "unlabeled": posts[100:]}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(post) + "\n" for post in chosen))
    return folder


def cells(printed: str) -> list[list[str]]:
    """Return the cells of the printed tables, row by row."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]


# One process starts all commands, because most of the time goes into importing what they share; each sees the path of a process of its own.
START_ALL = """
import runpy, sys
root, *commands = sys.argv[1:]
path = list(sys.path[1:])
for command in commands:
    sys.argv, sys.path[:] = [command, "--help"], [command.rpartition("/")[0] or root, *path]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("benchmarks", "models", "pipeline")]:
        del sys.modules[name]
    try:
        if command.endswith(".py"):
            runpy.run_path(command, run_name="__main__")
        else:
            runpy.run_module(command, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert end.code == 0, command
"""


@pytest.mark.slow
def test_every_command_starts_from_any_folder(tmp_path):
    commands = [*(str(ROOT / "benchmarks" / name) for name in COMMANDS), *MODULES]
    done = subprocess.run([sys.executable, "-c", START_ALL, ROOT, *commands], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"Usage: (?:python -m )?(\S+) ", done.stdout) == [*COMMANDS, *MODULES]


def test_reports_rates_ratios_and_bars_as_json_or_in_a_table_without_any_post(corpus, capsys, monkeypatch):
    main(posts=60, corpus=corpus, rounds=1, as_json=True)
    printed, said = capsys.readouterr()
    result = json.loads(printed)
    natural = [row for row in result["rows"] if row["posts"] == 60]
    rates = {row["row"]: row["posts_per_second"] for row in natural if row["state"] == "cold" and row["model"] in {"", "default"}}
    assert {*"abcd"} <= rates.keys()
    assert result["ratios"] == pytest.approx({f"b/{other}": rates["b"] / rates[other] for other in rates if other != "b"})
    assert result["bars"] == {"b/a": 0.5, "b/c": 5.0}
    assert ("e" in rates) != ("row (e) is left out: fastText is not installed" in said)
    monkeypatch.setattr(throughput, "measure", lambda *_: result)
    monkeypatch.setattr(terminal, "output", lambda: Console(width=300))
    main(posts=60, corpus=corpus, model=corpus)
    printed = capsys.readouterr().out
    assert {"posts/s", "read", "network", "calibrate"} <= {cell for row in cells(printed.replace("┃", "│")) for cell in row}
    assert {"(b) text to probabilities, ours: fast", "(b) text to probabilities, ours: released", "b/c"} <= {
        cell for row in cells(printed) for cell in row
    }
    assert not {"boss", "river", "stranger"} & set(printed.split())


def test_stages_are_timed_cold_and_warm_at_each_length(corpus, model, tmp_path):
    posts = distinct_posts([json.loads(line)["text"] for line in (corpus / "unlabeled.jsonl").read_text().splitlines()], 60, seed=0)
    model.save(tmp_path / "mine")
    result = measure(posts, {"mine": tmp_path / "mine"}, None, rounds=2)
    rows = [(row["words"] > 70, row["words"] > 200, row["state"], row["row"]) for row in result["rows"]]
    assert rows == [(*length, state, path) for length, paths in NAMES_OF for state in ("cold", "warm") for path in paths]
    for row in result["rows"]:
        times = row["microseconds"]
        assert [*times] == {"a": ["read"], "b": ["read", "features", "calibrate"]}.get(row["row"], ["predict"])
        assert row["posts_per_second"] == pytest.approx(1e6 / sum(times.values()))
        tokenizer = next(other for other in result["rows"] if other["row"] == "a" and all(other[k] == row[k] for k in ("words", "state")))
        assert row["times_tokenizer"] == pytest.approx(row["posts_per_second"] / tokenizer["posts_per_second"])


def test_posts_of_a_length_hold_the_same_words_in_the_same_order():
    posts = of_length(["one two three", "four", "five six seven"], 3)
    assert posts == ["one two three", "four five six", "seven"]


def test_a_cold_round_finds_nothing_that_was_remembered_of_posts():
    normalise("#NobodySleepsHere #nobodysleepshere badelu")
    caches = [
        value.cache_info
        for module in [*sys.modules.values()]
        if (module.__name__ or "").startswith("models.")
        for value in vars(module).values()
        if hasattr(value, "cache_parameters") and value.cache_parameters()["maxsize"]  # those without a limit hold tables
    ]
    assert sum(cache().currsize for cache in caches) > 0
    assert text._chunks
    forget()
    assert sum(cache().currsize for cache in caches) == 0
    assert not text._chunks
    assert not text._chunks.joining


def test_a_corpus_that_is_missing_is_a_user_error(tmp_path):
    with pytest.raises(InputError, match=r"unlabeled\.jsonl: no such file"):
        main(corpus=tmp_path)


def test_posts_are_distinct_begin_with_the_originals_and_follow_from_the_seed():
    texts = ["one two three four", "five six seven eight", "nine ten eleven twelve", "five six seven eight"]
    posts = distinct_posts(texts, 6, seed=1)
    assert posts[:3] == [texts[0], texts[1], texts[2]]
    assert len(set(posts)) == 6
    starts, ends = {" ".join(text.split()[:2]) for text in texts}, {" ".join(text.split()[2:]) for text in texts}
    assert all(" ".join(post.split()[:2]) in starts and " ".join(post.split()[2:]) in ends for post in posts)
    assert posts == distinct_posts(texts, 6, seed=1)
    assert posts[:2] == distinct_posts(texts, 2, seed=1)


def test_too_few_texts_for_so_many_posts_is_a_user_error():
    with pytest.raises(InputError, match="lower --posts"):
        distinct_posts(["one two", "three four"], 5, seed=0)


@pytest.mark.slow
def test_jobs_are_measured_beside_the_tokenizer_and_the_alternative(corpus, monkeypatch, capsys):
    run_job, others = scoring.run_job, iter(range(1000, 2000, 100))

    def run_some(posts: Path, model: Path, workers: int) -> dict[str, Any]:
        """Run two of the jobs, because each starts processes."""
        if (posts.suffix, workers) == (".parquet", 2) or posts.stem == "repeated":
            return run_job(posts, model, workers)
        return {"wall": float(next(others)), "worker": 900.0, "peak": {"parent": 100.0, "worker": 0.0}, "reused": 0}

    monkeypatch.setattr(scoring, "run_job", run_some)
    scoring.main(corpus, posts=300, rounds=1, sample=50, spacy_pipeline="no_such_pipeline", as_json=True)
    printed, said = capsys.readouterr()
    assert "no_such_pipeline is not installed" in said
    result = json.loads(printed)
    jobs, ratios = result["jobs"], result["ratios"]
    assert list(jobs) == ["jsonl 1", "jsonl 2", "parquet 1", "parquet 2", "repeated 1"]
    assert all(job["wall"] > 0 and job["peak"]["parent"] > 0 for job in jobs.values())
    assert (jobs["parquet 2"]["reused"], jobs["repeated 1"]["reused"]) == (0, 300 - 93)
    assert ratios["jsonl 1 / tokenizer"] == pytest.approx(jobs["jsonl 1"]["wall"] / result["tokenizer"])
    assert ratios["parquet 2 / 1"] == pytest.approx(jobs["parquet 2"]["wall"] / jobs["parquet 1"]["wall"])
    assert ratios["jsonl 2 / 1"] == pytest.approx(jobs["jsonl 2"]["wall"] / jobs["jsonl 1"]["wall"])
    assert ratios["repeated / distinct"] == pytest.approx(jobs["repeated 1"]["wall"] / jobs["jsonl 1"]["wall"])
    assert ratios["jsonl 1 / lemmas"] == pytest.approx(jobs["jsonl 1"]["wall"] / result["lemmas"])
    assert "jsonl 1 / lemmas" not in result["bars"], "a bar for lemmas does not hold for their twin"
    assert set(result["bars"]) < set(ratios)


def test_stream_repeats_as_much_as_the_real_one_day_after_day(monkeypatch):
    monkeypatch.setattr(scoring, "DAY", 1000)
    monkeypatch.setattr(scoring, "DISTINCT", 310)
    posts = [f"post {number}" for number in range(1500)]
    stream = scoring.repeated_stream(posts, 1500, seed=0)
    assert len(stream) == 1500
    assert (set(stream[:1000]), set(stream[1000:])) == (set(posts[:310]), set(posts[310:465]))
    assert stream.count("post 0") > 50 > stream.count("post 300")
    assert stream == scoring.repeated_stream(posts, 1500, seed=0) != scoring.repeated_stream(posts, 1500, seed=1)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Invented reports in the published format: three test texts are also in train, one of them with different labels."""
    folder, rng = tmp_path_factory.mktemp("safecity"), random.Random(0)
    signs = ["whistled at", "stared at", "touched"]
    rows = []
    for _ in range(160):
        labels = [int(rng.random() < 0.4) for _ in signs]
        words = [sign for sign, label in zip(signs, labels, strict=True) if label] + rng.choices(FILLER, k=7)
        rows.append([" ".join(words), *labels])
    wrong = [rows[2][0], *(1 - label for label in rows[2][1:])]
    for name, chosen in {"train": rows[:110], "dev": rows[110:120], "test": [*rows[120:], *rows[:2], wrong]}.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Description", "Commenting", "Ogling/Facial Expressions/Staring", "Touching /Groping"])
            writer.writerows(chosen)
    return folder


def test_safecity_is_measured_with_and_without_repeated_texts_beside_the_published(reports, capsys):
    safecity.main(reports, as_json=True)
    result = json.loads(capsys.readouterr().out)
    assert list(result) == ["measured", "published"]
    whole, new = (result["measured"][f"ours, {posts}"] for posts in ("official test", "its texts in no other split"))
    assert (whole["posts"], new["posts"]) == (43, 40)
    assert whole["one_minus_hamming_loss"]["value"] == pytest.approx(sum(whole["accuracy"]) / 3)
    assert new["exact_match"]["value"] > whole["exact_match"]["value"] * 40 / 43 > 50  # the text with other labels is not among the new
    for row in result["measured"].values():
        low, high = row["exact_match"]["interval"]
        assert low <= row["exact_match"]["value"] <= high
    safecity.main(reports)
    printed = capsys.readouterr().out
    assert "AD-ASH 2025" in printed
    assert "85.3" in printed


def test_safecity_without_a_test_split_is_a_user_error(reports, tmp_path):
    (tmp_path / "train.csv").write_bytes((reports / "train.csv").read_bytes())
    with pytest.raises(InputError, match="no test posts found"):
        safecity.main(tmp_path)


def test_safecity_all_zero_is_right_where_nothing_is_given():
    scored = safecity.scores(*(values.astype(kind) for values, kind in ((GIVEN, "int8"), (0 * GIVEN, bool))), rounds=200, seed=0)
    assert scored["exact_match"]["value"] == 50
    assert scored["accuracy"] == [75, 50, 100]
    assert scored["one_minus_hamming_loss"]["value"] == 75


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::mlflow")
def test_ablation_measures_each_variant_beside_the_first(files, empty_store, monkeypatch, capsys):
    lessons_of(files.material).save(files.lessons)
    monkeypatch.setattr(ablation, "RELEASED", files.folder / "taught.yaml")
    monkeypatch.setattr(ablation, "ROUNDS", 100)
    monkeypatch.setattr(ablation, "VARIANTS", [ablation.VARIANTS[0], ablation.VARIANTS[2]])
    monkeypatch.chdir(files.folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_store, files.folder)}")
    ablation.measure(files.options[3::2])
    printed = capsys.readouterr().out.rpartition("held-out folds")[2]
    first, second = cells(printed)
    assert [first[0], second[0]] == ["linear, any vocabulary", "and a network that learns from the labels alone"]
    assert (first[2], first[4]) == ("", "")
    for row, macro_f1, versus in ((first, 1, None), (second, 1, 2), (second, 3, 4)):
        assert re.fullmatch(r"\d+\.\d \[\d+\.\d, \d+\.\d\]", row[macro_f1])
        assert not versus or re.fullmatch(r"[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]", row[versus])


def test_ablation_varies_the_released_config():
    configs = [load_config([ablation.RELEASED], variant.settings) for variant in ablation.VARIANTS]
    assert configs[-1] == load_config([ablation.RELEASED])
    assert all(config.model.network for config in configs)  # all have the folds of the lessons
    assert [any(variant.parts) for variant in ablation.VARIANTS] == [False, False, *[True] * (len(configs) - 2)]


def test_ablation_teaches_the_parts_that_a_variant_names(files):
    lessons_of(files.material).save(files.lessons)
    config, corpus = files.load()
    model = Classifier.from_config(config.of_model())
    posts = corpus.to_learn_from().tokenised(model.tokenizer)
    given = model.config, posts, folds_of(model.config, posts)
    for of_all, of_part in zip(lessons_given(*given), ablation._part_of(lessons_given(*given), (True, False, True)), strict=True):
        labelled, unlabelled, composed = of_all.sizes
        kept = [*range(labelled), *range(labelled + unlabelled, labelled + unlabelled + composed)]
        np.testing.assert_array_equal(of_part.targets, of_all.targets[kept])
        assert of_part.posts.to_lists() == of_all.posts.take(np.array(kept)).to_lists()


def test_intervals_hold_about_as_often_as_they_say_and_those_beside_them_do_not(monkeypatch, capsys):
    monkeypatch.setattr(intervals, "POPULATION", 10_000)
    monkeypatch.setattr(intervals, "RESAMPLES", 100)
    intervals.main(runs=10, as_json=True)
    rates = json.loads(capsys.readouterr().out)
    beside = {"bootstrap of single posts", "decisions counted", "cheapest of the sample"}
    assert beside < {rate["by"] for rate in rates}
    for rate in rates:
        assert rate["found"] == rate["held"] / 10
        if rate["by"] not in beside:
            assert rate["found"] >= rate["by_chance"][0], rate
    assert {rate["found"] for rate in rates if rate["by"] == "decisions counted"} == {0}
    intervals.main(runs=1)
    rows = cells(capsys.readouterr().out)
    assert [row[:2] for row in rows] == [[rate["of"], rate["by"]] for rate in rates]
    assert {row[3] for row in rows} <= {"0.0%", "100.0%"}


def test_higher_tolerance_costs_f1_and_spares_false_alarms():
    Y = np.repeat([[1, 0], [0, 1], [0, 0]], [100, 100, 400], axis=0).astype(np.int8)
    trigger, ordinary = np.arange(600) // 100 == 2, np.arange(600) >= 300
    probabilities = np.where(Y, 0.99, 0.05).astype(np.float32)
    probabilities[:10, 0] = 0.5  # ten positives that a higher threshold gives up
    probabilities[200:205, 0] = 0.6  # five posts with a trigger word, which the higher threshold no longer flags
    probabilities[205:207, 0] = probabilities[206:209, 1] = 0.99  # four that both thresholds flag
    probabilities[300:304, 0] = probabilities[303:305, 1] = 0.99  # five ordinary posts
    console = Console(width=200)
    wanted, two = load_config().thresholds, ["assault", "solidarity_support"]
    labels = LabelSet(name="two", labels=[Label(name=name, definition="") for name in two], support=two[1:])
    with console.capture() as captured:
        console.print(thresholds.by_tolerance(Y, probabilities, trigger, ordinary, labels, wanted))
    rows = cells(captured.get())
    assert [float(row[0]) for row in rows] == thresholds.TOLERANCES
    # If the true share is 15.18 %, the chance that at most nine of a hundred posts are flagged is one in twenty.
    assert binom.cdf(9, 100, 0.1518) == pytest.approx(0.05, abs=1e-3)
    assert rows[0][2:] == ["9 (15.18)", "4 (3.03)", "2 (2.08)"]
    assert rows[-1][2:] == ["4 (8.92)", "4 (3.03)", "2 (2.08)"]
    assert float(rows[0][1]) == pytest.approx(50 * (200 / 211 + 200 / 205), abs=0.05)
    assert float(rows[-1][1]) == pytest.approx(50 * (2 * 90 / (90 + 6 + 100) + 200 / 205), abs=0.05)


def test_thresholds_are_measured_on_held_out_folds_and_posts_without_any_label(files, monkeypatch, capsys):
    lessons_of(files.material).save(files.lessons)
    monkeypatch.setattr(thresholds, "RELEASED", files.folder / "taught.yaml")
    thresholds.measure(files.options[3::2])
    rows = cells(capsys.readouterr().out)
    config, corpus = files.load()
    model = Classifier.from_config(config.of_model())
    posts = corpus.to_learn_from()
    model.cross_validate(training(model.tokenizer.read(posts.texts), posts.Y, posts.groups, posts.auxiliary))
    decided = model.decide(model.held_out_)
    without = ~posts.Y.any(axis=1) & ~posts.auxiliary.any(axis=1)
    assert config.thresholds.tolerance == thresholds.TOLERANCES[0]
    assert rows[0][1] == f"{100 * f1_score(posts.Y, decided, average='macro'):.1f}"
    assert rows[0][2:] == ["no posts", thresholds.flagged(decided[without]), "0 (7.98)"]
    assert decided[without].any()


def test_tolerance_of_the_released_model_is_among_those_shown():
    assert load_config([thresholds.RELEASED]).thresholds.tolerance in thresholds.TOLERANCES


def test_load_test_finds_wrong_answers():
    right = {"predictions": [{"prob_a": 0.25, "labels": ["a"], "error": None}, {"prob_a": None, "labels": [], "error": "no text"}]}
    expected = [([0.25], ["a"]), (None, [])]
    assert serving.is_right(right, expected)
    for wrong in (expected[:1], [*expected, (None, [])], expected[::-1], [([0.26], ["a"]), (None, [])], [([0.25], []), (None, [])]):
        assert not serving.is_right(right, wrong)


# ---- watching ----


def test_nights_of_one_stream_are_compared_again_and_again(model):
    posts = invent(400, seed=5)
    stream = watching.stream_of(model, posts.texts)
    found = watching.repeated(model, stream, posts.Y, 150, 3, Watch(min_posts=50), np.random.default_rng(0))
    assert (found["repeats"], found["alarms, compared with"]["a night"]) == (3, 0)
    for held, bands, low, high in found["bands that hold the truth"].values():
        assert held <= bands <= 6
        assert low <= held / bands <= high


def test_truth_of_a_label_is_what_its_posts_show():
    given, y = np.array([True, True, False, False]), np.array([1, 0, 1, 0], np.int8)
    assert watching.truth_of(given, y) == {"share": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert watching.truth_of(given & False, y) == {"share": 0.5}


def test_posts_in_ten_languages_are_unfamiliar_to_a_model_of_an_invented_one_and_raise_an_alarm(model):
    foreign = list(csv.DictReader(watching.LANGUAGES.read_text("utf-8").splitlines()))
    found = watching.unfamiliar(model, {"its own": [{"text": text} for text in invent(50).texts], "other languages": foreign})
    assert len(found) == 12
    assert found.pop("its own") < 0.1
    assert min(found.values()) == 1
    stream = watching.stream_of(model, invent(400, seed=5).texts)
    shifted = watching.shifted(model, stream, foreign, 100, 1, np.random.default_rng(0))
    assert shifted["alarms, by share of these posts"]["100%"] == 1
    assert "unknown_words" in shifted["what was past a limit"]


@pytest.mark.parametrize("as_json", [True, False])
def test_spark_s_figures_are_those_of_what_a_job_does_beyond_starting(tmp_path, capsys, monkeypatch, as_json):
    (tmp_path / "posts.jsonl").write_text('{"id": 1, "text": "a"}\n{"id": 2, "text": null}\n{"id": 3, "text": "b"}\n')

    def run_job(master, workers, inputs, executors, model):
        paths = [path for place in inputs for path in (place.glob("*") if place.is_dir() else [place])]
        posts = sum(pq.read_metadata(path).num_rows for path in paths)
        assert (master, workers, model) == ("spark://x", [7], "released")
        return {"posts": posts, "seconds": 9 + posts / 1000 / executors, "driver": 8 + len(paths) / 100, "executors": 5 + posts / 500}

    monkeypatch.setattr(spark, "cluster", lambda folder, workers: nullcontext(("spark://x", [7])))
    monkeypatch.setattr(spark, "run_job", run_job)
    spark.main(tmp_path / "posts.jsonl", count=5_000, files=20, as_json=as_json)
    printed = capsys.readouterr().out
    if as_json:
        found = json.loads(printed)
        assert [figures["rate"] for figures in found["executors"].values()] == pytest.approx([1000, 2000])
        assert found["executors"]["1"]["rate_of_processor"] == pytest.approx(500)
        assert found["driver_per_file"] == pytest.approx(0.19 / 20)
    else:
        assert "1,000" in printed
        assert "8.0 s for each job, and 9.5 ms for each small file" in printed


def test_processor_time_is_that_of_a_process_and_its_children():
    with subprocess.Popen(["sleep", "60"]) as process:
        assert process.pid in spark.descendants(os.getpid())
        clock = spark._Clock([os.getpid()])
        while clock.seconds == 0:
            clock.look()
        process.kill()
    assert spark.descendants(process.pid) == []
