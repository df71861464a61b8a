"""Explanations: what each word of a post contributes, and which n-grams count most for a label."""

from copy import deepcopy
from dataclasses import asdict

import numpy as np
import pytest
from conftest import invent, model_config, training
from hypothesis import given
from hypothesis import strategies as st

from models import Classifier
from models.calibration import CALIBRATORS
from models.config import Calibration, Features
from models.explanation import contributions, explain, reasons, strongest_features
from models.text import normalise
from models.tokens import TokenBatch

pytest_plugins = ["taught"]

UNKNOWN = "\u4e2d"  # none of its n-grams is known
WORDS = st.sampled_from(["zaxa", "zaxo", "wiku", "qoru", "ba", "badelu", "zax", "wikuwiku", UNKNOWN, "@somebody", "https://x.org/1", "😀"])
TEXTS = st.lists(WORDS, max_size=12).map(" ".join) | st.text(max_size=40)


def tokenised(model: Classifier, texts: list[str]) -> TokenBatch:
    return model.tokenizer([normalise(text) for text in texts])


def by_word(model: Classifier, text: str) -> dict[str, np.ndarray]:
    ((words, values),) = contributions(model, tokenised(model, [text])).of_posts()
    return dict(zip(words, values, strict=True))


@pytest.fixture(scope="module", params=[*sorted(CALIBRATORS), "network"])
def calibrated(request, posts) -> Classifier:
    """Models with each kind of calibration, and one with a network."""
    if request.param == "network":
        return request.getfixturevalue("taught")
    config = model_config(calibration=Calibration(method=request.param, folds=3))
    return Classifier.from_config(config).fit_tokens(training(posts.tokens, posts.Y, posts.groups, posts.auxiliary))


@given(texts=st.lists(TEXTS, max_size=5))
def test_words_of_a_post_sum_to_what_sets_it_apart_from_an_empty_one(calibrated, texts):
    tokens = tokenised(calibrated, texts)
    of_posts, of_empty = (
        calibrated.calibrator_.explained(calibrated.scorers_.decision_function(each)) for each in (tokens, TokenBatch.from_lists([[]]))
    )
    expected = of_posts - of_empty
    sums = [values.sum(axis=0) for _, values in contributions(calibrated, tokens).of_posts()]
    np.testing.assert_allclose(np.reshape(sums, (-1, 2)), expected, atol=1e-4)


@given(text=TEXTS)
def test_unknown_word_contributes_nothing_and_changes_nothing(model, text):
    before, after = by_word(model, text), by_word(model, f"{text} {UNKNOWN}")
    assert after.pop(UNKNOWN).tolist() == [0, 0]
    before.pop(UNKNOWN, None)
    assert set(after) == set(before)
    for word, values in before.items():
        np.testing.assert_allclose(after[word], values, atol=1e-9)


@given(texts=st.lists(TEXTS, min_size=1, max_size=6), number=st.integers(0, 5))
def test_a_post_has_the_same_bits_in_any_batch(calibrated, texts, number):
    number %= len(texts)
    (alone,) = contributions(calibrated, tokenised(calibrated, [texts[number]])).of_posts()
    words, values = list(contributions(calibrated, tokenised(calibrated, texts)).of_posts())[number]
    assert (words, values.tolist()) == (alone[0], alone[1].tolist())


def test_each_word_keeps_what_is_its_own_in_whatever_order_words_came_before(calibrated):
    posts = [["ba", "zaxa", "wiku", UNKNOWN], [UNKNOWN, "wiku", "badelu", "zaxa", "wiku", "ba"]]
    (alone,) = contributions(calibrated, TokenBatch.from_lists(posts[1:])).of_posts()
    _, (words, values) = contributions(calibrated, TokenBatch.from_lists(posts)).of_posts()
    assert words == alone[0] == [UNKNOWN, "wiku", "badelu", "zaxa", "ba"]
    np.testing.assert_array_equal(values, alone[1])
    assert values.any(axis=1).tolist() == [False, True, True, True, True]


def test_order_of_words_matters_only_where_pairs_are_counted(posts):
    single = Classifier.from_config(model_config(features=Features(word_ngrams=1, char_ngrams=[2, 3], char_min_df=2)))
    single.fit_tokens(training(posts.tokens, posts.Y, posts.groups))
    there, back = (by_word(single, text) for text in ("zaxa ba wiku zaxa", "wiku zaxa zaxa ba"))
    assert {word: values.round(9).tolist() for word, values in there.items()} == {
        word: values.round(9).tolist() for word, values in back.items()
    }


def test_telling_word_speaks_most_for_its_label(calibrated):
    (explained,) = explain(calibrated, ["Bade ZAXA lumane"])
    word, contribution = explained["alpha"][0]
    assert word == "zaxa"
    assert contribution > 0


def test_words_are_tokens_in_the_order_of_their_weight_whatever_its_sign(model):
    text = "zaxa zaxa @somebody https://x.org/1 wiku 😀 badelu gofi"
    whole = by_word(model, text)
    assert list(whole) == ["zaxa", "@user", "<url>", "wiku", "😀", "badelu", "gofi"]
    (explained,) = explain(model, [text], top=3)
    for number, label in enumerate(model.labels):
        ordered = sorted(((word, values[number]) for word, values in whole.items() if values[number]), key=lambda pair: -abs(pair[1]))
        assert explained[label] == ordered[:3]
    assert any(contribution < 0 for found in explain(model, [text], top=9)[0].values() for _, contribution in found)


def test_posts_without_a_known_word_have_nothing_to_explain(model):
    assert explain(model, ["", UNKNOWN]) == [{"alpha": [], "beta": []}] * 2
    assert explain(model, []) == []


def test_reasons_are_for_the_labels_wanted_and_above_zero(model):
    text = "zaxa wiku badelu gofi lu"
    (found,) = explain(model, [text], top=9)
    for_alpha, for_beta = ([(label, *pair) for pair in found[label] if pair[1] > 0] for label in model.labels)
    assert reasons(model, model.tokenizer.read([text] * 3), np.array([[1, 1], [0, 1], [0, 0]], bool), 9) == [
        [*for_alpha, *for_beta],
        for_beta,
        [],
    ]
    assert reasons(model, model.tokenizer.read([text]), np.array([[1, 0]], bool), 1) == [for_alpha[:1]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Classifier:
    """A model written by ``train.py``, whose training posts contain handles, links and numbers that reveal the label alpha."""
    posts = invent(300)
    texts = [
        text + (f" @someone{number} https://x.org/{number} 2017" if y[0] else "")
        for number, (text, y) in enumerate(zip(posts.texts, posts.Y, strict=True))
    ]
    model = Classifier.from_config(model_config())
    model.fit_tokens(training(model.tokenizer([normalise(text) for text in texts]), posts.Y, posts.groups, posts.auxiliary))
    folder = tmp_path_factory.mktemp("trained") / "m"
    model.save(folder, {"training_data": {"posts": 300}})
    return Classifier.load(folder)


def test_strongest_features_are_telling_and_stand_in_as_many_posts_as_is_said(trained):
    posts = invent(300)
    assert {"@user", "<url>", "2017"} <= set(trained.scorers_.features.words_)
    found = asdict(strongest_features(trained, "alpha", top=3))
    assert (found["label"], found["min_posts"], found["min_authors"], set(found)) == (
        "alpha",
        10,
        5,
        {"label", "min_posts", "min_authors", "words", "characters"},
    )
    assert {feature["ngram"] for feature in found["words"]["supporting"]} == {"zaxa", "zaxo", "zaxi"}
    assert {feature["ngram"] for feature in found["characters"]["supporting"]} <= {
        " z",
        " za",
        "za",
        "zax",
        "ax",
        "axa",
        "axo",
        "axi",
        "xa ",
        "xo ",
        "xi ",
    }
    for feature in found["words"]["supporting"] + found["words"]["opposing"]:
        assert feature["posts"] == sum(f" {feature['ngram']} " in f" {text} " for text in posts.texts)
        assert feature["weight"] == trained.scorers_.linear.coef_[trained.scorers_.features.words_.index(feature["ngram"]), 0]
    for kind in ("words", "characters"):
        for side, sign in (("supporting", 1), ("opposing", -1)):
            weights = [sign * feature["weight"] for feature in found[kind][side]]
            assert weights == sorted(weights, reverse=True)
            assert all(weight > 0 for weight in weights)


def test_rare_features_and_what_looks_like_a_handle_link_or_number_are_not_shown(trained):
    every = {}
    for fewest in (1, 10, 30):
        found = asdict(strongest_features(trained, "alpha", top=10**6, min_posts=fewest))
        assert not [feature for feature in found["characters"]["supporting"] if feature["ngram"] in ("url", "ser", "er ")]
        features = [feature for kind in ("words", "characters") for side in ("supporting", "opposing") for feature in found[kind][side]]
        assert min(feature["posts"] for feature in features) >= fewest
        every[fewest] = {feature["ngram"] for feature in features}
    assert every[30] < every[10] < every[1]
    assert not [name for name in every[1] if any(c in "@<>0123456789" for c in name)]


def shown(model: Classifier) -> set[str]:
    found = asdict(strongest_features(model, "alpha", top=10**6))
    return {feature["ngram"] for kind in ("words", "characters") for side in ("supporting", "opposing") for feature in found[kind][side]}


@pytest.mark.parametrize(("authors", "seen"), [(1, False), (4, False), (5, True)])
def test_what_few_authors_wrote_is_not_shown_however_often_they_wrote_it(authors, seen, tmp_path):
    posts, own = invent(200), np.arange(200)
    texts = [text + " qqjj" * (number < 40) for number, text in enumerate(posts.texts)]
    groups = np.where(own < 40, own % authors, 1000 + own)
    model = Classifier.from_config(model_config())
    model.fit_tokens(training(model.tokenizer(texts), np.maximum(posts.Y, (own < 40)[:, None]), groups, posts.auxiliary))
    model.save(tmp_path, {"training_data": {"posts": 200}})
    again = Classifier.load(tmp_path)
    assert {"qqjj", "qqj"} <= {*again.scorers_.features.words_, *again.scorers_.features.characters_}
    assert ({"qqjj", "qqj", " qq"} <= shown(again), any("qq" in ngram for ngram in shown(again))) == (seen, seen)
    assert shown(again) == shown(model)


@pytest.mark.parametrize(("known", "seen"), [(1, False), (5, True)])
def test_a_model_that_counted_no_authors_shows_only_what_its_vocabulary_vouches_for(trained, known, seen):
    earlier = deepcopy(trained)
    earlier.scorers_.features.authors_, earlier.scorers_.features.min_authors = None, known
    assert bool(shown(earlier)) == seen


def test_posts_that_hold_an_ngram_are_counted_among_unlabelled_ones_too(tmp_path):
    posts, more = invent(200), invent(300).texts[200:]
    model = Classifier.from_config(model_config())
    tokens = model.tokenizer([*posts.texts, *more])
    model.fit_tokens(training(tokens, posts.Y, np.concatenate([posts.groups, 1000 + np.arange(100)]), posts.auxiliary))
    model.save(tmp_path, {"training_data": {"posts": 200, "unlabelled": 100}})
    words = asdict(strongest_features(model, "alpha"))["words"]["supporting"]
    assert words
    for feature in words:
        assert feature["posts"] == sum(f" {feature['ngram']} " in f" {text} " for text in (*posts.texts, *more))


def test_label_that_the_model_lacks_or_a_model_that_train_did_not_write_is_refused(trained, posts, refused):
    with refused("label 'gamma'", "alpha, beta"):
        strongest_features(trained, "gamma")
    with refused("how many posts", "train.py"):
        strongest_features(Classifier.from_config(model_config()).fit_tokens(training(posts.tokens, posts.Y, posts.groups)), "alpha")
