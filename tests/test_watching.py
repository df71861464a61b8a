"""Watching: measures of posts, drift and its alarms, expected precision and recall, what is read and what is refused."""

import copy
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import invent
from typer.testing import CliRunner

from models.reference import unknown_shares
from pipeline.commands import watch as watch_command
from pipeline.config import Watch
from pipeline.errors import NoPostsError
from pipeline.predictions import FAMILIARITY, prediction_table, write_parquet
from pipeline.report.watch import render_watched
from pipeline.scoring import Options, score_files
from pipeline.terminal import command_line
from pipeline.tracking.watches import watch_metrics
from pipeline.watching.drift import bins_of_model, bins_of_stream, corrected, effect, two_samples
from pipeline.watching.expected import expect
from pipeline.watching.familiarity import Familiarity, Limits
from pipeline.watching.results import Watched
from pipeline.watching.stream import Stream, groups_of, read_stream
from pipeline.watching.watch import look_at, watch

LABELS = ["alpha", "beta"]
EASY = Watch(min_posts=50)


def stream(n: int = 800, seed: int = 0, *, length: float = 12, unknown: float = 0.05) -> Stream:
    """Invent scored posts."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.3, 0.9, (n, 2)).astype(np.float32)
    words, characters = rng.beta(2, 2 / unknown, n), rng.beta(2, 4 / unknown, n)
    measures = np.stack([rng.poisson(length, n), rng.integers(0, 3, n), words, characters, words > 0.3], axis=1).astype(np.float32)
    return Stream(p, p >= 0.5, measures, {}, [])


def alone(tonight: Stream, night: Stream | None, model=None, limits: Watch = EASY):
    return look_at([(None, None, tonight)], night, model.reference_ if model else None, LABELS, limits)[0]


# ---- how much of a post is known ----


def test_posts_are_measured_as_the_reference_is_but_in_less_time(model, posts):
    texts = [*posts.texts[:50], "zaxa never-seen @user https://example.org"]
    tokens = model.tokenizer.read(texts)
    words, characters = unknown_shares(model.scorers_.features, tokens)
    measure = Familiarity(model)
    for _ in range(2):  # the second time, words are remembered
        found = measure(texts, tokens)
        assert found[:, 2] == pytest.approx(words, abs=1e-6)
        assert found[:, 3] == pytest.approx(characters, abs=1e-6)
    assert found[:, 0].tolist() == np.diff(tokens.offsets).tolist()
    assert found[-1, 1] == 2


def test_a_post_is_unfamiliar_if_both_shares_are_past_the_limits_or_there_is_no_word(model, monkeypatch):
    texts = ["ba defi golu", "wxyz zzyzx qqqq", "@user"]
    assert Familiarity(model)(texts, model.tokenizer.read(texts))[:, -1].tolist() == [0, 1, 1]
    reference = model.reference_
    assert Limits.of(model) == (0.1, 0.1)  # nine tenths of its training posts hold nothing unknown
    for ninth, limit in ((0.2, 0.3), (0.8, 0.9)):
        unknown = reference.unknown_words.model_copy(update={"deciles": [0.0] * 8 + [ninth]})
        monkeypatch.setattr(model, "reference_", reference.model_copy(update={"unknown_words": unknown}))
        assert Limits.of(model).words == pytest.approx(limit)


def test_a_model_without_a_reference_is_refused(model, refused, monkeypatch):
    monkeypatch.setattr(model, "reference_", None)
    with refused("keeps no reference", "--unfamiliar"):
        Familiarity(model)
    with refused("keeps no reference", "--reference"):
        alone(stream(), None, model)


# ---- drift ----


def test_effects_of_equal_and_of_moved_histograms():
    assert effect(np.array([300, 700]), np.array([30, 70]))[:2] == pytest.approx((0, 0), abs=2e-3)
    psi, js, p = effect(np.array([900, 100]), np.array([100, 900]))
    assert psi == pytest.approx(2 * 0.8 * np.log(9), rel=0.02)
    assert js > 0.6
    assert p < 1e-9
    assert effect(np.array([5, 1]), np.array([1, 2])) == (0, 0, 1)  # too few posts to compare


def test_bins_with_few_posts_are_joined():
    assert effect(np.array([500, 0, 1, 0, 499]), np.array([50, 0, 0, 1, 49]))[0] < 0.02


def test_p_values_are_corrected_for_their_number():
    assert corrected([0.01, 0.5, 0.02]) == pytest.approx([0.03, 0.5, 0.04])
    assert corrected([]) == []


def test_a_fresh_sample_of_the_same_stream_raises_no_alarm():
    found = alone(stream(seed=1), stream(seed=2))
    assert (found.alarms, found.void) == ([], False)
    assert set(found.drift) == {"score of alpha", "score of beta", "length", "masks", "unknown_words", "unknown_characters"}
    assert abs(found.two_sample.auc - 0.5) < 0.1


@pytest.mark.parametrize(("change", "measure"), [({"length": 40}, "length"), ({"unknown": 0.4}, "unknown_words")])
def test_a_changed_stream_raises_an_alarm_and_voids_what_is_expected(change, measure):
    found = alone(stream(seed=1, **change), stream(seed=2))
    assert found.drift[measure].alarm
    assert found.two_sample.alarm
    assert found.void
    assert any(measure.replace("_", " ") in alarm for alarm in found.alarms)


def test_a_difference_that_is_real_but_small_raises_no_alarm():
    found = alone(stream(20_000, 1, length=12.5), stream(20_000, 2))
    assert found.drift["length"].p < 0.01
    assert not found.alarms


def test_copies_of_a_post_count_once():
    tonight = stream(seed=1)
    storm = tonight.take(np.concatenate([np.arange(800), np.zeros(3000, np.int64)]))
    found = alone(storm, stream(seed=2))
    assert (found.posts, found.distinct, found.alarms) == (3800, 800, [])
    assert found.repeats == pytest.approx(3000 / 3800)


def test_the_classifier_sees_what_single_measures_do_not():
    tonight, night = stream(3000, 1), stream(3000, 2)
    tonight.probabilities[:, 1] = tonight.probabilities[:, 0]  # each measure alone is as before
    auc, p = two_samples(night, tonight)
    assert auc > 0.8
    assert p < 1e-6


def test_training_posts_are_counted_in_the_bins_that_the_model_keeps(model):
    reference = model.reference_
    partly = reference.unknown_words.model_copy(update={"deciles": [0.0, 0.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]})
    bins = bins_of_model(reference.model_copy(update={"unknown_words": partly}))
    assert set(bins) == {"score of alpha", "score of beta", "length", "unknown_words"}  # all deciles of unknown characters are equal
    for each in bins.values():
        assert len(each.counts) == len(each.edges) + 1
        assert each.counts.sum() == pytest.approx(reference.posts, abs=2)
    assert bins["unknown_words"].edges == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]  # a tie does not say how many posts are below it
    assert bins["unknown_words"].counts.tolist() == [96, 24, 24, 24, 24, 24, 24]


def test_the_bins_of_a_night_count_the_night_itself():
    night = stream(seed=3)
    for each in bins_of_stream(night, LABELS, [0, 1, 2, 4, 8, 16]).values():
        assert each.counts.sum() == 800


# ---- what is expected ----


def test_bands_hold_the_truth_as_often_as_they_say():
    held, bands = 0, 0
    for seed in range(25):
        posts = stream(600, seed)
        y = np.random.default_rng(1000 + seed).random(posts.probabilities.shape) < posts.probabilities
        for k, (_, found) in enumerate(expect(posts, LABELS, None, 0.9, seed).items()):
            given = posts.decided[:, k]
            f1 = 2 * (given & y[:, k]).sum() / (given.sum() + y[:, k].sum())
            held += found.f1.band[0] <= f1 <= found.f1.band[1]
            bands += 1
            assert found.f1.band[0] <= found.f1.value <= found.f1.band[1]
    assert 0.8 <= held / bands <= 0.98


def test_expected_values_are_those_of_the_probabilities():
    p = np.array([[0.9], [0.6], [0.2], [0.1]], np.float32)
    found = expect(Stream(p, p >= 0.5, None, {}, []), ["alpha"], None, 0.95)["alpha"]
    assert (found.precision.value, found.recall.value) == pytest.approx((1.5 / 2, 1.5 / 1.8), abs=1e-6)
    assert (found.f1.value, found.share.value, found.given) == pytest.approx((3 / 3.8, 0.45, 0.5), abs=1e-6)


def test_a_label_that_nobody_was_given_has_no_precision():
    p = np.full((300, 1), 0.01, np.float32) + np.arange(300, dtype=np.float32)[:, None] / 1e6
    found = expect(Stream(p, p > 0.5, None, {}, []), ["alpha"], None, 0.95)["alpha"]
    assert (found.precision.value, found.precision.band) == (None, None)
    assert found.recall.value == 0


def test_a_calibration_that_rests_on_few_posts_makes_bands_wider(model):
    posts, reference = stream(3000), model.reference_
    few, many = (expect(posts, LABELS, reference.model_copy(update={"posts": n}), 0.95)["alpha"].f1.band for n in (200, 20_000))
    assert few[1] - few[0] > 1.5 * (many[1] - many[0])


def test_copies_make_the_band_wider():
    few = stream(100)
    many = few.take(np.repeat(np.arange(100), 20))
    one, other = (expect(each, LABELS, None, 0.95)["alpha"].f1.band for each in (few, many))
    assert one == other


def test_an_expected_f1_below_the_limit_is_an_alarm():
    found = alone(stream(seed=1), stream(seed=2), limits=Watch(min_posts=50, min_f1={"alpha": 0.99}))
    assert [alarm.split(" is ")[0] for alarm in found.alarms] == ["expected F1 of alpha"]
    assert not found.void


# ---- files ----


@pytest.fixture(scope="module")
def nights(model, tmp_path_factory) -> tuple[Path, Path, Path]:
    """A model directory, and two scored nights."""
    folder = tmp_path_factory.mktemp("nights")
    model.save(folder / "model")
    for seed in (1, 2):
        texts = invent(400, seed=seed).texts
        rows = [
            {"id": str(k), "text": text, "created_at": f"2017-10-{15 + k % 2}T10:00:00", "source": "forum" if k % 4 else "wall"}
            for k, text in enumerate(texts)
        ]
        (folder / f"{seed}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        options = Options(keep=("created_at", "source", "text"), unfamiliar=True)
        score_files([folder / f"{seed}.jsonl"], folder / "model", folder / f"night-{seed}", options)
    return folder / "model", folder / "night-1", folder / "night-2"


def test_a_job_writes_how_much_is_known_and_its_manifest_the_means(nights):
    model, night, _ = nights
    found = read_stream([night], json.loads((model / "model.json").read_text())["digest"], LABELS)
    manifest = json.loads((night / "manifest.json").read_text())
    assert list(manifest["stream"]) == list(FAMILIARITY)
    assert list(manifest["stream"].values()) == pytest.approx(found.measures.mean(axis=0).tolist(), abs=1e-5)
    assert manifest["options"]["unfamiliar"] is True


def test_without_the_option_nothing_changes(model, nights, tmp_path):
    summary = score_files([nights[1].parent / "1.jsonl"], nights[0], tmp_path / "plain", Options())
    assert summary.stream == {}
    assert "unfamiliar" not in summary.options
    found = watch([tmp_path / "plain"], nights[0], EASY)
    assert set(found.groups[0].drift) == {"score of alpha", "score of beta"}
    assert "without --unfamiliar" in found.notes[0]


def test_posts_are_grouped_by_day_source_and_folder(nights):
    model, one, other = nights
    found = watch([one, other], model, EASY, by=["created_at", "source"])
    names = [group.name for group in found.groups]
    assert names == [
        *("all posts", "scores night-1", "scores night-2"),
        *("created_at 2017-10-15", "created_at 2017-10-16", "source forum", "source wall"),
    ]
    assert found.groups[0].posts == sum(group.posts for group in found.groups[1:3]) == 800
    page = render_watched(found)
    assert "2017-10-15" in page
    assert page == render_watched(found)
    metrics = watch_metrics(found)
    assert metrics["watch/posts"] == 800
    assert metrics["expected_f1/alpha"] == found.groups[0].expected["alpha"].f1.value


def test_labels_that_differ_in_a_digit_have_numbers_of_their_own():
    group = look_at([(None, None, stream(seed=1))], stream(seed=2), None, ["stage1", "stage2"], EASY)[0]
    about = {"model": "", "scores": [], "reference": "", "reference_posts": 0, "limits": {}, "notes": []}
    metrics = watch_metrics(Watched(**about, calibration_counted=False, groups=[group], too_small=0))
    assert metrics["psi/score_of_stage1"] == group.drift["score of stage1"].psi != metrics["psi/score_of_stage2"]


@pytest.mark.parametrize(
    ("by", "parts"),
    [
        ("text", ("--by text", "who wrote what")),
        ("id", ("--by id", "who wrote what")),
        ("lang", ("no column 'lang'", "--keep lang")),
        ("labels", ("--by labels", "--keep")),
        ("queue", ("--by queue", "computes this column")),
    ],
)
def test_columns_that_must_not_be_shown_or_are_missing_are_refused(nights, refused, by, parts):
    with refused(*parts):
        watch([nights[1]], nights[0], EASY, by=[by])


def test_a_column_of_texts_by_another_name_is_refused(refused):
    posts = stream(400)
    posts.columns["body"] = np.array(["an invented sentence that is longer than the value of a column should ever be"] * 400, object)
    with refused("--by body", "longer than 60 characters"):
        groups_of(posts, 50)
    posts.columns["body"] = np.repeat(np.arange(400).astype(str).astype(object), 1)
    with refused("more than 100 values"):
        groups_of(posts, 1)
    assert groups_of(posts, 50) == ([], 400)


def test_bad_scores_are_refused_in_one_line(nights, tmp_path, refused):
    model, night, _ = nights
    with refused(tmp_path / "none", "no such file"):
        watch([tmp_path / "none"], model)
    with refused("different posts", "watch.min_posts"):
        watch([night], model, Watch(min_posts=5000))
    with refused("no label 'gamma'", "alpha, beta"):
        watch([night], model, Watch(min_f1={"gamma": 0.5}))
    table = prediction_table(["1"], np.zeros((1, 2), np.float32), np.zeros((1, 2), bool), LABELS, "f" * 64)
    write_parquet(table, tmp_path / "other.parquet")
    with refused("was scored by the model ffffffffffff", "--model"):
        watch([tmp_path / "other.parquet"], model)
    write_parquet(table.drop_columns(["prob_beta"]), tmp_path / "fewer.parquet")
    with refused("has scores for the labels alpha"):
        watch([tmp_path / "fewer.parquet"], model)
    (tmp_path / "no.parquet").write_text("no")
    with refused("is not Parquet"):
        watch([tmp_path / "no.parquet"], model)
    with refused(night, "is given twice"):
        watch([night], model, reference=[night.parent / "x" / ".." / night.name])


def test_a_model_of_an_earlier_release_is_watched_with_a_note(model, tmp_path):
    older = copy.deepcopy(model)
    older.reference_ = model.reference_.model_copy(update={"reliability": None})
    digest = older.save(tmp_path / "model")
    p = np.random.default_rng(0).random((60, 2), np.float32)
    write_parquet(prediction_table(["1"] * 60, p, p > 0.5, LABELS, digest), tmp_path / "night.parquet")
    found = watch([tmp_path / "night.parquet"], tmp_path / "model", EASY)
    assert not found.calibration_counted
    assert "bands allow for chance alone" in found.notes[-1]
    assert found.groups[0].expected["alpha"].f1.band


def of_one_post(digest: str, **columns: object) -> pa.Table:
    """Return the scores of a post, with some columns replaced, or without them if they are None."""
    table = prediction_table(["1"], np.full((1, 2), 0.5, np.float32), np.zeros((1, 2), bool), LABELS, digest)
    for name, column in columns.items():
        table = table.drop_columns([name])
        table = table if column is None else table.append_column(name, pa.array(column))
    return table


@pytest.mark.parametrize(
    "columns", [{"prob_beta": [float("nan")]}, {"prob_beta": [1.5]}, {"prob_beta": ["much"]}, {"labels": ["alpha"]}, {"labels": None}]
)
def test_files_that_score_py_did_not_write_are_refused(tmp_path, refused, columns):
    write_parquet(of_one_post("d", **columns), tmp_path / "odd.parquet")
    with refused(tmp_path / "odd.parquet", "values that score.py does not write"):
        read_stream([tmp_path / "odd.parquet"], "d", LABELS)


def test_a_night_without_posts_is_told_from_an_error(tmp_path):
    write_parquet(of_one_post("d").slice(1), tmp_path / "none.parquet")
    with pytest.raises(NoPostsError, match="no scored posts"):
        read_stream([tmp_path / "none.parquet"], "d", LABELS)


def test_folders_of_one_name_are_told_apart(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        write_parquet(of_one_post("d"), tmp_path / place / "night.parquet")
    found = read_stream([tmp_path / "a/night.parquet", tmp_path / "b/night.parquet"], "d", LABELS)
    assert found.columns["scores"].tolist() == [str(tmp_path / place / "night.parquet") for place in ("a", "b")]


def test_rows_that_spark_could_not_score_are_passed_over(nights, tmp_path):
    model, *_ = nights
    digest = json.loads((model / "model.json").read_text())["digest"]
    table = prediction_table(["1", "2"], np.full((2, 2), 0.5, np.float32), np.eye(2, dtype=bool), LABELS, digest)
    nothing = pa.Table.from_pylist([{"id": "3", "model": digest}], schema=table.schema)
    write_parquet(pa.concat_tables([table, nothing]), tmp_path / "part.parquet")
    found = read_stream([tmp_path / "part.parquet"], digest, LABELS)
    assert found.decided.tolist() == [[True, False], [False, True]]
    assert found.measures is None


def test_scores_are_not_mixed_with_what_watching_writes(nights, script):
    model, one, other = nights
    for out in (one, other / "watched"):
        done = script(watch_command.main, one, "--reference", other, "--model", model, "--out", out)
        assert (done.code, done.err.count("\n"), "choose another --out" in done.err) == (2, 1, True)
        assert not list(out.glob("watch.*"))


def test_command_writes_numbers_only_and_exits_with_3_past_a_limit(nights, tmp_path):
    model, one, other = nights
    arguments = [str(one), "--reference", str(other), "--model", str(model), "--by", "source", "--out", str(tmp_path / "out")]
    run = CliRunner().invoke(command_line(watch_command.main), [*arguments, "--set", "watch.min_posts=60"])
    assert run.exit_code == 0, run.stderr
    assert "Expected without labels" in run.stdout
    shown = [(tmp_path / "out" / name).read_text() for name in ("watch.json", "watch.html")]
    assert "No limit is exceeded." in shown[1]
    words = {word for text in invent(400, seed=1).texts for word in text.split() if len(word) > 5}
    assert not [word for word in words if any(word in page for page in shown)]
    assert not [found for found in ("http://", "https://", "<script") if found in shown[1].replace("http://www.w3.org", "")]
    run = CliRunner().invoke(command_line(watch_command.main), [*arguments, "--set", "watch.min_f1=0.999", "--json"])
    assert run.exit_code == 3
    assert [alarm for alarm in json.loads(run.stdout)["groups"][0]["alarms"] if "below 0.999" in alarm]
