"""The classifier: texts in, calibrated probabilities and decisions out."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from models import saving
from models.arrays import Decisions, Float64s, Labels, Probabilities
from models.calibration import Calibrator, Method
from models.config import LabelSet, ModelConfig, Network
from models.errors import InputError
from models.estimator import Estimator
from models.fitting import CrossValidation, Scorers, TrainingTokens, cross_validate, fit_scorers
from models.linear import Kind
from models.storage import RELEASED
from models.targets import author_numbers, check_texts, label_matrix
from models.text import normalise
from models.tokens import Attribute, PostTokenizer, TokenBatch

if TYPE_CHECKING:
    import pandas as pd


class Classifier(Estimator):
    """Multi-label classifier of posts, with scikit-learn's interface.

    Scores every label, every auxiliary label that the training posts hold, and "any label at all" with a linear model, and, if there
    is one, labels and auxiliary labels with a network, too; calibrates on scores of held-out, author-disjoint folds; tunes
    one threshold per label on the same.

    Parameters
    ----------
    label_set : LabelSet or sequence of str, optional
        The labels, in the order of every output. By default those that `fit` finds in ``Y``.
    spacy_pipeline : str
        ``"blank"`` for spaCy's blank English, or the name of an installed pipeline.
    attribute : {"ORTH", "NORM", "LEMMA"}
        The token attribute that is counted.
    word_ngrams : {1, 2}
        Longest word n-gram.
    char_ngrams : (int, int) or None
        Shortest and longest character n-gram, within 1 and 5; None for none.
    word_min_df, char_min_df : int
        Fewest posts that an n-gram must stand in.
    min_authors : int
        Fewest authors who must have used an n-gram.
    private : {"keep", "drop"}
        Whether to learn n-grams from tokens that look like names, handles, links or numbers.
    type : {"blend", "svm", "nbsvm", "logistic", "most_frequent"}
        How the linear weights are found; ``"most_frequent"`` is the baseline that reads no post.
    C : float
        Inverse strength of regularisation.
    network : Network or None
        The network beside the linear model, and the lessons that it learns from.
    calibration : {"stacked", "sigmoid"}
        How scores become probabilities.
    folds : int
        Author-disjoint folds that probabilities and thresholds are learned on.
    objective : {"f1", "accuracy", "precision", "recall"}
        What thresholds are tuned for.
    target : float, optional
        For precision and recall: the share to reach.
    tolerance : float
        For F1 and accuracy: the highest threshold that loses at most so much is taken.
    seed : int
        Of folds and solvers.

    Attributes
    ----------
    classes_ : ndarray of str, shape (n_labels,)
        Names of the labels, in the order of every output.
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

    Examples
    --------
    >>> model = Classifier.released()
    >>> model.predict_proba(["The committee meets on Tuesday."]).shape
    (1, 4)
    """

    held_out_: Probabilities
    thresholds_: Float64s
    prior_: Float64s
    calibrator_: Calibrator
    scorers_: Scorers
    digest_: str
    description_: dict[str, Any]
    _config: ModelConfig | None = None
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
        type: Kind = "blend",  # as the config has it
        C: float = 0.15,
        network: Network | None = None,
        calibration: Method = "stacked",
        folds: int = 5,
        objective: Literal["f1", "accuracy", "precision", "recall"] = "f1",
        target: float | None = None,
        tolerance: float = 0.003,
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
        self.calibration = calibration
        self.folds = folds
        self.objective = objective
        self.target = target
        self.tolerance = tolerance
        self.seed = seed

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "scorers_")

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; they count from the next `fit` on."""
        super().set_params(**params)
        if not self.__sklearn_is_fitted__():
            self._config = None
        return self

    __getstate__ = saving.to_state
    __setstate__ = saving.from_state

    @classmethod
    def from_config(cls, config: ModelConfig) -> Self:
        """Make a classifier of a model's configuration."""
        model = cls(**config.to_parameters())
        model._config = config
        return model

    @property
    def config(self) -> ModelConfig:
        """Everything that decides what a model makes of its training posts, as it is saved with it.

        Raises
        ------
        InputError
            When a parameter has a value that is not allowed, or the labels are not known before `fit`.
        """
        if self._config is None and self.label_set is None:
            raise InputError("the labels are not known before fit; name them, as in Classifier(['assault', 'support'])")
        return self._config or ModelConfig.of_parameters(self.get_params())

    @property
    def labels(self) -> list[str]:
        """Names of the labels, in the order of every output."""
        return self.config.labels.names

    @property
    def classes_(self) -> NDArray[np.str_]:
        """Names of the labels, once they are known."""
        try:
            return np.array(self.labels)
        except InputError as error:
            raise AttributeError(str(error)) from None

    @property
    def tokenizer(self) -> PostTokenizer:
        """Tokenises normalised posts as this model has them."""
        wanted, known = self.config.text, self._tokenizer
        if known is None or (known.pipeline, known.attribute) != (wanted.spacy_pipeline, wanted.attribute):
            known = self._tokenizer = PostTokenizer(wanted.spacy_pipeline, wanted.attribute)
        return known

    def cross_validate(self, posts: TrainingTokens, progress: Callable[[str], None] = lambda step: None) -> CrossValidation:
        """Do the part of `fit` that the held-out folds are for, and keep what they gave: calibrator, thresholds, `held_out_`, `prior_`.

        Parameters
        ----------
        posts : TrainingTokens
        progress : callable, optional
            Told each step.

        Raises
        ------
        InputError
            As `fit_tokens`.
        """
        found = cross_validate(self.config, posts, progress)
        self.held_out_, self.calibrator_, self.thresholds_ = found.held_out, found.calibrator, found.thresholds
        self.prior_ = posts.Y.mean(axis=0)
        return found

    def fit(
        self,
        texts: Sequence[str],
        Y: Any,
        groups: Iterable[Any] | None = None,
        *,
        progress: Callable[[str], None] = lambda step: None,
    ) -> Self:
        """Fit on labelled posts.

        Parameters
        ----------
        texts : sequence of str, length n_posts
            Posts as they came.
        Y : DataFrame, array of 0 and 1, shape (n_posts, n_labels), or sequence of collections of str
            One column a label, or the names of each post's labels.
        groups : iterable of hashable or None, length n_posts, optional
            Author of each post: folds never part an author's posts. By default each post has an author of its own.
        progress : callable, optional
            Told each step.

        Raises
        ------
        TypeError
            When `texts` is one string, or holds anything but strings.
        InputError
            When a parameter has a value that is not allowed, `Y` does not fit, or a label has too few posts for the folds.

        Examples
        --------
        >>> texts = ["she groped me", "I believe you"] * 10
        >>> names = [["assault"], ["support"]] * 10
        >>> model = Classifier(folds=2).fit(texts, names)
        >>> model.classes_.tolist()
        ['assault', 'support']
        """
        found = check_texts(texts)
        names = self.label_set.names if isinstance(self.label_set, LabelSet) else self.label_set
        names, targets = label_matrix(Y, names)
        if len(found) != len(targets):
            raise InputError(f"{len(found)} texts and {len(targets)} rows of Y; give one row for each text")
        self._config = ModelConfig.of_parameters(self.get_params() | ({"label_set": names} if self.label_set is None else {}))
        tokens = self.tokenizer([normalise(text) for text in found])
        return self.fit_tokens(TrainingTokens(tokens, targets, author_numbers(groups, len(found)), targets[:, :0]), progress)

    def fit_tokens(self, posts: TrainingTokens, progress: Callable[[str], None] = lambda step: None) -> Self:
        """Fit on posts that are tokenised by `tokenizer`, with unlabelled posts and auxiliary labels.

        Parameters
        ----------
        posts : TrainingTokens
        progress : callable, optional
            Told each step.

        Raises
        ------
        InputError
            When a label has too few positive or negative posts for the folds, or the network's lessons are of other posts.
        """
        found, every = self.cross_validate(posts, progress), np.arange(len(posts.Y))
        self.scorers_ = fit_scorers(self.config, posts, every, found.targets, found.lesson, "fitting on all train posts", progress)
        return self

    def predict_proba(self, texts: Sequence[str]) -> Probabilities:
        """Calibrated probabilities of posts as they came.

        Parameters
        ----------
        texts : sequence of str, length n_posts

        Returns
        -------
        ndarray of float32, shape (n_posts, n_labels)
            A post's are the same bits in any batch.
        """
        return self.predict_proba_normalised([normalise(text) for text in check_texts(texts)])

    def predict_proba_normalised(self, texts: Sequence[str]) -> Probabilities:
        """Probabilities of posts that went through `normalise`, shape (n_posts, n_labels)."""
        return self.predict_proba_tokens(self.tokenizer(texts))

    def predict_proba_tokens(self, tokens: TokenBatch) -> Probabilities:
        """Probabilities of posts from `tokenizer`, shape (n_posts, n_labels)."""
        return self.calibrator_.predict_proba(self.scorers_.decision_function(tokens)).astype(np.float32)

    def predict(self, texts: Sequence[str]) -> Labels:
        """Labels decided by the model's thresholds, as 0 and 1.

        Parameters
        ----------
        texts : sequence of str, length n_posts

        Returns
        -------
        ndarray of 0 and 1, shape (n_posts, n_labels)
        """
        return self.decide(self.predict_proba(texts)).astype(np.int8)

    def label(self, texts: Sequence[str]) -> "pd.DataFrame":
        """Probabilities and labels as a table to look at; it holds no text.

        Parameters
        ----------
        texts : sequence of str, length n_posts

        Returns
        -------
        DataFrame, shape (n_posts, n_labels + 1)
            A column of probabilities a label, and ``labels``, the names of those decided.

        Examples
        --------
        >>> table = Classifier.released().label(["I believe you. Thank you for speaking up."])
        >>> table["labels"].tolist()
        ['solidarity_support']
        """
        import pandas as pd

        probabilities = self.predict_proba(texts)
        frame = pd.DataFrame(probabilities, columns=self.labels)
        frame["labels"] = [", ".join(self.classes_[row]) for row in self.decide(probabilities)]
        return frame

    def score(self, texts: Sequence[str], Y: Any = None) -> float:
        """Share of posts with every label right, scikit-learn's default for several labels.

        Parameters
        ----------
        texts : sequence of str, length n_posts
        Y : as of `fit`

        Raises
        ------
        TypeError
            Without `Y`: what gave probabilities under this name is `predict_proba`.
        """
        if Y is None:
            raise TypeError("score(texts, Y) gives the share of posts with every label right; for probabilities use predict_proba(texts)")
        _, truth = label_matrix(Y, self.labels)
        return float((self.predict(texts) == truth).all(axis=1).mean())

    def decide(self, probabilities: Probabilities) -> Decisions:
        """Whether each label is given, shape (n_posts, n_labels)."""
        decided: Decisions = probabilities >= self.thresholds_.astype(np.float32)
        return decided

    def save(self, folder: str | Path, notes: dict[str, Any] | None = None) -> str:
        """Write the model directory and return its digest.

        Parameters
        ----------
        folder : str or Path
            Replaced if it holds a model.
        notes : dict, optional
            JSON-able facts to keep with the model, such as its training data and metrics.

        Raises
        ------
        InputError
            When the folder cannot be written.
        """
        return saving.save(self, Path(folder), notes)

    @classmethod
    def load(cls, folder: str | Path) -> "Classifier":
        """Read a model directory; nothing in it is ever executed.

        Parameters
        ----------
        folder : str or Path

        Raises
        ------
        InputError
            When it is missing, damaged, tampered with, of another format version or written by another release.
        """
        return saving.load(cls, Path(folder))

    @classmethod
    def released(cls) -> "Classifier":
        """Load the model released with this version."""
        return cls.load(RELEASED)
