"""Lessons: the answers of slow teacher models for posts without labels, from which a fast model learns. The file contains no post.

For each fold, teachers were fine-tuned on the other folds of the train posts, so that a model fitted without a fold never learns from
a teacher that saw it. They answered for real unlabelled posts, and for posts composed of these and of train posts, none by the
fold's authors (`models.composition`). Further teachers were fine-tuned on all train posts, and answered for the same posts. Only the
model that is fitted on all train posts learns from them. The composed posts are made again from the corpora when a model is trained.

Posts that were labelled later may follow the train posts that the teachers knew. Models learn them from their labels.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.arrays import Float32s, Int64s
from models.composition import Composer, Neighbours
from models.config import find_file
from models.errors import InputError
from models.tokens import TokenBatch

MAKE = "make new ones with python -m pipeline.commands.teach"
_WEIGHT_OF_LATER = 3  # nothing is composed of posts that were labelled later, so each of them counts more (docs/modelling.md)


@dataclass(frozen=True)
class Material:
    """The data that both the teachers and the model they teach are given.

    Attributes
    ----------
    posts : TokenBatch
        Train posts, followed by unlabelled posts.
    targets : ndarray of 0 and 1, shape (n_train_posts, n_targets)
        Labels, followed by auxiliary labels.
    weights : ndarray of float32, shape (n_train_posts,)
        How much each train post counts.
    fold : ndarray of int, shape (n_train_posts,)
        The fold in which each train post is held out.
    groups : ndarray of int, shape (n_posts,)
        Author of each post.
    seed : int
        Seed for composing posts.
    """

    posts: TokenBatch
    targets: NDArray[np.int8]
    weights: Float32s
    fold: Int64s
    groups: Int64s
    seed: int

    @property
    def train(self) -> int:
        """Number of train posts."""
        return len(self.targets)

    @property
    def folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    @property
    def unlabelled(self) -> Int64s:
        """Indices of the unlabelled posts."""
        return np.arange(self.train, len(self.posts))

    def of_known(self, known: int) -> "Material":
        """Return the material that teachers were given who knew the first `known` train posts: these, and the unlabelled posts."""
        kept = np.concatenate([np.arange(known), self.unlabelled])
        return Material(self.posts.take(kept), self.targets[:known], self.weights[:known], self.fold[:known], self.groups[kept], self.seed)

    def unlabelled_outside(self, fold: int) -> Int64s:
        """Return the indices of the unlabelled posts whose authors have no post held out in a fold."""
        held_out = self.groups[: self.train][self.fold == fold]
        return self.unlabelled[~np.isin(self.groups[self.unlabelled], held_out)]

    @property
    def digest(self) -> str:
        """SHA-256 of everything the teachers' answers depend on."""
        digest = hashlib.sha256(json.dumps([self.seed, [self.posts.types[code] for code in self.posts.codes]]).encode())
        outside = (self.unlabelled_outside(fold).astype(np.int64) for fold in np.unique(self.fold))
        for array in (self.posts.offsets, self.targets.astype(np.int8), self.weights, self.fold.astype(np.int64), *outside):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def compose(self, fold: int, neighbours: Neighbours, count: int) -> TokenBatch:
        """Compose posts from those outside a fold; none of them is by the fold's authors.

        Posts are drawn equally often from each target's posts and from the unlabelled ones, and twice as often from posts without a
        target.

        Parameters
        ----------
        fold : int
            The fold whose posts are not used.
        neighbours : Neighbours
            Words that may replace a word.
        count : int
            How many posts to compose.
        """
        taught = np.flatnonzero(self.fold != fold)
        targets = self.targets[taught]
        without = taught[~targets.any(axis=1)]
        pools = [*(taught[y == 1] for y in targets.T), without, without, self.unlabelled_outside(fold)]
        return Composer(self.posts, pools, neighbours).compose(count, [self.seed, fold])


@dataclass(frozen=True)
class Lesson:
    """Posts, and what to learn about them.

    Attributes
    ----------
    posts : TokenBatch
        Labelled, unlabelled and composed posts, in this order.
    targets : ndarray of float32, shape (n_posts, n_targets)
        The labels of labelled posts, and the teachers' probabilities for the others.
    weights : ndarray of float32, shape (n_posts,)
        How much each post counts: 1 for an unlabelled or composed post; the weight of a labelled post, or three times that if the teachers
        did not know it.
    sizes : (int, int, int)
        How many posts are labelled, unlabelled and composed.
    """

    posts: TokenBatch
    targets: Float32s
    weights: Float32s
    sizes: tuple[int, int, int]


@dataclass(frozen=True)
class Lessons:
    """The teachers' answers.

    Attributes
    ----------
    targets : list of str
        Labels, followed by auxiliary labels.
    digest : str
        The digest of the `Material` that the lessons were made from.
    fold : ndarray of uint8, shape (n_known,)
        The fold in which each of its train posts is held out.
    answers : ndarray of float16, shape (n_unlabelled, n_folds + 1, n_targets)
        Log odds for unlabelled posts: the mean over the teachers fitted without each fold, and last, the mean over those fitted on all
        train posts.
    composed : ndarray of float16, shape (n_folds, n_composed, n_targets)
        Log odds for each fold's composed posts, each from one of the teachers fitted without this fold.
    composed_by_all : ndarray of float16, shape (n_folds, n_composed, n_targets)
        Log odds for the same posts, each from one of the teachers fitted on all train posts.
    composed_digests : list of str
        The result of `posts_digest` for each fold's composed posts.
    neighbours : Neighbours
        Words that may replace a word in composed posts.
    """

    targets: list[str]
    digest: str
    fold: NDArray[np.uint8]
    answers: NDArray[np.float16]
    composed: NDArray[np.float16]
    composed_by_all: NDArray[np.float16]
    composed_digests: list[str]
    neighbours: Neighbours

    @property
    def folds(self) -> int:
        """Number of folds."""
        return len(self.composed)

    @property
    def known(self) -> int:
        """Number of train posts that the teachers knew."""
        return len(self.fold)

    def save(self, path: Path) -> None:
        """Write a safetensors file; the same lessons give the same bytes.

        Raises
        ------
        InputError
            When the file cannot be written.
        """
        from safetensors.numpy import save

        arrays = {name: getattr(self, name) for name in ("fold", "answers", "composed", "composed_by_all")}
        # We keep the exact probabilities, because rounded ones would compose posts that the teachers did not answer for.
        arrays |= {"nearest": self.neighbours.nearest.astype(np.int32), "probabilities": self.neighbours.probabilities.astype(np.float32)}
        words = json.dumps(self.neighbours.words, ensure_ascii=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            description = {"targets": self.targets, "digest": self.digest, "composed_digests": self.composed_digests}
            arrays["description"] = np.frombuffer(json.dumps(description).encode(), np.uint8)
            arrays["words"] = np.frombuffer(words.encode(), np.uint8)
            path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}))
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None

    @classmethod
    def load(cls, path: Path) -> "Lessons":
        """Read a file that `save` wrote.

        Raises
        ------
        InputError
            When the file is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(path.read_bytes())
            description = json.loads(arrays["description"].tobytes())
            neighbours = Neighbours(json.loads(arrays["words"].tobytes()), arrays["nearest"], arrays["probabilities"])
            fold, answers = arrays["fold"], (arrays["answers"], arrays["composed"], arrays["composed_by_all"])
            if answers[0].shape[1] != len(answers[1]) + 1 or answers[1].shape != answers[2].shape or fold.max() + 1 != len(answers[1]):
                raise ValueError
            return cls(description["targets"], description["digest"], fold, *answers, description["composed_digests"], neighbours)
        except OSError as error:
            raise _unreadable(path, error) from None
        except (SafetensorError, ValueError, KeyError, TypeError):
            raise InputError(f"{path}: is not a file of lessons, is damaged, or is from an earlier release; {MAKE}") from None

    def check(self, material: Material, targets: list[str]) -> None:
        """Raise an error if these lessons were made from other material, apart from train posts that follow those that the teachers knew.

        Parameters
        ----------
        material : Material
            What the model is about to be trained on.
        targets : list of str
            Names of its labels, followed by those of its auxiliary labels.

        Raises
        ------
        InputError
            When labels, posts, authors, folds or the seed differ, or when an author of posts that were labelled later wrote unlabelled
            posts, but no train posts that the teachers knew. The posts composed for a fold might then hold this author's words, although
            the author's posts are held out there.
        """
        if self.targets != targets:
            raise InputError(f"the lessons are for {', '.join(self.targets)}, but the labels are {', '.join(targets)}; {MAKE}")
        if material.train < self.known or self._parted(material) or self.digest != material.of_known(self.known).digest:
            raise InputError(
                "the lessons were made from other posts, labels, authors or folds, or with another seed; train on the same data with the "
                f"same folds (calibration.folds in a config) and seed, name posts that were labelled later last, or {MAKE}"
            )
        strangers = np.setdiff1d(material.groups[material.unlabelled], material.groups[: self.known])
        if count := int(np.isin(material.groups[self.known : material.train], strangers).sum()):
            raise InputError(
                f"{count:,} of the posts that were labelled later are by authors of unlabelled posts; leave them out, or {MAKE}"
            )

    def _parted(self, material: Material) -> bool:
        """Return whether an author's posts are in several folds."""
        authors, fold = material.groups[: self.known], material.fold[: self.known]
        return len(np.unique(np.stack([authors, fold], axis=1), axis=0)) > len(np.unique(authors))

    def of_fold(self, material: Material, fold: int) -> Lesson:
        """Return the lesson for a model that is fitted without the posts of a fold.

        It holds the train posts outside the fold, the unlabelled posts by other authors, and posts composed of these.

        Parameters
        ----------
        material : Material
            What `check` accepted.
        fold : int
            The fold to leave out.

        Raises
        ------
        InputError
            When the posts that this release composes differ from those that the lessons were made for.
        """
        train, unlabelled = np.flatnonzero(material.fold != fold), material.unlabelled_outside(fold)
        of_unlabelled = _probabilities(self.answers[unlabelled - material.train, fold])
        return self._lesson(material, train, unlabelled, [fold], [of_unlabelled, _probabilities(self.composed[fold])])

    def of_all(self, material: Material) -> Lesson:
        """Return the lesson for a model that is fitted on all train posts: these, all unlabelled posts and every fold's composed posts.

        Answers are means of probabilities: for an unlabelled post, over the teachers of each fold and those of all train posts, which count
        like one more fold; for a composed post, over those of its fold and those of all train posts. See `of_fold` for the errors.
        """
        of_unlabelled = _probabilities(self.answers).mean(axis=1)
        of_composed = (_probabilities(self.composed) + _probabilities(self.composed_by_all)) / 2
        return self._lesson(material, np.arange(material.train), material.unlabelled, range(self.folds), [of_unlabelled, *of_composed])

    def _lesson(self, material: Material, train: Int64s, unlabelled: Int64s, folds: Sequence[int], answers: Sequence[Float32s]) -> Lesson:
        """Put train posts, unlabelled posts and each fold's composed posts together; `answers` has the probabilities for the latter two."""
        count, known = self.composed.shape[1], material.of_known(self.known)
        composed = [known.compose(fold, self.neighbours, count) for fold in folds]
        if [posts_digest(posts) for posts in composed] != [self.composed_digests[fold] for fold in folds]:
            raise InputError(
                f"the lessons are for composed posts that this release, or this version of NumPy, composes differently; {MAKE}"
            )
        sizes = len(train), len(unlabelled), sum(map(len, composed))
        batches = [material.posts.take(np.concatenate([train, unlabelled])), *composed]
        posts = TokenBatch.from_lists(post for batch in batches for post in batch.to_lists())
        targets = np.concatenate([material.targets[train].astype(np.float32), *answers])
        of_train = material.weights[train] * np.where(train < self.known, 1, _WEIGHT_OF_LATER)
        weights = np.concatenate([of_train, np.ones(len(posts) - len(train))]).astype(np.float32)
        return Lesson(posts, targets, weights, sizes)


def posts_digest(posts: TokenBatch) -> str:
    """Return the SHA-256 of tokenised posts."""
    return hashlib.sha256(json.dumps(posts.to_lists()).encode()).hexdigest()


def sha256(path: str) -> str:
    """Return the SHA-256 of the file of lessons that a config names.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    try:
        with find_file(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(find_file(path), error) from None


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: the lessons cannot be read ({error.strerror}); {MAKE}, or use no network (in a config, model.network=null)")


def _probabilities(log_odds: NDArray[np.float16]) -> Float32s:
    return (1 / (1 + np.exp(-log_odds.astype(np.float32)))).astype(np.float32)
