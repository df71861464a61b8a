"""The training posts in numbers: what is counted, that it is saved and checked, and that no word is in it."""

import json
import re
from copy import deepcopy

import numpy as np
import pytest
from conftest import model_config, training
from pydantic import ValidationError

from models import Classifier
from models.config import Features
from models.description import Reference
from models.features import TfidfFeatures
from models.reference import LENGTHS, length_shares, make_reference, probability_shares, reliability, unknown_shares
from models.storage import read_description
from models.tokens import TokenBatch


def test_posts_are_counted_by_their_number_of_tokens():
    shares = length_shares(TokenBatch.from_lists([[], ["a"], ["a"] * 2, ["a"] * 3, ["a"] * 511, ["a"] * 512, ["a"] * 9000, ["a"] * 4]))
    assert dict(zip(LENGTHS, shares, strict=True)) == dict.fromkeys(LENGTHS, 0.0) | {
        0: 0.125,
        1: 0.125,
        2: 0.25,
        4: 0.125,
        256: 0.125,
        512: 0.25,
    }


def test_posts_are_counted_by_their_probability_and_one_is_in_the_last_bin():
    shares = probability_shares(np.array([0, 0.049, 0.051, 0.999, 1], np.float32))
    assert (len(shares), shares[0], shares[1], shares[-1], round(sum(shares), 6)) == (20, 0.4, 0.2, 0.4, 1)


def test_reliability_is_counted_in_the_same_bins():
    found = reliability(np.array([0.01, 0.03, 0.97, 0.99], np.float32), np.array([0, 1, 1, 1], np.int8))
    assert (found.probabilities[0], found.probabilities[1], found.probabilities[-1]) == pytest.approx((0.02, 0.075, 0.98))
    assert (found.positives[0], sum(found.positives[1:-1]), found.positives[-1]) == (0.25, 0, 0.5)


def test_what_the_vocabulary_lacks_is_counted_post_by_post():
    features = TfidfFeatures(2, (2, 3), 1, 1).fit(TokenBatch.from_lists([["ab", "cd"], ["ab", "cd"]]))
    words, characters = unknown_shares(features, TokenBatch.from_lists([["ab", "cd"], ["ab", "xy", "ab", "xy"], [], ["abx"], ["ab cd"]]))
    assert words.tolist() == [0, 0.5, 1, 1]
    # " ab ": 3 + 2 n-grams. Of those of " abx " (4 + 3), " a", "ab" and " ab" are known.
    assert characters[:3] == pytest.approx([0, 0.5, 4 / 7])


def test_a_post_does_not_make_its_own_words_known():
    posts, authors = TokenBatch.from_lists([["we", "own", "own"], ["we"], ["we", "own"], ["they"]]), np.array([0, 1, 0, 2])
    features = TfidfFeatures(1, None, 1, 1).fit(posts, authors)
    found = make_reference(features, posts, np.zeros((4, 1), np.float32), np.zeros((4, 1), np.int8), ["alpha"])
    assert unknown_shares(features, posts)[0].tolist() == [0, 0, 0, 0]
    assert found.unknown_words.mean == pytest.approx((2 / 3 + 0 + 1 / 2 + 1) / 4, abs=1e-6)
    assert found.unknown_characters is None


def test_a_model_keeps_its_reference_in_its_directory_and_in_a_copy(model, posts, tmp_path):
    found = model.reference_
    assert found.posts == len(posts.texts)
    assert found.lengths == length_shares(posts.tokens)
    assert found.probabilities == {label: probability_shares(model.held_out_[:, k]) for k, label in enumerate(model.labels)}
    assert 0 < found.unknown_characters.mean < found.unknown_words.mean < 1
    assert found.unknown_words.deciles == sorted(found.unknown_words.deciles)
    model.save(tmp_path)
    assert Reference.model_validate(read_description(tmp_path)[1]["reference"]) == found
    for again in (Classifier.load(tmp_path), deepcopy(model)):
        assert (again.reference_, again.digest_) == (found, model.digest_)


def test_it_holds_numbers_only(model):
    told = model.reference_.model_dump()
    assert set(told) == {"posts", "length_edges", "lengths", "unknown_words", "unknown_characters", "probabilities", "reliability"}
    assert list(told["probabilities"]) == ["alpha", "beta"]
    assert not re.findall(r"[a-z]", re.sub(r'"(\w+)":', "", json.dumps(told)))
    assert not re.findall(r"\.\d{7}", json.dumps(told))


def test_without_character_ngrams_there_is_nothing_to_say_of_them(posts):
    config = model_config(features=Features(char_ngrams=None))
    assert Classifier.from_config(config).fit_tokens(training(posts.tokens, posts.Y, posts.groups)).reference_.unknown_characters is None


def test_tokens_shorter_than_every_character_ngram_are_one_by_themselves(posts, tmp_path):
    config = model_config(features=Features(char_ngrams=[4, 5]))
    texts = [f"i {text} a" for text in posts.texts]
    fitted = Classifier.from_config(config).fit(texts, posts.Y)
    assert {" i ", " a "} < set(fitted.scorers_.features.characters_)
    assert 0 <= fitted.reference_.unknown_characters.mean <= 1
    fitted.save(tmp_path / "model")
    np.testing.assert_array_equal(Classifier.load(tmp_path / "model").predict_proba(texts), fitted.predict_proba(texts))


def test_cross_validation_alone_forgets_the_reference_of_an_earlier_fit(model, posts):
    again = deepcopy(model)
    again.cross_validate(training(posts.tokens, posts.Y, posts.groups, posts.auxiliary))
    assert again.reference_ is None


@pytest.mark.parametrize(
    "change",
    [{"posts": 0}, {"lengths": [1.0]}, {"unknown_words": {"mean": 2, "deciles": [0] * 9}}, {"probabilities": {"alpha": [1.0]}}],
    ids=["no posts", "bins that differ", "a share above one", "too few bins"],
)
def test_a_reference_that_cannot_be_is_refused(model, change):
    with pytest.raises(ValidationError):
        Reference.model_validate(model.reference_.model_dump() | change)


def test_a_model_whose_reference_lacks_a_label_is_refused(model, tmp_path, refused):
    changed = deepcopy(model)
    del changed.reference_.probabilities["beta"]
    del changed.description_, changed.digest_
    changed.save(tmp_path)
    with refused("was written by another release of the pipeline", "a label has no number"):
        Classifier.load(tmp_path)


def test_a_model_of_an_earlier_release_has_none(model, tmp_path):
    earlier = deepcopy(model)
    earlier.reference_ = None
    del earlier.description_, earlier.digest_
    earlier.save(tmp_path)
    assert "reference" not in read_description(tmp_path)[1]
    again = Classifier.load(tmp_path)
    assert again.reference_ is None
    assert again.digest_ == earlier.digest_
