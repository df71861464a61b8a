"""The convolutional network: it equals the plain one written here, and learns what it should.

Its answers have the same bits whatever else is scored.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from conftest import invent
from hypothesis import given, settings
from hypothesis import strategies as st

from models import network, network_fitting
from models.features import TfidfFeatures
from models.network import ConvolutionalScorer
from models.tokens import TokenBatch

TYPES = ["zaxa", "ba", "badelu", "wiku", "unheard", "zax", "\u4e2d"]  # of the last one, not even the characters are known
COMPANY = invent(12, seed=7).tokens.to_lists()
POSTS = st.lists(st.lists(st.sampled_from(TYPES), max_size=9), max_size=7)


@pytest.fixture(scope="module")
def features() -> TfidfFeatures:
    return TfidfFeatures(2, (2, 3), 1, 1).fit(invent(60).tokens)


def made_up(features: TfidfFeatures, width: int, filters: int = 6) -> ConvolutionalScorer:
    """Return a scorer with random parameters for three targets."""
    rng = np.random.default_rng(0)
    size = features.of_words(["x"]).shape[1]
    scorer = ConvolutionalScorer(5, filters, width, 7, 1, 0)
    return scorer.restore(
        rng.normal(size=(size, 5)).astype(np.float16),
        rng.normal(size=(5, width * filters)).astype(np.float16),
        rng.normal(size=(filters + 5, 7)).astype(np.float32) / np.float32(filters**0.5),
        rng.normal(size=(7, 3)).astype(np.float32),
        rng.normal(size=3).astype(np.float32),
    )


@pytest.fixture(scope="module", params=[1, 3, 7])
def scorer(request, features) -> ConvolutionalScorer:
    return made_up(features, request.param, filters=130)  # more than NumPy sums at once


def plain(post, width, of_word, filters, hidden, coef, intercept, heard=1.0) -> np.ndarray:
    """Return the scores of one post, computed place by place.

    A filter keeps its greatest response. For filters and hidden units alike, negative values become zero. The hidden units also see the sum
    of the words' vectors, divided by the square root of their number; of more than 200 words, the sum is as large as that of 200.
    """
    count = len(hidden) - len(filters)
    greatest, total = np.zeros(count), np.zeros(len(filters))
    by_place = np.asarray(filters, np.float64).reshape(-1, width, count)
    for place in range(len(post)):
        total += of_word[post[place]] * min(len(post), 200) ** 0.5 / len(post)
        response = np.zeros(count)
        for number in range(width):
            word = place + number - width // 2
            if 0 <= word < len(post):
                response += of_word[post[word]] @ by_place[:, number]
        greatest = np.maximum(greatest, response)
    return np.maximum((np.concatenate([greatest, total]) * heard) @ hidden, 0) @ coef + intercept


def expected(scorer: ConvolutionalScorer, features: TfidfFeatures, posts: list[list[str]]) -> np.ndarray:
    types = sorted({word for post in posts for word in post})
    of_word = dict(zip(types, features.of_words(types).toarray().astype(np.float64) @ scorer.vectors_.astype(np.float64), strict=True))
    found = [plain(post, scorer.width, of_word, scorer.filters_, scorer.hidden_, scorer.coef_, scorer.intercept_) for post in posts]
    return np.reshape(found, (-1, 3))


def scores_of(scorer: ConvolutionalScorer, features: TfidfFeatures, posts: list[list[str]]) -> np.ndarray:
    return scorer.decision_function(TokenBatch.from_lists(posts), features.of_words)


@given(posts=POSTS, chunk=st.sampled_from([1, 4, 2048]))
def test_scores_are_those_of_a_plain_network(scorer, features, posts, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "_CHUNK", chunk)
        scores = scores_of(scorer, features, posts)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected(scorer, features, posts), atol=1e-3)


@given(posts=POSTS, chunk=st.sampled_from([1, 4, 2048]))
def test_words_account_for_what_sets_a_post_apart(scorer, features, posts, chunk):
    batch = TokenBatch.from_lists(posts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "_CHUNK", chunk)
        divided = scorer.by_word(batch, features.of_words)
    assert divided.shape == (len(batch.codes), 3)
    sums = np.reshape([divided[start:stop].sum(axis=0) for start, stop in pairwise(batch.offsets)], (-1, 3))
    np.testing.assert_allclose(sums, expected(scorer, features, posts) - scorer.intercept_, atol=1e-3)


def test_unknown_word_accounts_for_nothing(features):
    for post in (["zaxa", "\u4e2d"], ["\u4e2d", "zaxa"]):
        divided = made_up(features, width=1).by_word(TokenBatch.from_lists([post]), features.of_words)
        assert divided.any(axis=1).tolist() == [word == "zaxa" for word in post]


def test_posts_without_a_known_word_score_the_intercepts(scorer, features):
    scores = scores_of(scorer, features, [[], ["\u4e2d"], ["\u4e2d"] * 9])
    np.testing.assert_array_equal(scores, np.tile(scorer.intercept_, (3, 1)))
    assert scores_of(scorer, features, []).shape == (0, 3)


@given(posts=POSTS, seed=st.integers(0, 99), known=st.booleans())
@settings(max_examples=15)
def test_a_post_has_the_same_bits_in_any_batch_whether_its_words_are_new_or_known(scorer, features, posts, seed, known):
    company = [*posts, *COMPANY, TYPES * 400, []]
    order = np.random.default_rng(seed).permutation(len(company))
    if not known:
        scorer._forget()
    together = scores_of(scorer, features, [company[number] for number in order])
    scorer._forget()
    for number in order[:6]:
        np.testing.assert_array_equal(scores_of(scorer, features, [company[number]])[0], together[order.tolist().index(number)])
    batch = TokenBatch.from_lists(company)
    np.testing.assert_array_equal(scorer.decision_function(batch.take(order), features.of_words), together)
    divided = scorer.by_word(batch, features.of_words)
    (first, *_) = [divided[start:stop] for start, stop in pairwise(batch.offsets)]
    np.testing.assert_array_equal(scorer.by_word(TokenBatch.from_lists(company[:1]), features.of_words), first)


def test_very_long_post_is_scored_whole(scorer, features):
    long = invent(900).tokens.to_lists()
    post = [word for each in long for word in each]
    assert len(post) > 3 * network._CHUNK
    np.testing.assert_allclose(scores_of(scorer, features, [["ba"], post, []]), expected(scorer, features, [["ba"], post, []]), atol=1e-3)


def test_threads_may_share_a_scorer(features, monkeypatch):
    monkeypatch.setattr(network, "_REMEMBERED_BYTES", 30 * (3 * 6 + 5) * 4)
    batches = [invent(4, seed=seed).tokens for seed in range(60)]
    scorer = made_up(features, 3)
    alone = [scorer.decision_function(batch, features.of_words) for batch in batches]
    scorer._forget()
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda batch: scorer.decision_function(batch, features.of_words), batches * 3))
    finally:
        sys.setswitchinterval(switch)
    np.testing.assert_array_equal(np.concatenate(together), np.concatenate(alone * 3))


def test_memory_of_words_is_bounded_and_changes_no_score(features, monkeypatch):
    batches = [invent(3, seed=seed).tokens for seed in range(6)]
    room = max(len(batch.types) for batch in batches)
    assert len({word for batch in batches for word in batch.types}) > room
    monkeypatch.setattr(network, "_REMEMBERED_BYTES", room * (3 * 6 + 5) * 4)
    scorer, fresh = made_up(features, 3), made_up(features, 3)
    for batch in batches:
        fresh._forget()
        np.testing.assert_array_equal(*(each.decision_function(batch, features.of_words) for each in (scorer, fresh)))
        assert 0 < len(scorer._known._rows) <= room < len(scorer._known._table.added) == room + 1


def test_more_words_than_may_be_remembered_score_the_same(features, monkeypatch):
    batch = invent(12).tokens
    expected = made_up(features, 3).decision_function(batch, features.of_words)
    monkeypatch.setattr(network, "_REMEMBERED_BYTES", (len(batch.types) - 1) * (3 * 6 + 5) * 4)
    scorer = made_up(features, 3)
    np.testing.assert_array_equal(scorer.decision_function(batch, features.of_words), expected)
    assert not scorer._known._rows


def dropping(monkeypatch, words=0.0, dimensions=0.0, responses=0.0):
    for name, share in (("_DROPPED_WORDS", words), ("_DROPPED_DIMENSIONS", dimensions), ("_DROPPED_INPUTS", responses)):
        monkeypatch.setattr(network_fitting, name, share)


def batch_of(seed: int, width: int):
    """Return a batch in the form that `fit` makes, with its targets and parameters."""
    rng = np.random.default_rng(seed)
    posts = TokenBatch.from_lists([[*text.split()[:7], TYPES[number]] for number, text in enumerate(invent(6, seed=seed).texts)] + [[]])
    words = TfidfFeatures(1, (2, 3), 1, 1).fit(posts).of_words(posts.types)
    sizes = [(words.shape[1], 4), (4, width * 5), (5 + 4, 3), (3, 2), (2,)]
    parameters = [rng.normal(0, 0.7, size).astype(np.float32) for size in sizes]
    padded = network_fitting._padded(posts, np.arange(len(posts)), len(posts.types))
    return posts, words, padded, rng.random((len(posts), 2), np.float32), parameters


def every_other(shape, *_) -> np.ndarray:
    """Return a dropout mask that depends on nothing but its shape."""
    return 2 * np.random.default_rng(sum(shape)).integers(0, 2, shape).astype(np.float32)


@pytest.mark.parametrize("kept", [lambda shape, *_: np.ones(shape, np.float32), every_other], ids=["all", "half"])
@pytest.mark.parametrize("width", [1, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_the_cross_entropy_of_a_plain_network(monkeypatch, seed, width, kept):
    dropping(monkeypatch)
    monkeypatch.setattr(network_fitting, "_kept", kept)
    posts, words, padded, targets, parameters = batch_of(seed, width)
    heard = kept((len(posts), 5 + 4))
    weights = np.random.default_rng(seed).random(len(targets), np.float32) * 2
    gradients = network_fitting._gradients(parameters, width, words, padded, targets, weights, np.random.default_rng(0))

    def loss(vectors, filters, hidden, coef, intercept):
        of_words = (words.toarray().astype(np.float64) @ vectors) * kept((len(posts.types), 4))
        of_word = dict(zip(posts.types, of_words, strict=True))
        pairs = zip(posts.to_lists(), heard, strict=True)
        scores = np.stack([plain(post, width, of_word, filters, hidden, coef, intercept, mask) for post, mask in pairs])
        return ((np.logaddexp(0, scores) - targets * scores) * weights[:, None]).sum() / len(targets)

    rng = np.random.default_rng(seed)
    precise = [parameter.astype(np.float64) for parameter in parameters]
    for number, gradient in enumerate(gradients):
        assert gradient.shape == parameters[number].shape
        for _ in range(5):
            step = 1e-5 * rng.normal(size=gradient.shape)
            up, down = ([p + sign * step if k == number else p for k, p in enumerate(precise)] for sign in (1, -1))
            assert (gradient * step).sum() == pytest.approx((loss(*up) - loss(*down)) / 2, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("dropped", ["words", "dimensions", "responses"])
def test_what_is_left_out_teaches_nothing(monkeypatch, dropped):
    dropping(monkeypatch, **{dropped: 1.0 if dropped == "words" else 1 - 1e-9})
    _, words, padded, targets, parameters = batch_of(0, 3)
    once = np.ones(len(targets), np.float32)
    rng = np.random.default_rng(0)
    vectors, filters, hidden, coef, intercept = network_fitting._gradients(parameters, 3, words, padded, targets, once, rng)
    assert not vectors.any()
    assert not filters.any()
    assert not hidden.any()
    assert not coef.any()
    share = 1 / (1 + np.exp(-parameters[4]))
    np.testing.assert_allclose(intercept, share - targets.mean(axis=0), atol=1e-6)


def test_what_is_kept_makes_up_for_what_is_left_out():
    kept = network_fitting._kept((400, 400), 0.3, np.random.default_rng(0))
    assert set(np.unique(kept).tolist()) == {0.0, float(np.float32(1) / np.float32(0.7))}
    assert kept.mean() == pytest.approx(1, abs=0.01)


def taught_by(posts: list[list[str]], targets: np.ndarray, **wanted) -> tuple[ConvolutionalScorer, TfidfFeatures]:
    batch = TokenBatch.from_lists(posts)
    features = TfidfFeatures(1, None, 1, 1).fit(batch)
    scorer = ConvolutionalScorer(**{"dimensions": 8, "filters": 12, "width": 3, "hidden": 8, "epochs": 1, "seed": 0, **wanted})
    return scorer.fit(features.of_words(batch.types), batch, np.asarray(targets, np.float32)), features


def orders(n_posts: int, seed: int) -> tuple[list[list[str]], np.ndarray]:
    """Return each post once with "not ever" in it and once with "ever not"; the target says which of the two it has."""
    rng = np.random.default_rng(seed)
    posts = []
    for text in invent(n_posts, seed=seed).texts:
        words = text.split()
        place = rng.integers(len(words) + 1)
        posts += [[*words[:place], *pair, *words[place:]] for pair in (["not", "ever"], ["ever", "not"])]
    return posts, np.tile([1, 0], n_posts)[:, None]


def test_word_order_is_learned_which_no_bag_of_words_has():
    posts, targets = orders(450, 0)
    scorer, features = taught_by(posts, targets, epochs=25)
    unseen, truth = orders(100, 1)
    assert ((scores_of_one(scorer, features, unseen) > 0) == (truth[:, 0] == 1)).mean() > 0.95
    blind, features = taught_by(posts, targets, epochs=2, width=1)
    there, back = scores_of_one(blind, features, unseen).reshape(-1, 2).T
    np.testing.assert_allclose(there, back, atol=1e-6)


def test_evidence_adds_up():
    """The label means that one of two words is the more frequent one; filters only hear whether they are there."""
    rng = np.random.default_rng(0)
    posts = [rng.permutation(["zaxa"] * often + ["wiku"] * (9 - often)).tolist() for often in rng.integers(1, 9, 1500)]
    targets = np.array([[post.count("zaxa") > 4] for post in posts])
    scorer, features = taught_by(posts, targets, epochs=30, width=1)
    assert ((scores_of_one(scorer, features, posts) > 0) == targets[:, 0]).mean() > 0.95


def test_what_words_mean_together_is_learned_though_no_filter_sees_both(monkeypatch):
    """The label means "exactly one of two words", which a model that is linear in the filters' responses can hardly learn."""
    monkeypatch.setattr(network_fitting, "_LEARNING_RATE", 0.01)
    between = ["ba", "ba", "ba"]
    posts = [["zaxa", *between, "wiku"], ["zaxa", *between], [*between, "wiku"], between]
    scorer, features = taught_by(posts * 512, np.array([[0], [1], [1], [0]] * 512), filters=64, hidden=32, epochs=40)
    both, one, other, neither = scores_of_one(scorer, features, posts)
    assert min(one, other) > max(both, neither) + 2


def scores_of_one(scorer: ConvolutionalScorer, features: TfidfFeatures, posts: list[list[str]]) -> np.ndarray:
    return scores_of(scorer, features, posts)[:, 0]


def fitted_bytes(scorer: ConvolutionalScorer) -> list[bytes]:
    return [getattr(scorer, f"{name}_").tobytes() for name in ("vectors", "filters", "hidden", "coef", "intercept")]


def test_same_posts_and_seed_give_the_same_bytes():
    posts, targets = orders(20, 0)
    first, again, other = (fitted_bytes(taught_by(posts, targets, seed=seed)[0]) for seed in (3, 3, 4))
    assert first == again
    assert not [part for part, its in zip(first[:4], other, strict=False) if part == its]


def test_scores_before_and_after_restoring_are_the_same_bits():
    posts, targets = orders(20, 0)
    scorer, features = taught_by(posts, targets, epochs=3)
    before = scores_of(scorer, features, posts)
    again = ConvolutionalScorer(8, 12, 3, 8, 3, 0)
    again.restore(scorer.vectors_, scorer.filters_, scorer.hidden_, scorer.coef_, scorer.intercept_)
    np.testing.assert_array_equal(scores_of(again, features, posts), before)


def test_probabilities_are_learned_as_they_are():
    posts = [["zaxa", "ba"], ["wiku", "ba"], [], ["lu", "lu"]] * 512
    wanted = np.tile([[0.9, 0.5], [0.2, 0.5], [0.4, 0.5], [0.4, 0.5]], (512, 1))
    scorer, features = taught_by(posts, wanted, epochs=60)
    found = 1 / (1 + np.exp(-scores_of(scorer, features, posts[:4])))
    np.testing.assert_allclose(found, wanted[:4], atol=0.1)


def test_what_stands_far_behind_in_a_post_is_not_fitted_on():
    posts, targets = orders(20, 0)
    long = [(post * 40)[: network.LONGEST] for post in posts]
    one, other = ([*(post + tail for post in long), ["far", "away"]] for tail in (["far", "away"], ["away", "far", "far"]))
    values = np.vstack([targets, [[0]]])
    assert fitted_bytes(taught_by(one, values)[0])[1:] == fitted_bytes(taught_by(other, values)[0])[1:]


def test_each_epoch_is_told():
    told: list[str] = []
    batch = TokenBatch.from_lists([["a"], ["b"]])
    features = TfidfFeatures(1, None, 1, 1).fit(batch)
    ConvolutionalScorer(2, 2, 3, 2, 2, 0).fit(features.of_words(batch.types), batch, np.array([[0], [1]], np.float32), progress=told.append)
    assert told == ["epoch 1 of 2", "epoch 2 of 2"]
