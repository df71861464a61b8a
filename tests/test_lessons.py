"""Lessons: which of a teacher's answers are kept, from which posts a pupil learns, and which lessons are refused."""

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.composition import Neighbours
from models.lessons import Lesson, Lessons, Material, posts_digest
from models.tokens import TokenBatch

TRAIN, UNLABELLED, FOLDS, COMPOSED = 12, 5, 3, 40
TARGETS = ["alpha", "beta"]
NOTHING = Neighbours([], np.empty((0, 2), np.int32), np.empty((0, 2), np.float32))


def words_of(post: int) -> list[str]:
    """Return words that name their post; posts differ in length."""
    return [f"p{post}w{place}" for place in range(3 + post % 4)]


POSTS = [words_of(post) for post in range(TRAIN + UNLABELLED)]


def material_of(posts: list[list[str]], **changes) -> Material:
    targets = np.zeros((TRAIN, 2), np.int8)
    targets[[1, 4, 7, 8], 0] = 1
    targets[5, 1] = 1
    whole = Material(
        TokenBatch.from_lists(posts), targets, np.ones(TRAIN, np.float32), np.arange(TRAIN) % FOLDS, np.arange(len(posts)), seed=7
    )
    return dataclasses.replace(whole, **changes)


@pytest.fixture(scope="module")
def material() -> Material:
    return material_of(POSTS)


@pytest.fixture(scope="module")
def near() -> Neighbours:
    """Neighbours whose probabilities need 32 bits: 16 would round them."""
    rng = np.random.default_rng(0)
    words = [f"p{post}w{place}" for post in range(TRAIN, TRAIN + UNLABELLED) for place in range(3)] + ["new", "été", "\u4e2d"]
    nearest = np.stack([rng.permutation(len(words) - 1)[:8] for _ in words])
    nearest += nearest >= np.arange(len(words))[:, None]
    return Neighbours(words, nearest, rng.dirichlet(np.ones(8), len(words)).astype(np.float32))


def log_odds(posts: list[list[str]], fold: int) -> np.ndarray:
    """Return the answers of a teacher, which differ by the length of the post and are exact in 16 bits.

    The teacher of all posts has the number `FOLDS`, and the others have that of the fold that they left out.
    """
    return np.array([[len(post) / 4 - 2, fold + len(post) / 8] for post in posts], np.float16)


@pytest.fixture(scope="module")
def lessons(material, near) -> Lessons:
    unlabelled = material.posts.take(material.unlabelled).to_lists()
    answers = np.stack([log_odds(unlabelled, fold) for fold in range(FOLDS + 1)], axis=1)
    posts = [material.compose(fold, near, COMPOSED) for fold in range(FOLDS)]
    composed = np.stack([log_odds(each.to_lists(), fold) for fold, each in enumerate(posts)])
    by_all = np.stack([log_odds(each.to_lists(), FOLDS) for each in posts])
    return Lessons(
        TARGETS, material.digest, material.fold.astype(np.uint8), answers, composed, by_all, [posts_digest(each) for each in posts], near
    )


@pytest.fixture
def saved(lessons, tmp_path) -> Path:
    lessons.save(tmp_path / "deep" / "er" / "lessons.safetensors")
    return tmp_path / "deep" / "er" / "lessons.safetensors"


def probabilities(scores: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-scores.astype(np.float64)))


def origins(posts: list[list[str]]) -> set[int]:
    return {int(word[1 : word.index("w")]) for post in posts for word in post if word.startswith("p")}


def test_lessons_are_read_as_they_were_saved(lessons, saved):
    loaded = Lessons.load(saved)
    assert (loaded.targets, loaded.digest, loaded.known, loaded.folds) == (TARGETS, lessons.digest, TRAIN, FOLDS)
    assert loaded.neighbours.words == lessons.neighbours.words
    for was, now in (
        (lessons.fold, loaded.fold),
        (lessons.answers, loaded.answers),
        (lessons.composed, loaded.composed),
        (lessons.composed_by_all, loaded.composed_by_all),
        (lessons.neighbours.nearest, loaded.neighbours.nearest),
        (lessons.neighbours.probabilities, loaded.neighbours.probabilities),
    ):
        np.testing.assert_array_equal(now, was)
    assert loaded.answers.dtype == loaded.composed.dtype == loaded.composed_by_all.dtype == np.float16


def test_posts_composed_with_what_was_saved_are_those_that_the_teacher_answered_for(material, lessons, saved):
    first, again = (material.compose(0, neighbours, 1500).to_lists() for neighbours in (lessons.neighbours, Lessons.load(saved).neighbours))
    assert again == first


def test_same_lessons_are_the_same_bytes(lessons, saved, tmp_path):
    Lessons.load(saved).save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()


def test_file_holds_no_words_but_the_neighbours(saved, near):
    content = saved.read_bytes()
    assert all(json.dumps(word, ensure_ascii=False).encode() in content for word in near.words)
    assert not [word for post in range(TRAIN) for word in words_of(post) if word.encode() in content]


@pytest.fixture
def spoiled(saved):
    """Write the file with some arrays replaced, or left out if None."""

    def spoil(**changes) -> Path:
        arrays = {name: array for name, array in (load_file(saved) | changes).items() if array is not None}
        save_file(arrays, saved)
        return saved

    return spoil


def as_bytes(tree: object) -> np.ndarray:
    return np.frombuffer(json.dumps(tree).encode(), np.uint8)


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in ("fold", "answers", "composed", "composed_by_all", "nearest", "probabilities", "words", "description")),
        {"fold": np.zeros(TRAIN, np.uint8)},
        {"fold": np.zeros(0, np.uint8)},
        {"answers": np.zeros((UNLABELLED, FOLDS, 2), np.float16)},
        {"composed_by_all": np.zeros((FOLDS, 1, 2), np.float16)},
        {"description": as_bytes({"targets": TARGETS})},
        {"description": as_bytes([])},
        {"description": np.frombuffer(b"{", np.uint8)},
        {"words": np.frombuffer(b"\xff\xfe", np.uint8)},
    ],
    ids=str,
)
def test_file_that_lacks_something_is_refused(spoiled, refused, changes):
    path = spoiled(**changes)
    with refused(path, "damaged", "python -m pipeline.commands.teach"):
        Lessons.load(path)


@pytest.mark.parametrize("content", [b"", b"no lessons", b"\x08\0\0\0\0\0\0\0{}      "])
def test_file_of_something_else_is_refused(tmp_path, refused, content):
    (tmp_path / "file").write_bytes(content)
    with refused(tmp_path / "file", "damaged", "python -m pipeline.commands.teach"):
        Lessons.load(tmp_path / "file")


def test_file_that_was_cut_short_is_refused(saved, refused):
    saved.write_bytes(saved.read_bytes()[:-1])
    with refused(saved, "damaged"):
        Lessons.load(saved)


def test_missing_file_and_folder_are_refused(tmp_path, refused):
    with refused(tmp_path / "none", "No such file", "python -m pipeline.commands.teach", "model.network=null"):
        Lessons.load(tmp_path / "none")
    with refused(tmp_path, "cannot be read", "model.network=null"):
        Lessons.load(tmp_path)


def test_lessons_that_cannot_be_written_are_told(lessons, tmp_path, refused):
    (tmp_path / "file").write_text("mine")
    with refused(tmp_path / "file" / "lessons", "cannot be written", "choose another --out"):
        lessons.save(tmp_path / "file" / "lessons")


def test_lessons_fit_what_they_were_made_of_however_its_tokens_are_numbered(lessons, material):
    lessons.check(material, TARGETS)
    posts = TokenBatch.from_lists([["other"], *POSTS[::-1]]).take(np.arange(len(POSTS), 0, -1))
    assert posts.types != material.posts.types
    lessons.check(dataclasses.replace(material, posts=posts), TARGETS)


@pytest.mark.parametrize("targets", [["alpha"], ["beta", "alpha"], ["alpha", "beta", "gamma"]])
def test_lessons_for_other_labels_are_refused(lessons, material, refused, targets):
    with refused("the lessons are for alpha, beta", f"the labels are {', '.join(targets)}", "python -m pipeline.commands.teach"):
        lessons.check(material, targets)


OTHERS = {
    "a word": material_of([*POSTS[:-1], ["other"]]),
    "where a post ends": material_of([POSTS[0][:-1], [*POSTS[0][-1:], *POSTS[1]], *POSTS[2:]]),
    "how tokens are parted": material_of([[f"{POSTS[0][0]}{POSTS[0][1]}", *POSTS[0][2:]], *POSTS[1:]]),
    "order": material_of([*POSTS[:-2], POSTS[-1], POSTS[-2]]),
    "a post less": material_of(POSTS[:-1]),
    "a post more": material_of([*POSTS, []]),
    "a label": material_of(POSTS, targets=np.eye(TRAIN, 2, dtype=np.int8)),
    "an author": material_of(POSTS, groups=np.array([*range(TRAIN + UNLABELLED - 1), 1])),
    "a fold": material_of(POSTS, fold=np.arange(TRAIN) // 4),
    "the seed": material_of(POSTS, seed=8),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=list(OTHERS))
def test_lessons_of_anything_else_are_refused(lessons, other, refused):
    with refused(
        "the lessons were made from other posts, labels, authors or folds, or with another seed", "python -m pipeline.commands.teach"
    ):
        lessons.check(other, TARGETS)


LATER = [words_of(post) for post in range(50, 54)]


def added_to(material: Material) -> Material:
    """Return material in which four train posts follow the others: one by the author of train post 1, and three by a new author."""
    before, after = np.arange(TRAIN), np.arange(TRAIN, TRAIN + UNLABELLED)
    return Material(
        TokenBatch.from_lists([*POSTS[:TRAIN], *LATER, *POSTS[TRAIN:]]),
        np.vstack([material.targets, np.tile([1, 0], (4, 1))]).astype(np.int8),
        np.concatenate([material.weights, np.full(4, 0.5, np.float32)]),
        np.concatenate([material.fold, [1, 2, 2, 2]]),
        np.concatenate([before, [1, 90, 90, 90], after]),
        material.seed,
    )


@pytest.mark.parametrize("fold", range(FOLDS))
def test_posts_that_were_labelled_later_are_learned_from_their_labels_alone(lessons, material, fold):
    more, later = added_to(material), np.array([1, 2, 2, 2]) != fold
    lessons.check(more, TARGETS)
    for lesson, before, added in (
        (lessons.of_fold(more, fold), lessons.of_fold(material, fold), later),
        (lessons.of_all(more), lessons.of_all(material), np.full(4, True)),
    ):
        (posts, targets), *rest = parts_of(lesson)
        (known, known_targets), *known_rest = parts_of(before)
        assert posts == [*known, *(post for post, is_learned in zip(LATER, added, strict=True) if is_learned)]
        np.testing.assert_array_equal(targets, [*known_targets, *np.tile([1, 0], (added.sum(), 1))])
        assert lesson.weights[: len(known)].tolist() == [1] * len(known)
        assert lesson.weights[len(known) : len(posts)].tolist() == [1.5] * added.sum()  # three times their weight
        for now, then in zip(rest, known_rest, strict=True):
            assert now[0] == then[0]
            np.testing.assert_array_equal(now[1], then[1])


def test_posts_that_were_labelled_later_must_not_be_by_authors_of_unlabelled_posts(lessons, material, refused):
    more = added_to(material)
    groups = more.groups.copy()
    groups[-1] = 90
    with refused("3 of the posts that were labelled later are by authors of unlabelled posts; leave them out, or make new ones"):
        lessons.check(dataclasses.replace(more, groups=groups), TARGETS)
    groups[-1] = 1  # this author is known, so other posts would have been composed
    with refused("the lessons were made from other posts"):
        lessons.check(dataclasses.replace(more, groups=groups), TARGETS)


def test_posts_that_were_labelled_later_may_be_by_known_authors_of_unlabelled_posts(lessons, material, near):
    groups = material.groups.copy()
    groups[-1] = 1  # the author of train post 1, which is held out in fold 1
    shared = dataclasses.replace(material, groups=groups)
    posts = [shared.compose(fold, near, COMPOSED) for fold in range(FOLDS)]
    lessons = dataclasses.replace(lessons, digest=shared.digest, composed_digests=[*map(posts_digest, posts)])
    more = added_to(material)  # its first later post is by this author, too
    more = dataclasses.replace(more, groups=np.concatenate([more.groups[:-1], [1]]))
    lessons.check(more, TARGETS)
    assert {50, TRAIN + UNLABELLED - 1}.isdisjoint(origins(lessons.of_fold(more, 1).posts.to_lists()))


def test_lessons_are_refused_if_an_author_is_in_two_folds(lessons, material, refused):
    groups = material.groups.copy()
    groups[2] = 1  # train posts 1 and 2 are held out in folds 1 and 2
    parted = dataclasses.replace(material, groups=groups)
    assert parted.digest == material.digest
    with refused("the lessons were made from other posts, labels, authors or folds"):
        lessons.check(parted, TARGETS)


def test_lessons_of_more_posts_than_there_are_are_refused(lessons, material, refused):
    for known in (TRAIN + 1, 10 * TRAIN):
        with refused("the lessons were made from other posts", "name posts that were labelled later last"):
            dataclasses.replace(lessons, fold=np.arange(known, dtype=np.uint8) % FOLDS).check(material, TARGETS)


def test_lessons_are_refused_if_a_post_they_were_made_of_is_missing_though_others_were_added(lessons, material, refused):
    more = added_to(material)
    kept = np.delete(np.arange(len(more.posts)), 3)
    parts = [each[kept[: more.train - 1]] for each in (more.targets, more.weights, more.fold)]
    with refused("the lessons were made from other posts"):
        lessons.check(Material(more.posts.take(kept), *parts, more.groups[kept], more.seed), TARGETS)


@pytest.mark.parametrize("fold", range(FOLDS))
def test_pupil_of_a_fold_learns_of_no_post_that_is_held_out_there(lessons, material, fold):
    lesson = lessons.of_fold(material, fold)
    held_out = set(np.flatnonzero(material.fold == fold).tolist())
    assert origins(lesson.posts.to_lists()) == set(range(TRAIN + UNLABELLED)) - held_out


def parts_of(lesson: Lesson) -> list[tuple[list[list[str]], np.ndarray]]:
    """Return the posts and targets of each part: labelled, unlabelled and composed."""
    assert len(lesson.posts) == len(lesson.targets) == sum(lesson.sizes)
    assert lesson.targets.dtype == np.float32
    ends = np.cumsum([0, *lesson.sizes])
    return [(lesson.posts.to_lists()[start:stop], lesson.targets[start:stop]) for start, stop in pairwise(ends)]


@pytest.mark.parametrize("fold", range(FOLDS))
def test_pupil_of_a_fold_learns_labels_and_what_the_teacher_of_that_fold_said_of_the_rest(lessons, material, near, fold):
    train = np.flatnonzero(material.fold != fold)
    labelled, unlabelled, composed = parts_of(lessons.of_fold(material, fold))
    assert labelled[0] == [words_of(post) for post in train]
    np.testing.assert_array_equal(labelled[1], material.targets[train])
    assert unlabelled[0] == POSTS[TRAIN:]
    assert composed[0] == material.compose(fold, near, COMPOSED).to_lists()
    for posts, targets in (unlabelled, composed):
        np.testing.assert_allclose(targets, probabilities(log_odds(posts, fold)), rtol=1e-6)


def test_pupil_of_a_fold_learns_of_no_unlabelled_post_by_an_author_held_out_there(lessons, material, near):
    groups = material.groups.copy()
    groups[[TRAIN, TRAIN + 3]] = groups[[1, 2]]  # train posts 1 and 2 are held out in folds 1 and 2
    shared = dataclasses.replace(material, groups=groups)
    kept = {0: [0, 1, 2, 3, 4], 1: [1, 2, 3, 4], 2: [0, 1, 2, 4]}
    composed = [posts_digest(shared.compose(fold, near, COMPOSED)) for fold in kept]
    lessons = dataclasses.replace(lessons, composed_digests=composed)
    for fold, numbers in kept.items():
        parts = origins(shared.compose(fold, NOTHING, 500).to_lists())
        assert parts & {*range(TRAIN, TRAIN + UNLABELLED)} == {TRAIN + number for number in numbers}
        posts, targets = parts_of(lessons.of_fold(shared, fold))[1]
        assert posts == [POSTS[TRAIN + number] for number in numbers]
        np.testing.assert_allclose(targets, probabilities(log_odds(posts, fold)), rtol=1e-6)
    assert parts_of(lessons.of_all(shared))[1][0] == POSTS[TRAIN:]


def test_posts_composed_in_another_way_than_the_teachers_are_refused(lessons, material, monkeypatch, refused):
    monkeypatch.setattr("models.composition._CUT", 0.9)
    for learn in (lambda: lessons.of_fold(material, 1), lambda: lessons.of_all(material)):
        with refused("composes differently", "python -m pipeline.commands.teach"):
            learn()


def test_pupil_of_all_learns_of_every_post_and_what_all_its_teachers_said_on_average(lessons, material, near):
    labelled, unlabelled, composed = parts_of(lessons.of_all(material))
    assert labelled[0] == POSTS[:TRAIN]
    np.testing.assert_array_equal(labelled[1], material.targets)
    assert unlabelled[0] == POSTS[TRAIN:]
    by_fold = [material.compose(fold, near, COMPOSED).to_lists() for fold in range(FOLDS)]
    assert composed[0] == [post for posts in by_fold for post in posts]
    of_unlabelled = np.mean([probabilities(log_odds(unlabelled[0], teacher)) for teacher in range(FOLDS + 1)], axis=0)
    np.testing.assert_allclose(unlabelled[1], of_unlabelled, rtol=1e-5)
    answers = [[probabilities(log_odds(posts, teacher)) for teacher in (fold, FOLDS)] for fold, posts in enumerate(by_fold)]
    np.testing.assert_allclose(composed[1], np.concatenate(np.mean(answers, axis=1)), rtol=1e-5)


def test_posts_are_composed_though_every_one_has_a_label(near):
    assert len(material_of(POSTS, targets=np.ones((TRAIN, 2), np.int8)).compose(0, near, 9)) == 9


def test_rare_labels_are_composed_of_as_often_as_others(material):
    firsts = [next(iter(origins([post[:1]])), None) for post in material.compose(0, NOTHING, 3000).to_lists()]
    share = {post: firsts.count(post) / len(firsts) for post in range(TRAIN + UNLABELLED)}
    # The pools outside fold 0: four posts have the first label, one has the second, three have none; the last pool is unlabelled.
    assert share[5] == pytest.approx(1 / 5, abs=0.03)
    assert sum(share[post] for post in (1, 4, 7, 8)) == pytest.approx(1 / 5, abs=0.03)
    assert sum(share[post] for post in (2, 10, 11)) == pytest.approx(2 / 5, abs=0.03)
    assert sum(share[post] for post in range(TRAIN, TRAIN + UNLABELLED)) == pytest.approx(1 / 5, abs=0.03)


def test_each_fold_and_seed_composes_posts_of_its_own(near):
    whole = material_of(POSTS, fold=np.full(TRAIN, 9))  # none is held out
    other = dataclasses.replace(whole, seed=8)
    found = [each.compose(fold, near, 9) for each, fold in ((whole, 0), (whole, 1), (other, 0))]
    assert len({str(batch.to_lists()) for batch in found}) == 3


def test_what_teachers_are_sure_of_is_a_probability(material, lessons):
    never = np.full_like(lessons.composed, -30)
    sure = dataclasses.replace(lessons, answers=np.full_like(lessons.answers, 30), composed=never, composed_by_all=never)
    _, *rest = parts_of(sure.of_all(material))
    targets = np.concatenate([targets for _, targets in rest])
    assert np.unique(np.round(targets, 6)).tolist() == [0, 1]
    assert ((targets >= 0) & (targets <= 1)).all()
