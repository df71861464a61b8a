"""What slow teachers say of posts without labels: the file that a fast model learns from, without any post in it.

Teachers were fine-tuned without each fold of the train posts, so that a model fitted without a fold is never taught by one that
saw it. They answered for real unlabelled posts and for posts composed of these and of train posts, none by the fold's
authors (`models.composition`); they are composed again from the corpora when a model is trained.
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

_MAKE = "make new ones with python -m pipeline.commands.teach"


@dataclass(frozen=True)
class Material:
    """What both the teacher and its pupil are given.

    Attributes
    ----------
    posts : TokenBatch
        Train posts, then unlabelled ones.
    targets : ndarray of 0 and 1, shape (n_train_posts, n_targets)
        Labels, then auxiliary labels.
    fold : ndarray of int, shape (n_train_posts,)
        In which fold each train post is held out.
    groups : ndarray of int, shape (n_posts,)
        Author of each post.
    seed : int
    """

    posts: TokenBatch
    targets: NDArray[np.int8]
    fold: Int64s
    groups: Int64s
    seed: int

    @property
    def train(self) -> int:
        """Train posts."""
        return len(self.targets)

    @property
    def unlabelled(self) -> Int64s:
        """Indices of the unlabelled posts."""
        return np.arange(self.train, len(self.posts))

    def unlabelled_outside(self, fold: int) -> Int64s:
        """Of the unlabelled posts, those by authors of whom a fold holds nothing out."""
        held_out = self.groups[: self.train][self.fold == fold]
        return self.unlabelled[~np.isin(self.groups[self.unlabelled], held_out)]

    @property
    def digest(self) -> str:
        """SHA-256 of all that answers are about."""
        digest = hashlib.sha256(json.dumps([self.seed, [self.posts.types[code] for code in self.posts.codes]]).encode())
        outside = (self.unlabelled_outside(fold).astype(np.int64) for fold in np.unique(self.fold))
        for array in (self.posts.offsets, self.targets.astype(np.int8), self.fold.astype(np.int64), *outside):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def compose(self, fold: int, neighbours: Neighbours, count: int) -> TokenBatch:
        """Compose posts outside a fold, none by its authors.

        They are drawn from each target's posts as often as from unlabelled ones, and twice as often from those without a target.
        """
        taught = np.flatnonzero(self.fold != fold)
        targets = self.targets[taught]
        without = taught[~targets.any(axis=1)]
        pools = [*(taught[y == 1] for y in targets.T), without, without, self.unlabelled_outside(fold)]
        return Composer(self.posts, pools, neighbours).compose(count, [self.seed, fold])


@dataclass(frozen=True)
class Lesson:
    """Posts and what to learn of them.

    Attributes
    ----------
    posts : TokenBatch
    targets : ndarray of float32, shape (n_posts, n_targets)
        Labels, or probabilities.
    sizes : (int, int, int)
        How many posts are labelled, unlabelled, and composed; they stand in this order.
    """

    posts: TokenBatch
    targets: Float32s
    sizes: tuple[int, int, int]


@dataclass(frozen=True)
class Lessons:
    """Teachers' answers.

    Attributes
    ----------
    targets : list of str
        Labels, then auxiliary labels.
    digest : str
        Of the `Material` that they were made from.
    answers : ndarray of float16, shape (n_unlabelled, n_folds, n_targets)
        Log odds of unlabelled posts, the mean of the teachers fitted without each fold.
    composed : ndarray of float16, shape (n_folds, n_composed, n_targets)
        Log odds of each fold's composed posts, each by one of the same teachers.
    composed_digests : list of str
        `digest_of` each fold's composed posts.
    neighbours : Neighbours
        What they were composed with.
    """

    targets: list[str]
    digest: str
    answers: NDArray[np.float16]
    composed: NDArray[np.float16]
    composed_digests: list[str]
    neighbours: Neighbours

    @property
    def folds(self) -> int:
        """How many folds there are."""
        return len(self.composed)

    def save(self, path: Path) -> None:
        """Write a safetensors file, the same bytes for the same lessons.

        Raises
        ------
        InputError
            When it cannot be written.
        """
        from safetensors.numpy import save

        arrays = {"answers": self.answers, "composed": self.composed}
        # Probabilities as the teachers had them, or other posts are composed from them than they answered for.
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
        """Read the file.

        Raises
        ------
        InputError
            When it is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(path.read_bytes())
            description = json.loads(arrays["description"].tobytes())
            neighbours = Neighbours(json.loads(arrays["words"].tobytes()), arrays["nearest"], arrays["probabilities"])
            digests = description["composed_digests"]
            return cls(description["targets"], description["digest"], arrays["answers"], arrays["composed"], digests, neighbours)
        except OSError as error:
            raise _unreadable(path, error) from None
        except (SafetensorError, ValueError, KeyError, TypeError):
            raise InputError(f"{path}: no teacher's lessons, or damaged; {_MAKE}") from None

    def check(self, material: Material, targets: list[str]) -> None:
        """Refuse material other than the teachers'.

        Raises
        ------
        InputError
        """
        if self.targets != targets:
            raise InputError(f"the lessons are for {', '.join(self.targets)}, the labels are {', '.join(targets)}; {_MAKE}")
        if self.digest != material.digest:
            raise InputError(
                "the lessons were made from other posts, labels, authors, folds or another seed: train on the same data with the same "
                f"calibration.folds and seed, or {_MAKE}"
            )

    def of_fold(self, material: Material, fold: int) -> Lesson:
        """What a model that is fitted without a fold learns from.

        Train posts outside it, unlabelled posts by none of its authors, and posts composed of these: `_lesson` has the errors.
        """
        return self._lesson(material, np.flatnonzero(material.fold != fold), material.unlabelled_outside(fold), [fold])

    def of_all(self, material: Material) -> Lesson:
        """What a model that is fitted on all train posts learns from: the mean of the teachers' answers, and all composed posts."""
        return self._lesson(material, np.arange(material.train), material.unlabelled, range(self.folds))

    def _lesson(self, material: Material, train: Int64s, unlabelled: Int64s, folds: Sequence[int]) -> Lesson:
        count = self.composed.shape[1]
        composed = [material.compose(fold, self.neighbours, count) for fold in folds]
        if [digest_of(posts) for posts in composed] != [self.composed_digests[fold] for fold in folds]:
            raise InputError(f"posts are composed in another way than for the lessons, by this release or this NumPy; {_MAKE}")
        sizes = len(train), len(unlabelled), sum(map(len, composed))
        batches = [material.posts.take(np.concatenate([train, unlabelled])), *composed]
        posts = TokenBatch.from_lists(post for batch in batches for post in batch.to_lists())
        of_unlabelled = _probabilities(self.answers[np.ix_(unlabelled - material.train, np.array(folds))]).mean(axis=1)
        answers = [of_unlabelled, *(_probabilities(self.composed[fold]) for fold in folds)]
        return Lesson(posts, np.concatenate([material.targets[train].astype(np.float32), *answers]), sizes)


def digest_of(posts: TokenBatch) -> str:
    """SHA-256 of tokenised posts."""
    return hashlib.sha256(json.dumps(posts.to_lists()).encode()).hexdigest()


def sha256(path: str) -> str:
    """SHA-256 of the file of lessons that a config names.

    Raises
    ------
    InputError
        When it cannot be read.
    """
    try:
        with find_file(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(find_file(path), error) from None


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: a teacher's lessons cannot be read ({error.strerror}); {_MAKE}, or set model.network=null")


def _probabilities(log_odds: NDArray[np.float16]) -> Float32s:
    return (1 / (1 + np.exp(-log_odds.astype(np.float32)))).astype(np.float32)
