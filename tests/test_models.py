"""Classifiers: what they learn, what they guarantee, and what they save."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import Posts, invent, model_config, training
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load_file, save_file
from school import Class, alike, taught_config
from sklearn.metrics import roc_auc_score

from models import Classifier, network_fitting
from models.calibration import CALIBRATORS, Stacked, tune_threshold
from models.config import ROOT, Calibration, Features, Model, Thresholds
from models.errors import InputError
from models.features import TfidfFeatures
from models.fitting import _held_out_probabilities, folds_of, material_of, new_calibrator
from models.folds import extend_folds, make_folds
from models.lessons import Lessons, posts_digest
from models.storage import read_description, read_model, write_model
from models.text import normalise
from models.tokens import TokenBatch
from pipeline.scoring.parts import ModelFolder

pytest_plugins = ["taught"]

KINDS = ["blend", "svm", "nbsvm", "logistic", "most_frequent"]
EMPTY = TokenBatch.from_lists([])
FILES = ["model.json", "vocabulary.json", "weights.safetensors"]


def fit(posts: Posts, auxiliary=True, **changes) -> Classifier:
    return Classifier.from_config(model_config(**changes)).fit_tokens(
        training(posts.tokens, posts.Y, posts.groups, posts.auxiliary if auxiliary else None)
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def saved(model, tmp_path) -> Path:
    model.save(tmp_path / "model", {"training": {"posts": 240}})
    return tmp_path / "model"


class TestFit:
    @pytest.mark.parametrize("method", sorted(CALIBRATORS))
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_and_calibration_gives_probabilities(self, posts, kind, method):
        fitted = fit(posts, model=Model(type=kind), calibration=Calibration(method=method, folds=2), features=Features(char_ngrams=None))
        unseen = invent(seed=1)
        probabilities = fitted.predict_proba_tokens(unseen.tokens)
        assert probabilities.dtype == np.float32
        for each in (probabilities, fitted.held_out_):
            assert each.shape == (240, 2)
            assert ((each >= 0) & (each <= 1)).all()
        if kind == "most_frequent":
            np.testing.assert_allclose(probabilities, np.broadcast_to(posts.Y.mean(axis=0), (240, 2)), atol=0.005)
        else:
            assert roc_auc_score(unseen.Y, probabilities) > 0.75

    def test_held_out_probabilities_know_nothing_of_the_author(self):
        rng = np.random.default_rng(0)
        groups = np.repeat(np.arange(60), 5)
        labels = rng.integers(0, 2, (60, 2)).astype(np.int8)[groups]
        telltale = Posts([f"author{group} filler{rng.integers(9)}" for group in groups], labels, groups, labels[:, :0])
        fitted = fit(telltale)
        assert (
            roc_auc_score(labels, fitted.scorers_.linear.decision_function(fitted.scorers_.features.transform(telltale.tokens))[:, :2])
            > 0.99
        )
        assert roc_auc_score(labels, fitted.held_out_) < 0.65

    @given(seed=st.integers(0, 10**6), n_authors=st.integers(8, 40))
    def test_folds_part_no_author_and_hold_each_post_out_once(self, model, seed, n_authors):
        rng = np.random.default_rng(seed)
        groups, Y = rng.integers(0, n_authors, 40), (rng.random((40, 2)) < 0.4).astype(np.int8)
        try:
            folds = make_folds(Y, groups, model.labels, 3, 0)
        except InputError:
            assume(False)
        assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(40))
        for train, held_out in folds:
            assert not set(groups[train]) & set(groups[held_out])
            assert set(train) | set(held_out) == set(range(40))
            assert Y[train].any(axis=0).all()
            assert not Y[train].all(axis=0).any()

    @given(seed=st.integers(0, 99), n_new=st.integers(0, 12))
    def test_posts_that_follow_join_the_fold_of_their_author(self, seed, n_new):
        rng = np.random.default_rng(seed)
        groups = np.concatenate(
            [rng.permutation(np.repeat(np.arange(20), 5)), rng.integers(0, 20, 30), 100 + np.arange(3 * n_new) % max(n_new, 1)]
        )
        fold_of = rng.integers(0, 3, 20)
        folds = extend_folds(fold_of[groups[:100]], groups, 3, seed)
        assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(len(groups)))
        counts = []
        for number, (train, held_out) in enumerate(folds):
            assert not set(groups[train]) & set(groups[held_out])
            assert {*fold_of[groups[held_out][groups[held_out] < 20]].tolist()} <= {number}
            counts.append(len({*groups[held_out].tolist()} - {*range(20)}))
        assert sum(counts) == n_new
        assert max(counts) - min(counts) <= 1

    def test_authors_of_posts_that_follow_are_drawn_by_the_seed(self):
        groups = np.arange(40)
        drawn = [extend_folds(np.zeros(10, np.int64), groups, 2, seed)[0][1].tolist() for seed in (0, 0, 1)]
        assert drawn[0] == drawn[1] != drawn[2]

    @pytest.mark.parametrize(("value", "kind"), [(0, "with"), (1, "without")])
    def test_too_few_posts_of_a_kind_are_told(self, posts, refused, value, kind):
        Y = np.full_like(posts.Y, value)
        Y[:, 0] = posts.Y[:, 0]
        Y[:2, 1] = 1 - value
        with refused(
            "label 'beta'",
            f"2 train posts {kind} it",
            "folds=3 needs 3 authors",
            "label more posts",
            "lower folds (calibration.folds in a config)",
        ):
            Classifier.from_config(model_config()).fit_tokens(training(posts.tokens, Y, posts.groups))

    @pytest.mark.parametrize(("value", "told"), [(0, "no train post has it"), (1, "all train posts have it")])
    def test_label_that_all_or_no_posts_have_is_told(self, posts, refused, value, told):
        Y = posts.Y.copy()
        Y[:, 1] = value
        with refused(f"label 'beta': {told}; label posts {'without' if value else 'with'} it", "or leave the label out: "):
            Classifier.from_config(model_config()).fit_tokens(training(posts.tokens, Y, posts.groups))

    def test_many_posts_of_few_authors_are_too_few(self, posts, refused):
        with refused("label 'alpha'", "by 2 authors"):
            Classifier.from_config(model_config()).fit_tokens(training(posts.tokens, posts.Y, posts.groups % 2))

    def test_label_that_no_fold_could_part_is_told(self, refused):
        tokens = TokenBatch.from_lists([["some", "words"]] * 5)
        Y = np.array([[1, 1], [0, 0], [1, 0], [0, 1], [1, 0]], np.int8)
        with refused("label 'beta': nearly all posts", "label posts by more authors"):
            Classifier.from_config(model_config(calibration=Calibration(folds=2))).fit_tokens(
                training(tokens, Y, np.array([0, 2, 0, 1, 2]))
            )

    def test_rare_auxiliary_label_and_lone_unlabelled_post_do_no_harm(self, posts):
        auxiliary = np.zeros_like(posts.auxiliary)
        auxiliary[:2] = 1
        Y = posts.Y.copy()
        Y[:, 0] |= 1 - Y[:, 1]
        Y[0] = 0  # the only post with no label: "any label" is constant in the fold that holds it out
        fitted = Classifier.from_config(model_config()).fit_tokens(training(posts.tokens, Y, posts.groups, auxiliary))
        assert fitted.scorers_.linear.coef_.shape[1] == 2

    def test_auxiliary_label_has_a_score_but_no_output(self, posts, model):
        assert model.scorers_.linear.coef_.shape[1] == 5  # two labels, one auxiliary, any label, any at all
        assert model.held_out_.shape == (240, 2)
        assert fit(posts, auxiliary=False).scorers_.linear.coef_.shape[1] == 3

    def test_prior_is_the_share_of_each_label(self, posts, model):
        np.testing.assert_allclose(model.prior_, posts.Y.mean(axis=0))


@pytest.fixture(scope="module")
def company(model) -> tuple[list[str], np.ndarray]:
    texts = invent(500, seed=1).texts
    return texts, model.predict_proba(texts)


class TestPredict:
    def test_empty_batch(self, model):
        assert model.predict_proba_tokens(EMPTY).shape == (0, 2)
        assert model.predict_proba([]).shape == (0, 2)

    def test_posts_without_a_known_token_get_the_same_finite_probabilities(self, model):
        probabilities = model.predict_proba(["", " ", "\u200b", "\u4e2d"])
        assert np.isfinite(probabilities).all()
        assert (probabilities == probabilities[0]).all()

    @given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([1, 2, 3, 7, 8, 64, 255, 500]))
    def test_a_post_has_the_same_bits_in_any_batch(self, model, company, seed, size):
        texts, probabilities = company
        order = np.random.default_rng(seed).permutation(len(texts))[:size]
        np.testing.assert_array_equal(model.predict_proba([texts[number] for number in order]), probabilities[order])

    def test_normalised_posts_are_scored_as_those_that_came(self, model):
        came = ["  ZAXA\u200b lu ", "WIKU &amp; @someone", ""]
        np.testing.assert_array_equal(model.predict_proba([normalise(text) for text in came]), model.predict_proba(came))

    def test_score_normalises_and_tokenises(self, model):
        assert (model.predict_proba(["  ZAXA\u200b lu "]) == model.predict_proba_tokens(TokenBatch.from_lists([["zaxa", "lu"]]))).all()

    def test_decide_gives_a_label_from_its_threshold_on(self, model):
        at = model.thresholds_.astype(np.float32)
        below = np.nextafter(at, np.float32(0))
        assert model.decide(np.stack([at, below])).tolist() == [[True, True], [False, False]]


@pytest.fixture(scope="module")
def scores(posts):
    return np.column_stack([posts.Y, posts.auxiliary]) + np.random.default_rng(0).normal(0, 1, (240, 3))


@pytest.fixture(scope="module", params=sorted(CALIBRATORS))
def calibrator(request, scores, posts):
    return CALIBRATORS[request.param]().fit(scores, posts.Y)


class TestCalibration:
    @given(scores=arrays.arrays(np.float64, (4, 3), elements=st.floats(-1e12, 1e12)))
    def test_every_score_gives_a_probability(self, calibrator, scores):
        probabilities = calibrator.predict_proba(scores)
        assert probabilities.shape == (4, 2)
        assert ((probabilities >= 0) & (probabilities <= 1)).all()

    @given(
        scores=arrays.arrays(np.float64, (4, 3), elements=st.floats(-1e3, 1e3)),
        origin=arrays.arrays(np.float64, 3, elements=st.floats(-5, 5)),
    )
    def test_weights_account_for_what_sets_scores_apart(self, calibrator, scores, origin):
        weights = calibrator.weights(scores, origin)
        assert weights.shape == (4, 3, 2)
        moved = ((scores - origin)[:, :, None] * weights).sum(axis=1)
        np.testing.assert_allclose(moved, calibrator.explained(scores) - calibrator.explained(origin[None]), atol=1e-6)

    def test_weights_are_the_mean_gradient_on_the_straight_line(self, calibrator, scores):
        origin, target = scores.mean(axis=0), np.quantile(scores, [0.2, 0.4, 0.9], axis=0)
        steps = [origin + share * (target - origin) for share in (np.arange(100) + 0.5) / 100]
        nudges = 1e-5 * np.eye(3)
        rise = [[calibrator.explained(at + nudge) - calibrator.explained(at - nudge) for nudge in nudges] for at in steps]
        np.testing.assert_allclose(calibrator.weights(target, origin), np.mean(rise, axis=0).swapaxes(0, 1) / 2e-5, atol=1e-5)

    def test_probability_is_that_of_the_log_odds_that_are_explained(self, calibrator, scores):
        np.testing.assert_allclose(calibrator.predict_proba(scores), 1 / (1 + np.exp(-calibrator.explained(scores))))

    def test_mean_probability_is_the_share_of_the_label(self, calibrator, scores, posts):
        np.testing.assert_allclose(calibrator.predict_proba(scores).mean(axis=0), posts.Y.mean(axis=0), atol=1e-3)

    def test_restored_calibrator_is_the_same(self, calibrator, scores):
        again = type(calibrator)().restore(calibrator.arrays())
        np.testing.assert_array_equal(again.predict_proba(scores), calibrator.predict_proba(scores))

    @given(order=st.lists(st.integers(0, 239), min_size=1, max_size=300))
    def test_a_post_has_the_same_bits_in_any_batch(self, calibrator, scores, order):
        np.testing.assert_array_equal(calibrator.predict_proba(scores[order]), calibrator.predict_proba(scores)[order])

    def test_stacked_is_flat_outside_the_range_it_was_fitted_on(self, scores, posts):
        stacked, low, high = Stacked().fit(scores, posts.Y), scores.min(axis=0), scores.max(axis=0)
        beyond = np.stack([low - 1e9, high + 1e9])
        np.testing.assert_array_equal(stacked.predict_proba(beyond), stacked.predict_proba(np.stack([low, high])))

    def test_greater_score_is_no_less_probable(self, scores, posts):
        fitted = CALIBRATORS["sigmoid"]().fit(scores, posts.Y)
        grid = np.repeat(np.linspace(-5, 5, 50)[:, None], 3, axis=1)
        assert (np.diff(fitted.predict_proba(grid), axis=0) >= 0).all()


HELD_OUT = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=30).filter(lambda pairs: any(y for y, _ in pairs))
TARGETS = st.sampled_from([0.1, 0.3, 0.5, 2 / 3, 0.7, 0.9, 1.0])


class TestThresholds:
    """Chosen thresholds are compared with every possible one."""

    def tried(self, pairs):
        y = np.array([y for y, _ in pairs], np.int8)
        p = np.array([p for _, p in pairs], np.float32) / 8
        outcomes = {float(t): (int(y[p >= t].sum()), int((p >= t).sum())) for t in set(p)}
        return y, p, outcomes

    @given(pairs=HELD_OUT, tolerance=st.sampled_from([0, 0.003, 0.2]), objective=st.sampled_from(["f1", "accuracy"]))
    def test_best_is_the_highest_within_tolerance(self, pairs, tolerance, objective):
        y, p, outcomes = self.tried(pairs)
        value = {
            t: 2 * hits / (decided + int(y.sum())) if objective == "f1" else (len(y) - decided - int(y.sum()) + 2 * hits) / len(y)
            for t, (hits, decided) in outcomes.items()
        }
        wanted = max(t for t in value if value[t] >= max(value.values()) - tolerance)
        assert tune_threshold(y, p, Thresholds(objective=objective, tolerance=tolerance), "x") == wanted

    @given(pairs=HELD_OUT, target=TARGETS)
    def test_recall_is_reached_by_the_highest(self, pairs, target):
        y, p, outcomes = self.tried(pairs)
        wanted = max(t for t, (hits, _) in outcomes.items() if hits / int(y.sum()) >= target)
        assert tune_threshold(y, p, Thresholds(objective="recall", target=target), "x") == wanted

    @given(pairs=HELD_OUT, target=TARGETS)
    def test_precision_is_reached_by_the_lowest_or_refused(self, pairs, target):
        y, p, outcomes = self.tried(pairs)
        reached = [t for t, (hits, decided) in outcomes.items() if hits / decided >= target]
        thresholds = Thresholds(objective="precision", target=target)
        if reached:
            assert tune_threshold(y, p, thresholds, "x") == min(reached)
        else:
            best = max(hits / decided for hits, decided in outcomes.values())
            with pytest.raises(InputError, match=f"label 'x'.*highest is {best:.3f}\\); lower target \\(thresholds.target in a config\\)"):
                tune_threshold(y, p, thresholds, "x")

    @pytest.mark.parametrize("objective", ["precision", "recall"])
    def test_target_holds_for_the_decisions_on_held_out_posts(self, posts, objective):
        fitted = fit(posts, thresholds=Thresholds(objective=objective, target=0.8))
        decided = fitted.decide(fitted.held_out_)
        hits = (decided & (posts.Y == 1)).sum(axis=0)
        assert (hits / (decided if objective == "precision" else posts.Y).sum(axis=0) >= 0.8).all()


class TestStorage:
    @pytest.mark.parametrize("method", sorted(CALIBRATORS))
    @pytest.mark.parametrize("kind", ["blend", "most_frequent"])
    def test_loaded_model_gives_identical_probabilities_and_decisions(self, posts, tmp_path, kind, method):
        fitted = fit(posts, model=Model(type=kind), calibration=Calibration(method=method, folds=2))
        digest = fitted.save(tmp_path / "model", {"training": {"posts": 240}})
        loaded = Classifier.load(tmp_path / "model")
        np.testing.assert_array_equal(loaded.predict_proba(posts.texts), fitted.predict_proba(posts.texts))
        np.testing.assert_array_equal(loaded.thresholds_, fitted.thresholds_)
        np.testing.assert_array_equal(loaded.prior_, fitted.prior_)
        assert (loaded.digest_, loaded.config, loaded.labels) == (digest, fitted.config, ["alpha", "beta"])
        assert loaded.description_["training"] == {"posts": 240}

    def test_same_data_and_seed_give_the_same_bytes(self, tmp_path):
        posts = invent(600, 300)
        for name in "abc":
            fit(posts).save(tmp_path / name)
        assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")
        fit(posts, seed=1).save(tmp_path / "other")
        assert contents(tmp_path / "a")["weights.safetensors"] != contents(tmp_path / "other")["weights.safetensors"]

    def test_directory_holds_three_files_and_no_pickle(self, saved):
        assert sorted(contents(saved)) == FILES
        assert isinstance(load_file(saved / "weights.safetensors"), dict)

    def test_model_json_holds_no_wording_of_a_post(self, saved, posts):
        text = (saved / "model.json").read_text()
        for post in posts.texts:
            words = post.split()
            assert not [run for run in pairwise(words) if " ".join(run) in text]

    @pytest.mark.parametrize("name", FILES)
    def test_changed_byte_is_noticed(self, saved, refused, name):
        content = bytearray((saved / name).read_bytes())
        content[len(content) // 2] ^= 1
        (saved / name).write_bytes(content)
        with refused(saved / name, "train"):
            Classifier.load(saved)

    def test_changed_threshold_is_noticed(self, saved, refused):
        tree = json.loads((saved / "model.json").read_text())
        tree["thresholds"]["alpha"] = 0.99
        (saved / "model.json").write_text(json.dumps(tree))
        with refused(saved / "model.json", "digest differs"):
            Classifier.load(saved)

    def test_exchanged_weights_are_noticed(self, saved, refused):
        weights = load_file(saved / "weights.safetensors")
        save_file({name: -array for name, array in weights.items()}, saved / "weights.safetensors")
        with refused(saved / "weights.safetensors", "digest differs"):
            Classifier.load(saved)

    @pytest.mark.parametrize(
        "content",
        [
            *(b"", b"{", b"[]", b"{}", b"\xff", b"[" * 20_000, b'{"digest": "", "format_version": 1, "files": 3}'),
            b'{"digest": "", "format_version": 1, "files": {}, "note": "\\ud800"}',
        ],
    )
    def test_model_json_that_is_none(self, saved, refused, content):
        (saved / "model.json").write_bytes(content)
        with refused(saved / "model.json", "damaged"):
            Classifier.load(saved)

    @pytest.mark.parametrize("version", [2, 0, "1"])
    def test_other_format_version(self, saved, refused, version):
        tree = json.loads((saved / "model.json").read_text())
        (saved / "model.json").write_text(json.dumps(tree | {"format_version": version, "news": True}))
        with refused(f"{saved}: has format version {version}, but this release reads 1", "update the pipeline"):
            Classifier.load(saved)

    @pytest.mark.parametrize("missing", FILES)
    def test_missing_file(self, saved, refused, missing):
        (saved / missing).unlink()
        with refused(saved, missing):
            Classifier.load(saved)

    def test_missing_directory(self, tmp_path, refused):
        with refused(tmp_path / "none", "is not a model directory", "train.py --out"):
            Classifier.load(tmp_path / "none")

    def test_description_is_read_without_weights_and_vocabulary(self, saved):
        digest, description, _, _ = read_model(saved)
        (saved / "weights.safetensors").unlink()
        (saved / "vocabulary.json").unlink()
        assert read_description(saved) == (digest, description)
        assert description["training"] == {"posts": 240}

    @pytest.mark.parametrize("change", [{"prior": None}, {"config": {"labels": 3}}])
    def test_description_of_another_release(self, saved, refused, change):
        _, description, weights, vocabulary = read_model(saved)
        changed = {name: value for name, value in (description | change).items() if value is not None}
        write_model(saved, changed, weights, vocabulary)
        with refused(saved, "another release", "train the model again"):
            Classifier.load(saved)

    def test_calibration_of_an_earlier_release_is_refused(self, saved, refused):
        """The model's digest is right, because nobody has changed it."""
        _, description, weights, vocabulary = read_model(saved)
        assert description["config"]["calibration"]["method"] in CALIBRATORS
        config = description["config"] | {"calibration": {"method": "isotonic", "folds": 3}}
        digest = write_model(saved, description | {"config": config}, weights, vocabulary)
        assert read_description(saved)[0] == digest
        with refused(f"{saved}: was written by another release of the pipeline; train the model again with this release"):
            Classifier.load(saved)

    def test_save_replaces_a_model_and_takes_an_empty_folder(self, saved, model, tmp_path):
        before, digest = contents(saved), model.save(saved)
        assert sorted(contents(saved)) == FILES
        assert contents(saved) != before
        (tmp_path / "empty").mkdir()
        assert model.save(tmp_path / "empty") == digest
        assert model.save(tmp_path / "deep" / "er") == digest

    @pytest.mark.parametrize("name", ["config", "thresholds", "prior", "files", "format_version", "digest"])
    def test_notes_leave_the_model_s_own_keys_alone(self, model, tmp_path, refused, name):
        with refused(f"notes: {name!r} is a key of the model itself", "choose another name"):
            model.save(tmp_path / "model", {name: 1})

    @pytest.mark.parametrize(
        "wrong",
        [
            {"config": None},
            {"config": {}},
            {"config": {"labels": ["alpha", "beta"]}},
            {"config": {"labels": {"labels": ["alpha"]}}},
            {"config": {"labels": {"labels": [{"definition": "x"}]}}},
            {"config": {"labels": {"labels": {"alpha": 1}}}},
            {"thresholds": None},
            {"thresholds": [0.5, 0.5]},
            {"thresholds": {"alpha": 0.5}},
            {"thresholds": {"alpha": "high", "beta": 0.5}},
            {"prior": {}},
        ],
        ids=str,
    )
    def test_a_description_of_another_layout_is_one_line(self, saved, refused, wrong):
        _, description, weights, vocabulary = read_model(saved)
        write_model(saved, description | wrong, weights, vocabulary)
        for read in (Classifier.load, ModelFolder.read):
            with refused(saved / "model.json", "another release", *wrong):
                read(saved)

    def test_the_digest_of_a_model_that_was_not_saved_is_the_one_that_save_gives(self, posts, tmp_path):
        fitted = fit(posts)
        assert fitted.digest_ == fitted.save(tmp_path / "model")

    def test_save_leaves_an_unrelated_folder_or_file_alone(self, model, tmp_path, refused):
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
        (tmp_path / "file").write_text("x")
        for name in ("thesis", "file"):
            with refused(tmp_path / name, "choose another --out"):
                model.save(tmp_path / name)
        assert contents(tmp_path / "thesis") == {"chapter.txt": b"years of work"}

    def test_failing_write_leaves_the_old_model(self, saved, model, monkeypatch, refused):
        before, write = contents(saved), Path.write_bytes

        def full_disk(path, content):
            if path.name == "vocabulary.json":
                raise OSError(28, "No space left on device")
            return write(path, content)

        monkeypatch.setattr(Path, "write_bytes", full_disk)
        with refused(saved, "No space left on device", "choose another --out"):
            model.save(saved, {"newer": True})
        assert contents(saved) == before
        assert list(saved.parent.iterdir()) == [saved]

    def test_failing_rename_leaves_the_old_model(self, saved, model, monkeypatch, refused):
        before, rename = contents(saved), Path.rename

        def refuse_new(path, target):
            if target == saved and path.name == "new":
                raise OSError(13, "Permission denied")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", refuse_new)
        with refused(saved, "Permission denied"):
            model.save(saved, {"newer": True})
        assert contents(saved) == before

    def test_digest_follows_every_part(self, tmp_path):
        parts = ({"note": 1}, {"coef": np.zeros(3)}, {"words": ["a"]})
        changed = ({"note": 2}, {"coef": np.ones(3)}, {"words": ["b"]})
        digests = {write_model(tmp_path / "m", *(changed[i] if i == k else parts[i] for i in range(3))) for k in range(4)}
        assert len(digests) == 4


def of_authors(n_authors: int) -> tuple[TokenBatch, np.ndarray, np.ndarray]:
    """Return five labelled posts and an unlabelled one by each author. A word names the author, and labels are drawn at random."""
    rng = np.random.default_rng(0)
    groups = np.concatenate([np.repeat(np.arange(n_authors), 5), 1000 + np.arange(n_authors)])
    tokens = TokenBatch.from_lists([f"author{group % 1000}", f"filler{rng.integers(9)}"] for group in groups)
    return tokens, rng.integers(0, 2, (n_authors, 2)).astype(np.int8)[groups[: 5 * n_authors]], groups


class TestNetwork:
    def test_taught_model_gives_probabilities_that_tell(self, taught):
        unseen = invent(seed=1)
        probabilities = taught.predict_proba_tokens(unseen.tokens)
        assert probabilities.dtype == np.float32
        assert probabilities.shape == taught.held_out_.shape == (240, 2)
        assert roc_auc_score(unseen.Y, probabilities) > 0.85

    @pytest.mark.parametrize("missing", ["coef", "network.hidden"])
    def test_weights_of_another_release_are_refused(self, taught, tmp_path, refused, missing):
        taught.save(tmp_path / "model")
        _, description, weights, vocabulary = read_model(tmp_path / "model")
        del weights[missing], description["files"]
        write_model(tmp_path / "model", description, weights, vocabulary)
        with refused(tmp_path / "model", "another release", "train the model again"):
            Classifier.load(tmp_path / "model")

    def test_network_is_heard_beside_the_linear_model(self, taught, school, tmp_path):
        assert taught.scorers_.network.coef_.shape == (8, 3)
        assert taught.scorers_.linear.coef_.shape[1] == 5
        taught.save(tmp_path / "model")
        deaf, known = Classifier.load(tmp_path / "model"), taught.scorers_.network
        deaf.scorers_.network.restore(known.vectors_, known.filters_, known.hidden_, np.zeros_like(known.coef_), known.intercept_)
        assert np.abs(deaf.predict_proba_tokens(school.posts.tokens) - taught.predict_proba_tokens(school.posts.tokens)).max() > 0.1

    def test_held_out_probabilities_know_nothing_of_the_author_whatever_the_teachers_were_told(self, tmp_path, monkeypatch):
        monkeypatch.setattr(network_fitting, "_LEARNING_RATE", 0.03)
        tokens, Y, groups = of_authors(60)
        auxiliary = np.zeros((len(Y), 1), np.int8)
        config = taught_config(tmp_path / "lessons", epochs=25, features=Features(char_ngrams=None, word_ngrams=1, word_min_df=1))
        material = material_of(config, training(tokens, Y, groups, auxiliary))

        def answers(posts: TokenBatch, fold: int) -> np.ndarray:
            """Return the labels of the first author in each post whom the teacher knows; it has not seen the fold."""
            told = {f"author{group}": 8 * y - 4 for group, y, held in zip(groups, Y, material.fold, strict=False) if held != fold}
            known = [next((told[word] for word in post if word in told), np.zeros(2)) for post in posts.to_lists()]
            return np.array([[*each, -4] for each in known], np.float16)

        near = alike([f"filler{number}" for number in range(9)])
        unlabelled = np.stack([answers(tokens.take(material.unlabelled), fold) for fold in range(4)], axis=1)
        posts = [material.compose(fold, near, 300) for fold in range(3)]
        composed = np.stack([answers(each, fold) for fold, each in enumerate(posts)])
        by_all = np.stack([answers(each, 3) for each in posts])
        digests = [posts_digest(each) for each in posts]
        made_from = ["alpha", "beta", "gamma"], material.digest, material.fold.astype(np.uint8)
        Lessons(*made_from, unlabelled, composed, by_all, digests, near).save(tmp_path / "lessons")
        fitted = Classifier.from_config(config).fit_tokens(training(tokens, Y, groups, auxiliary))
        scores = fitted.scorers_.network.decision_function(tokens.take(np.arange(len(Y))), fitted.scorers_.features.of_words)
        assert roc_auc_score(Y, scores[:, :2]) > 0.99
        assert roc_auc_score(Y, fitted.held_out_) < 0.65

    def test_folds_see_no_unlabelled_post_by_an_author_they_hold_out(self, school, monkeypatch):
        known, seen = len(school.posts.Y), []
        groups = school.groups.copy()
        groups[known:] = groups[: len(groups) - known]

        class Watched(TfidfFeatures):
            def fit(self, X, groups=None):
                seen.append(set(groups.tolist()))
                return super().fit(X, groups)

        monkeypatch.setattr("models.fitting.TfidfFeatures", Watched)
        config = school.config.model_copy(update={"model": Model()})
        model = Classifier.from_config(config).fit_tokens(training(school.tokens, school.posts.Y, groups, school.posts.auxiliary))
        *folds, whole = seen
        for (_, held_out), of_fold in zip(make_folds(school.posts.Y, groups[:known], model.labels, 3, 0), folds, strict=True):
            assert not of_fold & set(groups[held_out].tolist())
        assert whole == set(groups.tolist())

    def test_features_are_learned_from_unlabelled_posts_too(self, taught, school):
        of_labelled = set(school.posts.tokens.types)
        of_unlabelled = {word for post in school.tokens.to_lists()[240:] for word in post}
        assert (of_unlabelled - of_labelled) & set(taught.scorers_.features.words_)

    def test_loaded_model_gives_identical_probabilities_and_decisions(self, taught, school, tmp_path):
        digest = taught.save(tmp_path / "model")
        loaded = Classifier.load(tmp_path / "model")
        assert sorted(contents(tmp_path / "model")) == FILES
        assert loaded.digest_ == digest
        config = taught.config.model_dump()
        config["model"]["network"]["lessons"] = "lessons.safetensors"  # the bytes do not depend on the folder
        assert loaded.config.model_dump() == config
        np.testing.assert_array_equal(loaded.predict_proba(school.posts.texts), taught.predict_proba(school.posts.texts))

    def test_same_posts_and_lessons_give_the_same_bytes(self, taught, school, tmp_path):
        taught.save(tmp_path / "a")
        school.fit().save(tmp_path / "b")
        assert contents(tmp_path / "a") == contents(tmp_path / "b")

    @given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([1, 2, 7, 64, 240]))
    def test_a_post_has_the_same_bits_in_any_batch(self, taught, school, seed, size):
        whole = taught.predict_proba(school.posts.texts)
        order = np.random.default_rng(seed).permutation(240)[:size]
        np.testing.assert_array_equal(taught.predict_proba([school.posts.texts[number] for number in order]), whole[order])

    def test_posts_without_a_known_token_get_the_same_finite_probabilities(self, taught):
        probabilities = taught.predict_proba(["", " ", "\u200b", "\u4e2d"])
        assert np.isfinite(probabilities).all()
        assert (probabilities == probabilities[0]).all()
        assert taught.predict_proba_tokens(EMPTY).shape == (0, 2)

    def test_cross_validation_alone_gives_what_fitting_does(self, taught, school):
        model = Classifier.from_config(school.config)
        model.cross_validate(training(school.tokens, school.posts.Y, school.groups, school.posts.auxiliary))
        np.testing.assert_array_equal(model.held_out_, taught.held_out_)
        np.testing.assert_array_equal(model.thresholds_, taught.thresholds_)

    def test_posts_that_were_labelled_later_are_held_out_and_learned_from(self, school):
        more, known = invent(160, seed=3), len(school.posts.Y)
        lists = school.tokens.to_lists()
        telling = [[*post, *(["newest"] if told else [])] for post, told in zip(more.tokens.to_lists(), more.Y[:, 0], strict=True)]
        tokens = TokenBatch.from_lists([*lists[:known], *telling, *lists[known:]])
        authors = np.where(np.arange(160) < 80, school.posts.groups[:160], 2000 + more.groups)  # half of them also wrote earlier posts
        groups = np.concatenate([school.groups[:known], authors, school.groups[known:]])
        posts = training(tokens, np.vstack([school.posts.Y, more.Y]), groups, np.vstack([school.posts.auxiliary, more.auxiliary]))
        fold = Lessons.load(Path(school.config.model.network.lessons)).fold
        for number, (train, held_out) in enumerate(folds_of(school.config, posts)):
            assert held_out[held_out < known].tolist() == np.flatnonzero(fold == number).tolist()
            assert not set(groups[train]) & set(groups[held_out])
        fitted = Classifier.from_config(school.config).fit_tokens(posts)
        assert fitted.held_out_.shape == (known + 160, 2)
        assert roc_auc_score(more.Y[:, 0], fitted.held_out_[known:, 0]) > 0.9
        assert roc_auc_score(school.posts.Y, fitted.held_out_[:known]) > 0.75

    @pytest.mark.parametrize("other", ["posts", "labels", "seed", "folds"])
    def test_lessons_of_something_else_are_refused(self, school, refused, other):
        posts, tokens, config = school.posts, school.tokens, school.config
        if other == "posts":
            tokens = tokens.take(np.arange(len(tokens) - 1))
        elif other == "labels":
            posts = Posts(posts.texts, posts.Y[:, ::-1], posts.groups, posts.auxiliary)
        else:
            config = config.model_copy(update={"seed": 1} if other == "seed" else {"calibration": Calibration(folds=2)})
        told = (
            "the lessons have 3 folds, but calibration.folds is 2" if other == "folds" else "the lessons were made from other posts, labels"
        )
        with refused(told, "python -m pipeline.commands.teach"):
            Class(posts, tokens, school.groups[: len(tokens)], config).fit()

    def test_lessons_for_another_label_set_are_refused(self, school, refused):
        names = school.config.labels
        config = school.config.model_copy(update={"labels": names.model_copy(update={"labels": names.labels[::-1]})})
        with refused("the lessons are for alpha, beta, gamma, but the labels are beta, alpha, gamma"):
            school.fit(config)

    def test_missing_lessons_are_refused(self, school, tmp_path, refused):
        with refused(tmp_path / "none", "cannot be read", "model.network=null"):
            school.fit(taught_config(tmp_path / "none"))

    def test_lessons_are_found_from_where_one_stands_or_else_in_the_repository(self, school, tmp_path, monkeypatch, refused):
        content = Path(school.config.model.network.lessons).read_bytes()
        (tmp_path / "repository").mkdir()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        monkeypatch.setattr("models.config.ROOT", tmp_path / "repository")
        config = taught_config(Path("lessons"), epochs=1)
        (tmp_path / "repository" / "lessons").write_bytes(content)
        assert school.fit(config).network
        Path("lessons").write_bytes(b"damaged")
        with refused("lessons: is not a file of lessons, is damaged"):
            school.fit(config)


@pytest.mark.slow
def test_a_fresh_process_scores_without_what_only_training_needs(saved):
    program = """
import sys
from pathlib import Path
from models import Classifier
Classifier.load(Path(sys.argv[1])).predict_proba(["zaxa \\U0001f600 lu"])
print(*sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program, saved], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(run.stdout.split())
    assert {"models.classifier", "spacy", "scipy.sparse"} <= imported
    assert not imported & {"mlflow", "datasets", "pandas", "matplotlib", "sklearn", "scipy.stats", "scipy.optimize", "scipy.linalg"}


def test_held_out_probabilities_come_from_calibrators_that_did_not_see_them():
    rng = np.random.default_rng(0)
    scores, Y = rng.normal(size=(400, 6)), rng.integers(0, 2, (400, 1)).astype(np.int8)
    config = model_config()
    folds = [(np.flatnonzero(np.arange(400) % 5 != k), np.flatnonzero(np.arange(400) % 5 == k)) for k in range(5)]
    held_out = _held_out_probabilities(config, scores, training(EMPTY, Y, np.arange(400)), folds)
    seen = new_calibrator(config).fit(scores, Y).predict_proba(scores)
    # On noise, a calibrator that has seen the posts beats the base rate, and one that has not seen them cannot.
    assert ((seen - Y) ** 2).mean() < Y.mean() * (1 - Y.mean()) < ((held_out - Y) ** 2).mean()
