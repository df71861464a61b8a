"""The classifier, which turns texts into calibrated probabilities and decisions."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from models import saving
from models.arrays import Float64s, Probabilities
from models.calibration import Calibrator, Method
from models.config import LabelSet, ModelConfig, Network
from models.deciding import Deciding
from models.description import Reference
from models.errors import InputError
from models.estimator import Estimator
from models.fitting import CrossValidation, Progress, Scorers, TrainingTokens, cross_validate, fit_scorers
from models.linear import Kind
from models.reference import make_reference
from models.spacy_packages import check_pipeline
from models.storage import RELEASED
from models.targets import author_numbers, check_texts, label_matrix, source_names
from models.text import NORMALISER, normalise
from models.tokens import Attribute, PostTokenizer, TokenBatch


class Classifier(Deciding, Estimator):
    """Multi-label classifier of posts, with scikit-learn's interface.

    A linear model scores every label, every auxiliary label in the training posts, and "any label at all". A network, if there is
    one, also scores the labels and auxiliary labels. Calibration and one threshold per label are learned from the scores of
    held-out, author-disjoint folds.

    Parameters
    ----------
    label_set : LabelSet or sequence of str, optional
        The labels, in the order used in every output. By default, the labels that `fit` finds in ``Y``.
    spacy_pipeline : str
        ``"blank"`` for spaCy's blank English, or the name of an installed pipeline.
    attribute : {"ORTH", "NORM", "LEMMA"}
        The spaCy token attribute to use.
    word_ngrams : {1, 2}
        Length of the longest word n-gram.
    char_ngrams : (int, int) or None
        Length of the shortest and the longest character n-gram, from 1 to 5; None to use no character n-grams.
    word_min_df, char_min_df, min_authors : int
        Minimum number of posts that contain an n-gram, and of authors who used it.
    private : {"keep", "drop"}
        Whether to learn n-grams from tokens that look like names, handles, links or numbers.
    type : {"blend", "svm", "nbsvm", "logistic", "most_frequent"}
        How the linear weights are fitted; ``"most_frequent"`` is a baseline that ignores the text.
    C : float
        Inverse strength of regularisation.
    network : Network or None
        The network to use alongside the linear model, and the lessons that it learns from.
    openings : float
        Share of the posts from which the model learns a second time, preceded by an opening that must not matter (see
        ``models/openings.py``).
    calibration : {"stacked", "sigmoid"}
        How scores become probabilities.
    folds : int
        Number of author-disjoint folds used to learn probabilities and thresholds.
    objective : {"f1", "accuracy", "precision", "recall"}
        What the thresholds are tuned for.
    target : float, optional
        For precision and recall: the value to reach.
    tolerance : float
        For F1 and accuracy: how much of the best value may be lost to choose a higher threshold.
    mix : dict of str to float, optional
        How much each source counts for the thresholds; by default every post counts the same.
    cautious : float, optional
        Share of the ordinary posts that may get a label at the operating point ``cautious``; None for no such point.
    ordinary : list of str, optional
        Sources of the ordinary posts, which have no label; by default all sources.
    sensitive : float, optional
        Recall of each label at the operating point ``sensitive``; None for no such point.
    together : bool
        Whether ``cautious`` and ``sensitive`` hold for all labels together with 95 % confidence, or for each label alone.
    seed : int
        Random seed of folds and solvers.

    Attributes
    ----------
    classes_ : ndarray of str, shape (n_labels,)
        Names of the labels, in the order used in every output.
    thresholds_ : ndarray of float64, shape (n_labels,)
        Lowest probability at which each label is given. They can only be set all together; this changes the model's digest.
    operating_points_ : dict of str to ndarray
        The thresholds of each operating point; those of ``balanced`` are `thresholds_`.
    measured_points_ : dict of str to OperatingPoint
        What each point costs on held-out folds; empty for a model from an earlier release.
    reference_ : Reference or None
        The training posts in numbers, for watching whether later posts differ; None for a model from an earlier release.
    normaliser_ : int
        Version of the normaliser that read the training posts.
    left_out_ : dict of str to str
        Available after `fit` only: the operating points for which there were too few posts, and why.
    prior_ : ndarray of float64, shape (n_labels,)
        Share of the training posts that have each label.
    held_out_ : ndarray of float32, shape (n_train_posts, n_labels)
        Available after `fit` only: probabilities of the training posts. Each post is scored by a model fitted on the other folds, which
        contain no post by the same author.
    digest_ : str
        The model's SHA-256: the one that `save` returned, or that it would return without notes.
    description_ : dict
        Available after `save` or `load`: the contents of ``model.json``.

    Examples
    --------
    >>> model = Classifier.released()
    >>> model.predict_proba(["The committee meets on Tuesday."]).shape
    (1, 4)
    """

    held_out_: Probabilities
    prior_: Float64s
    calibrator_: Calibrator
    scorers_: Scorers
    reference_: Reference | None = None
    normaliser_: int = NORMALISER
    description_: dict[str, Any]
    _config: ModelConfig | None = None  # what the model was fitted with; the parameters may have changed since then
    _tokenizer: PostTokenizer | None = None

    def __init__(
        self,
        label_set: LabelSet | Sequence[str] | None = None,
        *,
        spacy_pipeline: str = "blank",
        attribute: Attribute = "ORTH",
        word_ngrams: Literal[1, 2] = 2,
        char_ngrams: Sequence[int] | None = (2, 5),
        word_min_df: int = 2,
        char_min_df: int = 3,
        min_authors: int = 1,
        private: Literal["keep", "drop"] = "keep",
        type: Kind = "blend",  # named as in the config
        C: float = 0.15,
        network: Network | None = None,
        openings: float = 0.0,
        calibration: Method = "stacked",
        folds: int = 5,
        objective: Literal["f1", "accuracy", "precision", "recall"] = "f1",
        target: float | None = None,
        tolerance: float = 0.003,
        mix: dict[str, float] | None = None,
        cautious: float | None = 0.01,
        ordinary: list[str] | None = None,
        sensitive: float | None = 0.9,
        together: bool = False,
        seed: int = 0,
    ) -> None:
        self.label_set = label_set
        self.spacy_pipeline = spacy_pipeline
        self.attribute = attribute
        self.word_ngrams = word_ngrams
        self.char_ngrams = char_ngrams
        self.word_min_df = word_min_df
        self.char_min_df = char_min_df
        self.min_authors = min_authors
        self.private = private
        self.type = type
        self.C = C
        self.network = network
        self.openings = openings
        self.calibration = calibration
        self.folds = folds
        self.objective = objective
        self.target = target
        self.tolerance = tolerance
        self.mix = mix
        self.cautious = cautious
        self.ordinary = ordinary
        self.sensitive = sensitive
        self.together = together
        self.seed = seed

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "scorers_")

    __getstate__ = saving.to_state
    __setstate__ = saving.from_state

    @classmethod
    def from_config(cls, config: ModelConfig) -> Self:
        """Make an unfitted classifier from a model's configuration."""
        return cls(**config.to_parameters())

    def _described(self, names: Sequence[str] | None = None) -> ModelConfig:
        """Return the configuration that the parameters describe, with labels of these names if there is no label set."""
        labels = names if self.label_set is None else self.label_set
        if labels is None:
            raise InputError("the labels are not known before fit; pass them, as in Classifier(['assault', 'support'])")
        return ModelConfig.of_parameters(self.get_params() | {"label_set": labels})

    @property
    def config(self) -> ModelConfig:
        """The configuration that, with the training posts, determines the model; it is saved with the model.

        Raises
        ------
        InputError
            When a parameter has a value that is not allowed, or the labels are not known yet because `fit` was not called.
        """
        return self._config or self._described()

    @property
    def labels(self) -> list[str]:
        """Names of the labels, in the order used in every output."""
        return self.config.labels.names

    @property
    def classes_(self) -> NDArray[np.str_]:
        """Names of the labels, once they are known."""
        try:
            return np.array(self.labels)
        except InputError as error:
            raise AttributeError(str(error)) from None

    @cached_property
    def digest_(self) -> str:
        """The model's SHA-256."""
        return saving.encode(self)[0]

    @property
    def tokenizer(self) -> PostTokenizer:
        """The tokenizer of this model, for normalised posts."""
        return self._tokenizer_of(self.config)

    def _tokenizer_of(self, config: ModelConfig) -> PostTokenizer:
        wanted, known = config.text, self._tokenizer
        if known is None or (known.pipeline, known.attribute) != (wanted.spacy_pipeline, wanted.attribute):
            check_pipeline(wanted.spacy_pipeline)
            known = self._tokenizer = PostTokenizer(wanted.spacy_pipeline, wanted.attribute)
        return known

    def cross_validate(self, posts: TrainingTokens, progress: Progress = lambda step: None) -> CrossValidation:
        """Do only the cross-validation of `fit`, and set the calibrator, `thresholds_`, `held_out_` and `prior_`.

        An earlier fit is forgotten. Errors are those of `fit_tokens`.

        Parameters
        ----------
        posts : TrainingTokens
            The training posts, tokenised by `tokenizer`.
        progress : callable, optional
            Called with the name of each step.
        """
        found = cross_validate(self._described(), posts, progress)
        self._keep(found, posts)
        return found

    def _keep(self, found: CrossValidation, posts: TrainingTokens) -> None:
        """Replace the results of an earlier fit."""
        for name in ("_config", "scorers_", "digest_", "description_", "reference_", "normaliser_"):
            self.__dict__.pop(name, None)
        self.prior_ = posts.Y.mean(axis=0)
        self.held_out_, self.calibrator_, self.thresholds_ = found.held_out, found.calibrator, found.thresholds
        self.measured_points_, self.left_out_ = found.points, found.left_out

    def fit(
        self,
        texts: Sequence[str],
        Y: Any,
        groups: Iterable[Any] | None = None,
        *,
        sources: Iterable[str | None] | None = None,
        progress: Progress = lambda step: None,
    ) -> Self:
        """Fit on labelled posts.

        Parameters
        ----------
        texts : sequence of str, length n_posts
            Raw posts.
        Y : DataFrame, array of 0 and 1, shape (n_posts, n_labels), or sequence of collections of str
            One column per label, or the names of each post's labels.
        groups : iterable of hashable or None, length n_posts, optional
            Author of each post; an author's posts all go into the same fold. By default, each post has its own author.
        sources : iterable of str or None, length n_posts, optional
            Source of each post, if `mix` or `ordinary` names sources; a post without one has the source ``none``.
        progress : callable, optional
            Called with the name of each step.

        Raises
        ------
        TypeError
            When `texts` is a single string, or contains anything but strings.
        InputError
            When a parameter has a value that is not allowed, `Y` does not fit the texts or the labels, or a label has too few posts for
            the folds.

        Examples
        --------
        >>> texts = ["she groped me", "I believe you"] * 10
        >>> names = [["assault"], ["support"]] * 10
        >>> model = Classifier(folds=2).fit(texts, names)
        >>> model.classes_.tolist()
        ['assault', 'support']
        """
        found = check_texts(texts)
        names, targets = label_matrix(Y, None if self.label_set is None else self._described().labels.names, len(found))
        config, authors = self._described(names), author_numbers(groups, len(found))
        tokens = self._tokenizer_of(config)([normalise(text) for text in found])
        named = None if sources is None else source_names(sources, len(found))
        weights = np.ones(len(found), np.float32)
        return self._fit(config, TrainingTokens(tokens, targets, authors, targets[:, :0], weights, named), progress)

    def fit_tokens(self, posts: TrainingTokens, progress: Progress = lambda step: None) -> Self:
        """Fit on posts that `tokenizer` has tokenised, which may include unlabelled posts and auxiliary labels.

        Parameters
        ----------
        posts : TrainingTokens
            The training posts.
        progress : callable, optional
            Called with the name of each step.

        Raises
        ------
        InputError
            When a label has too few positive or negative posts for the folds, or the network's lessons were made from other posts.
        """
        return self._fit(self._described(), posts, progress)

    def _fit(self, config: ModelConfig, posts: TrainingTokens, progress: Progress) -> Self:
        found, every = cross_validate(config, posts, progress), np.arange(len(posts.Y))
        scorers = fit_scorers(config, posts, every, found.targets, found.lesson, "fitting on all train posts", progress)
        reference = make_reference(scorers.features, posts.tokens.take(every), found.held_out, posts.Y, config.labels.names)
        self._keep(found, posts)  # only now, so that a failed fit changes nothing
        self._config, self.scorers_, self.reference_ = config, scorers, reference
        return self

    def predict_proba(self, texts: Sequence[str]) -> Probabilities:
        """Return the calibrated probabilities of raw posts.

        Parameters
        ----------
        texts : sequence of str, length n_posts
            Raw posts.

        Returns
        -------
        ndarray of float32, shape (n_posts, n_labels)
            A post's probabilities are bit-for-bit the same in any batch.
        """
        self.check_is_fitted()
        return self.predict_proba_tokens(self.tokenizer.read(check_texts(texts)))

    def predict_proba_tokens(self, tokens: TokenBatch) -> Probabilities:
        """Return the probabilities, shape (n_posts, n_labels), of posts that `tokenizer` has tokenised."""
        self.check_is_fitted()
        return self.calibrator_.predict_proba(self.scorers_.decision_function(tokens)).astype(np.float32)

    def save(self, folder: str | Path, notes: dict[str, Any] | None = None) -> str:
        """Write the model directory and return its digest.

        Parameters
        ----------
        folder : str or Path
            Folder to write to; an earlier model in it is replaced.
        notes : dict, optional
            Facts to store in ``model.json``, such as training data and metrics; they must be JSON-serialisable.

        Raises
        ------
        InputError
            When a note has the name of one of the model's own keys, or the folder cannot be written.
        """
        return saving.save(self, Path(folder), notes)

    @classmethod
    def load(cls, folder: str | Path) -> "Classifier":
        """Read a model directory; nothing in it is ever executed.

        Raises
        ------
        InputError
            When it is missing, damaged or altered, or has another format version or another release's configuration.
        """
        return saving.load(cls, Path(folder))

    @classmethod
    def released(cls) -> "Classifier":
        """Load the model released with this version."""
        return cls.load(RELEASED)
