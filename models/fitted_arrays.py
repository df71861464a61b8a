"""Checks that the weights and the vocabulary of a model directory are what its config needs, before anything is computed with them."""

from collections.abc import Mapping
from itertools import islice
from operator import lt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.config import ModelConfig

Arrays = Mapping[str, NDArray[Any]]
Shape = tuple[int, ...]


class UnfitError(ValueError):
    """The parts of a model do not fit together; the message says which part."""


def _check_vocabulary(vocabulary: Any, config: ModelConfig) -> None:
    """Check that both lists hold distinct n-grams in order, of the lengths that the config says."""
    low, high = config.features.char_ngrams or (1, 0)
    for name in ("words", "characters"):
        terms = vocabulary.get(name) if isinstance(vocabulary, dict) else None
        if not isinstance(terms, list) or not (set(map(type, terms)) <= {str} and all(terms)):
            raise UnfitError(f"vocabulary: {name} is not a list of texts")
        if not all(map(lt, terms, islice(terms, 1, None))):
            raise UnfitError(f"vocabulary: {name} is not in order, or has an n-gram twice")
    terms, characters = vocabulary["words"], vocabulary["characters"]
    singles = {term for term in terms if " " not in term}
    words = " ".join(terms).split(" ") if terms else []  # of all terms, in one call, because there are tens of thousands
    pairs = len(terms) - len(singles)
    if len(words) != len(singles) + 2 * pairs or not singles.issuperset(words):
        raise UnfitError("vocabulary: a term is neither a word nor a pair of words that are in the vocabulary")
    others = [term for term in characters if not low <= len(term) <= high] if set(map(len, characters)) - {*range(low, high + 1)} else []
    if not all(2 < len(term) < low and term[0] == term[-1] == " " for term in others):  # a shorter token is an n-gram by itself
        raise UnfitError("vocabulary: a character n-gram is shorter or longer than features.char_ngrams allows")


def _length(arrays: Arrays, name: str) -> int:
    """Return the length of the last axis of an array that gives other arrays their shape."""
    if name not in arrays:
        raise UnfitError(f"weights: {name} is missing")
    return int(arrays[name].shape[-1]) if arrays[name].ndim else 0


def _shapes(config: ModelConfig, arrays: Arrays, vocabulary: Mapping[str, list[str]]) -> dict[str, Shape]:
    """Return the shape that each array must have."""
    words, characters = vocabulary["words"], vocabulary["characters"]
    features, labels, targets = len(words) + len(characters), len(config.labels.names), _length(arrays, "intercept")
    if targets < labels:
        raise UnfitError(f"weights: intercept has {targets} targets, but the model has {labels} labels")
    shapes: dict[str, Shape] = {"idf": (features,), "coef": (features, targets), "intercept": (targets,)}
    if network := config.model.network:
        heard = _length(arrays, "network.intercept")
        shapes |= {
            "network.vectors": (len([word for word in words if " " not in word]) + len(characters), network.dimensions),
            "network.filters": (network.dimensions, network.width * network.filters),
            "network.hidden": (network.filters + network.dimensions, network.hidden),
            "network.coef": (network.hidden, heard),
            "network.intercept": (heard,),
        }
        targets += heard
    if config.calibration.method == "sigmoid":
        return shapes | {"calibration.slope": (labels,), "calibration.intercept": (labels,)}
    ranges: dict[str, Shape] = {f"calibration.{name}": (targets,) for name in ("low", "high", "mean", "scale")}
    return shapes | ranges | {"calibration.coef": (targets + targets * (targets + 1) // 2, labels), "calibration.intercept": (labels,)}


def check_fitted(config: ModelConfig, arrays: Arrays, vocabulary: Any) -> None:
    """Check that the parts of a model fit its config and each other. Digests do not show this, because anybody can compute them.

    Parameters
    ----------
    config : ModelConfig
        The model's config.
    arrays : mapping of str to ndarray
        Its weights.
    vocabulary : object
        What its ``vocabulary.json`` holds.

    Raises
    ------
    UnfitError
        When something is missing or superfluous, or has the wrong shape, order, type or values.
    """
    _check_vocabulary(vocabulary, config)
    shapes = _shapes(config, arrays, vocabulary)
    if "authors" in arrays:
        shapes["authors"] = shapes["idf"]
    for name in sorted(shapes.keys() ^ arrays.keys()):
        raise UnfitError(f"weights: {name} is {'missing' if name in shapes else 'not a part of such a model'}")
    for name, array in arrays.items():
        if array.shape != shapes[name]:
            raise UnfitError(f"weights: {name} has the shape {array.shape} instead of {shapes[name]}")
        if array.dtype.kind != ("u" if name == "authors" else "f"):
            raise UnfitError(f"weights: {name} has the type {array.dtype}")
        if not np.isfinite(array).all():
            raise UnfitError(f"weights: {name} has a value that is not finite")
    if config.calibration.method == "stacked" and not (arrays["calibration.scale"] > 0).all():
        raise UnfitError("weights: calibration.scale is not above zero")
