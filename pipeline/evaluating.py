"""Evaluate a model as a config describes: results, report and MLflow run."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from models import Classifier
from models.calibration import BALANCED, PointName, check_point
from models.errors import InputError
from models.explanation import explain, strongest_features
from models.folders import check_output, owner_only
from models.storage import FINGERPRINTS
from pipeline import __version__
from pipeline.checks.label_errors import check_labels
from pipeline.checks.repeats import check_splits
from pipeline.config import Config, Data, Split, check_config
from pipeline.corpora import IN_MEMORY, Corpus, Posts, load_corpus
from pipeline.dates import month_of
from pipeline.evaluation.analysis import analyse
from pipeline.evaluation.behaviour import Case, load_cases, run_cases
from pipeline.evaluation.contest import check_comparable, make_champion, open_contest, same_champion
from pipeline.evaluation.measuring import FILES, MeasuredSplit, check_positives, evaluate_split, headline, write_evaluation
from pipeline.evaluation.prevalence import Scores, estimate_prevalence, read_scores
from pipeline.evaluation.promotion import check_floors, decide_promotion, decision_of
from pipeline.evaluation.results import Behaviour, DataChecks, Gate, Prevalence, Results
from pipeline.evaluation.seen import measure_unseen
from pipeline.evaluation.slices import drawn_at_random
from pipeline.evaluation.swaps import SwapSet, load_swaps, measure_swaps
from pipeline.fingerprints import Fingerprints, read_fingerprints
from pipeline.report import figures
from pipeline.report.note import evaluation_note, short_name
from pipeline.report.page import render_page

_WITH_COPIES = (
    "shares count every copy of a post, so they hold only if copies could also be drawn for labelling; disclosure label-next draws none"
)
_WITHOUT_LABELS = "only posts with labels can be evaluated; score posts without labels with score.py"


def _load(model: Classifier, config: Config, posts: Posts | None, split: str | None) -> Corpus:
    """Load the posts; if they have no splits, divide them for a named split as training does, with the model's seed and shares."""
    data, shares = _as_trained(model, config.data.model_copy(update={"drop_overlap": False}))
    further = config.evaluation.columns
    cut, seed = split is not None, model.config.seed
    found = load_corpus(data, config.labels, seed=seed, cut=cut, further=further, posts=posts, without_labels=_WITHOUT_LABELS)
    return replace(found, notes=[*found.notes, *shares]) if found.cut else found


def _choose(corpus: Corpus, split: str | None) -> str:
    names = list(corpus.splits)
    if split is None:
        split = "test" if "test" in names else names[0]
        if split != "test" and len(names) > 1:
            raise InputError(f"the data has the splits {', '.join(names)}, but no test split; choose one with --split")
    if split not in names:
        raise InputError(f"--split {split}: the data has no such split; choose one of {', '.join(names)}")
    return split


def _check_fitted(model: object, name: str) -> None:
    if not isinstance(model, Classifier):
        raise TypeError(f"{name} must be a Classifier, as Classifier.load(folder) returns, but got {type(model).__name__}")
    if not hasattr(model, "digest_"):
        raise InputError(f"{name}: has not been fitted; call model.fit first, or load a saved model with Classifier.load")


def _check_models(model: Classifier, against: Classifier | None, operating_point: str) -> None:
    """Check that the models are fitted, have the operating point, and can be compared."""
    for name, each in (("model", model), ("against", against)):
        if each is not None:
            _check_fitted(each, name)
            check_point(operating_point, each.operating_points_, f"--{name}: ")
    if against is not None:
        check_comparable(model, against)


def _check_labels(model: Classifier, config: Config) -> None:
    if set(config.labels.names) != set(model.labels):
        has, wanted = ", ".join(model.labels), ", ".join(config.labels.names)
        raise InputError(f"the model has the labels {has}, but the config has {wanted}; choose a config with the model's labels")


def _invented(config: Config, promoting: bool) -> tuple[list[Case], SwapSet | None]:
    """Read the behavioural cases and the swaps, and check that they suffice for a promotion."""
    wanted = config.evaluation
    cases = load_cases(wanted.behaviour, config.labels) if wanted.behaviour else []
    swaps = load_swaps(wanted.swaps, config.labels) if wanted.swaps else None
    if promoting:
        check_floors(config.promotion, (case.functionality for case in cases), swaps is not None)
    return cases, swaps


def _behaviour(model: Classifier, cases: list[Case], operating_point: str = BALANCED) -> Behaviour:
    """Run the behavioural cases, and find the words that mattered in those that failed."""
    probabilities = model.predict_proba([case.text for case in cases])
    behaviour = run_cases(cases, model.labels, probabilities, model.decide(probabilities, operating_point))
    explained = {}
    for name, found in behaviour.functionalities.items():
        words = explain(model, [failure.text for failure in found.failures])
        failures = [
            failure.model_copy(update={"words": {label: of_labels[label] for label in failure.failed}})
            for failure, of_labels in zip(found.failures, words, strict=True)
        ]
        explained[name] = found.model_copy(update={"failures": failures})
    return behaviour.model_copy(update={"functionalities": explained})


def _data(model: Classifier, as_it_came: Corpus, corpus: Corpus, split: str, evaluation: MeasuredSplit) -> DataChecks:
    """Find leaks between the original splits, and likely label errors in the evaluated split."""
    probabilities = evaluation.probabilities[:, [model.labels.index(label) for label in corpus.labels]]  # configs may differ in their order
    found = {name: value for name, value in check_splits(as_it_came) if name != "pairs"}
    return DataChecks(**found, **dict(check_labels(corpus, {split: probabilities})))


def _as_trained(model: Classifier, data: Data) -> tuple[Data, list[str]]:
    """Return the config's data section with the shares by which the training posts were divided, unless the config sets others."""
    shares = getattr(model, "description_", {}).get("training_data", {}).get("split")
    if not shares or Split(**shares) == data.split:
        return data, []
    said = ", ".join(f"{name} {share:g}" for name, share in shares.items())
    if data.split != Split():
        return data, [f"data.split differs from that of training ({said}), so the splits differ, too"]
    return data.model_copy(update={"split": Split(**shares)}), [f"divided as in training: {said}"]


def _trained_on(model: Classifier, folder: Path | None) -> Fingerprints | None:
    """Find the fingerprints of the model's training posts, in its folder or in MLflow."""
    from pipeline import tracking

    if folder and (beside := read_fingerprints(folder / FINGERPRINTS, model.digest_)):
        return beside
    with TemporaryDirectory() as scratch:
        logged = tracking.find_fingerprints(model.digest_, Path(scratch))
        return read_fingerprints(logged, model.digest_) if logged else None


def _prevalence(corpus: Corpus, config: Config, split: str, evaluation: MeasuredSplit, model: Classifier, scores: Scores) -> Prevalence:
    wanted = config.evaluation
    sample = drawn_at_random(corpus, split, wanted.natural)
    months = [month_of(date) for date, drawn in zip(corpus.splits[split]["created_at"][:], sample, strict=True) if drawn]
    found = estimate_prevalence(
        *(evaluation.Y[sample], evaluation.probabilities[sample], scores.probabilities, model.labels, evaluation.thresholds),
        *(wanted.confidence, wanted.min_positives, months, scores.months),
    )
    return found.model_copy(update={"at_random": wanted.natural is not None})


def _log(evaluation: MeasuredSplit, results: Results, model: Classifier, corpus: Corpus, config: Config) -> None:
    """Log an evaluation, except its files, to the current run."""
    from pipeline import tracking

    curves = figures(evaluation.Y, evaluation.probabilities, model.labels)
    tracking.log_config(config.model_copy(update=dict(model.config)))  # the model's own part of the config
    dataset, model_id = tracking.log_corpus(corpus, config.data.sources, "evaluation"), tracking.find_model(model.digest_)
    tracking.link_model(model_id)
    tracking.log_metrics(headline(results), curves, evaluation.title, dataset, model_id)


def _with_gates(results: Results, *gates: Gate) -> Results:
    already = results.promotion.gates if results.promotion else []
    return results.model_copy(update={"promotion": decision_of([*already, *gates])})


def _measure(
    model: Classifier,
    evaluation: MeasuredSplit,
    as_it_came: Corpus,
    corpus: Corpus,
    split: str,
    config: Config,
    cases: list[Case],
    swaps: SwapSet | None,
    against: Classifier | None,
    scores: Scores | None,
    trained_on: Fingerprints | None,
    point: PointName,
    progress: Callable[[str], None],
) -> Results:
    progress("drawing bootstrap samples")
    analysis = analyse(evaluation, corpus, split, model, config.evaluation, config.seed, against, point)
    progress("trying behavioural cases")
    behaviour = _behaviour(model, cases, point) if cases else None
    swapped = measure_swaps(swaps, model.labels, model.predict_proba, partial(model.decide, operating_point=point)) if swaps else None
    progress("looking for leaks and label errors")
    data = _data(model, as_it_came, corpus, split, evaluation)
    counted = "posts" in model.description_.get("training_data", {})  # missing from a model saved without train.py
    features = {label: strongest_features(model, label) for label in model.labels} if counted else {}
    if scores:
        progress("estimating shares")
    return Results(
        **dict(evaluation.metrics),
        **dict(analysis),
        model=model.digest_,
        evaluated=evaluation.title,
        operating_point=point,
        seen_in_training=measure_unseen(model, evaluation, corpus, split, trained_on) if trained_on else None,
        behaviour=behaviour,
        swaps=swapped,
        data=data,
        features=features,
        prevalence=_prevalence(corpus, config, split, evaluation, model, scores) if scores else None,
        notes=[*corpus.notes, *([*scores.notes, _WITH_COPIES] if scores else [])],
    )


def _about(called: str, model: Classifier, config: Config, corpus: Corpus, evaluation: MeasuredSplit) -> dict[str, str]:
    """Return what the report says about its own origin."""
    return {
        "model": called,
        "date": f"{date.today():%-d %B %Y}",
        "evaluated": evaluation.title,
        "data": ", ".join(config.data.sources),
        "data SHA-256": corpus.sha256,
        "model SHA-256": model.digest_,
        "model type": model.config.model.type,
        "seed": str(config.seed),
        "pipeline": __version__,
    }


@owner_only()
def evaluate(
    model: Classifier,
    config: Config,
    out: Path | str,
    *,
    posts: Posts | None = None,
    split: str | None = None,
    against: Classifier | None = None,
    trained_on: Path | None = None,
    scores: Path | None = None,
    promote: str | None = None,
    operating_point: PointName = BALANCED,
    name: str | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Results:
    """Evaluate a model, write the results and a report, and log them as a run that is linked to the model.

    Parameters
    ----------
    model : Classifier
        The model to evaluate.
    config : Config
        The data section says what to evaluate on, the evaluation and promotion sections what to measure and to require, and the
        tracking section where to log.
    out : Path or str
        Folder for ``report.html``, ``metrics.json`` and ``predictions.parquet``; an earlier evaluation in it is replaced.
    posts : DataFrame, Dataset, or mapping of split names to these, optional
        Labelled posts in memory to evaluate on instead of ``data.sources``.
    split : str, optional
        The split to evaluate, by default test. Data without splits is evaluated whole by default; if `split` is given, it is divided
        as training divided it: with the model's seed and shares, unless the config's ``data.split`` sets others.
    against : Classifier, optional
        A model with the same labels to compare with.
    trained_on : Path, optional
        Output folder of the training, whose fingerprints tell which of the posts the model was trained on. If it has none, those that
        the training logged in MLflow are used.
    scores : Path, optional
        Output folder of score.py for unlabelled posts and this model, from which each label's share among them is estimated.
    promote : str, optional
        Name of a registered model. This model is compared with its champion, and becomes the champion if it is good enough.
    operating_point : {"balanced", "cautious", "sensitive"}
        The operating point at which this model, and the one in `against`, decide; models are promoted at ``balanced`` only.
    name : str, optional
        What the model is called in the report and in MLflow's UI; by default its type and the beginning of its digest.
    progress : callable, optional
        Called with the name of each step.

    Returns
    -------
    Results
        With ``promotion`` if `promote` was given.

    Raises
    ------
    InputError
        When data, columns, cases, scores or the MLflow store cannot be used, the labels are not the model's, or it lacks the operating
        point. If the store fails only after the evaluation, the results are in `out` nevertheless.
    TypeError
        When `model`, `against` or `config` is something else, such as a path.
    """
    check_config(config)
    _check_models(model, against, operating_point)
    out = Path(out)
    check_output(out, FILES)
    _check_labels(model, config)
    if promote is not None and operating_point != BALANCED:
        raise InputError(f"--promote compares models at the operating point balanced, not {operating_point}; leave --operating-point out")
    progress("reading the data")
    cases, swaps = _invented(config, promote is not None)
    as_it_came = _load(model, config, posts, split)
    config = config if posts is None else config.reading(IN_MEMORY)
    corpus = as_it_came.without_overlap() if config.data.drop_overlap else as_it_came
    chosen = _choose(corpus, split)
    if promote is not None and chosen == "train":
        raise InputError(
            "--promote cannot use the split train, which models are trained on; use test, or posts that are new to both models"
        )
    check_positives(corpus, chosen)
    dates = config.data.columns.created_at or "created_at"
    unlabelled = read_scores(scores, model.digest_, model.labels, dates) if scores else None
    progress("starting MLflow")
    from pipeline import tracking  # this import takes seconds, so we report errors in the data first

    tracking.connect(config.tracking)
    contest = open_contest(promote, model, config.tracking) if promote is not None else None
    champion, known = contest.champion if contest else against, _trained_on(model, trained_on)
    called = name or f"{model.config.model.type} {model.digest_[:8]}"
    with tracking.run(f"evaluate {called} · {short_name(config.data.sources)} {chosen}", out) as run_id:
        progress(f"scoring {corpus.splits[chosen].num_rows:,} posts")
        evaluation = evaluate_split(model, corpus, chosen, operating_point)
        results = _measure(
            model, evaluation, as_it_came, corpus, chosen, config, cases, swaps, champion, unlabelled, known, operating_point, progress
        )

        def write(found: Results) -> None:
            about = _about(called, model, config, corpus, evaluation) | {"operating point": operating_point}
            write_evaluation(evaluation, model, found, render_page(about, found), out)

        progress("writing the report")
        good = results
        if contest:
            good = _with_gates(results, *decide_promotion(results, config.promotion).gates, same_champion(contest))
        to_promote = contest if good.promotion and good.promotion.promoted else None
        # No file says that the model was promoted before it is the champion.
        results = _with_gates(good, make_champion(to_promote, None)) if to_promote else good
        write(results)
        progress("tracking")
        with tracking.storing(out):
            _log(evaluation, results, model, corpus, config)
            if to_promote:
                results = _with_gates(good, make_champion(to_promote, run_id))
                write(results)
            tracking.describe(evaluation_note(called, config.data.sources, results), model.digest_)
            tracking.log_folder(out, "evaluation")
    return results
