"""Results of an evaluation, as used by ``metrics.json``, the report, the model card and promotion."""

from typing import ClassVar, Literal

from pydantic import Field

from models.calibration import BALANCED
from models.explanation import StrongestFeatures
from pipeline.checks.findings import Conflicts, LabelErrors, Repeats, SharedAuthors, SplitCounts, Suspect
from pipeline.evaluation.swaps import Swaps
from pipeline.metrics import Baselines, Metrics, ReliabilityBin
from pipeline.result_base import Interval, Result

Verdict = Literal["better", "worse", "no real difference", "cannot tell"]
Bounds = Interval | None  # None if the metric is undefined or there are too few authors


class MeasuredMetrics(Metrics):
    """Metrics of a set of posts, with those of baselines that do not read posts."""

    baselines: Baselines


class SplitMetrics(MeasuredMetrics):
    """Metrics of a split; if some posts repeat posts of another split, also the metrics without them."""

    absent: ClassVar[frozenset[str]] = frozenset({"new_texts_only"})

    new_texts_only: MeasuredMetrics | None = None


class Seen(Result):
    """Evaluated posts that the model was trained on: their number and share, and the metrics on the other posts.

    A post counts if the same words were in the training posts. `short` posts have fewer than five words, which is too few to tell. `share`
    is that of the others; None if there are none. `without` is None if no post was seen, or if all posts that are long enough were seen.
    """

    posts: int
    share: float | None
    short: int
    without: MeasuredMetrics | None


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
    """A model's metric minus that of another model on the same posts, its interval, and the verdict.

    The verdict is "no real difference" if the interval includes zero. A lower Brier score is better.
    """

    difference: float | None
    interval: Bounds
    verdict: Verdict


class LabelDifferences(Result):
    """Differences in a label's metrics, except in its calibration error, which noise alone increases if probabilities vary more."""

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
    """Digest of another model, its metrics on the same posts, and the differences from them."""

    model: str
    metrics: SplitMetrics
    differences: Differences


class Sample(Result):
    """The bootstrap sample: number of authors and rounds, and the confidence of intervals."""

    authors: int
    rounds: int
    confidence: float


class ThresholdRow(Result):
    """What a threshold finds, and the share to review, for all posts and for those drawn at random; None if undefined."""

    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    share: float | None
    share_at_random: float | None


class Cost(ThresholdRow):
    """The highest threshold that misses at most the share `miss` of the positives, with what it finds and the share to review."""

    miss: float
    share_interval: Bounds


class Guarantee(Result):
    """A threshold whose recall is guaranteed, with its row, or the reason why there is none.

    `target` is the recall, and `confidence` is how likely it is to hold for `labels` labels together. If `labels` is 1, it holds for each
    label alone. `authors` is the number of authors of positives, each of whom counts once. `needed` is the minimum number of authors for a
    guarantee.
    """

    target: float
    confidence: float
    labels: int
    positives: int
    authors: int
    needed: int
    reason: str | None
    threshold: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    share: float | None = None
    share_at_random: float | None = None


class LabelThresholds(Result):
    """Thresholds of a label: a curve from 0 to 1, the model's own threshold, what it costs to miss few posts, and a guarantee."""

    positives: int
    curve: list[ThresholdRow]
    chosen: ThresholdRow
    cost: list[Cost]
    guarantee: Guarantee


class Mistake(Result):
    """The id of a post that the model decided wrongly, and the probability that it gave."""

    id: str
    probability: float


class LabelMistakes(Result):
    """Right and wrong decisions of a label, and the wrong ones that the model was most sure of: given wrongly, or missed."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    wrongly_given: list[Mistake]
    missed: list[Mistake]


class Mistakes(Result):
    """Right and wrong decisions by label, and how often two labels occur together.

    `given_to` counts, for each true label, the posts that were given each label; "no label" stands for posts without one. `together` counts
    the posts that have both of two labels, and `given_together` those that were given both.
    """

    labels: dict[str, LabelMistakes]
    given_to: dict[str, dict[str, int]]
    together: dict[str, dict[str, int]]
    given_together: dict[str, dict[str, int]]


class SliceIntervals(Result):
    """Intervals of a label's metrics on a slice."""

    precision: Bounds
    recall: Bounds
    f1: Bounds
    average_precision: Bounds
    ece: Bounds


class MeasuredSliceLabel(Result):
    """Metrics of a label on a slice with enough positives."""

    support: int
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    ece: float
    intervals: SliceIntervals


class SmallSliceLabel(Result):
    """Counts of a label on a slice with too few positives to measure."""

    support: int
    false_positives: int


class Slice(Result):
    """Metrics of a part of the posts; macro-F1 is None unless every label has enough positives there."""

    column: str
    value: str
    posts: int
    labels: dict[str, MeasuredSliceLabel | SmallSliceLabel]
    macro_f1: float | None
    exact_match: float


class Failure(Result):
    """A behavioural case that failed: its invented text, what it tests, the labels given, and the labels on which it failed.

    `words` lists, for each label it failed on, the words that mattered most and what they contribute.
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
    """Number of cases of a functionality and of cases passed, the share passed with its 95 % Wilson interval, and the failures."""

    cases: int
    passed: int
    failures: list[Failure]
    rate: float
    interval: Interval


class Behaviour(Result):
    """Results of behavioural cases; `passed_by_silence` is how many would pass if no label were given. `rate` is None without cases."""

    cases: int
    passed: int
    rate: float | None
    passed_by_silence: int
    functionalities: dict[str, Functionality]


class DataChecks(Result):
    """Possible faults in the data; see `pipeline.checks.findings`."""

    absent: ClassVar[frozenset[str]] = frozenset({"label_errors", "suspects"})

    near_from: float
    splits: dict[str, SplitCounts]
    duplicates: list[Repeats]
    conflicts: Conflicts
    authors: SharedAuthors
    label_errors: dict[str, dict[str, LabelErrors]] | None = None
    suspects: list[Suspect] | None = None


class LabelPrevalence(Result):
    """Share of posts with a label; see `pipeline.evaluation.prevalence.estimate_prevalence`.

    `estimate` and `interval` are None if too few labelled posts have the label, or too few lack it (`too_few`). `labelled_share` and its
    interval are from the labelled posts alone. `counted` and `mean_probability` are from the unlabelled ones and include the model's
    errors.
    """

    estimate: float | None
    interval: Bounds
    too_few: bool
    positives: int
    labelled_share: float | None
    labelled_interval: Bounds
    counted: float
    mean_probability: float

    def rarer(self, labelled: int) -> tuple[int, str]:
        """Return the number of positives or negatives among the labelled posts, whichever is smaller, and which of the two it is."""
        return min((self.positives, "positive"), (labelled - self.positives, "negative"), key=lambda side: side[0])


class PeriodPrevalence(Result):
    """Shares of labels among the unlabelled posts of a period, and the numbers of unlabelled and labelled posts."""

    posts: int
    labelled: int
    labels: dict[str, LabelPrevalence]


class Prevalence(Result):
    """Shares of labels among all unlabelled posts and, if dates are known, by month.

    `at_random` is True if the user stated (by ``evaluation.natural``) that the labelled posts were drawn at random. Otherwise the estimates
    hold only if they were.
    """

    absent: ClassVar[frozenset[str]] = frozenset({"months"})

    total: PeriodPrevalence
    at_random: bool = False
    months: dict[str, PeriodPrevalence] | None = None


class Gate(Result):
    """A requirement for promotion, whether the model meets it, and what was found."""

    gate: str
    passed: bool
    found: str


class Decision(Result):
    """Whether a model is promoted, with every gate."""

    promoted: bool
    gates: list[Gate]


class Analysis(Result):
    """Results beyond the metrics; `comparison` is there only if there is a model to compare with."""

    sample: Sample
    intervals: Intervals
    reliability: dict[str, list[ReliabilityBin]]
    thresholds: dict[str, LabelThresholds]
    mistakes: Mistakes
    slices: list[Slice]
    comparison: Comparison | None = None


class Results(SplitMetrics):
    """All results of an evaluation, as in ``metrics.json``: metrics, analysis, behaviour, swaps, data, features.

    `behaviour` and `swaps` are None if the config names no file of them. `model` is a digest; `evaluated` says which posts were measured,
    and `operating_point` which thresholds decided. `seen_in_training` is None if it is not known what the model was trained on.
    `comparison`, `prevalence` and `promotion` are there only if asked for. `notes` say how the data was read.
    """

    absent: ClassVar[frozenset[str]] = frozenset({"new_texts_only", "comparison", "prevalence", "promotion"})

    model: str
    evaluated: str
    operating_point: str = BALANCED
    sample: Sample
    intervals: Intervals
    reliability: dict[str, list[ReliabilityBin]]
    thresholds: dict[str, LabelThresholds]
    mistakes: Mistakes
    slices: list[Slice]
    comparison: Comparison | None = None
    seen_in_training: Seen | None = None
    behaviour: Behaviour | None
    swaps: Swaps | None = None
    data: DataChecks
    features: dict[str, StrongestFeatures]
    prevalence: Prevalence | None = None
    promotion: Decision | None = None
    notes: list[str] = Field(default_factory=list)
