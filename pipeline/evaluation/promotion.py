"""Whether a model may take the champion's place."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from models.errors import InputError
from pipeline.config import Promotion

_NOT_WORSE_IN = ("f1", "average_precision")
_BETTER_IN = ("macro_f1", "mean_average_precision")


def _gate(name: str, *, passed: bool, found: str) -> dict[str, Any]:
    return {"gate": name, "passed": passed, "found": found}


def _signed(compared: Mapping[str, Any]) -> str:
    if compared["interval"] is None:
        return "undefined: too few positives"
    low, high = compared["interval"]
    return f"{compared['difference']:+.3f} [{low:+.3f}, {high:+.3f}], {compared['verdict']}"


def _against_champion(differences: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for label, compared in differences["labels"].items():
        for metric in _NOT_WORSE_IN:
            passed = compared[metric]["verdict"] in {"better", "no real difference"}
            yield _gate(f"{label}: {metric} not worse", passed=passed, found=_signed(compared[metric]))
    verdicts = {differences[metric]["verdict"] for metric in _BETTER_IN}
    found = "; ".join(f"{metric} {_signed(differences[metric])}" for metric in _BETTER_IN)
    yield _gate(f"{' or '.join(_BETTER_IN)} better, neither worse", passed="better" in verdicts and "worse" not in verdicts, found=found)


def _calibrated(results: Mapping[str, Any], wanted: Promotion) -> Iterator[dict[str, Any]]:
    for label, bounds in results["intervals"]["labels"].items():
        low, high = bounds["ece"]
        found = f"{results['labels'][label]['ece']:.3f} [{low:.3f}, {high:.3f}]"
        yield _gate(f"{label}: ece at most {wanted.max_ece}", passed=low <= wanted.max_ece, found=found)


def _behaves(behaviour: Mapping[str, Any], wanted: Promotion) -> Iterator[dict[str, Any]]:
    for name, found in behaviour["functionalities"].items():
        floor = wanted.behaviour_floors.get(name, wanted.behaviour_floor)
        passed = found["rate"] >= floor
        yield _gate(f"{name}: at least {floor:.0%} of cases", passed=passed, found=f"{found['passed']} of {found['cases']}")


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


def decide_promotion(results: Mapping[str, Any], wanted: Promotion) -> dict[str, Any]:
    """Decide on an evaluation, and say why.

    A model is promoted if on no label its F1 or average precision is worse than the champion's beyond the interval of
    the difference; if its macro-F1 or mean average precision is better beyond that interval, and neither is worse; if no
    label's calibration error is above the config's limit by more than chance; and if it passes the config's share of
    cases in every behavioural functionality. Where there is no champion, the first two are not asked.

    Parameters
    ----------
    results : dict
        As in ``metrics.json``: metrics, ``intervals``, ``behaviour`` (None without cases), and ``comparison`` with the
        champion, where there is one.
    wanted : Promotion

    Returns
    -------
    dict
        ``promoted``, and ``gates``: each with ``gate`` (what was asked), ``passed`` and ``found``.
    """
    gates = list(_against_champion(results["comparison"]["differences"])) if "comparison" in results else []
    gates += _calibrated(results, wanted)
    gates += _behaves(results["behaviour"], wanted) if results["behaviour"] else []
    return {"promoted": all(gate["passed"] for gate in gates), "gates": gates}
