"""Run all checks of a corpus, including a model that looks for label errors."""

from collections.abc import Callable
from dataclasses import dataclass

from models.errors import InputError
from pipeline.checks.findings import LabelChecks, SplitChecks
from pipeline.checks.label_errors import check_labels
from pipeline.checks.repeats import check_splits
from pipeline.config import Config
from pipeline.corpora import Corpus, load_training_corpus
from pipeline.training import fit


@dataclass(frozen=True)
class Checked:
    """The results of the checks.

    Attributes
    ----------
    splits : SplitChecks
        Repeats and shared authors.
    labels : LabelChecks or None
        Likely label errors; None if no model could be fitted to look for them.
    corpus : Corpus
        The whole corpus, including the train posts that training drops.
    learned_from : Corpus
        The corpus without those train posts.
    not_looked_for : str or None
        Why the check for label errors was skipped.
    """

    splits: SplitChecks
    labels: LabelChecks | None
    corpus: Corpus
    learned_from: Corpus
    not_looked_for: str | None


def check_data(config: Config, progress: Callable[[str], None] = lambda step: None) -> Checked:
    """Look for repeats, shared authors, conflicting labels, and labels that a model considers wrong.

    The model is never trained on a post that it judges, or on one with the same text or author. Train posts are judged by models of the
    other folds. Train posts that overlap another split are dropped, as with ``data.drop_overlap``.

    Parameters
    ----------
    config : Config
        Describes the data, and the model that looks for label errors.
    progress : callable, optional
        Called with the name of each step.

    Returns
    -------
    Checked

    Raises
    ------
    InputError
        When the data cannot be used.
    """
    progress("reading the data")
    whole = load_training_corpus(config.model_copy(update={"data": config.data.model_copy(update={"drop_overlap": False, "swaps": False})}))
    corpus = whole.without_overlap()
    progress("looking for repeats")
    found = check_splits(whole)
    try:
        if not corpus.splits["train"].num_rows:
            raise InputError("no train posts are left after dropping those that overlap another split; give more train posts")
        if config.model.type == "most_frequent":
            raise InputError("model.type=most_frequent cannot find label errors, because it ignores the text; choose another model.type")
        model = fit(config, corpus, progress)
    except InputError as error:  # data that a model cannot learn from can still be checked
        return Checked(found, None, whole, corpus, str(error))
    progress("looking for label errors")
    scored = {split: model.held_out_ if split == "train" else model.predict_proba(rows["text"][:]) for split, rows in corpus.splits.items()}
    return Checked(found, check_labels(corpus, scored), whole, corpus, None)
