"""Train a model from a config and data, evaluate it, save it and log the run."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models import Classifier, lessons
from models.config import find_file
from models.errors import InputError
from models.folders import check_output, owner_only
from models.folds import check_learnable
from models.storage import RUN_FILES
from pipeline.config import Config, check_config
from pipeline.corpora import IN_MEMORY, Corpus, Posts, load_training_corpus
from pipeline.evaluation import MeasuredSplit, evaluate_probabilities, evaluate_split
from pipeline.evaluation.measuring import HELD_OUT
from pipeline.fingerprints import Fingerprints
from pipeline.registering import register_logged
from pipeline.report import figures
from pipeline.report.note import short_name, training_note


@dataclass(frozen=True)
class Trained:
    """The results of training.

    Attributes
    ----------
    model : Classifier
        The fitted and saved model.
    evaluation : MeasuredSplit
        Its evaluation on the split named by ``evaluation.split``, or on the held-out folds of train if the corpus lacks that split.
    corpus : Corpus
        The posts that it was trained and evaluated on.
    run_id : str
        The id of the MLflow run.
    version : str or None
        The model's version in the model registry, if it was registered.
    """

    model: Classifier
    evaluation: MeasuredSplit
    corpus: Corpus
    run_id: str
    version: str | None


def fit(config: Config, corpus: Corpus, progress: Callable[[str], None] = lambda step: None) -> Classifier:
    """Fit a classifier to the train posts of a corpus.

    Parameters
    ----------
    config : Config
        Describes the model.
    corpus : Corpus
        A corpus with a train split.
    progress : callable, optional
        Called with the name of each step.

    Raises
    ------
    InputError
        As in `Classifier.fit_tokens`.
    """
    model, posts = Classifier.from_config(config.of_model()), corpus.to_learn_from()
    if config.data.swaps and config.model.network:
        _check_swaps(config.model.network.lessons, corpus.splits["train"].num_rows)
    progress(f"tokenising {len(posts.texts):,} posts")
    return model.fit_tokens(posts.tokenised(model.tokenizer), progress)


def _check_swaps(path: str, posts: int) -> None:
    """Refuse lessons that were made without swapped copies, because these would count as posts that were labelled later."""
    if (known := lessons.Lessons.load(find_file(path)).known) < posts:
        raise InputError(
            f"{path}: the teachers knew {known:,} posts, but with copies (data.swaps) there are {posts:,}; "
            f"set data.swaps=false, or {lessons.MAKE}"
        )


def _evaluate(config: Config, corpus: Corpus, model: Classifier) -> MeasuredSplit:
    split = config.evaluation.split
    if split in corpus.splits:
        return evaluate_split(model, corpus, split)
    return evaluate_probabilities(model, corpus, "train", model.held_out_, HELD_OUT)


def _notes(config: Config, corpus: Corpus, evaluation: MeasuredSplit) -> dict[str, Any]:
    """Return what ``model.json`` says about the model's origin."""
    network = config.model.network
    return {
        "training_data": {
            "sha256": corpus.sha256,
            "posts": corpus.splits["train"].num_rows,
            "unlabelled": corpus.unlabelled.num_rows,
            **({"lessons": lessons.sha256(network.lessons)} if network else {}),
            **({"split": corpus.cut.model_dump()} if corpus.cut else {}),
            "overlap": corpus.overlap and asdict(corpus.overlap),
            "ignored": corpus.ignored,
        },
        "metrics": {"evaluated": evaluation.title, **evaluation.metrics.model_dump(mode="json")},
    }


def _log(config: Config, corpus: Corpus, model: Classifier, evaluation: MeasuredSplit, out: Path, register: str | None) -> str | None:
    """Log a training to the current run, and return the model's version if it is registered."""
    from pipeline import tracking

    digest, metrics, posts = model.digest_, evaluation.metrics, corpus.splits["train"].num_rows
    about = (config.model.type, config.labels.name, config.data.sources, posts, metrics, evaluation.title, digest)
    tracking.describe(training_note(*about), digest)
    tracking.log_config(config)
    dataset = tracking.log_corpus(corpus, config.data.sources, "training")
    model_id = tracking.log_model(out, model.labels, digest)
    curves = figures(evaluation.Y, evaluation.probabilities, model.labels)
    tracking.log_metrics(metrics.model_dump(), curves, evaluation.title, dataset, model_id)
    return register_logged(out, model_id, register) if register is not None else None


@owner_only()
def train(
    config: Config,
    out: Path | str,
    *,
    posts: Posts | None = None,
    register: str | None = None,
    name: str | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Trained:
    """Train a model, evaluate it, save it and log the run.

    Parameters
    ----------
    config : Config
        The result of `pipeline.config_files.load_config`.
    out : Path or str
        The model directory to write; an earlier model in it is replaced. The fingerprints of the training posts are written beside the
        model (see `pipeline.fingerprints.Fingerprints`).
    posts : DataFrame, Dataset, or mapping of split names to these, optional
        Labelled posts in memory to train on instead of ``data.sources``.
    register : str, optional
        Name under which to register the model in MLflow.
    name : str, optional
        What the run is called in MLflow's UI, before the data and the time; by default the label set and the kind of model.
    progress : callable, optional
        Called with the name of each step.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        When data, labels, folders or the MLflow store cannot be used. If the store fails only after training, the model is in `out`
        nevertheless.
    TypeError
        When `config` is something else, such as a path.
    """
    check_config(config)
    out = Path(out)
    progress("reading the data")
    check_output(out, RUN_FILES)
    corpus = load_training_corpus(config, posts)
    # The next steps take seconds, so we report errors in the data first.
    check_learnable(corpus.targets("train", corpus.labels), corpus.groups("train"), corpus.labels, config.calibration.folds)
    config = config if posts is None else config.reading(IN_MEMORY)
    progress("starting MLflow")
    from pipeline import tracking

    tracking.connect(config.tracking, register)
    called = name or f"{config.labels.name} {config.model.type}"
    with tracking.run(f"train {called} · {short_name(config.data.sources)}", out) as run_id:
        model = fit(config, corpus, progress)
        progress("evaluating")
        evaluation = _evaluate(config, corpus, model)
        digest = model.save(out, _notes(config, corpus, evaluation))
        fingerprints = Fingerprints.of_training(digest, corpus).write(out)
        progress("tracking")
        with tracking.storing(out):
            tracking.log_file(fingerprints)
            version = _log(config, corpus, model, evaluation, out, register)
    return Trained(model, evaluation, corpus, run_id, version)
