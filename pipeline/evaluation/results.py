"""The tree of an evaluation's results: what ``metrics.json``, the report, the card and promotion share."""

from typing import ClassVar, Literal

from pydantic import Field

from models.explanation import StrongestFeatures
from pipeline.checks.results import Conflicts, LabelErrors, Repeats, SharedAuthors, SplitCounts, Suspect
from pipeline.metrics import Baselines, Metrics, ReliabilityBin
from pipeline.results import Interval, Result

Verdict = Literal["better", "worse", "no real difference", "undefined"]
Bounds = Interval | None  # None where the metric is undefined, or the authors are too few


class MeasuredMetrics(Metrics):
    """Metrics of posts, with those of classifiers that read none."""

    baselines: Baselines


class SplitMetrics(MeasuredMetrics):
    """Metrics of a split; where posts repeat another split, also of the others alone."""

    absent: ClassVar[frozenset[str]] = frozenset({"new_texts_only"})

    new_texts_only: MeasuredMetrics | None = None


class LabelIntervals(Result):
    """Intervals of a label's metrics."""

    precision: Bounds
    recall: Bounds
    f1: Bounds
    average_precision: Bounds
    brier: Bounds
    ece: Bounds


class Intervals(Result):
    """Intervals of all metrics."""

    macro_f1: Bounds
    micro_f1: Bounds
    mean_average_precision: Bounds
    exact_match: Bounds
    one_minus_hamming_loss: Bounds
    example_jaccard: Bounds
    labels: dict[str, LabelIntervals]


class Difference(Result):
    """A metric of a model less that of another on the same posts, its interval, and what it means.

    The verdict is "no real difference" where zero is in the interval. Of the Brier score less is better.
    """

    difference: float | None
    interval: Bounds
    verdict: Verdict


class LabelDifferences(Result):
    """Differences in a label's metrics; by noise alone the calibration error is larger for a model whose probabilities differ more."""

    precision: Difference
    recall: Difference
    f1: Difference
    average_precision: Difference
    brier: Difference


class Differences(Result):
    """Differences in all metrics."""

    macro_f1: Difference
    micro_f1: Difference
    mean_average_precision: Difference
    exact_match: Difference
    one_minus_hamming_loss: Difference
    example_jaccard: Difference
    labels: dict[str, LabelDifferences]


class Comparison(Result):
    """Another model (its digest), its metrics on the same posts, and the differences."""

    model: str
    metrics: SplitMetrics
    differences: Differences


class Sample(Result):
    """What was resampled for intervals: authors, how often, and the confidence."""

    authors: int
    rounds: int
    confidence: float


class ThresholdRow(Result):
    """What a threshold finds, and the share to review of these posts and of those drawn at random; None where undefined."""

    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    share: float | None
    share_at_random: float | None


class Cost(ThresholdRow):
    """The row of the highest threshold that misses at most `miss` of the positives."""

    miss: float
    share_interval: Bounds


class Guarantee(Result):
    """A threshold whose recall is guaranteed, with its row; or the reason why there is none.

    `target` is the recall, `confidence` how surely it holds, `needed` how many positives that takes at the least.
    """

    target: float
    confidence: float
    positives: int
    needed: int
    reason: str | None
    threshold: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    share: float | None = None
    share_at_random: float | None = None


class LabelThresholds(Result):
    """Thresholds of a label: a curve from 0 to 1, the model's own, what misses cost, and one that is guaranteed."""

    positives: int
    curve: list[ThresholdRow]
    chosen: ThresholdRow
    cost: list[Cost]
    guarantee: Guarantee


class SliceIntervals(Result):
    """Intervals of a label's metrics on a slice."""

    precision: Bounds
    recall: Bounds
    f1: Bounds
    average_precision: Bounds
    ece: Bounds


class MeasuredSliceLabel(Result):
    """A label on a slice with enough positives."""

    support: int
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    ece: float
    intervals: SliceIntervals


class SmallSliceLabel(Result):
    """A label on a slice with too few positives to measure."""

    support: int
    false_positives: int


class Slice(Result):
    """Metrics of a part of the posts; macro-F1 is None unless every label has enough positives."""

    column: str
    value: str
    posts: int
    labels: dict[str, MeasuredSliceLabel | SmallSliceLabel]
    macro_f1: float | None
    exact_match: float


class Failure(Result):
    """A behavioural case that failed: our text, what it asked for, the labels given and those it failed on.

    `words` are those that mattered most to each label that it failed on, with what they contribute.
    """

    case_id: str
    text: str
    test: Literal["labels", "same", "direction"]
    contrast: str
    must: list[str]
    must_not: list[str]
    failed: list[str]
    given: list[str]
    probabilities: dict[str, float]
    words: dict[str, list[tuple[str, float]]] = Field(default_factory=dict)


class Functionality(Result):
    """Cases of a functionality: how many, how many passed, the 95 % Wilson interval of that share, and the failures."""

    cases: int
    passed: int
    failures: list[Failure]
    rate: float
    interval: Interval


class Behaviour(Result):
    """Behavioural cases; `passed_by_silence` would pass by giving no label at all. `rate` is None where none was asked."""

    cases: int
    passed: int
    rate: float | None
    passed_by_silence: int
    functionalities: dict[str, Functionality]


class DataChecks(Result):
    """What is doubtful about the data: see `pipeline.checks.results`."""

    absent: ClassVar[frozenset[str]] = frozenset({"label_errors", "suspects"})

    near_from: float
    splits: dict[str, SplitCounts]
    duplicates: list[Repeats]
    conflicts: Conflicts
    authors: SharedAuthors
    label_errors: dict[str, dict[str, LabelErrors]] | None = None
    suspects: list[Suspect] | None = None


class LabelPrevalence(Result):
    """How many posts have a label: see `pipeline.evaluation.prevalence.estimate_prevalence`.

    `estimate` and `interval` are None if `too_few` labelled posts have it, or lack it; `labelled_share` and its interval are what
    the labelled posts say by themselves; `counted` and `mean_probability`, of the unlabelled ones, carry the model's errors.
    """

    estimate: float | None
    interval: Bounds
    too_few: bool
    positives: int
    labelled_share: float | None
    labelled_interval: Bounds
    counted: float
    mean_probability: float


class PeriodPrevalence(Result):
    """Shares of labels among the unlabelled posts of a period, and how many of these and of labelled ones there are."""

    posts: int
    labelled: int
    labels: dict[str, LabelPrevalence]


class Prevalence(Result):
    """Shares of labels among all unlabelled posts and, where dates are known, by month."""

    absent: ClassVar[frozenset[str]] = frozenset({"months"})

    total: PeriodPrevalence
    months: dict[str, PeriodPrevalence] | None = None


class Gate(Result):
    """What promotion asked for, whether it was passed, and what was found."""

    gate: str
    passed: bool
    found: str


class Decision(Result):
    """Whether a model is promoted, and every gate."""

    promoted: bool
    gates: list[Gate]


class Analysis(Result):
    """What a split tells beyond its metrics; `comparison` only where there is a model to compare with."""

    sample: Sample
    intervals: Intervals
    reliability: dict[str, list[ReliabilityBin]]
    thresholds: dict[str, LabelThresholds]
    slices: list[Slice]
    comparison: Comparison | None = None


class Results(SplitMetrics):
    """All of an evaluation, as ``metrics.json`` has it: metrics, analysis, behaviour (None without cases), data and features.

    `model` is a digest, `evaluated` says which posts. `comparison`, `prevalence` and `promotion` are there where they were asked for.
    """

    absent: ClassVar[frozenset[str]] = frozenset({"new_texts_only", "comparison", "prevalence", "promotion"})

    model: str
    evaluated: str
    sample: Sample
    intervals: Intervals
    reliability: dict[str, list[ReliabilityBin]]
    thresholds: dict[str, LabelThresholds]
    slices: list[Slice]
    comparison: Comparison | None = None
    behaviour: Behaviour | None
    data: DataChecks
    features: dict[str, StrongestFeatures]
    prevalence: Prevalence | None = None
    promotion: Decision | None = None
