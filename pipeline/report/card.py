"""Writes a model's card from its directory, its evaluations, its scores of ordinary posts, and what it says about plain sentences.

The text about corpora, uses and limits is in ``card.md.j2``. Every number about the model is read from files, so that none can go stale.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from models.arrays import Decisions, Probabilities
from models.calibration import BALANCED, decide
from models.classifier import Classifier
from models.config import find_file
from models.description import Description
from models.errors import InputError
from models.storage import DESCRIPTION, read_model
from pipeline import __version__
from pipeline.config_files import load_config
from pipeline.evaluation import METRICS_FILE, Results
from pipeline.evaluation.bootstrap import FEWEST_AUTHORS
from pipeline.evaluation.plain import SENTENCES, Answer, answer_sentences
from pipeline.evaluation.prevalence import read_scores
from pipeline.evaluation.results import MeasuredSliceLabel, Slice
from pipeline.metrics import wilson_interval
from pipeline.result_base import Interval

if TYPE_CHECKING:
    from jinja2 import Environment

CARD = "README.md"
TEMPLATE = Path(__file__).with_name("card.md.j2")
_SENTENCES = 20  # plain sentences with which a card opens
_WEAKEST = 12  # functionalities listed
_NEARLY_ALL = 0.95  # share of the posts: a slice this large shows nothing that all posts do not
_CONFIDENCE = 0.95  # confidence of intervals for shares of ordinary posts, as for behavioural cases


@dataclass(frozen=True)
class Share:
    """A share of posts with its 95 % Wilson interval."""

    share: float
    interval: Interval


@dataclass(frozen=True)
class FalseAlarms:
    """The share of posts that a model marks although they deserve no label.

    Attributes
    ----------
    name : str
        What these posts are called.
    posts : int
        Number of posts.
    labels : dict of str to Share
        Share of the posts that get each label.
    disclosure : Share
        Share of the posts that get any label except those of support.
    operating_point : str
        The operating point that decides.
    """

    name: str
    posts: int
    labels: dict[str, Share]
    disclosure: Share
    operating_point: str


@dataclass(frozen=True)
class Measured:
    """What a card reports.

    Attributes
    ----------
    evaluations : dict of str to Results
        From `read_results`, by what their posts are called. The first is reported in full, the others in one row each.
    ordinary : sequence of FalseAlarms
        From `false_alarms`, one for each kind of post and operating point.
    plain : sequence of Answer
        From `pipeline.evaluation.plain.answer_sentences`. The card opens with the first twenty.
    """

    evaluations: Mapping[str, Results]
    ordinary: Sequence[FalseAlarms]
    plain: Sequence[Answer]


@dataclass(frozen=True)
class Uncalibrated:
    """A label whose calibration error on a slice exceeds the limit by more than chance."""

    column: str
    value: str
    label: str
    ece: float
    interval: Interval


def read_results(folder: Path, digest: str) -> Results:
    """Read the ``metrics.json`` of an evaluation.

    Parameters
    ----------
    folder : Path
        Output folder of evaluate.py.
    digest : str
        Digest of the model that must have been evaluated.

    Raises
    ------
    InputError
        If the file is missing, comes from another model or release, or is about a split other than test or an operating point other than
        balanced.
    """
    path = folder / METRICS_FILE
    try:
        results = Results.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the folder that evaluate.py wrote") from None
    except ValidationError:
        raise InputError(f"{path}: is damaged, or was not written by this release; evaluate the model again") from None
    if results.model != digest:
        raise InputError(f"{path}: is about model {results.model[:12]}, but the card is for {digest[:12]}; run evaluate.py on that model")
    if results.evaluated != "test":
        raise InputError(f"{path}: holds an evaluation on {results.evaluated}, but a card must report on test; evaluate with --split test")
    if results.operating_point != BALANCED:
        raise InputError(
            f"{path}: measures the operating point {results.operating_point}, but a card must report on {BALANCED}; "
            "evaluate again without --operating-point"
        )
    return results


def _read_evaluations(settings: Sequence[str], digest: str) -> dict[str, Results]:
    named = [_named("--evaluation", setting, "'tweets of 2017=runs/test'") for setting in settings]
    found = {name: read_results(Path(folder), digest) for name, folder in named}
    if len(found) < len(named):
        raise InputError("--evaluation: two evaluations have the same name; rename one")
    first = Path(named[0][1]) / METRICS_FILE
    if not found[named[0][0]].behaviour:
        raise InputError(f"{first}: has no behavioural cases; set evaluation.behaviour as in configs/default.yaml and evaluate again")
    return found


def _named(option: str, setting: str, example: str) -> tuple[str, str]:
    name, _, folder = setting.partition("=")
    if not (name and folder):
        raise InputError(f"{option} {setting}: must be NAME=DIR, such as {example}")
    return name, folder


def _share(flagged: Decisions) -> Share:
    return Share(float(flagged.mean()), wilson_interval(int(flagged.sum()), len(flagged), _CONFIDENCE))


def false_alarms(
    name: str, probabilities: Probabilities, thresholds: Mapping[str, float], support: Collection[str], operating_point: str = BALANCED
) -> FalseAlarms:
    """Count the posts that a model marks although they deserve no label.

    Parameters
    ----------
    name : str
        What these posts are called.
    probabilities : ndarray of float32, shape (n_posts, n_labels)
        Probabilities that the model gives them.
    thresholds : dict of str to float
        The thresholds of the operating point by label, in the order of the columns.
    support : collection of str
        Labels of support, which do not disclose harm.
    operating_point : str
        Name of the operating point.

    Returns
    -------
    FalseAlarms
    """
    decided = decide(probabilities, list(thresholds.values()))
    told = [label not in support for label in thresholds]
    by_label = {label: _share(decided[:, k]) for k, label in enumerate(thresholds)}
    return FalseAlarms(name, len(decided), by_label, _share(decided[:, told].sum(axis=1) > 0), operating_point)


def _read_ordinary(setting: str, digest: str, described: Description, support: Collection[str]) -> list[FalseAlarms]:
    name, folder = _named("--ordinary", setting, "'ordinary tweets=runs/tweets'")
    scores = read_scores(folder, digest, described.labels)
    points = described.thresholds_at.items()
    return [false_alarms(name, scores.probabilities, thresholds, support, point) for point, thresholds in points]


def _worth_showing(slices: Iterable[Slice], posts: int) -> list[Slice]:
    """Return the slices, except those that hold nearly all posts or repeat a slice of an earlier column."""
    shown: list[Slice] = []
    for part in slices:
        repeats = any((part.posts, part.labels) == (other.posts, other.labels) for other in shown)
        if part.posts < _NEARLY_ALL * posts and not repeats:
            shown.append(part)
    return shown


def _measured(part: Slice) -> bool:
    return any(isinstance(values, MeasuredSliceLabel) for values in part.labels.values())


def _uncalibrated(slices: Iterable[Slice], limit: float) -> list[Uncalibrated]:
    """List labels on slices whose calibration error exceeds a limit by more than chance, worst first."""
    found = [
        Uncalibrated(part.column, part.value, label, values.ece, bounds)
        for part in slices
        for label, values in part.labels.items()
        if isinstance(values, MeasuredSliceLabel) and (bounds := values.intervals.ece) and bounds[0] > limit
    ]
    return sorted(found, key=lambda each: (-each.interval[0], each.column, each.value, each.label))


def _header(digest: str, evaluations: Mapping[str, Results]) -> str:
    """Return the header that model hubs read, as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    data = ModelCardData(
        language="en",
        license="apache-2.0",
        library_name="disclosure-pipeline",
        pipeline_tag="text-classification",
        tags=["multi-label", "sexual-harassment", "survivor-support"],
        model_name="disclosure",
        digest=digest,
        eval_results=[
            EvalResult("text-classification", name, name, metric, round(value, 4), dataset_split="test", metric_name=called)
            for name, results in evaluations.items()
            for metric, called, value in (
                ("f1", "macro-F1", results.macro_f1),
                ("mean_average_precision", "mean average precision", results.mean_average_precision),
            )
            if value is not None
        ],
    )
    return data.to_yaml()


def _cell(text: str) -> str:
    """Escape text for Markdown, in one line, also inside a table."""
    return re.sub(r"([|\\`*_<>\[\]])", r"\\\1", " ".join(text.split()))


def _environment(template: Path) -> "Environment":
    """Return an environment that finds a template, which may extend ``card.md.j2``."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from pipeline.report import page

    environment = Environment(  # noqa: S701  # Markdown: the filter `cell` escapes data
        loader=FileSystemLoader([template.parent, TEMPLATE.parent]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for fill in (page.number, page.percent, page.interval, page.percents, page.plain):
        environment.filters[fill.__name__] = fill
    environment.filters["cell"] = _cell
    return environment


def _of_plain(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return what a template needs to know of plain sentences."""
    right = [answer.right for answer in answers]
    return {
        "plain": answers[:_SENTENCES],
        "wrong": [answer for answer in answers[_SENTENCES:] if not answer.right],
        "plain_right": _share(np.array(right)),
        "plain_count": (sum(right), len(right), sum(not answer.labels for answer in answers)),
    }


def render_card(digest: str, description: Mapping[str, Any], size: int, measured: Measured, template: Path = TEMPLATE) -> str:
    """Render a card: what a model says about plain sentences, what it is for, what it learned from, how good it is and where it fails.

    Parameters
    ----------
    digest : str
        Digest of the model.
    description : dict
        Content of ``model.json``.
    size : int
        Size of the model's files, in bytes.
    measured : Measured
        What was measured.
    template : Path, optional
        Template of the card; by default that of the released model.

    Returns
    -------
    str
        Markdown with a YAML header, in which the only posts are invented ones. Equal inputs make equal cards.
    """
    from pipeline.config import Promotion

    (main, results), *_ = measured.evaluations.items()
    slices = _worth_showing(results.slices, results.posts)
    weakest = sorted(results.behaviour.functionalities.items() if results.behaviour else [], key=lambda found: (found[1].rate, found[0]))[
        :_WEAKEST
    ]
    return (
        _environment(template)
        .get_template(template.name)
        .render(
            **{"header": _header(digest, measured.evaluations), "digest": digest, "size": size, "version": __version__},
            **{"description": description, "evaluations": measured.evaluations, "main": main, "results": results},
            **{"fewest": FEWEST_AUTHORS, "ordinary": measured.ordinary, "weakest": weakest, "limit": Promotion().max_ece},
            **_of_plain(measured.plain),
            slices=[part for part in slices if _measured(part)],
            small=[part for part in slices if not _measured(part)],
            uncalibrated=_uncalibrated(slices, Promotion().max_ece),
        )
    )


def write_card(
    model: Path, evaluations: Sequence[str], ordinary: Sequence[str], out: Path, plain: str = SENTENCES, template: Path = TEMPLATE
) -> None:
    """Write a model's card.

    Parameters
    ----------
    model : Path
        Model directory.
    evaluations : sequence of str
        Each ``NAME=DIR``: what the posts are called, and the output folder of evaluate.py for them and this model. The first is
        reported in full, the others in one row each.
    ordinary : sequence of str
        Each ``NAME=DIR``: a name, and the folder to which score.py wrote this model's scores of posts that deserve no label.
    out : Path
        File to write the card to.
    plain : str, optional
        File of plain sentences, with the columns ``text`` and ``labels``.
    template : Path, optional
        Template of the card.

    Raises
    ------
    InputError
        If any input cannot be used or belongs to another model, or `out` cannot be written.
    """
    digest, description, _, _ = read_model(model)
    if "training_data" not in description:
        raise InputError(f"{model}: does not say what it was trained on; give a model that train.py wrote")
    if not template.is_file():
        raise InputError(f"{template}: no such template; give a file that extends card.md.j2, or leave out --template")
    size = sum((model / name).stat().st_size for name in (DESCRIPTION, *description["files"]))
    described = Description.model_validate(description)
    support = load_config().labels.support  # models saved by earlier releases do not record it
    measured = Measured(
        evaluations=_read_evaluations(evaluations, digest),
        ordinary=[found for setting in ordinary for found in _read_ordinary(setting, digest, described, support)],
        plain=answer_sentences(str(find_file(plain)), Classifier.load(model)),
    )
    try:
        out.write_text(render_card(digest, description, size, measured, template), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
