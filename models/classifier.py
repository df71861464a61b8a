"""The classifier: features, linear scores, calibration and thresholds, fitted together."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from models.arrays import Decisions, Float64s, Int64s, Labels, Probabilities
from models.calibration import CALIBRATORS, Calibrator, tune_threshold
from models.config import ModelConfig, find_file
from models.errors import InputError
from models.features import TfidfFeatures
from models.lessons import Lesson, Lessons, Material
from models.linear import LinearScorer
from models.network import ConvolutionalScorer
from models.storage import read_model, write_model
from models.text import normalise
from models.tokens import PostTokenizer, TokenBatch

Folds = list[tuple[Int64s, Int64s]]

_NETWORK = ("vectors", "filters", "hidden", "coef", "intercept")


def _rarest(Y: Labels) -> Int64s:
    """Each post's rarest label, or n_labels for none: the classes that folds are stratified by."""
    counts = Y.sum(axis=0)
    rarest: Int64s = np.where(Y == 1, counts, len(Y) + 1).argmin(axis=1)
    return np.where(Y.any(axis=1), rarest, Y.shape[1])


def _check_learnable(Y: Labels, groups: Int64s, names: Sequence[str], folds: int) -> None:
    for name, y in zip(names, Y.T, strict=True):
        for value, kind in ((1, "with"), (0, "without")):
            posts, authors = int((y == value).sum()), len(np.unique(groups[y == value]))
            if authors < folds:
                raise InputError(
                    f"label {name!r}: {posts} train posts {kind} it, by {authors} authors; calibration.folds={folds} needs {folds}: "
                    "label more posts, lower calibration.folds or take the label out of the set"
                )


def _varies(y: NDArray[Any], folds: Folds) -> bool:
    """Whether the train part of every fold has both values."""
    return all(y[train].min() < y[train].max() for train, _ in folds)


def _scores(features: TfidfFeatures, scorer: LinearScorer, network: ConvolutionalScorer | None, tokens: TokenBatch) -> Float64s:
    """Scores of the linear model and then of the network, shape (n_posts, n_scores)."""
    scores = [scorer.decision_function(features.transform(tokens))]
    if network:
        scores.append(network.decision_function(tokens, features.of_words))
    return np.hstack(scores).astype(np.float64)


class Classifier:
    """Multi-label classifier of posts.

    Scores every label, every auxiliary label that the training posts hold, and "any label at all" with a linear model, and, if the
    config has one, labels and auxiliary labels with a network, too; calibrates on scores of held-out, author-disjoint folds; tunes
    one threshold per label on the same.

    Parameters
    ----------
    config : ModelConfig
        What to count, fit and tune.

    Attributes
    ----------
    labels : list of str
        Names, in the order of every output.
    tokenizer : PostTokenizer
        What `predict_proba` wants its posts tokenised with.
    thresholds_ : ndarray of float64, shape (n_labels,)
    prior_ : ndarray of float64, shape (n_labels,)
        Share of each label in the training posts.
    held_out_ : ndarray of float32, shape (n_train_posts, n_labels)
        After `fit` only: probabilities of the training posts, each post's by a scorer and a calibrator fitted on the
        other folds, which hold no post of its author.
    digest_ : str
        After `save` or `load`: the model's SHA-256.
    description_ : dict
        After `save` or `load`: what was noted when the model was saved.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.labels = config.labels.names
        self.tokenizer = PostTokenizer(config.text.spacy_pipeline, config.text.attribute)

    def _new_features(self) -> TfidfFeatures:
        wanted = self.config.features
        char_ngrams = (wanted.char_ngrams[0], wanted.char_ngrams[1]) if wanted.char_ngrams else None
        return TfidfFeatures(wanted.word_ngrams, char_ngrams, wanted.word_min_df, wanted.char_min_df, wanted.min_authors, wanted.private)

    def _new_calibrator(self) -> Calibrator:
        return CALIBRATORS[self.config.calibration.method]()

    def _fit_scorers(
        self,
        tokens: TokenBatch,
        train: Int64s,
        targets: Labels,
        groups: Int64s,
        lesson: Lesson | None,
        step: str,
        progress: Callable[[str], None],
    ) -> tuple[TfidfFeatures, LinearScorer, ConvolutionalScorer | None]:
        """Fit on some of the train posts; features, and the network if there is a lesson for it, on unlabelled posts too.

        Of these, on none by an author of the other train posts.
        """
        from threadpoolctl import threadpool_limits

        progress(step)
        unlabelled, held_out = np.arange(len(targets), len(tokens)), np.delete(np.arange(len(targets)), train)
        seen = np.concatenate([train, unlabelled[~np.isin(groups[unlabelled], groups[held_out])]])
        features = self._new_features().fit(tokens.take(seen), groups[seen])
        scorer = LinearScorer(self.config.model.type, self.config.model.C, self.config.seed)
        with threadpool_limits(1):  # the same sums in the same order, however many cores there are
            scorer.fit(features.transform(tokens.take(train)), targets[train])
        network = self._new_network()
        if not (network and lesson):
            return features, scorer, None
        words = features.of_words(lesson.posts.types)
        return features, scorer, network.fit(words, lesson.posts, lesson.targets, lambda epoch: progress(f"{step}: {epoch}"))

    def _new_network(self) -> ConvolutionalScorer | None:
        if not (wanted := self.config.model.network):
            return None
        return ConvolutionalScorer(wanted.dimensions, wanted.filters, wanted.width, wanted.hidden, wanted.epochs, self.config.seed)

    def _folds(self, Y: Labels, groups: Int64s) -> Folds:
        """Author-disjoint folds as (train, held-out) indices of posts."""
        from sklearn.model_selection import StratifiedGroupKFold

        _check_learnable(Y, groups, self.labels, self.config.calibration.folds)
        splitter = StratifiedGroupKFold(self.config.calibration.folds, shuffle=True, random_state=self.config.seed)
        with warnings.catch_warnings():  # it minds classes smaller than the folds, which do no harm
            warnings.simplefilter("ignore", UserWarning)
            folds = list(splitter.split(Y, _rarest(Y), groups))
        for name, y in zip(self.labels, Y.T, strict=True):
            if not _varies(y, folds):
                raise InputError(f"label {name!r}: too few authors wrote nearly all posts with it, or without; label posts by more authors")
        return folds

    def _targets(self, Y: Labels, auxiliary: Labels, groups: Int64s, folds: Folds) -> Labels:
        """Labels, learnable auxiliary labels, any label, any label or auxiliary: repeats left out."""
        columns = [*Y.T, *(y for y in auxiliary.T if len(np.unique(groups[y == 1])) >= len(folds) and _varies(y, folds))]
        for anything in (Y.max(axis=1), np.stack(columns).max(axis=0)):
            if _varies(anything, folds) and not any(np.array_equal(anything, column) for column in columns):
                columns.append(anything)
        return np.stack(columns, axis=1)

    def material(self, tokens: TokenBatch, Y: Labels, groups: Int64s, auxiliary: Labels, folds: Folds | None = None) -> Material:
        """What a teacher must be given to make lessons for this config: parameters as of `fit`."""
        fold = np.zeros(len(Y), np.int64)
        for number, (_, held_out) in enumerate(folds or self._folds(Y, groups[: len(Y)])):
            fold[held_out] = number
        return Material(tokens, np.hstack([Y, auxiliary]), fold, groups, self.config.seed)

    def _lessons(self, tokens: TokenBatch, Y: Labels, groups: Int64s, auxiliary: Labels, folds: Folds) -> Iterator[Lesson | None]:
        """For each fold, then for all train posts."""
        if not self.config.model.network:
            yield from [None] * (len(folds) + 1)
            return
        lessons = Lessons.load(find_file(self.config.model.network.lessons))
        material = self.material(tokens, Y, groups, auxiliary, folds)
        lessons.check(material, [*self.labels, *self.config.labels.auxiliary])
        for fold in range(len(folds)):
            yield lessons.of_fold(material, fold)
        yield lessons.of_all(material)

    def _held_out_probabilities(self, scores: Float64s, Y: Labels, folds: Folds) -> Probabilities:
        """Probabilities of each fold by a calibrator that was fitted on the others."""
        probabilities = np.zeros(Y.shape, np.float32)
        for train, held_out in folds:
            probabilities[held_out] = self._new_calibrator().fit(scores[train], Y[train]).predict_proba(scores[held_out])
        return probabilities

    def cross_validate(
        self,
        tokens: TokenBatch,
        Y: Labels,
        groups: Int64s,
        auxiliary: Labels | None = None,
        progress: Callable[[str], None] = lambda step: None,
    ) -> tuple[Labels, Iterator[Lesson | None]]:
        """Do the part of `fit` that the held-out folds are for: set `held_out_`, `thresholds_`, `prior_` and the calibrator, fit no scorer.

        Parameters and errors are those of `fit`.

        Returns
        -------
        targets : ndarray of 0 and 1, shape (n_labelled, n_targets)
            Labels, and what else there is to learn.
        lessons : iterator of Lesson or None
            What is left to learn from: the network's lesson of all train posts.
        """
        auxiliary = Y[:, :0] if auxiliary is None else auxiliary
        folds = self._folds(Y, groups[: len(Y)])
        lessons = self._lessons(tokens, Y, groups, auxiliary, folds)
        targets = self._targets(Y, auxiliary, groups[: len(Y)], folds)
        fitted = []
        for number, (train, held_out) in enumerate(folds, 1):
            step = f"fitting held-out fold {number} of {len(folds)}"
            scorers = self._fit_scorers(tokens, train, targets, groups, next(lessons), step, progress)
            fitted.append(_scores(*scorers, tokens.take(held_out)))
        scores = np.concatenate(fitted)[np.argsort(np.concatenate([held_out for _, held_out in folds]))]
        self._calibrate(scores, Y, folds)
        return targets, lessons

    def _calibrate(self, scores: Float64s, Y: Labels, folds: Folds) -> None:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            self.held_out_ = self._held_out_probabilities(scores, Y, folds)
            self.calibrator = self._new_calibrator().fit(scores, Y)
        wanted = self.config.thresholds
        self.thresholds_ = np.array(
            [tune_threshold(y, p, wanted, name) for y, p, name in zip(Y.T, self.held_out_.T, self.labels, strict=True)]
        )
        self.prior_ = Y.mean(axis=0)

    def fit(
        self,
        tokens: TokenBatch,
        Y: Labels,
        groups: Int64s,
        auxiliary: Labels | None = None,
        progress: Callable[[str], None] = lambda step: None,
    ) -> Self:
        """Fit on training posts.

        Parameters
        ----------
        tokens : TokenBatch
            Posts from `tokenizer`; those behind the labelled ones are unlabelled, and for the network.
        Y : ndarray of 0 and 1, shape (n_labelled, n_labels)
        groups : ndarray of int, shape (n_posts,)
            Author of each post; folds never part an author's posts.
        auxiliary : ndarray of 0 and 1, shape (n_labelled, n_auxiliary), optional
            Labels to learn from without output; those with too few positives are passed over.
        progress : callable, optional
            Told each step.

        Raises
        ------
        InputError
            When a label has too few positive or negative posts for the folds, or the network's lessons are of other posts.
        """
        targets, lessons = self.cross_validate(tokens, Y, groups, auxiliary, progress)
        step = "fitting on all train posts"
        scorers = self._fit_scorers(tokens, np.arange(len(Y)), targets, groups, next(lessons), step, progress)
        self.features, self.scorer, self.network = scorers
        return self

    def predict_proba(self, tokens: TokenBatch) -> Probabilities:
        """Calibrated probabilities, shape (n_posts, n_labels); a post's are the same bits in any batch."""
        scores = _scores(self.features, self.scorer, self.network, tokens)
        return self.calibrator.predict_proba(scores).astype(np.float32)

    def score(self, texts: Sequence[str]) -> Probabilities:
        """Posts as they came to probabilities, shape (n_posts, n_labels)."""
        return self.score_normalised([normalise(text) for text in texts])

    def score_normalised(self, texts: Sequence[str]) -> Probabilities:
        """Posts that went through `normalise` to probabilities, shape (n_posts, n_labels)."""
        return self.predict_proba(self.tokenizer(texts))

    def decide(self, probabilities: Probabilities) -> Decisions:
        """Whether each label is given, shape (n_posts, n_labels)."""
        decided: Decisions = probabilities >= self.thresholds_.astype(np.float32)
        return decided

    def save(self, folder: Path, notes: dict[str, Any] | None = None) -> str:
        """Write the model directory and return its digest.

        Parameters
        ----------
        folder : Path
            Replaced if it holds a model.
        notes : dict, optional
            JSON-able facts to keep with the model, such as its training data and metrics.

        Raises
        ------
        InputError
            When the folder cannot be written.
        """
        config = self.config.model_dump(mode="json")
        if self.config.model.network:  # not where they lie: a folder may tell who made the model
            config["model"]["network"]["lessons"] = Path(self.config.model.network.lessons).name
        self.description_ = {
            "config": config,
            "thresholds": dict(zip(self.labels, self.thresholds_.tolist(), strict=True)),
            "prior": dict(zip(self.labels, self.prior_.tolist(), strict=True)),
            **(notes or {}),
        }
        arrays: dict[str, NDArray[Any]] = {"idf": self.features.idf_, "coef": self.scorer.coef_, "intercept": self.scorer.intercept_}
        if self.network:
            arrays |= {f"network.{name}": getattr(self.network, f"{name}_") for name in _NETWORK}
        arrays |= {f"calibration.{name}": array for name, array in self.calibrator.arrays().items()}
        vocabulary = {"words": self.features.words_, "characters": self.features.characters_}
        self.digest_ = write_model(folder, self.description_, arrays, vocabulary)
        return self.digest_

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model directory.

        Raises
        ------
        InputError
            When it is missing, damaged, tampered with, of another format version or written by another release.
        """
        digest, description, arrays, vocabulary = read_model(folder)
        try:
            model = cls(ModelConfig.model_validate(description["config"]))
            model.thresholds_ = np.array([description["thresholds"][name] for name in model.labels])
            model.prior_ = np.array([description["prior"][name] for name in model.labels])
            model._restore(arrays, vocabulary)
        except (KeyError, ValidationError):
            raise InputError(f"{folder}: written by another release of the pipeline; train again with this one") from None
        model.digest_, model.description_ = digest, description
        return model

    def _restore(self, arrays: dict[str, NDArray[Any]], vocabulary: dict[str, list[str]]) -> None:
        """Set what is fitted, less thresholds and priors, as `save` wrote it."""
        self.features = self._new_features().restore(vocabulary["words"], vocabulary["characters"], arrays["idf"])
        scorer = self.config.model
        self.scorer = LinearScorer(scorer.type, scorer.C, self.config.seed)
        self.scorer.coef_, self.scorer.intercept_ = arrays["coef"], arrays["intercept"]
        if network := self._new_network():
            network.restore(*(arrays[f"network.{name}"] for name in _NETWORK))
        self.network = network
        prefix = "calibration."
        stored = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        self.calibrator = self._new_calibrator().restore(stored)
