"""Estimates of how many posts have a label.

benchmarks/intervals.py measures how often their intervals cover the truth.
"""

import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.prevalence import main
from pipeline.evaluation.prevalence import estimate_prevalence, read_scores
from pipeline.metrics import wilson_interval
from pipeline.predictions import prediction_table, write_parquet

DIGEST, OTHER = "a" * 64, "b" * 64


def draw(rng, posts, share):
    """Draw posts of which this share has the label, and the probabilities of a model that gives it too often."""
    y = (rng.random((posts, 1)) < share).astype(np.int8)
    p = np.where(y == 1, rng.beta(6, 2, (posts, 1)), rng.beta(2, 5, (posts, 1))).astype(np.float32)
    return y, p


def estimate(y, labelled, unlabelled, confidence=0.95, min_positives=10, **months):
    return estimate_prevalence(y, labelled, unlabelled, ["alpha"], [0.5], confidence, min_positives, **months)


def covers(interval, truth):
    return interval[0] <= truth <= interval[1]


@pytest.mark.parametrize(("share", "confidence"), [(0.2, 0.95), (0.2, 0.8), (0.03, 0.95)])
def test_interval_is_wilsons_for_as_many_posts_as_would_err_no_more(share, confidence):
    rng = np.random.default_rng(0)
    (y, p), (_, unlabelled) = draw(rng, 600, share), draw(rng, 4000, share)
    found = estimate(y, p, unlabelled, confidence).total.labels["alpha"]
    trust = (found.estimate - y.mean()) / (
        unlabelled.mean(dtype=float) - p.mean(dtype=float)
    )  # the trust in the model, which PPI++ calls λ
    best = np.cov(y[:, 0], p[:, 0])[0, 1] / (1 + 600 / 4000) / np.var(np.concatenate([p, unlabelled]))
    assert trust == pytest.approx(min(1, best), rel=0.02)
    error = trust**2 * np.var(unlabelled, dtype=float) / 4000 + np.var(y - trust * p, dtype=float) / 600
    spread = found.estimate * (1 - found.estimate)
    effective = spread / min(error + 1 / 600**2, spread / 600)  # one more misjudged post, but no more than without the model
    assert found.interval == pytest.approx(wilson_interval(found.estimate * effective, effective, confidence), rel=1e-4)
    assert np.ptp(found.interval) < np.ptp(found.labelled_interval)
    assert abs(found.estimate - share) < abs(found.counted - share) / 2


def test_a_useless_model_costs_nothing_and_its_counts_are_not_believed():
    rng = np.random.default_rng(1)
    y = (rng.random((500, 1)) < 0.3).astype(np.int8)
    noise = rng.random((5500, 1)).astype(np.float32)
    found = estimate(y, noise[:500], noise[500:]).total.labels["alpha"]
    assert found.estimate == pytest.approx(found.labelled_share, abs=0.01)
    assert np.ptp(found.interval) == pytest.approx(np.ptp(found.labelled_interval), rel=0.02)
    assert found.counted == pytest.approx(0.5, abs=0.03)


def test_a_model_that_says_one_thing_of_all_leaves_the_labelled_posts():
    y = np.repeat([[1], [0]], [30, 70], axis=0).astype(np.int8)
    same = np.full((400, 1), 0.25, np.float32)
    found = estimate(y, same[:100], same).total.labels["alpha"]
    assert found.estimate == found.labelled_share == 0.3
    assert found.interval == pytest.approx(found.labelled_interval)
    assert (found.counted, found.mean_probability) == (0, 0.25)


@pytest.mark.parametrize(("positives", "too_few"), [(0, True), (9, True), (10, False), (190, False), (191, True)])
def test_too_few_positives_or_negatives_are_said_not_read(positives, too_few):
    rng = np.random.default_rng(2)
    y = (np.arange(200) < positives)[:, None].astype(np.int8)
    found = estimate(y, rng.random((200, 1), np.float32), rng.random((500, 1), np.float32)).total.labels["alpha"]
    assert (found.too_few, found.positives) == (too_few, positives)
    assert (found.estimate is None) == (found.interval is None) == too_few
    assert found.labelled_share == positives / 200
    assert 0 < np.ptp(found.labelled_interval) < 0.2
    assert found.counted == pytest.approx(0.5, abs=0.1)


def test_shares_stay_between_nothing_and_all():
    y = np.repeat([[1], [0]], [10, 90], axis=0).astype(np.int8)
    nowhere_else = np.zeros((5000, 1), np.float32)  # its estimate if the model was always right
    found = estimate(y, y.astype(np.float32), nowhere_else).total.labels["alpha"]
    assert 0 <= found.interval[0] <= found.estimate <= found.interval[1] <= 1


def test_counting_takes_the_models_thresholds():
    y, p = np.zeros((5, 2), np.int8), np.zeros((5, 2), np.float32)
    unlabelled = np.array([[0.1, 0.1], [0.3, 0.3], [0.7, 0.7], [0.9, 0.9]], np.float32)
    found = estimate_prevalence(y, p, unlabelled, ["alpha", "beta"], [0.3, 0.8], 0.95, 10).total.labels
    assert (found["alpha"].counted, found["beta"].counted) == (0.75, 0.25)


def test_each_month_is_estimated_from_its_own_labelled_posts():
    rng = np.random.default_rng(3)
    shares = {"2017-10": 0.4, "2017-11": 0.1}
    parts = {month: (*draw(rng, 800, share), draw(rng, 5000, share)[1]) for month, share in shares.items()}
    y, p, unlabelled = (np.concatenate(columns) for columns in zip(*parts.values(), strict=True))
    _, few = draw(rng, 50, 0.3)
    found = estimate(
        y,
        p,
        np.concatenate([unlabelled, few, few]),
        months_labelled=np.repeat(list(shares), 800).tolist(),
        months_unlabelled=[*np.repeat(list(shares), 5000).tolist(), *["2017-12"] * 50, *[None] * 50],
    )
    assert list(found.months) == ["2017-10", "2017-11", "2017-12"]
    for month, share in shares.items():
        by_month = found.months[month].labels["alpha"]
        assert covers(by_month.interval, share)
        assert np.ptp(by_month.interval) < 0.1
    unknown = found.months["2017-12"]
    assert (unknown.posts, unknown.labelled) == (50, 0)
    assert unknown.labels["alpha"].too_few
    assert unknown.labels["alpha"].labelled_interval is None
    assert (found.total.posts, found.total.labelled) == (10_100, 1600)


def test_warnings_are_left_on():
    before = list(warnings.filters)
    test_a_model_that_says_one_thing_of_all_leaves_the_labelled_posts()
    assert warnings.filters == before


# ---- what score.py wrote ----


@pytest.fixture(scope="module")
def scored(model, tmp_path_factory):
    """Two shards of posts that the command scored, and the same in CSV; one post has no date."""
    folder = tmp_path_factory.mktemp("scored")
    digest = model.save(folder / "model")
    dates = ["Sun Oct 15 20:21:49 +0000 2017", "2017-11-02T08:00:00Z", None]
    for number, rows in enumerate([dates[:2], dates[2:]]):
        posts = [{"id": f"{number}{k}", "text": f"zaxa {'wiku ' * k}", "created_at": date} for k, date in enumerate(rows)]
        (folder / f"posts{number}.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    for kind, kept in (("parquet", ["--keep", "created_at"]), ("csv", [])):
        command = [sys.executable, "score.py", folder / "posts0.jsonl", folder / "posts1.jsonl", "--model", folder / "model"]
        command += ["--out", folder / kind, "--format", kind, "--workers", "1", *kept]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder, digest


def test_reads_what_score_wrote(scored, model):
    folder, digest = scored
    scores = read_scores(folder / "parquet", digest, model.labels)
    probabilities, months = scores.probabilities, scores.months
    expected = model.predict_proba(["zaxa ", "zaxa wiku ", "zaxa "])
    order = np.argsort([month or "" for month in months])
    assert [months[k] for k in order] == [None, "2017-10", "2017-11"]
    np.testing.assert_allclose(probabilities[order], expected[[2, 0, 1]], rtol=0, atol=1e-6)
    assert probabilities.dtype == np.float32
    swapped = read_scores(folder / "parquet", digest, model.labels[::-1]).probabilities
    np.testing.assert_array_equal(swapped, probabilities[:, ::-1])


def test_csv_is_refused_with_the_remedy(scored, model, refused):
    folder, digest = scored
    with refused("csv", "--format parquet"):
        read_scores(folder / "csv", digest, model.labels)


@pytest.fixture
def job(tmp_path):
    """``job(digest=…)`` writes a finished output folder with one part, and returns its path."""

    def write(digest=DIGEST, labels=("alpha", "beta"), posts=3, **kept):
        probabilities = np.full((posts, len(labels)), 0.25, np.float32)
        ids = [str(number) for number in range(posts)]
        table = prediction_table(ids, probabilities, probabilities > 0.5, list(labels), digest, kept=kept)
        write_parquet(table, tmp_path / "part-1.parquet")
        manifest = {"options": {"format": "parquet"}, "files": {"posts.jsonl": {"parts": {"part-1.parquet": ""}}}}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        return tmp_path

    return write


@pytest.mark.parametrize("part", ["../elsewhere/part-1.parquet", "{elsewhere}", "linked.parquet", "sub/part-1.parquet", "..", "", "a\0b"])
def test_a_manifest_names_no_part_outside_its_folder(job, refused, part):
    folder = job()
    elsewhere = folder.parent / "elsewhere"
    for other in (elsewhere, folder / "sub"):
        other.mkdir(exist_ok=True)
        shutil.copy(folder / "part-1.parquet", other)
    (folder / "linked.parquet").symlink_to(elsewhere / "part-1.parquet")
    part = part.format(elsewhere=elsewhere / "part-1.parquet")
    manifest = {"options": {"format": "parquet"}, "files": {"posts.jsonl": {"parts": {part: ""}}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with refused(folder / "manifest.json", "names a part that is not a file of this folder"):
        read_scores(folder, DIGEST, ["alpha", "beta"])


def test_reads_one_file_and_has_no_months_without_dates(job):
    scores = read_scores(job() / "part-1.parquet", DIGEST, ["alpha", "beta"])
    assert (scores.probabilities.tolist(), scores.months) == ([[0.25, 0.25]] * 3, None)


def test_dates_may_have_another_name(job):
    folder = job(when=["2018-01-31", "yesterday", None])
    assert read_scores(folder, DIGEST, ["alpha", "beta"], "when").months == ["2018-01", None, None]


def test_reads_what_spark_wrote_less_the_posts_that_it_could_not_score(job):
    folder = job()
    table = pq.read_table(folder / "part-1.parquet")
    write_parquet(table.take([0, None, 2]), folder / "part-1.parquet")
    (folder / "manifest.json").unlink()
    (folder / "_SUCCESS").touch()
    assert read_scores(folder, DIGEST, ["alpha", "beta"]).probabilities.shape == (2, 2)


def test_scores_of_another_model_or_other_labels_are_refused(job, refused):
    with refused("bbbbbbbbbbbb, ", "aaaaaaaaaaaa;", "score the posts with aaaaaaaaaaaa"):
        read_scores(job(OTHER), DIGEST, ["alpha", "beta"])
    with refused("alpha, gamma", "alpha, beta"):
        read_scores(job(labels=("alpha", "gamma")), DIGEST, ["alpha", "beta"])


def test_folders_without_all_scores_are_refused(job, refused, tmp_path):
    labels = ["alpha", "beta"]
    with refused("nowhere", "no such file or folder"):
        read_scores(tmp_path / "nowhere", DIGEST, labels)
    with refused("no manifest.json", "run the same score.py command again"):
        read_scores(tmp_path, DIGEST, labels)
    with refused("has no scored posts"):
        read_scores(job(posts=0), DIGEST, labels)
    folder = job()
    (folder / "part-1.parquet").write_bytes(b"PAR1, or so it says")
    with refused("part-1.parquet", "damaged"):
        read_scores(folder, DIGEST, labels)
    (folder / "part-1.parquet").unlink()
    with refused("part-1.parquet", "missing"):
        read_scores(folder, DIGEST, labels)
    for content in ("{", "[]", '{"options": {}}'):
        (folder / "manifest.json").write_text(content)
        with refused("manifest.json", "damaged"):
            read_scores(folder, DIGEST, labels)


def test_parquet_that_holds_no_scores_is_refused(job, refused):
    part = job() / "part-1.parquet"
    write_parquet(pq.read_table(part).select(["id"]), part)
    with refused("has no columns prob_… and model", "give the folder that score.py wrote"):
        read_scores(part, DIGEST, ["alpha", "beta"])


# ---- the benchmark ----


def test_the_benchmark_measures_coverage_on_a_corpus_of_known_shares(jsonl, capsys):
    rng = np.random.default_rng(4)
    signs = {"workplace_harassment": "boss", "street_harassment": "street", "assault": "attacked", "solidarity_support": "believe"}
    posts = []
    for number in range(150):
        labels = [label for label in signs if rng.random() < 0.3]
        words = [signs[label] for label in labels] + rng.choice(["today", "river", "bread", "rain"], 4).tolist()
        posts.append({"id": str(number), "text": f"{' '.join(words)} {number}", "labels": labels, "author": str(number)})
    main(data=jsonl("train.jsonl", posts).parent, labelled=[60], share=[0.1], runs=3, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["label"] for row in rows] == [label for label in signs for _ in range(2)]
    assert [row["truth"] == pytest.approx(0.1, abs=0.01) for row in rows] == [False, True] * 4
    for row in rows:
        assert set(row["coverage"]) == {"interval", "counted", "labelled_interval"}
        assert all(share * 3 == pytest.approx(round(share * 3)) for share in row["coverage"].values())
        assert row["width"]["interval"] <= 1.05 * row["width"]["labelled_interval"]
    main(data=jsonl("train.jsonl", posts).parent, labelled=[60], share=[], runs=1)
    printed = capsys.readouterr().out
    assert "prediction-powered" in printed
    assert not {"boss", "river", "attacked"} & set(printed.split())


def test_intervals_hold_for_models_that_are_nearly_always_right_and_labels_with_ten_expected_positives():
    """Drawn until each of 300 samples has a label in it, 95 % are promised; before, about 92 % held."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        few, many = ((rng.random((posts, 1)) < 10 / 600) for posts in (600, 5000))
        marked = [np.where(y, rng.random(y.shape) < 0.98, rng.random(y.shape) < 0.0003) for y in (few, many)]
        p, unlabelled = (np.where(each, 0.97, 0.01).astype(np.float32) for each in marked)
        found = estimate_prevalence(few.astype(np.int8), p, unlabelled, ["alpha"], [0.5], 0.95, 1).total.labels["alpha"]
        held += found.interval is not None and found.interval[0] <= 10 / 600 <= found.interval[1]
    assert held >= 285
