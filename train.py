#!/usr/bin/env python3
"""Train a disclosure classifier: config and data to model, evaluation and MLflow run."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import terminal
from pipeline.config import Config, load_config

if TYPE_CHECKING:
    from models import Classifier
    from pipeline.corpora import Corpus
    from pipeline.evaluation import Evaluation

DEFAULT_OUT = Path("runs/model")


@dataclass(frozen=True)
class Trained:
    """What training gives.

    Attributes
    ----------
    model : Classifier
        Fitted and saved.
    evaluation : Evaluation
        On the split of ``evaluation.split``, or on the held-out folds of train where the corpus lacks it.
    notes : list of str
        What to know about the corpus: what was dropped, ignored or passed over.
    run_id : str
        Of the MLflow run.
    version : str or None
        In the model registry.
    """

    model: "Classifier"
    evaluation: "Evaluation"
    notes: list[str]
    run_id: str
    version: str | None


def _fit(config: Config, corpus: "Corpus", progress: Callable[[str], None]) -> "Classifier":
    from models import Classifier
    from pipeline.errors import InputError
    from pipeline.text import normalise

    if "train" not in corpus.splits or not corpus.splits["train"].num_rows:
        raise InputError("the data holds no train posts; give some, as in --data train=FILE")
    model = Classifier(config.of_model())
    progress(f"tokenising {corpus.splits['train'].num_rows:,} train posts")
    tokens = model.tokenizer([normalise(text) for text in corpus.splits["train"]["text"]])
    targets, auxiliary = corpus.targets("train", corpus.labels), corpus.targets("train", corpus.auxiliary)
    return model.fit(tokens, targets, corpus.groups("train"), auxiliary, progress)


def _evaluate(config: Config, corpus: "Corpus", model: "Classifier") -> "Evaluation":
    from pipeline.evaluation import evaluate_probabilities, evaluate_split

    split = config.evaluation.split
    if split in corpus.splits:
        return evaluate_split(model, corpus, split)
    return evaluate_probabilities(model, corpus, "train", model.held_out_, "held-out folds of train")


def _notes(corpus: "Corpus", evaluation: "Evaluation") -> dict[str, Any]:
    train = corpus.splits["train"].num_rows
    return {
        "training_data": {
            "sha256": corpus.sha256,
            "posts": train,
            "overlap": corpus.overlap and asdict(corpus.overlap),
            "ignored": corpus.ignored,
        },
        "metrics": {"evaluated": evaluation.title, **evaluation.metrics},
    }


def train(
    config: Config, out: Path = DEFAULT_OUT, *, register: str | None = None, progress: Callable[[str], None] = lambda step: None
) -> Trained:
    """Train, evaluate, save and track a model.

    Parameters
    ----------
    config : Config
        From `pipeline.config.load_config`.
    out : Path
        The model directory; an earlier model there is replaced.
    register : str, optional
        Name in MLflow's model registry.
    progress : callable, optional
        Told each step.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        For data, labels, folders or an MLflow store that cannot be used. Where the store fails only after training, the
        model is in `out` all the same.
    """
    progress("reading the data")
    from models.storage import DESCRIPTION
    from pipeline.corpora import load_corpus
    from pipeline.folders import check_output
    from pipeline.report import corpus_notes, figures

    check_output(out, DESCRIPTION)
    corpus = load_corpus(config.data, config.labels, seed=config.seed)
    progress("starting MLflow")
    from pipeline import tracking  # takes seconds: what is wrong with the data is said before

    tracking.connect(config.tracking, register)
    model = _fit(config, corpus, progress)
    progress("evaluating")
    evaluation = _evaluate(config, corpus, model)
    digest = model.save(out, _notes(corpus, evaluation))
    progress("tracking")
    curves = figures(evaluation.Y, evaluation.probabilities, model.labels)
    with tracking.run(f"train {config.labels.name} {config.model.type}", digest, out) as run_id:
        tracking.log_config(config)
        tracking.log_corpus(corpus, config.data.sources, "training")
        model_id, version = tracking.log_model(out, model.labels, digest, register)
        tracking.log_metrics(evaluation.metrics, curves, evaluation.title, model_id)
    return Trained(model, evaluation, corpus_notes(corpus), run_id, version)


def _dry_run(config: Config) -> None:
    import yaml

    from pipeline.corpora import load_corpus
    from pipeline.report import corpus_notes, corpus_table

    corpus = load_corpus(config.data, config.labels, seed=config.seed)
    console = terminal.output()
    console.print(yaml.safe_dump(config.shown(), sort_keys=False, width=120), highlight=False, markup=False)
    console.print(corpus_table(corpus))
    for note in corpus_notes(corpus):
        console.print(note, highlight=False, markup=False)


def main(
    config: Annotated[list[Path], typer.Option(help="YAML laid over configs/default.yaml; may be repeated.")] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one key; may be repeated.")] = [],  # noqa: B006
    data: Annotated[
        list[str],
        typer.Option(help="File, folder, saved data set or hub:NAME; train=FILE gives a role; may be repeated. Replaces data.sources."),
    ] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Model directory to write.")] = DEFAULT_OUT,
    experiment: Annotated[str | None, typer.Option(help="MLflow experiment. Replaces tracking.experiment.")] = None,
    register: Annotated[str | None, typer.Option(metavar="NAME", help="Register the model in MLflow under this name.")] = None,
    seed: Annotated[int | None, typer.Option(help="Replaces seed.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check config and data, print both, and stop.")] = False,
) -> None:
    """Train a disclosure classifier, evaluate it and track the run in MLflow."""
    replaced = ({"tracking": {"experiment": experiment}} if experiment else {}) | ({} if seed is None else {"seed": seed})
    resolved = load_config(config, set_, data, **replaced)
    if dry_run:
        _dry_run(resolved)
        return
    with terminal.steps() as progress:
        trained = train(resolved, out, register=register, progress=progress)
    from pipeline.report import metrics_tables
    from pipeline.tracking import where_to_look

    console = terminal.output()
    for note in trained.notes:
        console.print(note, highlight=False, markup=False)
    title = f"Trained on {', '.join(resolved.data.sources)}; {trained.evaluation.title}"
    console.print(*metrics_tables(trained.evaluation.metrics, title), sep="\n")
    registered = f", registered as {register} version {trained.version}" if register else ""
    lines = [
        f"model    {out}  ({trained.model.digest_[:12]})",
        f"run      {trained.run_id} in experiment {resolved.tracking.experiment!r}{registered}",
        f"next     {terminal.runnable('python')} score.py data/starter/test.jsonl --model {out} --out scores",
        f"         {where_to_look(resolved.tracking)}",
    ]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    terminal.run(main)
