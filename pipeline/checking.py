"""All checks of a corpus, with a model that looks for label errors."""

from collections.abc import Callable
from dataclasses import dataclass

from models.errors import InputError
from pipeline.checks.label_errors import check_labels
from pipeline.checks.repeats import check_splits
from pipeline.checks.results import LabelChecks, SplitChecks
from pipeline.config import Config
from pipeline.corpora import Corpus, load_training_corpus
from pipeline.training import fit


@dataclass(frozen=True)
class Checked:
    """What checks of data give.

    Attributes
    ----------
    splits : SplitChecks
    labels : LabelChecks or None
        None where no model could be fitted that would look for label errors.
    corpus : Corpus
        With the train posts that training drops.
    learned_from : Corpus
        Without them.
    not_looked_for : str or None
        Why label errors were not looked for.
    """

    splits: SplitChecks
    labels: LabelChecks | None
    corpus: Corpus
    learned_from: Corpus
    not_looked_for: str | None


def check_data(config: Config, progress: Callable[[str], None] = lambda step: None) -> Checked:
    """Look for repeats, shared authors, conflicting labels, and values of labels that a model thinks wrong.

    The model sees no post that it judges, nor one with the same text or author: train posts are judged by held-out folds,
    and those that overlap another split are dropped from train, as ``data.drop_overlap`` does.

    Parameters
    ----------
    config : Config
        Of the data, and of the model that looks for label errors.
    progress : callable, optional
        Told each step.

    Returns
    -------
    Checked

    Raises
    ------
    InputError
        For data that cannot be used.
    """
    progress("reading the data")
    whole = load_training_corpus(config.model_copy(update={"data": config.data.model_copy(update={"drop_overlap": False})}))
    corpus = whole.without_overlap()
    progress("looking for repeats")
    found = check_splits(whole)
    try:
        if not corpus.splits["train"].num_rows:
            raise InputError("no train posts are left once those that overlap another split are dropped")
        if config.model.type == "most_frequent":
            raise InputError("model.type=most_frequent reads no post; choose another")
        model = fit(config, corpus, progress)
    except InputError as error:  # what cannot be learned from may still be checked
        return Checked(found, None, whole, corpus, str(error))
    progress("looking for label errors")
    scored = {split: model.held_out_ if split == "train" else model.predict_proba(rows["text"]) for split, rows in corpus.splits.items()}
    return Checked(found, check_labels(corpus, scored), whole, corpus, None)
