"""Operating points: chosen on held-out posts, kept with the model, and used wherever posts are decided."""

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from conftest import invent, model_config, training
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from models import Classifier
from models.calibration import decide
from models.config import Thresholds
from models.operating_points import HeldOut, cautious_threshold, choose_points, sensitive_threshold, weigh_sources
from models.storage import RELEASED, read_description

POINTS = ["balanced", "cautious", "sensitive"]
RNG = np.random.default_rng(0)


def limit(k: int, n: int) -> float:
    return binomtest(k, n, alternative="less").proportion_ci(0.95).high


@pytest.mark.parametrize("bar", [0.01, 0.05, 0.2])
def test_cautious_is_the_lowest_threshold_whose_upper_limit_is_below_the_bar(bar):
    ordinary = RNG.beta(1, 6, 700).astype(np.float32).round(2)  # rounded, so that many are alike
    found = np.float32(cautious_threshold(ordinary, 0.0, bar))
    assert limit(int((ordinary >= found).sum()), len(ordinary)) <= bar
    lower = np.nextafter(found, np.float32(0))
    assert limit(int((ordinary >= lower).sum()), len(ordinary)) > bar
    assert cautious_threshold(ordinary, 0.99, bar) == 0.99, "never below balanced"


@pytest.mark.parametrize("recall", [0.5, 0.8, 0.9])
def test_sensitive_is_the_highest_threshold_whose_lower_limit_of_recall_is_reached(recall):
    positives = RNG.beta(3, 2, 300).astype(np.float32).round(2)

    def lowest(threshold: np.float32) -> float:
        return 1 - limit(int((positives < threshold).sum()), len(positives))

    found = np.float32(sensitive_threshold(positives, 1.0, recall))
    assert lowest(found) >= recall
    assert lowest(np.nextafter(found, np.float32(2))) < recall
    assert sensitive_threshold(positives, 0.01, recall) == 0.01, "never above balanced"


def test_guarantees_hold_on_posts_to_come():
    """In at least 95 % of the samples, as promised, and with an allowance for 400 of them."""
    samples, to_come = RNG.beta(2, 5, (400, 300)).astype(np.float32), RNG.beta(2, 5, 100_000).astype(np.float32)
    kept = [(to_come >= cautious_threshold(sample, 0.0, 0.05)).mean() < 0.05 for sample in samples]
    found = [(to_come >= sensitive_threshold(sample, 1.0, 0.9)).mean() >= 0.9 for sample in samples]
    assert min(np.mean(kept), np.mean(found)) > 0.93


def held_out(n: int = 2000, authors: int | None = None, sources: list[str] | None = None, config=None) -> HeldOut:
    """Posts of two labels that are told apart well, but not perfectly."""
    rng = np.random.default_rng(1)
    Y = (rng.random((n, 2)) < [0.3, 0.2]).astype(np.int8)
    probabilities = np.where(Y == 1, rng.beta(4, 2, Y.shape), rng.beta(1, 7, Y.shape)).astype(np.float32)
    weights, ordinary = weigh_sources(config or model_config(), Y, Y[:, :0], sources)
    by = np.arange(n) if authors is None else np.arange(n) % authors
    return HeldOut(Y, probabilities, weights, ordinary, by)


def test_points_are_in_order_and_cost_what_is_counted():
    posts = held_out()
    config = model_config(thresholds=Thresholds(cautious=0.01))
    points, left_out = choose_points(config, posts)
    assert (list(points), left_out) == (POINTS, {})
    balanced, cautious, sensitive = (np.array(list(points[name].thresholds.values())) for name in POINTS)
    assert (cautious > balanced).all()
    assert (balanced > sensitive).all()
    for point in points.values():
        decided = decide(posts.probabilities, list(point.thresholds.values()))
        ordinary = posts.Y.sum(axis=1) == 0
        assert point.ordinary == ordinary.sum()
        assert point.false_alarms == pytest.approx(decided[ordinary].any(axis=1).mean(), abs=1e-6)
        for k, cost in enumerate(point.labels.values()):
            right = (decided[:, k] & (posts.Y[:, k] == 1)).sum()
            counted = (right / posts.Y[:, k].sum(), right / decided[:, k].sum(), decided[ordinary, k].mean())
            assert (cost.recall, cost.precision, cost.false_alarms) == pytest.approx(counted, abs=1e-6)
    assert all(cost.false_alarms < 0.01 for cost in points["cautious"].labels.values())
    assert all(cost.recall >= 0.9 for cost in points["sensitive"].labels.values())


def test_null_means_no_such_point():
    points, left_out = choose_points(model_config(thresholds=Thresholds(cautious=None, sensitive=None)), held_out())
    assert (list(points), left_out) == (["balanced"], {})


def test_many_posts_by_few_authors_make_nothing_certain():
    points, left_out = choose_points(model_config(thresholds=Thresholds(cautious=0.1)), held_out(authors=20))
    assert list(points) == ["balanced"]
    assert left_out["cautious"].startswith("alpha: only 20 authors wrote ordinary posts, but 29 are needed to show")
    assert left_out["sensitive"].startswith("alpha: only 20 authors wrote posts with this label, but 29 are needed to show a recall of 0.9")
    enough, left_out = choose_points(model_config(thresholds=Thresholds(cautious=0.1)), held_out(authors=29))
    assert (list(enough), left_out) == (POINTS, {})


def test_mix_weighs_sources_as_wanted_and_moves_balanced():
    n = 3000
    sources = np.where(np.arange(n) % 10, "tweets", "forum").tolist()
    posts = held_out(n, sources=sources)
    forum = np.array(sources) == "forum"
    posts.probabilities[forum] *= 0.6  # there, the model is less sure of everything
    chosen, weights_of = {}, {}
    for name, mix in {"none": None, "forum": {"forum": 9, "tweets": 1}, "only": {"forum": 0.2}}.items():
        config = model_config(thresholds=Thresholds(mix=mix, tolerance=0))
        weights, ordinary = weigh_sources(config, posts.Y, posts.Y[:, :0], sources)
        chosen[name] = choose_points(config, replace(posts, weights=weights, ordinary=ordinary))[0]["balanced"]
        weights_of[name] = weights
    assert weights_of["forum"][forum].sum() / weights_of["forum"].sum() == pytest.approx(0.9)
    assert (weights_of["none"] == 1).all()
    assert (weights_of["only"][~forum] == 0).all()
    for label in ("alpha", "beta"):
        assert chosen["only"].thresholds[label] < chosen["none"].thresholds[label]
    for k, label in enumerate(("alpha", "beta")):
        y, p = posts.Y[forum, k], posts.probabilities[forum, k]
        best = max(f1_score(y, p >= threshold) for threshold in np.unique(p))
        at = chosen["only"].thresholds[label]
        assert f1_score(y, p >= np.float32(at)) == pytest.approx(best), "only the posts of the mix count"
        assert chosen["only"].labels[label].recall == pytest.approx((p[y == 1] >= np.float32(at)).mean(), abs=1e-6)
        counts = {"sample_weight": weights_of["forum"]}
        weighed = {
            name: f1_score(posts.Y[:, k], posts.probabilities[:, k] >= np.float32(point.thresholds[label]), **counts)
            for name, point in chosen.items()
        }
        assert weighed["forum"] == max(weighed.values())


def test_only_the_named_sources_are_ordinary():
    sources = np.where(np.arange(2000) % 2, "chat", "campaign").tolist()
    config = model_config(thresholds=Thresholds(ordinary=["chat"]))
    posts = held_out(sources=sources, config=config)
    assert posts.ordinary.tolist() == [not y.any() and source == "chat" for y, source in zip(posts.Y, sources, strict=True)]
    with_auxiliary = weigh_sources(config, posts.Y, np.ones((2000, 1), np.int8), sources)[1]
    assert not with_auxiliary.any(), "a post with an auxiliary label is not ordinary"


@pytest.mark.parametrize(
    ("wanted", "sources", "told"),
    [
        (
            {"mix": {"tweets": 1, "forums": 2}},
            ["tweets", "forum"],
            "mix: no train post has the source 'forums'; the sources are forum, tweets",
        ),
        ({"ordinary": ["chat"]}, ["tweets", "none"], "ordinary: no train post has the source 'chat'; the sources are none, tweets"),
        ({"mix": {"tweets": 1}}, None, "thresholds.mix names sources, but the posts have none"),
        ({"mix": {"none": 1}}, ["tweets", "none"], "thresholds.mix: no train post from its sources has the label 'beta'"),
    ],
)
def test_sources_that_no_post_has_are_refused_before_anything_is_fitted(wanted, sources, told, refused):
    posts = invent(60)
    posts.Y[1::2, 1] = 0
    named = None if sources is None else [sources[k % 2] for k in range(60)]
    tokens = replace(training(posts.tokens, posts.Y, posts.groups), sources=named)
    steps = []
    with refused(told):
        Classifier.from_config(model_config(thresholds=Thresholds(**wanted))).fit_tokens(tokens, steps.append)
    assert steps == []


def test_fitting_by_texts_takes_sources_too(refused):
    posts = invent(120)
    model = Classifier(["alpha", "beta"], folds=2, mix={"here": 1.0, "none": 3.0}, cautious=0.2)
    sources = [["here", None][k % 2] for k in range(120)]
    model.fit(posts.texts, posts.Y, posts.groups, sources=sources)
    alike = Classifier(["alpha", "beta"], folds=2, cautious=0.2).fit(posts.texts, posts.Y, posts.groups)
    np.testing.assert_array_equal(model.held_out_, alike.held_out_)
    assert model.thresholds_.tolist() != alike.thresholds_.tolist()
    with refused("sources must name one source per post, but got 2 sources for 120 posts"):
        model.fit(posts.texts, posts.Y, posts.groups, sources=["here", "none"])


# In a fitted model


def test_a_model_keeps_its_points_in_its_directory_and_in_a_copy(model, tmp_path):
    assert list(model.operating_points_) == POINTS
    model.save(tmp_path / "model")
    points = read_description(tmp_path / "model")[1]["operating_points"]
    assert points["balanced"]["thresholds"] == dict(zip(model.labels, model.thresholds_.tolist(), strict=True))
    for again in (Classifier.load(tmp_path / "model"), deepcopy(model)):
        assert again.measured_points_ == model.measured_points_
        assert {name: at.tolist() for name, at in again.operating_points_.items()} == {
            n: at.tolist() for n, at in model.operating_points_.items()
        }
        assert again.digest_ == model.digest_


def test_predict_and_label_decide_at_the_point_asked_for(model, posts):
    texts = posts.texts[:80]
    probabilities = model.predict_proba(texts)
    given = {}
    for point in POINTS:
        decided = decide(probabilities, model.operating_points_[point])
        np.testing.assert_array_equal(model.predict(texts, point), decided)
        assert model.label(texts, point)["labels"].tolist() == [", ".join(np.array(model.labels)[row]) for row in decided]
        given[point] = decided.sum()
    assert given["cautious"] <= given["balanced"] < given["sensitive"]
    np.testing.assert_array_equal(model.predict(texts), model.predict(texts, "balanced"))


def test_thresholds_that_are_set_are_the_balanced_ones_and_nothing_says_what_they_cost(model, tmp_path):
    changed = deepcopy(model)
    changed.thresholds_ = 0.5
    assert list(changed.operating_points_) == POINTS
    assert changed.operating_points_["balanced"].tolist() == [0.5, 0.5]
    assert list(changed.measured_points_) == ["cautious", "sensitive"]
    changed.save(tmp_path / "changed")
    again = Classifier.load(tmp_path / "changed")
    assert again.operating_points_["balanced"].tolist() == [0.5, 0.5]
    assert again.operating_points_["sensitive"].tolist() == model.operating_points_["sensitive"].tolist()


def old_model(model, folder):
    """The model as a release without operating points would have written it."""
    old = deepcopy(model)
    old.measured_points_ = {}
    del old.digest_, old.description_
    old.save(folder)
    path = folder / "model.json"
    assert "operating_points" not in json.loads(path.read_text())
    return folder


def test_a_model_without_points_is_balanced_and_says_that_it_is_nothing_else(model, tmp_path, refused):
    old = Classifier.load(old_model(model, tmp_path / "old"))
    assert list(old.operating_points_) == ["balanced"]
    assert old.predict(["zaxa"], "balanced").tolist() == old.predict(["zaxa"]).tolist() == model.predict(["zaxa"]).tolist()
    for call in (old.predict, old.label):
        with refused("operating point 'cautious': the model has only balanced; choose one of these, or train it again"):
            call(["zaxa"], "cautious")


def test_the_digest_of_a_released_model_of_an_earlier_release_stands():
    model = Classifier.released()
    del model.digest_  # so that it is computed again
    assert model.digest_ == json.loads((RELEASED / "model.json").read_text())["digest"]


def test_a_directory_whose_point_lacks_a_label_is_refused(model, tmp_path, refused):
    broken = deepcopy(model)
    point = broken.measured_points_["cautious"]
    cut = point.model_copy(update={"thresholds": {"alpha": 0.5}})
    broken.measured_points_ = {**broken.measured_points_, "cautious": cut}
    del broken.digest_, broken.description_
    broken.save(tmp_path / "broken")
    with refused("was written by another release"):
        Classifier.load(tmp_path / "broken")
