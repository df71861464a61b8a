"""Composed posts: whose posts they are made of, which words they hold, and that the same seed gives the same posts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from school import alike

from models import composition
from models.composition import Composer, Neighbours, written
from models.text import normalise
from models.tokens import PostTokenizer, TokenBatch

NOTHING = Neighbours([], np.empty((0, 2), np.int32), np.empty((0, 2), np.float16))


def numbered(n_posts: int, length: int = 8) -> TokenBatch:
    """Return posts in which every word names its post and its place."""
    return TokenBatch.from_lists([f"p{post}w{place}" for place in range(length)] for post in range(n_posts))


def composed(posts: TokenBatch, *pools: list[int], neighbours: Neighbours = NOTHING, count: int = 200, seed: int = 0) -> list[list[str]]:
    return Composer(posts, [np.array(pool, np.int64) for pool in pools], neighbours).compose(count, [seed, 1]).to_lists()


def origin(word: str) -> int:
    return int(word[1 : word.index("w")])


def place(word: str) -> int:
    return int(word[word.index("w") + 1 :])


@pytest.fixture
def whole(monkeypatch):
    """Let composition leave out no word."""
    monkeypatch.setattr(composition, "_LEFT_OUT", (0.0,))


@given(seed=st.integers(0, 999))
def test_same_seed_composes_the_same_posts(seed):
    posts, pools = numbered(9), ([0, 3], [1, 2, 5, 8])
    near = alike(["p0w0", "p3w1", "p1w2", "new"])
    first, again, other = (composed(posts, *pools, neighbours=near, count=9, seed=number) for number in (seed, seed, seed + 1))
    assert first == again != other


WORDS = st.sampled_from(["me", "too", "été", "#metoo", "😀", "n't"])


@given(
    posts=st.lists(st.lists(WORDS, max_size=70), min_size=1, max_size=6),
    known=st.lists(WORDS | st.sampled_from(["new", "newer"]), min_size=3, max_size=6, unique=True),
    drawn=st.sets(st.integers(0, 5), min_size=1),
    seed=st.integers(0, 99),
)
def test_words_are_those_of_the_posts_drawn_or_neighbours_of_these(posts, known, drawn, seed):
    pool = [number for number in drawn if number < len(posts)] or [0]
    found = composed(TokenBatch.from_lists(posts), pool, neighbours=alike(known), count=9, seed=seed)
    allowed = {word for number in pool for word in posts[number][:60]}
    allowed |= {known[(known.index(word) + step) % len(known)] for word in allowed & set(known) for step in (1, 2)}
    assert len(found) == 9
    assert {word for post in found for word in post} <= allowed
    assert max(map(len, found)) <= 2 * max(min(len(posts[number]), 60) for number in pool)


@given(seed=st.integers(0, 999))
def test_parts_come_from_the_pools_alone(seed):
    found = {origin(word) for post in composed(numbered(9), [0, 3], [], [3, 5], count=40, seed=seed) for word in post}
    assert found == {0, 3, 5}


def test_every_pool_is_drawn_from_as_often_whatever_it_holds():
    posts = composed(numbered(100), [7], [number for number in range(100) if number != 7], [], count=2000)
    firsts = [origin(post[0]) for post in posts if post]
    assert np.mean([first == 7 for first in firsts]) == pytest.approx(0.5, abs=0.05)
    assert len(set(firsts)) == 100


@pytest.mark.usefixtures("whole")
def test_a_post_is_one_part_or_two_each_in_its_order():
    lengths = set()
    for post in composed(numbered(30), list(range(30))):
        breaks = [number for number in range(1, len(post)) if (origin(post[number]), place(post[number])) != _next(post[number - 1])]
        assert len(breaks) <= 1
        lengths.add((len(post), len(breaks)))
    assert {(8, 0), (4, 0), (16, 1), (6, 1)} <= lengths
    assert min(length for length, _ in lengths) == 4


def _next(word: str) -> tuple[int, int]:
    return origin(word), place(word) + 1


def test_few_words_are_left_out():
    posts = composed(numbered(1), [0], count=2000)
    share = 1 - np.mean([len(post) / (max(map(place, post)) - min(map(place, post)) + 1) for post in posts if len(set(post)) == len(post)])
    assert 0.01 < share < 0.08


@pytest.mark.usefixtures("whole")
def test_words_without_neighbours_stay_and_others_become_their_neighbours_as_often_as_is_said():
    posts = TokenBatch.from_lists([["stays", "changes", "too"]] * 3)
    near = Neighbours(
        ["changes", "likely", "rare", "never"],
        np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]], np.int32),
        np.array([[0.75, 0.25, 0]] * 4, np.float16),
    )
    words = [word for post in composed(posts, [0, 1, 2], neighbours=near, count=4000) for word in post]
    count = {word: words.count(word) for word in set(words)}
    assert set(count) == {"stays", "changes", "too", "likely", "rare"}
    assert count["stays"] == pytest.approx(count["too"], rel=0.1)
    assert count["likely"] / (count["likely"] + count["rare"]) == pytest.approx(0.75, abs=0.04)
    changed = (count["likely"] + count["rare"]) / (count["likely"] + count["rare"] + count["changes"])
    assert changed == pytest.approx(np.mean(composition._REPLACED), abs=0.03)


def test_rounded_probabilities_always_give_a_neighbour():
    near = Neighbours(["a", "b", "c", "d"], np.array([[1, 2, 3]] * 4), np.full((4, 3), 0.333, np.float16))
    words = {word for post in composed(TokenBatch.from_lists([["a"] * 9]), [0], neighbours=near, count=3000) for word in post}
    assert words == {"a", "b", "c", "d"}


def test_only_the_beginnings_of_long_posts_are_taken():
    found = {place(word) for post in composed(numbered(2, 90), [0, 1]) for word in post}
    assert found == set(range(60))


def test_posts_without_a_word_compose_too():
    posts = TokenBatch.from_lists([[], ["one"]])
    assert {tuple(post) for post in composed(posts, [0], count=20)} == {()}
    assert {(), ("one",), ("one", "one")} == {tuple(post) for post in composed(posts, [0, 1])}


@pytest.mark.parametrize(
    "text",
    [
        "i didn't say that, i'm sure!",
        "she's here. they've gone, haven't they?",
        "me too",
        "",
        "what? no!!",
        "it's my boss's office",
        "#metoo @user 😀",
    ],
)
def test_text_is_written_as_it_was_before_it_was_tokenised(text):
    (tokens,) = PostTokenizer("blank", "ORTH")([normalise(text)]).to_lists()
    assert written(tokens) == normalise(text)
