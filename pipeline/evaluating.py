"""An evaluation from model and config to results, report and run."""

from collections.abc import Callable
from pathlib import Path

from models import Classifier
from models.errors import InputError
from models.explanation import explain, strongest_features
from models.folders import check_output
from pipeline import __version__
from pipeline.checks.label_errors import check_labels
from pipeline.checks.repeats import check_splits
from pipeline.config import Config
from pipeline.corpora import IN_MEMORY, Corpus, Posts, load_corpus
from pipeline.evaluation.analysis import analyse
from pipeline.evaluation.behaviour import Case, load_cases, run_cases
from pipeline.evaluation.contest import check_comparable, open_contest
from pipeline.evaluation.prevalence import Scores, estimate_prevalence, read_scores
from pipeline.evaluation.promotion import check_floors, decide_promotion
from pipeline.evaluation.results import Behaviour, DataChecks, Prevalence, Results
from pipeline.evaluation.slices import drawn_at_random, month_of
from pipeline.evaluation.split import FILES, Evaluation, check_positives, evaluate_split, headline, write_evaluation
from pipeline.report import figures
from pipeline.report.page import render_page


def _choose(corpus: Corpus, split: str | None) -> str:
    names = list(corpus.splits)
    if split is None:
        split = "test" if "test" in names else names[0]
        if split != "test" and len(names) > 1:
            raise InputError(f"the data has the splits {', '.join(names)} and no test; choose one with --split")
    if split not in names:
        raise InputError(f"--split {split}: the data has {', '.join(names)}; choose one of these")
    return split


def _check_labels(model: Classifier, config: Config) -> None:
    if set(config.labels.names) != set(model.labels):
        has, wanted = ", ".join(model.labels), ", ".join(config.labels.names)
        raise InputError(f"the model has the labels {has}; the config has {wanted}: use one that fits")


def _behaviour(model: Classifier, cases: list[Case]) -> Behaviour:
    """Behavioural cases, and the words that mattered where they failed."""
    probabilities = model.predict_proba([case.text for case in cases])
    behaviour = run_cases(cases, model.labels, probabilities, model.decide(probabilities))
    explained = {}
    for name, found in behaviour.functionalities.items():
        words = explain(model, [failure.text for failure in found.failures])
        failures = [
            failure.model_copy(update={"words": {label: of_labels[label] for label in failure.failed}})
            for failure, of_labels in zip(found.failures, words, strict=True)
        ]
        explained[name] = found.model_copy(update={"failures": failures})
    return behaviour.model_copy(update={"functionalities": explained})


def _data(model: Classifier, as_it_came: Corpus, corpus: Corpus, split: str, evaluation: Evaluation) -> DataChecks:
    """Leaks between the splits as they came, and likely label errors of the one that was evaluated."""
    probabilities = evaluation.probabilities[:, [model.labels.index(label) for label in corpus.labels]]  # a config may order them otherwise
    found = {name: value for name, value in check_splits(as_it_came) if name != "pairs"}
    return DataChecks(**found, **dict(check_labels(corpus, {split: probabilities})))


def _prevalence(corpus: Corpus, config: Config, split: str, evaluation: Evaluation, model: Classifier, scores: Scores) -> Prevalence:
    wanted = config.evaluation
    sample = drawn_at_random(corpus, split, wanted.natural)
    months = [month_of(date) for date, drawn in zip(corpus.splits[split]["created_at"], sample, strict=True) if drawn]
    return estimate_prevalence(
        *(evaluation.Y[sample], evaluation.probabilities[sample], scores.probabilities, model.labels, model.thresholds_.tolist()),
        *(wanted.confidence, wanted.min_positives, months, scores.months),
    )


def _track(evaluation: Evaluation, results: Results, model: Classifier, corpus: Corpus, config: Config, out: Path) -> str:
    """Log an evaluation that stands in `out`, and give the run's id."""
    from pipeline import tracking

    curves = figures(evaluation.Y, evaluation.probabilities, model.labels)
    with tracking.run(f"evaluate {evaluation.title}", model.digest_, out) as run_id:
        tracking.log_config(config.model_copy(update=dict(model.config)))  # as the model was made
        tracking.log_corpus(corpus, config.data.sources, "evaluation")
        tracking.log_metrics(headline(results), curves, evaluation.title, tracking.find_model(model.digest_))
        tracking.log_folder(out, "evaluation")
    return run_id


def _measure(
    model: Classifier,
    evaluation: Evaluation,
    as_it_came: Corpus,
    corpus: Corpus,
    split: str,
    config: Config,
    cases: list[Case],
    against: Classifier | None,
    scores: Scores | None,
    progress: Callable[[str], None],
) -> Results:
    progress("drawing bootstrap samples")
    analysis = analyse(evaluation, corpus, split, model, config.evaluation, config.seed, against)
    progress("trying behavioural cases")
    behaviour = _behaviour(model, cases) if cases else None
    progress("looking for leaks and label errors")
    data = _data(model, as_it_came, corpus, split, evaluation)
    features = {label: strongest_features(model, label) for label in model.labels}
    progress("estimating shares")
    return Results(
        **dict(evaluation.metrics),
        **dict(analysis),
        model=model.digest_,
        evaluated=evaluation.title,
        behaviour=behaviour,
        data=data,
        features=features,
        prevalence=_prevalence(corpus, config, split, evaluation, model, scores) if scores else None,
    )


def _about(model: Classifier, config: Config, corpus: Corpus, evaluation: Evaluation) -> dict[str, str]:
    """What a report says of where it came from."""
    return {
        "evaluated": evaluation.title,
        "data": ", ".join(config.data.sources),
        "data SHA-256": corpus.sha256,
        "model SHA-256": model.digest_,
        "model type": model.config.model.type,
        "seed": str(config.seed),
        "pipeline": __version__,
    }


def evaluate(
    model: Classifier,
    config: Config,
    out: Path,
    *,
    posts: Posts | None = None,
    split: str | None = None,
    against: Classifier | None = None,
    scores: Path | None = None,
    promote: str | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Results:
    """Evaluate a model, write the results and a report, and track them as a run tied to the model.

    Parameters
    ----------
    model : Classifier
    config : Config
        Its data section says what to evaluate on, its evaluation and promotion sections what to look at and to ask for,
        its tracking section where to log.
    out : Path
        Gets ``report.html``, ``metrics.json`` and ``predictions.parquet``; an earlier evaluation there is replaced.
    posts : DataFrame, Dataset, or mapping of split names to these, optional
        Labelled posts in memory to evaluate on instead of ``data.sources``.
    split : str, optional
        By default test, and data without splits is evaluated whole; with a split named, such data is cut as
        training with the model's seed and the config's ``data.split`` cuts it.
    against : Classifier, optional
        Model of the same labels to compare with.
    scores : Path, optional
        What score.py wrote of unlabelled posts with this model: estimates each label's share among them.
    promote : str, optional
        Registered model whose champion this model becomes if it is good enough; it is compared with the present one.
    progress : callable, optional
        Told each step.

    Returns
    -------
    Results
        With ``promotion`` where asked for.

    Raises
    ------
    InputError
        For data, columns, cases, scores or an MLflow store that cannot be used, or labels that are not the model's. Where
        the store fails only after evaluating, the results are in `out` all the same.
    """
    check_output(out, FILES)
    _check_labels(model, config)
    if against is not None:
        check_comparable(model, against)
    progress("reading the data")
    cases = load_cases(config.evaluation.behaviour, config.labels) if config.evaluation.behaviour else []
    if promote is not None:
        check_floors(config.promotion, (case.functionality for case in cases))
    # A named split of data without splits is the one that training with the model's seed cut off.
    data = config.data.model_copy(update={"drop_overlap": False})
    further = config.evaluation.columns
    as_it_came = load_corpus(data, config.labels, seed=model.config.seed, cut=split is not None, further=further, posts=posts)
    config = config if posts is None else config.reading(IN_MEMORY)
    corpus = as_it_came.without_overlap() if config.data.drop_overlap else as_it_came
    chosen = _choose(corpus, split)
    if promote is not None and chosen == "train":
        raise InputError("--promote: the split train is what models learn from; evaluate on test, or on posts that neither model has seen")
    check_positives(corpus, chosen)
    date = config.data.columns.created_at or "created_at"
    unlabelled = read_scores(scores, model.digest_, model.labels, date) if scores else None
    progress("starting MLflow")
    from pipeline import tracking  # takes seconds: what is wrong with the data is said before

    tracking.connect(config.tracking)
    contest = open_contest(promote, model, config.tracking) if promote is not None else None
    champion = contest.champion if contest else against
    progress(f"scoring {corpus.splits[chosen].num_rows:,} posts")
    evaluation = evaluate_split(model, corpus, chosen)
    results = _measure(model, evaluation, as_it_came, corpus, chosen, config, cases, champion, unlabelled, progress)
    if contest:
        results = results.model_copy(update={"promotion": decide_promotion(results, config.promotion)})
    progress("writing the report")
    write_evaluation(evaluation, model, results, render_page(_about(model, config, corpus, evaluation), results), out)
    progress("tracking")
    run_id = _track(evaluation, results, model, corpus, config, out)
    if contest and results.promotion and results.promotion.promoted:
        tracking.set_champion(contest.name, contest.challenger, run_id, contest.holder)
    return results
