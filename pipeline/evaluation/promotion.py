"""Whether a model may take the champion's place."""

import difflib
import math
from collections.abc import Iterable, Iterator

from models.errors import InputError
from pipeline.config import Promotion
from pipeline.evaluation.results import Behaviour, Decision, Difference, Differences, Gate, Results


def _signed(compared: Difference) -> str:
    if compared.interval is None or compared.difference is None:
        return "undefined: too few positives"
    low, high = compared.interval
    return f"{compared.difference:+.3f} [{low:+.3f}, {high:+.3f}], {compared.verdict}"


def _against_champion(differences: Differences) -> Iterator[Gate]:
    for label, compared in differences.labels.items():
        for name, each in (("f1", compared.f1), ("average_precision", compared.average_precision)):
            passed = each.verdict in {"better", "no real difference"}
            yield Gate(gate=f"{label}: {name} not worse", passed=passed, found=_signed(each))
    overall = {"macro_f1": differences.macro_f1, "mean_average_precision": differences.mean_average_precision}
    verdicts = {each.verdict for each in overall.values()}
    found = "; ".join(f"{name} {_signed(each)}" for name, each in overall.items())
    passed = "better" in verdicts and "worse" not in verdicts
    yield Gate(gate=f"{' or '.join(overall)} better, neither worse", passed=passed, found=found)


def _calibrated(results: Results, wanted: Promotion) -> Iterator[Gate]:
    for label, bounds in results.intervals.labels.items():
        low, high = bounds.ece or (math.inf, math.inf)
        found = f"{results.labels[label].ece:.3f} [{low:.3f}, {high:.3f}]" if bounds.ece else "undefined: too few authors"
        yield Gate(gate=f"{label}: ece at most {wanted.max_ece}", passed=low <= wanted.max_ece, found=found)


def _behaves(behaviour: Behaviour, wanted: Promotion) -> Iterator[Gate]:
    for name, found in behaviour.functionalities.items():
        floor = wanted.behaviour_floors.get(name, wanted.behaviour_floor)
        passed = found.rate >= floor
        yield Gate(gate=f"{name}: at least {floor:.0%} of cases", passed=passed, found=f"{found.passed} of {found.cases}")


def check_floors(wanted: Promotion, functionalities: Iterable[str]) -> None:
    """Fail if behaviour could not be asked for: there are no cases, or a floor's functionality is misspelt.

    Floors may also be for other files of cases.

    Raises
    ------
    InputError
    """
    known = sorted(set(functionalities))
    if not known:
        raise InputError("--promote: needs behavioural cases, and there are none; name a file of them in evaluation.behaviour")
    for name in wanted.behaviour_floors:
        if name not in known and (near := difflib.get_close_matches(name, known, n=1, cutoff=0.8)):
            raise InputError(f"promotion.behaviour_floors: {name!r} is no functionality of the cases; did you mean {near[0]!r}?")


def decide_promotion(results: Results, wanted: Promotion) -> Decision:
    """Decide on an evaluation, and say why.

    A model is promoted if on no label its F1 or average precision is worse than the champion's beyond the interval of
    the difference; if its macro-F1 or mean average precision is better beyond that interval, and neither is worse; if no
    label's calibration error is above the config's limit by more than chance; and if it passes the config's share of
    cases in every behavioural functionality. Where there is no champion, the first two are not asked. A gate that cannot be
    computed is failed.

    Parameters
    ----------
    results : Results
        With the ``comparison`` with the champion, where there is one.
    wanted : Promotion

    Returns
    -------
    Decision
    """
    gates = list(_against_champion(results.comparison.differences)) if results.comparison else []
    gates += _calibrated(results, wanted)
    gates += _behaves(results.behaviour, wanted) if results.behaviour else []
    return Decision(promoted=all(gate.passed for gate in gates), gates=gates)
