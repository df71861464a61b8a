"""Scorers, calibrator and thresholds fitted to tokenised posts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from models.arrays import Float64s, Int64s, Labels, Probabilities
from models.calibration import CALIBRATORS, Calibrator, tune_threshold
from models.config import ModelConfig, find_file
from models.features import TfidfFeatures
from models.folds import Folds, make_folds, make_targets
from models.lessons import Lesson, Lessons, Material
from models.linear import LinearScorer
from models.network import ConvolutionalScorer
from models.tokens import TokenBatch

Progress = Callable[[str], None]


@dataclass(frozen=True)
class TrainingTokens:
    """Tokenised posts to fit to.

    Attributes
    ----------
    tokens : TokenBatch
        Labelled posts and, behind them, unlabelled ones, which features and network learn from.
    Y : ndarray of 0 and 1, shape (n_labelled, n_labels)
    groups : ndarray of int, shape (n_posts,)
        Author of each post; folds never part an author's posts.
    auxiliary : ndarray of 0 and 1, shape (n_labelled, n_auxiliary)
        Labels to learn from without output; those with too few positives are passed over.
    """

    tokens: TokenBatch
    Y: Labels
    groups: Int64s
    auxiliary: Labels

    @property
    def authors(self) -> Int64s:
        """Author of each labelled post."""
        return self.groups[: len(self.Y)]


@dataclass(frozen=True)
class Scorers:
    """Fitted features, the linear model and, if there is one, the network."""

    features: TfidfFeatures
    linear: LinearScorer
    network: ConvolutionalScorer | None

    def decision_function(self, tokens: TokenBatch) -> Float64s:
        """Scores of the linear model and then of the network, shape (n_posts, n_scores)."""
        scores = [self.linear.decision_function(self.features.transform(tokens))]
        if self.network:
            scores.append(self.network.decision_function(tokens, self.features.of_words))
        return np.hstack(scores).astype(np.float64)


@dataclass(frozen=True)
class CrossValidation:
    """What held-out folds gave.

    Attributes
    ----------
    held_out : ndarray of float32, shape (n_labelled, n_labels)
        Probabilities of each post by scorers and a calibrator fitted on the other folds, which hold no post of its author.
    calibrator : Calibrator
        Fitted on all held-out scores.
    thresholds : ndarray of float64, shape (n_labels,)
    targets : ndarray of 0 and 1, shape (n_labelled, n_targets)
        Labels, and what else there is to learn.
    lesson : Lesson or None
        The network's, of all labelled posts.
    """

    held_out: Probabilities
    calibrator: Calibrator
    thresholds: Float64s
    targets: Labels
    lesson: Lesson | None


def new_features(config: ModelConfig) -> TfidfFeatures:
    """Make unfitted features as a config wants them."""
    wanted = config.features
    char_ngrams = (wanted.char_ngrams[0], wanted.char_ngrams[1]) if wanted.char_ngrams else None
    return TfidfFeatures(wanted.word_ngrams, char_ngrams, wanted.word_min_df, wanted.char_min_df, wanted.min_authors, wanted.private)


def new_linear(config: ModelConfig) -> LinearScorer:
    """Make an unfitted linear model as a config wants it."""
    return LinearScorer(config.model.type, config.model.C, config.seed)


def new_network(config: ModelConfig) -> ConvolutionalScorer | None:
    """Make an unfitted network, if a config wants one."""
    if not (wanted := config.model.network):
        return None
    return ConvolutionalScorer(wanted.dimensions, wanted.filters, wanted.width, wanted.hidden, wanted.epochs, config.seed)


def new_calibrator(config: ModelConfig) -> Calibrator:
    """Make an unfitted calibrator as a config wants it."""
    return CALIBRATORS[config.calibration.method]()


def folds_of(config: ModelConfig, posts: TrainingTokens) -> Folds:
    """Folds of the labelled posts: see `make_folds`."""
    return make_folds(posts.Y, posts.authors, config.labels.names, config.calibration.folds, config.seed)


def material_of(config: ModelConfig, posts: TrainingTokens, folds: Folds | None = None) -> Material:
    """What a teacher must be given to make lessons for a config.

    Parameters
    ----------
    config : ModelConfig
    posts : TrainingTokens
    folds : list, optional
        From `folds_of`, where they are known already.
    """
    fold = np.zeros(len(posts.Y), np.int64)
    for number, (_, held_out) in enumerate(folds or folds_of(config, posts)):
        fold[held_out] = number
    return Material(posts.tokens, np.hstack([posts.Y, posts.auxiliary]), fold, posts.groups, config.seed)


def lessons_of(config: ModelConfig, posts: TrainingTokens, folds: Folds) -> Iterator[Lesson | None]:
    """The network's lesson for each fold, then for all labelled posts; None without a network."""
    if not config.model.network:
        yield from [None] * (len(folds) + 1)
        return
    lessons = Lessons.load(find_file(config.model.network.lessons))
    material = material_of(config, posts, folds)
    lessons.check(material, [*config.labels.names, *config.labels.auxiliary])
    for fold in range(len(folds)):
        yield lessons.of_fold(material, fold)
    yield lessons.of_all(material)


def fit_scorers(
    config: ModelConfig, posts: TrainingTokens, train: Int64s, targets: Labels, lesson: Lesson | None, step: str, progress: Progress
) -> Scorers:
    """Fit on some of the labelled posts.

    Features, and the network if there is a lesson for it, learn from unlabelled posts too, but from none by an author of the
    labelled posts that are left out.

    Parameters
    ----------
    config : ModelConfig
    posts : TrainingTokens
    train : ndarray of int, shape (n_train,)
        Indices of the labelled posts to fit on.
    targets : ndarray of 0 and 1, shape (n_labelled, n_targets)
        From `make_targets`.
    lesson : Lesson or None
        The network's.
    step : str
        What this is called.
    progress : callable
        Told the step, and each epoch of the network.
    """
    from threadpoolctl import threadpool_limits

    progress(step)
    labelled = len(targets)
    unlabelled, left_out = np.arange(labelled, len(posts.tokens)), np.delete(np.arange(labelled), train)
    seen = np.concatenate([train, unlabelled[~np.isin(posts.groups[unlabelled], posts.groups[left_out])]])
    features = new_features(config).fit(posts.tokens.take(seen), posts.groups[seen])
    linear = new_linear(config)
    with threadpool_limits(1):  # the same sums in the same order, however many cores there are
        linear.fit(features.transform(posts.tokens.take(train)), targets[train])
    network = new_network(config)
    if not (network and lesson):
        return Scorers(features, linear, None)
    words = features.of_words(lesson.posts.types)
    return Scorers(features, linear, network.fit(words, lesson.posts, lesson.targets, lambda epoch: progress(f"{step}: {epoch}")))


def _held_out_probabilities(config: ModelConfig, scores: Float64s, Y: Labels, folds: Folds) -> Probabilities:
    """Probabilities of each fold by a calibrator that was fitted on the others."""
    probabilities = np.zeros(Y.shape, np.float32)
    for train, held_out in folds:
        probabilities[held_out] = new_calibrator(config).fit(scores[train], Y[train]).predict_proba(scores[held_out])
    return probabilities


def cross_validate(
    config: ModelConfig,
    posts: TrainingTokens,
    progress: Progress,
    lessons: Callable[[ModelConfig, TrainingTokens, Folds], Iterator[Lesson | None]] = lessons_of,
) -> CrossValidation:
    """Fit scorers without each fold, calibrate on what they say of it, and tune thresholds.

    Parameters
    ----------
    config : ModelConfig
    posts : TrainingTokens
    progress : callable
        Told each step.
    lessons : callable, optional
        Gives the network's lessons, as `lessons_of` does.

    Raises
    ------
    InputError
        When a label has too few positive or negative posts for the folds, or the network's lessons are of other posts.
    """
    from threadpoolctl import threadpool_limits

    folds, Y = folds_of(config, posts), posts.Y
    lesson_of = lessons(config, posts, folds)
    targets = make_targets(Y, posts.auxiliary, posts.authors, folds)
    found = []
    for number, (train, held_out) in enumerate(folds, 1):
        step = f"fitting held-out fold {number} of {len(folds)}"
        scorers = fit_scorers(config, posts, train, targets, next(lesson_of), step, progress)
        found.append(scorers.decision_function(posts.tokens.take(held_out)))
    scores = np.concatenate(found)[np.argsort(np.concatenate([held_out for _, held_out in folds]))]
    with threadpool_limits(1):
        held_out_probabilities = _held_out_probabilities(config, scores, Y, folds)
        calibrator = new_calibrator(config).fit(scores, Y)
    tuned = zip(Y.T, held_out_probabilities.T, config.labels.names, strict=True)
    thresholds = np.array([tune_threshold(y, p, config.thresholds, name) for y, p, name in tuned])
    return CrossValidation(held_out_probabilities, calibrator, thresholds, targets, next(lesson_of))
