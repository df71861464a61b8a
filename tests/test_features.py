from itertools import pairwise

import numpy as np
import pytest
from conftest import invent, model_config, training
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from models import Classifier, features, ngrams
from models.config import Features
from models.errors import InputError
from models.features import TfidfFeatures
from models.privacy import may_show_characters, may_show_words
from models.tokens import TokenBatch

# There are few characters, so that n-grams repeat. They take one to four bytes; one is combining, and one is a lone surrogate.
tokens = st.sampled_from(["me", "too", "é"]) | st.text("abé\u0301我😀#'\ud800", min_size=1, max_size=6)
corpora = st.lists(st.lists(tokens, max_size=6), min_size=1, max_size=8)

POSTS = [["me", "too"], ["me", "too", "!"], ["not", "me"], ["too"], [], ["#metoo", "😀"], ["#metoo", "😀", "me"]]


def scikit_learn(vectorizer: TfidfVectorizer, train: list, test: list) -> tuple[list[str], sparse.csr_matrix]:
    try:
        vectorizer.fit(train)
    except ValueError:  # scikit-learn refuses an empty vocabulary
        return [], sparse.csr_matrix((len(test), 0))
    return vectorizer.get_feature_names_out().tolist(), vectorizer.transform(test)


def words_of_scikit_learn(train: list, test: list, ngrams: int, min_df: int) -> tuple[list[str], sparse.csr_matrix]:
    vectorizer = TfidfVectorizer(
        tokenizer=list, preprocessor=None, token_pattern=None, lowercase=False, ngram_range=(1, ngrams), min_df=min_df, sublinear_tf=True
    )
    return scikit_learn(vectorizer, train, test)


def characters_of_scikit_learn(train: list, test: list, ngrams: tuple[int, int], min_df: int) -> tuple[list[str], sparse.csr_matrix]:
    vectorizer = TfidfVectorizer(analyzer="char_wb", lowercase=False, ngram_range=ngrams, min_df=min_df, sublinear_tf=True)
    return scikit_learn(vectorizer, [" ".join(post) for post in train], [" ".join(post) for post in test])


def encode(posts: list[list[str]]) -> TokenBatch:
    return TokenBatch.from_lists(posts)


@pytest.mark.parametrize("word_ngrams", [1, 2])
@pytest.mark.parametrize("char_ngrams", [(1, 1), (1, 3), (2, 5), (3, 5), (5, 5)])
@given(train=corpora, test=corpora, word_min_df=st.integers(1, 3), char_min_df=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_equals_scikit_learn_on_seen_and_unseen_tokens(word_ngrams, char_ngrams, train, test, word_min_df, char_min_df):
    words, word_values = words_of_scikit_learn(train, test, word_ngrams, word_min_df)
    characters, character_values = characters_of_scikit_learn(train, test, char_ngrams, char_min_df)
    ours = TfidfFeatures(word_ngrams, char_ngrams, word_min_df, char_min_df)
    if not words and not characters:
        with pytest.raises(InputError):
            ours.fit(encode(train))
        return

    ours.fit(encode(train))

    assert ours.words_ == words
    assert ours.characters_ == characters
    found = ours.transform(encode(test))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.toarray(), sparse.hstack([word_values, character_values]).toarray(), atol=1e-6)


def test_without_a_character_block_the_columns_are_the_words():
    ours = TfidfFeatures(word_ngrams=2, char_ngrams=None, word_min_df=2).fit(encode(POSTS))

    words, values = words_of_scikit_learn(POSTS, POSTS, 2, 2)
    assert ours.get_feature_names_out().tolist() == [f"word:{term}" for term in words]
    np.testing.assert_allclose(ours.transform(encode(POSTS)).toarray(), values.toarray(), atol=1e-6)


def test_names_tell_word_columns_from_character_columns():
    ours = TfidfFeatures(word_ngrams=2, char_ngrams=(2, 2), word_min_df=4, char_min_df=5).fit(encode(POSTS))

    assert ours.get_feature_names_out().tolist() == ["word:me", "char:me", "char:o ", "char:oo", "char:to"]


@pytest.mark.parametrize("posts", [[], [[]], [[], []]])
def test_batches_without_any_token_give_rows_of_zeros(posts):
    ours = TfidfFeatures(word_min_df=1, char_min_df=1).fit(encode(POSTS))

    found = ours.transform(encode(posts))

    assert found.shape == (len(posts), len(ours.idf_))
    assert found.nnz == 0


def test_each_post_has_the_same_bits_alone_as_in_company():
    rng = np.random.default_rng(0)
    posts = [rng.choice(["me", "too", "#metoo", "😀", "été", "a"], rng.integers(0, 30)).tolist() for _ in range(300)]
    ours = TfidfFeatures(word_min_df=1, char_min_df=1).fit(encode(posts))
    ours.idf_ = (10 ** rng.uniform(-6, 12, len(ours.idf_))).astype(np.float32)  # so that a sum across posts would lose the small ones

    alone = sparse.vstack([ours.transform(encode([post])) for post in posts])

    np.testing.assert_array_equal(alone.toarray(), ours.transform(encode(posts)).toarray())


@given(corpora)
def test_each_block_of_a_row_has_length_one_or_no_entry(posts):
    ours = TfidfFeatures(word_min_df=1, char_min_df=1).fit(encode([["me", "too"]]))

    found = ours.transform(encode(posts)).toarray()

    for block in np.hsplit(found, [len(ours.words_)]):
        lengths = np.linalg.norm(block, axis=1)
        np.testing.assert_allclose(lengths, lengths > 0, atol=1e-6)


def test_tokens_that_are_remembered_or_forgotten_count_as_new_ones_do(monkeypatch):
    fitted = TfidfFeatures(2, (2, 3), 1, 1).fit(encode(POSTS))
    whole = fitted.transform(encode(POSTS * 3)).toarray()
    monkeypatch.setattr(ngrams.CharacterCounter, "REMEMBERED", 3)
    fresh = TfidfFeatures(2, (2, 3), 1, 1).restore(fitted.words_, fitted.characters_, fitted.idf_)
    assert np.array_equal(np.vstack([fresh.transform(encode([post])).toarray() for post in POSTS * 3]), whole)
    assert 0 < len(fresh._blocks[1]._known._rows) <= 3


@given(train=corpora, test=corpora, char_ngrams=st.sampled_from([None, (1, 2), (2, 5)]), chunk=st.sampled_from([1, 3, 512]))
@settings(deadline=None)
def test_weighted_sums_are_those_of_the_whole_and_have_the_same_bits_in_any_batch(train, test, char_ngrams, chunk):
    if (ours := fit_or_none(TfidfFeatures(2, char_ngrams, 1, 1), train)) is None:
        return
    posts = encode([*test, ["me"] * 9, []])
    weights = np.random.default_rng(0).normal(size=(len(ours.idf_), 8)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "_CHUNK", chunk)
        found = ours.dot(posts, weights)
    np.testing.assert_array_equal(found, ours.transform(posts) @ weights)
    each = [ours.dot(posts.take(np.array([number])), weights) for number in range(len(posts))]
    np.testing.assert_array_equal(found, np.concatenate(each))


def test_weighted_sums_of_no_posts_are_an_empty_array():
    ours = TfidfFeatures(word_min_df=1, char_min_df=1).fit(encode(POSTS))
    assert ours.dot(encode([]), np.ones((len(ours.idf_), 8), np.float32)).shape == (0, 8)


def test_types_that_no_selected_post_holds_change_nothing():
    ours = TfidfFeatures(word_min_df=1, char_min_df=1)
    selected = encode([*POSTS, ["elsewhere"]]).take(np.arange(len(POSTS)))

    ours.fit(selected)

    assert "elsewhere" not in ours.words_
    assert ours.words_ == TfidfFeatures(word_min_df=1, char_min_df=1).fit(encode(POSTS)).words_


def test_restored_features_equal_the_fitted_ones():
    fitted = TfidfFeatures(word_min_df=1, char_min_df=1).fit(encode(POSTS))

    restored = TfidfFeatures().restore(fitted.words_, fitted.characters_, fitted.idf_)

    unseen = encode([["me", "neither"], ["😀😀", "#me"]])
    assert (restored.transform(unseen) != fitted.transform(unseen)).nnz == 0


def test_fitting_in_chunks_learns_the_same(monkeypatch):
    whole = TfidfFeatures(word_min_df=1, char_min_df=2).fit(encode(POSTS))

    monkeypatch.setattr(ngrams, "_CHUNK", 2)
    chunked = TfidfFeatures(word_min_df=1, char_min_df=2).fit(encode(POSTS))

    assert chunked.characters_ == whole.characters_
    assert chunked.idf_.tolist() == whole.idf_.tolist()


@pytest.mark.parametrize("posts", [[], [[]], [["once"], ["only"]]])
def test_nothing_frequent_enough_is_an_input_error(posts):
    with pytest.raises(InputError, match=r"no n-gram is in at least 2 of the \d posts; lower word_min_df \(features.word_min_df"):
        TfidfFeatures(word_min_df=2, char_min_df=3).fit(encode(posts))


def test_too_many_distinct_characters_are_an_input_error_until_rare_ones_are_left_out():
    ideographs = [chr(0x4E00 + number) for number in range(4095)]  # and the space that pads each token

    with pytest.raises(InputError, match=r"4096 distinct characters, but n-grams can use at most 4095; raise char_min_df"):
        TfidfFeatures(word_min_df=1, char_min_df=1).fit(encode([ideographs, ideographs[:100]]))
    fitted = TfidfFeatures(word_min_df=1, char_min_df=2).fit(encode([ideographs, ideographs[:100]]))

    assert len({gram.strip() for gram in fitted.characters_ if gram.strip()}) == 100


def test_n_grams_of_the_last_characters_that_fit_are_exact():
    ideographs = [chr(0x4E00 + number) for number in range(4094)]
    posts = [ideographs, ["".join(ideographs[-5:])]]

    ours = TfidfFeatures(1, (5, 5), 1, 1).fit(encode(posts))

    characters, values = characters_of_scikit_learn(posts, posts, (5, 5), 1)
    assert ours.characters_ == characters
    np.testing.assert_allclose(ours.transform(encode(posts)).toarray()[:, len(ours.words_) :], values.toarray(), atol=1e-6)


@given(train=corpora, test=corpora, char_ngrams=st.sampled_from([None, (1, 2), (2, 5)]))
def test_parts_of_words_sum_to_the_features_of_their_post(train, test, char_ngrams):
    fitted = TfidfFeatures(2, char_ngrams, 1, 1)
    try:
        fitted.fit(encode(train))
    except InputError:  # no tokens at all
        return
    words, parts = fitted.by_word(encode(test))
    assert words.to_lists() == [list(dict.fromkeys(post)) for post in test]
    whole = fitted.transform(encode(test)).toarray()
    for post, start, stop in zip(whole, words.offsets[:-1], words.offsets[1:], strict=True):
        np.testing.assert_allclose(parts[start:stop].toarray().sum(axis=0), post, atol=1e-6)


def test_pair_is_halved_repeats_are_counted_and_characters_go_to_their_token():
    fitted = TfidfFeatures(2, (2, 2), 1, 1).fit(encode([["ab", "ab", "bc"]]))
    batch = encode([["ab", "ab", "bc"]])
    whole, (_, parts) = fitted.transform(batch).toarray()[0], fitted.by_word(batch)
    share = {name: parts[:, [k]].toarray().ravel() / whole[k] for k, name in enumerate(fitted.get_feature_names_out())}
    expected = {
        **{"word:ab": [1, 0], "word:ab ab": [1, 0], "word:ab bc": [0.5, 0.5], "word:bc": [0, 1]},
        **{"char: a": [1, 0], "char:ab": [1, 0], "char:b ": [1, 0], "char: b": [0, 1], "char:bc": [0, 1], "char:c ": [0, 1]},
    }
    assert {name: part.round(6).tolist() for name, part in share.items()} == expected


def ngrams_of(post: list[str]) -> tuple[set[str], set[str]]:
    """Return a post's word 1- and 2-grams and the character 2- to 5-grams that scikit-learn finds in it."""
    characters = TfidfVectorizer(analyzer="char_wb", lowercase=False, ngram_range=(2, 5)).build_analyzer()
    return {*post, *(f"{left} {right}" for left, right in pairwise(post))}, set(characters(" ".join(post)))


def fit_or_none(ours: TfidfFeatures, posts: list[list[str]], groups: np.ndarray | None = None) -> TfidfFeatures | None:
    try:
        return ours.fit(encode(posts), groups)
    except InputError:  # nothing is frequent enough
        return None


written = corpora.flatmap(lambda posts: st.tuples(st.just(posts), st.lists(st.integers(-2, 2), min_size=len(posts), max_size=len(posts))))


@given(written, st.integers(1, 3), st.integers(1, 4))
@settings(deadline=None)
def test_vocabulary_is_what_enough_authors_used_in_enough_posts(written, min_df, min_authors):
    posts, groups = written
    fitted = fit_or_none(TfidfFeatures(2, (2, 5), min_df, min_df, min_authors), posts, np.array(groups))
    for block, name in enumerate(["words_", "characters_"]):
        held = [ngrams_of(post)[block] for post in posts]
        users = {ngram: {group for group, each in zip(groups, held, strict=True) if ngram in each} for ngram in set().union(*held)}
        expected = [
            ngram for ngram, authors in users.items() if len(authors) >= min_authors and sum(ngram in each for each in held) >= min_df
        ]
        assert (getattr(fitted, name) if fitted else []) == sorted(expected)


@given(written)
@settings(deadline=None)
def test_one_author_is_enough_by_default(written):
    posts, groups = written
    alone, known = fit_or_none(TfidfFeatures(), posts), fit_or_none(TfidfFeatures(), posts, np.array(groups))
    assert (alone is None) == (known is None)
    if alone and known:
        assert (alone.words_, alone.characters_, alone.idf_.tobytes()) == (known.words_, known.characters_, known.idf_.tobytes())


def test_posts_are_counted_where_authors_are_enough():
    posts, groups = [["me"], ["me"], ["me"], ["too"], ["too"], ["too"]], np.array([1, 1, 2, 3, 3, 3])
    fitted = TfidfFeatures(1, None, 1, 1, min_authors=2).fit(encode(posts), groups)
    assert fitted.words_ == ["me"]
    assert fitted.idf_ == pytest.approx([np.log(7 / 4) + 1])  # in three posts, but not by two authors
    assert (fitted.authors_.tolist(), fitted.least_authors.tolist()) == ([2], [2])


def test_authors_of_each_ngram_are_counted():
    posts = [["me", "too"]] * 300 + [["me"], ["me", "me"]]
    fitted = TfidfFeatures(2, (1, 1), 1, 1).fit(encode(posts), np.minimum(np.arange(302), 299))
    counted = dict(zip(fitted.get_feature_names_out(), fitted.authors_.tolist(), strict=True))
    assert counted == {f"word:{word}": 255 for word in ("me", "too", "me too")} | {f"char:{c}": 255 for c in " emot"} | {"word:me me": 1}


def test_without_groups_each_post_is_an_author():
    assert (
        TfidfFeatures(2, (2, 5), 1, 1, min_authors=3).fit(encode(POSTS)).words_ == TfidfFeatures(2, (2, 5), 3, 3).fit(encode(POSTS)).words_
    )


def test_too_few_authors_are_an_input_error():
    with pytest.raises(
        InputError,
        match=r"in at least 1 of the 3 posts by at least 2 authors; lower word_min_df or min_authors \(under features in a config\)",
    ):
        TfidfFeatures(2, (2, 5), 1, 1, min_authors=2).fit(encode([["me"]] * 3), np.zeros(3, np.int64))


def test_what_looks_private_is_learned_from_neither_as_word_nor_in_a_pair_nor_by_its_characters():
    posts = [["my", "boss", "kevin", "harassed", "me"], ["believe", "@user", "#kevin", "2017"]] * 3
    kept, dropped = (TfidfFeatures(2, (2, 5), 1, 1, private=private).fit(encode(posts)) for private in ("keep", "drop"))
    assert dropped.words_ == ["@user", "believe", "believe @user", "boss", "harassed", "harassed me", "me", "my", "my boss"]
    assert not {"vi", "kev", "#k", "17"} & set(dropped.characters_)
    assert {"vi", "kev", "#k", "17"} <= set(kept.characters_)
    assert {" bos", "@u", "er "} <= set(dropped.characters_)


def test_names_that_ordinary_words_hold_are_no_n_grams_but_shorter_ones_stay():
    dropped = TfidfFeatures(1, (2, 5), 1, 1, private="drop").fit(encode([["challenge", "wanted"]]))
    assert "allen" not in dropped.characters_
    assert {"alle", "llen", "ted "} <= set(dropped.characters_)


@given(st.lists(st.lists(st.sampled_from(["kevin", "me", "too", "#metoo", "@user", "<3", "b4", "allen", "challenge", "c.k"]), max_size=5)))
@settings(deadline=None)
def test_nothing_in_the_vocabulary_looks_private(posts):
    if fitted := fit_or_none(TfidfFeatures(2, (1, 5), 1, 1, private="drop"), posts):
        assert all(map(may_show_words, fitted.words_))
        assert all(map(may_show_characters, fitted.characters_))
        assert fitted.transform(encode(posts)).shape == (len(posts), len(fitted.idf_))


def test_only_private_tokens_are_an_input_error():
    with pytest.raises(InputError, match=r"in at least 1 of the 2 posts and may be shown \(private='drop'\)"):
        TfidfFeatures(2, (2, 5), 1, 1, private="drop").fit(encode([["kevin"], ["2017"]]))


def test_classifier_tells_its_features_who_wrote_what():
    posts = invent()
    wanted = Features(char_ngrams=None, word_min_df=1, min_authors=5)
    fitted = Classifier.from_config(model_config(features=wanted)).fit_tokens(training(posts.tokens, posts.Y, posts.groups))
    rows = np.repeat(posts.groups, np.diff(posts.tokens.offsets))
    users = [len(np.unique(rows[posts.tokens.codes == code])) for code in range(len(posts.tokens.types))]
    expected = {token for token, authors in zip(posts.tokens.types, users, strict=True) if authors >= 5}
    assert {word for word in fitted.scorers_.features.words_ if " " not in word} == expected
    assert len(expected) < len(users)
