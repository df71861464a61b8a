"""Fit scorers, calibrator and thresholds to tokenised posts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.arrays import Float32s, Float64s, Int64s, Labels, Probabilities
from models.calibration import BALANCED, CALIBRATORS, Calibrator
from models.config import ModelConfig, find_file
from models.description import OperatingPoint
from models.errors import InputError
from models.features import TfidfFeatures
from models.folds import Folds, extend_folds, make_folds, make_targets
from models.lessons import MAKE, Lesson, Lessons, Material
from models.linear import LinearScorer
from models.network import ConvolutionalScorer
from models.openings import with_openings
from models.operating_points import HeldOut, choose_points, weigh_sources
from models.tokens import TokenBatch

Progress = Callable[[str], None]


@dataclass(frozen=True)
class TrainingTokens:
    """Tokenised posts to fit to.

    Attributes
    ----------
    tokens : TokenBatch
        The labelled posts, followed by unlabelled ones, which only the features and the network learn from.
    Y : ndarray of 0 and 1, shape (n_labelled, n_labels)
        The labels.
    groups : ndarray of int, shape (n_posts,)
        Author of each post; an author's posts all go into the same fold.
    auxiliary : ndarray of 0 and 1, shape (n_labelled, n_auxiliary)
        Labels to learn from but not to predict; those with too few positives are skipped.
    weights : ndarray of float32, shape (n_labelled,)
        How much each labelled post counts in fitting.
    sources : sequence of str, length n_labelled, or None
        Source of each labelled post, as ``thresholds.mix`` and ``thresholds.ordinary`` name it.
    """

    tokens: TokenBatch
    Y: Labels
    groups: Int64s
    auxiliary: Labels
    weights: Float32s
    sources: Sequence[str] | None = None

    @property
    def authors(self) -> Int64s:
        """Author of each labelled post."""
        return self.groups[: len(self.Y)]


@dataclass(frozen=True)
class Scorers:
    """The fitted features, the linear model and, if there is one, the network."""

    features: TfidfFeatures
    linear: LinearScorer
    network: ConvolutionalScorer | None

    @cached_property
    def _weights(self) -> Float32s:
        """The weights of the linear model, and columns of zeros: SciPy sums 8 columns in less than half the time of 7."""
        return np.pad(self.linear.coef_.astype(np.float32), ((0, 0), (0, -len(self.linear.intercept_) % 8)))

    def decision_function(self, tokens: TokenBatch) -> Float64s:
        """Return the scores of the linear model, followed by those of the network, shape (n_posts, n_scores)."""
        linear = self.features.dot(tokens, self._weights)
        scores = [linear[:, : len(self.linear.intercept_)] + self.linear.intercept_]
        if self.network:
            scores.append(self.network.decision_function(tokens, self.features.of_words))
        return np.hstack(scores).astype(np.float64)


@dataclass(frozen=True)
class CrossValidation:
    """The results of cross-validation.

    Attributes
    ----------
    held_out : ndarray of float32, shape (n_labelled, n_labels)
        Probabilities of each post from scorers and a calibrator fitted on the other folds, which contain no post by its author.
    calibrator : Calibrator
        Fitted on all held-out scores.
    points : dict of str to OperatingPoint
        The operating points, as `choose_points` returns them.
    left_out : dict of str to str
        The operating points for which there are too few posts, and why.
    targets : ndarray of 0 and 1, shape (n_labelled, n_targets)
        Everything the scorers learn: the labels and what `make_targets` adds.
    lesson : Lesson or None
        What the network learns when it is fitted on all labelled posts.
    """

    held_out: Probabilities
    calibrator: Calibrator
    points: dict[str, OperatingPoint]
    left_out: dict[str, str]
    targets: Labels
    lesson: Lesson | None

    @property
    def thresholds(self) -> Float64s:
        """Thresholds of the balanced operating point, shape (n_labels,)."""
        return np.array(list(self.points[BALANCED].thresholds.values()))


def new_features(config: ModelConfig) -> TfidfFeatures:
    """Make the unfitted features that a config describes."""
    wanted = config.features
    char_ngrams = (wanted.char_ngrams[0], wanted.char_ngrams[1]) if wanted.char_ngrams else None
    return TfidfFeatures(wanted.word_ngrams, char_ngrams, wanted.word_min_df, wanted.char_min_df, wanted.min_authors, wanted.private)


def new_linear(config: ModelConfig) -> LinearScorer:
    """Make the unfitted linear model that a config describes."""
    return LinearScorer(config.model.type, config.model.C, config.seed)


def new_network(config: ModelConfig) -> ConvolutionalScorer | None:
    """Make the unfitted network that a config describes; None if it has no network."""
    if not (wanted := config.model.network):
        return None
    return ConvolutionalScorer(wanted.dimensions, wanted.filters, wanted.width, wanted.hidden, wanted.epochs, config.seed)


def new_calibrator(config: ModelConfig) -> Calibrator:
    """Make the unfitted calibrator that a config describes."""
    return CALIBRATORS[config.calibration.method]()


def _load_lessons(config: ModelConfig) -> Lessons | None:
    return Lessons.load(find_file(config.model.network.lessons)) if config.model.network else None


def folds_of(config: ModelConfig, posts: TrainingTokens) -> Folds:
    """Divide the labelled posts into folds; if there is a network, into those that its teachers left out.

    Parameters
    ----------
    config : ModelConfig
        The number of folds, the seed, and the file of lessons if there is a network.
    posts : TrainingTokens
        The posts to divide.

    Returns
    -------
    list of (ndarray of int, ndarray of int)
        As from `make_folds`, which also describes the errors.

    Raises
    ------
    InputError
        When the lessons cannot be read, or were made from other posts, labels, folds or another seed.
    """
    lessons = _load_lessons(config)
    if not lessons:
        return _new_folds(config, posts)
    if lessons.folds != (wanted := config.calibration.folds):
        raise InputError(f"the lessons have {lessons.folds} folds, but calibration.folds is {wanted}; set it to {lessons.folds}, or {MAKE}")
    folds = extend_folds(lessons.fold, posts.authors, lessons.folds, config.seed)
    lessons.check(material_of(config, posts, folds), [*config.labels.names, *config.labels.auxiliary])
    return folds


def _new_folds(config: ModelConfig, posts: TrainingTokens) -> Folds:
    return make_folds(posts.Y, posts.authors, config.labels.names, config.calibration.folds, config.seed)


def material_of(config: ModelConfig, posts: TrainingTokens, folds: Folds | None = None) -> Material:
    """Collect what a teacher needs to make lessons for a config.

    Parameters
    ----------
    config : ModelConfig
        The number of folds and the seed.
    posts : TrainingTokens
        The posts to learn from.
    folds : list, optional
        The result of `folds_of` if the lessons are there already. Otherwise the posts are divided into new folds.
    """
    fold = np.zeros(len(posts.Y), np.int64)
    for number, (_, held_out) in enumerate(folds or _new_folds(config, posts)):
        fold[held_out] = number
    return Material(posts.tokens, np.hstack([posts.Y, posts.auxiliary]), posts.weights, fold, posts.groups, config.seed)


def lessons_of(config: ModelConfig, posts: TrainingTokens, folds: Folds) -> Iterator[Lesson | None]:
    """Yield the network's lesson for each fold, then the lesson for all labelled posts; None each time if there is no network.

    Parameters
    ----------
    config : ModelConfig
        Names the file of lessons.
    posts : TrainingTokens
        The posts to learn from.
    folds : list
        The result of `folds_of`.

    Raises
    ------
    InputError
        When the lessons cannot be read, or were made from other posts, labels, folds or another seed.
    """
    lessons = _load_lessons(config)
    if not lessons:
        yield from [None] * (len(folds) + 1)
        return
    material = material_of(config, posts, folds)
    lessons.check(material, [*config.labels.names, *config.labels.auxiliary])
    for fold in range(len(folds)):
        yield lessons.of_fold(material, fold)
    yield lessons.of_all(material)


def fit_scorers(
    config: ModelConfig, posts: TrainingTokens, train: Int64s, targets: Labels, lesson: Lesson | None, step: str, progress: Progress
) -> Scorers:
    """Fit features, linear model and network on some of the labelled posts.

    The linear model and the network also learn from copies of posts with openings that must not matter, if the config asks for them.
    Features, and the network if it has a lesson, also learn from unlabelled posts, but not from those whose author wrote one of the
    labelled posts that are left out.

    Parameters
    ----------
    config : ModelConfig
        Describes the model.
    posts : TrainingTokens
        Labelled and unlabelled posts.
    train : ndarray of int, shape (n_train,)
        Indices of the labelled posts to fit on.
    targets : ndarray of 0 and 1, shape (n_labelled, n_targets)
        The result of `make_targets`.
    lesson : Lesson or None
        What the network learns.
    step : str
        Name of this step, for `progress`.
    progress : callable
        Called with the name of the step, and again for each epoch of the network.
    """
    from threadpoolctl import threadpool_limits

    progress(step)
    labelled = len(targets)
    unlabelled, left_out = np.arange(labelled, len(posts.tokens)), np.delete(np.arange(labelled), train)
    seen = np.concatenate([train, unlabelled[~np.isin(posts.groups[unlabelled], posts.groups[left_out])]])
    features = new_features(config).fit(posts.tokens.take(seen), posts.groups[seen])
    linear = new_linear(config)
    shown, rows = with_openings(posts.tokens.take(train), config.model.openings, config.seed)
    with threadpool_limits(1):  # one thread sums in the same order on any number of cores
        linear.fit(features.transform(shown), targets[train[rows]], posts.weights[train[rows]])
    network = new_network(config)
    if not (network and lesson):
        return Scorers(features, linear, None)
    shown, rows = with_openings(lesson.posts, config.model.openings, config.seed)
    words = features.of_words(shown.types)
    network.fit(words, shown, lesson.targets[rows], lesson.weights[rows], lambda epoch: progress(f"{step}: {epoch}"))
    return Scorers(features, linear, network)


def _held_out_probabilities(config: ModelConfig, scores: Float64s, posts: TrainingTokens, folds: Folds) -> Probabilities:
    """Return each fold's probabilities from a calibrator fitted on the other folds."""
    probabilities = np.zeros(posts.Y.shape, np.float32)
    for train, held_out in folds:
        calibrator = new_calibrator(config).fit(scores[train], posts.Y[train], posts.weights[train])
        probabilities[held_out] = calibrator.predict_proba(scores[held_out])
    return probabilities


def cross_validate(
    config: ModelConfig,
    posts: TrainingTokens,
    progress: Progress,
    lessons: Callable[[ModelConfig, TrainingTokens, Folds], Iterator[Lesson | None]] = lessons_of,
) -> CrossValidation:
    """For each fold, fit scorers on the other folds and score this one; then calibrate on these scores and tune thresholds.

    Parameters
    ----------
    config : ModelConfig
        Describes the model.
    posts : TrainingTokens
        The training posts.
    progress : callable
        Called with the name of each step.
    lessons : callable, optional
        Yields the network's lessons as `lessons_of` does.

    Raises
    ------
    InputError
        When a label has too few positive or negative posts for the folds, the network's lessons were made from other posts, or the
        section ``thresholds`` names a source that no post has.
    """
    from threadpoolctl import threadpool_limits

    folds, Y = folds_of(config, posts), posts.Y
    weights, ordinary = weigh_sources(config, Y, posts.auxiliary, posts.sources)
    lesson_of = lessons(config, posts, folds)
    targets = make_targets(Y, posts.auxiliary, posts.authors, folds)
    found = []
    for number, (train, held_out) in enumerate(folds, 1):
        step = f"fitting held-out fold {number} of {len(folds)}"
        scorers = fit_scorers(config, posts, train, targets, next(lesson_of), step, progress)
        found.append(scorers.decision_function(posts.tokens.take(held_out)))
    scores = np.concatenate(found)[np.argsort(np.concatenate([held_out for _, held_out in folds]))]
    with threadpool_limits(1):
        held_out_probabilities = _held_out_probabilities(config, scores, posts, folds)
        calibrator = new_calibrator(config).fit(scores, Y, posts.weights)
    points, left_out = choose_points(config, HeldOut(Y, held_out_probabilities, weights, ordinary, posts.authors))
    return CrossValidation(held_out_probabilities, calibrator, points, left_out, targets, next(lesson_of))
