"""Decides whether a model may replace the champion."""

import difflib
import math
from collections.abc import Iterable, Iterator, Sequence

from models.errors import InputError
from pipeline.config import Promotion
from pipeline.corpora.problems import counted
from pipeline.evaluation.bootstrap import FEWEST_AUTHORS
from pipeline.evaluation.results import Behaviour, Decision, Difference, Differences, Gate, Results, Seen
from pipeline.evaluation.swaps import Swaps


def _undefined(authors: int) -> str:
    """Say why a gate cannot be computed."""
    if authors < FEWEST_AUTHORS:
        count = f"{authors:,} author{'' if authors == 1 else 's'}"
        return f"cannot be computed, and so fails: the posts are by only {count}, and at least {FEWEST_AUTHORS} are needed"
    return "cannot be computed, and so fails: too few posts have, or lack, the label"


def _signed(compared: Difference, authors: int) -> str:
    if compared.interval is None or compared.difference is None:
        return _undefined(authors)
    low, high = compared.interval
    return f"{compared.difference:+.3f} [{low:+.3f}, {high:+.3f}], {compared.verdict}"


def _against_champion(differences: Differences, authors: int) -> Iterator[Gate]:
    for label, compared in differences.labels.items():
        for name, each in (("f1", compared.f1), ("average_precision", compared.average_precision)):
            passed = each.verdict in {"better", "no real difference"}
            yield Gate(gate=f"{label}: {name} not worse", passed=passed, found=_signed(each, authors))
    overall = {"macro_f1": differences.macro_f1, "mean_average_precision": differences.mean_average_precision}
    verdicts = {each.verdict for each in overall.values()}
    found = "; ".join(f"{name} {_signed(each, authors)}" for name, each in overall.items())
    passed = "better" in verdicts and "worse" not in verdicts
    yield Gate(gate=f"{' or '.join(overall)} better, neither worse", passed=passed, found=found)


def _calibrated(results: Results, wanted: Promotion) -> Iterator[Gate]:
    for label, bounds in results.intervals.labels.items():
        low, high = bounds.ece or (math.inf, math.inf)
        found = f"{results.labels[label].ece:.3f} [{low:.3f}, {high:.3f}]" if bounds.ece else _undefined(results.sample.authors)
        yield Gate(gate=f"{label}: ece at most {wanted.max_ece}", passed=low <= wanted.max_ece, found=found)


def _behaves(behaviour: Behaviour, wanted: Promotion) -> Iterator[Gate]:
    if not behaviour.cases:
        yield Gate(gate="behavioural cases about the model's labels", passed=False, found="none")
    for name, found in behaviour.functionalities.items():
        floor = wanted.behaviour_floors.get(name, wanted.behaviour_floor)
        passed = found.rate >= floor
        yield Gate(gate=f"{name}: at least {floor:.0%} of cases", passed=passed, found=f"{found.passed} of {found.cases}")
    for name, floor in wanted.behaviour_floors.items():
        if name not in behaviour.functionalities:
            yield Gate(gate=f"{name}: at least {floor:.0%} of cases", passed=floor == 0, found="no case about the model's labels")


def _swaps_do_not_matter(swaps: Swaps, wanted: Promotion) -> Iterator[Gate]:
    if (limit := wanted.max_swap_shift) is not None:
        for kind, found in swaps.kinds.items():
            group, worst = found.worst
            passed = all(abs(each.shift) <= limit for each in found.groups.values())
            yield Gate(gate=f"swaps of {kind}: shift at most {limit}", passed=passed, found=f"{worst.shift:+.3f}, {group}, {worst.label}")
    if (limit := wanted.max_swap_changes) is not None:
        for kind, found in swaps.kinds.items():
            yield Gate(
                gate=f"swaps of {kind}: at most {limit:.1%} of decisions changed",
                passed=found.changed <= limit,
                found=f"{found.changed:.1%}",
            )
        jobs = swaps.jobs
        passed = len(jobs.marked) <= limit * jobs.posts
        yield Gate(
            gate=f"posts that name a job: at most {limit:.1%} of harmless posts marked",
            passed=passed,
            found=f"{len(jobs.marked)} of {jobs.posts}",
        )


def _is_new(seen: Seen | None, posts: int, wanted: Promotion) -> Gate:
    share, found = math.inf, "unknown: the model has no fingerprints of its training posts; train it again with this release"
    if seen and seen.share is not None:
        share, known = seen.share, posts - seen.short
        short = f"; {seen.short:,} more {'is' if seen.short == 1 else 'are'} too short to tell" if seen.short else ""
        found = f"{seen.posts:,} of {counted(known, 'post')} ({share:.1%}){short}"
    elif seen:
        found = f"cannot be computed, and so fails: {counted(posts, 'post')}, all too short to tell"
    passed = wanted.max_seen == 1 or share <= wanted.max_seen
    gate = f"at most {wanted.max_seen:.1%} of the evaluated posts that are long enough to tell were seen in training"
    return Gate(gate=gate, passed=passed, found=found)


def check_floors(wanted: Promotion, functionalities: Iterable[str], swaps: bool) -> None:
    """Check that there are behavioural cases, and swaps if these have limits, and that no floor names a misspelt functionality.

    A floor for a functionality without cases is a gate that fails, unless the floor is 0.

    Parameters
    ----------
    wanted : Promotion
        Its ``behaviour_floors`` are checked.
    functionalities : iterable of str
        Functionality of each case.
    swaps : bool
        Whether there are swaps.

    Raises
    ------
    InputError
        If there are no cases, if there are limits for swaps but no swaps, or if a floor's name looks like a misspelt functionality.
    """
    known = sorted(set(functionalities))
    if not known:
        raise InputError("--promote: needs behavioural cases, but there are none; name a file of cases in evaluation.behaviour")
    limits = [name for name in ("max_swap_shift", "max_swap_changes") if getattr(wanted, name) is not None]
    if limits and not swaps:
        raise InputError(f"--promote: promotion.{limits[0]} needs swaps, but there are none; set evaluation.swaps=data/swaps")
    for name in wanted.behaviour_floors:
        if name not in known and (near := difflib.get_close_matches(name, known, n=1, cutoff=0.8)):
            raise InputError(f"promotion.behaviour_floors: no case has the functionality {name!r}; did you mean {near[0]!r}?")


def decision_of(gates: Sequence[Gate]) -> Decision:
    """Return the decision to promote a model if it passes all gates."""
    return Decision(promoted=all(gate.passed for gate in gates), gates=list(gates))


def decide_promotion(results: Results, wanted: Promotion) -> Decision:
    """Decide whether to promote a model, and list the reasons.

    A model is promoted if it passes six kinds of gates. Its F1 and average precision are not worse than the champion's on any label
    (the interval of the difference does not lie below zero). Its macro-F1 or mean average precision is better, and neither is worse.
    Of the evaluated posts that are long enough to tell, it was trained on no larger share than the config allows. No label's calibration
    error exceeds the config's limit by more than chance. It passes the config's share of cases in every behavioural functionality. And
    swaps of words that must not matter move it no further than the config allows, if it sets limits. Without a champion, only the last
    four apply. A gate that cannot be computed fails, and so does one for behaviour that no case asks about.

    Parameters
    ----------
    results : Results
        Results of the model, with a ``comparison`` with the champion if there is one.
    wanted : Promotion
        The config's section ``promotion``.

    Returns
    -------
    Decision
    """
    gates = list(_against_champion(results.comparison.differences, results.sample.authors)) if results.comparison else []
    gates += [_is_new(results.seen_in_training, results.posts, wanted)]
    gates += _calibrated(results, wanted)
    gates += _behaves(results.behaviour, wanted) if results.behaviour else []
    gates += _swaps_do_not_matter(results.swaps, wanted) if results.swaps else []
    return decision_of(gates)
