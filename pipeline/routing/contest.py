"""Give the places of queues with a capacity to the likeliest posts, in whatever order posts come.

A queue's places are given rule by rule. They go to the posts that meet the rule and have no place yet, in the order of the probability of
the first label that the rule names. Among equal probabilities, the post whose id has the smaller SHA-256 comes first. This is like drawing
lots. The order of files, the size of shards and the number of workers do not change it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.routing.rules import Routing

Places = NDArray[np.int64]  # numbers that tell posts apart
Contenders = NDArray[np.void]
FIELDS = np.dtype([("probability", np.float32), ("lot", np.uint64), ("place", np.int64)])  # compared in this order


def best(contenders: Contenders, number: int) -> Contenders:
    """Return this many contenders, or all if there are fewer, the best first.

    Parameters
    ----------
    contenders : structured ndarray with the fields of `FIELDS`
        Posts that meet a rule.
    number : int
        How many to return.
    """
    order = np.lexsort((contenders["place"], contenders["lot"], -contenders["probability"]))
    return contenders[order[:number]]


def lots(ids: Sequence[str]) -> NDArray[np.uint64]:
    """Return the first 64 bits of the SHA-256 of ids.

    Parameters
    ----------
    ids : sequence of str
        Ids of posts.

    Examples
    --------
    >>> lots(["7", "8"]).tolist()
    [8719647946811673230, 3198191471355371895]
    """
    digests = b"".join(hashlib.sha256(each.encode("utf-8", "replace")).digest()[:8] for each in ids)
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def _least(probabilities: NDArray[np.float32], number: int) -> float:
    """Return a probability that at least this many of the given ones reach; infinity if this many is 0."""
    if number == 0:
        return np.inf
    return float(np.partition(probabilities, -number)[-number]) if len(probabilities) > number else 0.0


class Contest:
    """The best posts for each queue with a capacity, among those that were shown; it remembers no more than may get a place.

    Parameters
    ----------
    routing : Routing
        The queues and their rules.
    labels : sequence of str
        The model's labels.
    """

    def __init__(self, routing: Routing, labels: Sequence[str]) -> None:
        self._routing, self._labels = routing, list(labels)
        self._kept: dict[int, Contenders] = {}
        self._least: dict[int, float] = {}  # probability that a contender needs
        self._most: dict[int, int] = {}
        for number, rule in enumerate(routing.rules):
            if routing.capacity(rule) is not None:
                # All queues so far might take only posts that also meet this rule.
                taking = {each.queue for each in routing.rules[: number + 1]}
                self._most[number] = sum(routing.queues[queue].capacity or 0 for queue in taking)
                self._kept[number], self._least[number] = np.empty(0, FIELDS), 0.0

    def open_to(self, probabilities: NDArray[np.float32], met: NDArray[np.bool_]) -> Places:
        """Return the rows of posts that may still get a place, so that the ids of others need not be read.

        Parameters
        ----------
        probabilities, met : ndarray
            As for `add`.
        """
        may = np.zeros(len(met), bool)
        for number, least in self._least.items():
            may |= met[:, number] & (probabilities[:, self._ranking(number)] >= least)
        return np.flatnonzero(may)

    def _ranking(self, number: int) -> int:
        return self._labels.index(next(iter(self._routing.rules[number].when)))

    def add(self, ids: Sequence[str], probabilities: NDArray[np.float32], met: NDArray[np.bool_], places: Places) -> None:
        """Consider more posts.

        Parameters
        ----------
        ids : sequence of str, length n_posts
            Their ids.
        probabilities : ndarray of float32, shape (n_posts, n_labels)
            The model's probabilities.
        met : ndarray of bool, shape (n_posts, n_rules)
            Which rules they meet.
        places : ndarray of int64, shape (n_posts,)
            A number for each post, by which it is found again.
        """
        settled = np.zeros(len(ids), bool)  # whether an earlier rule, whose queue takes all, takes the post
        for number in range(len(self._routing.rules)):
            if number not in self._kept:
                settled |= met[:, number]
                continue
            ranks = probabilities[:, self._ranking(number)]
            rows = np.flatnonzero(met[:, number] & ~settled & (ranks >= self._least[number]))
            rows = rows[ranks[rows] >= _least(ranks[rows], self._most[number])]  # drawing lots for the others would take time
            if len(rows):
                more = np.empty(len(rows), FIELDS)
                more["probability"], more["place"] = ranks[rows], places[rows]
                more["lot"] = lots([ids[row] for row in rows.tolist()])
                self.keep(number, more)

    def keep(self, number: int, more: Contenders) -> None:
        """Remember the best of further contenders, which meet the rule with this number."""
        kept, most = np.concatenate([self._kept[number], more]), self._most[number]
        self._least[number] = _least(kept["probability"], most)
        kept = kept[kept["probability"] >= self._least[number]]
        self._kept[number] = best(kept, most) if len(kept) >= 2 * most else kept  # there may be many with the same probability

    def contenders(self) -> dict[int, Contenders]:
        """Return, by number of the rule, the posts that may get a place, the best first."""
        return {number: best(kept, self._most[number]) for number, kept in self._kept.items()}


def winners(routing: Routing, contenders: Mapping[int, Contenders]) -> dict[int, Places]:
    """Give the places of all queues, rule by rule.

    Parameters
    ----------
    routing : Routing
        The queues and their rules.
    contenders : dict of int to Contenders
        The best contenders of each rule, the best first.
    """
    left = {name: queue.capacity or 0 for name, queue in routing.queues.items()}
    gone, found = np.zeros(0, np.int64), {}
    for number in sorted(contenders):
        queue, places = routing.rules[number].queue, contenders[number]["place"]
        found[number] = places[~np.isin(places, gone)][: left[queue]]
        left[queue] -= len(found[number])
        gone = np.concatenate([gone, found[number]])
    return found


class Seats(NamedTuple):
    """Where posts ended up.

    Attributes
    ----------
    queue : ndarray of int64, shape (n_posts,)
        The number of each post's queue; ``n_queues`` stands for none.
    turned_away : ndarray of bool, shape (n_posts, n_queues)
        Whether a post met a rule of the queue, which was full.
    left_out : ndarray of bool, shape (n_posts,)
        Whether it met a rule and is in no queue.
    """

    queue: NDArray[np.int64]
    turned_away: NDArray[np.bool_]
    left_out: NDArray[np.bool_]


def seat(routing: Routing, met: NDArray[np.bool_], won: Mapping[int, NDArray[np.int64]]) -> Seats:
    """Send posts to queues, once it is known who has a place.

    Parameters
    ----------
    routing : Routing
        The queues and their rules.
    met : ndarray of bool, shape (n_posts, n_rules)
        Which rules posts meet.
    won : mapping of int to ndarray of int64
        For each rule whose queue has a capacity, the rows of `met` to which the rule gives a place.
    """
    full = np.zeros_like(met)
    for number, rows in won.items():
        full[:, number] = met[:, number]
        full[rows, number] = False
    free = np.concatenate([met & ~full, np.ones((len(met), 1), bool)], axis=1)
    rule = np.argmax(free, axis=1)
    full &= np.arange(len(routing.rules)) < rule[:, None]
    turned_away = np.zeros((len(met), len(routing.names)), bool)
    for number in won:
        turned_away[:, routing.queues_of(np.array([number]))[0]] |= full[:, number]
    return Seats(routing.queues_of(rule), turned_away, (rule == len(routing.rules)) & met.any(axis=1))


def seat_all(
    routing: Routing, labels: Sequence[str], ids: Sequence[str], probabilities: NDArray[np.float32], decided: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the number of each post's queue, if these are all the posts; ``n_queues`` stands for none.

    Parameters
    ----------
    routing : Routing
        The queues and their rules.
    labels : sequence of str
        The model's labels.
    ids : sequence of str, length n_posts
        The posts' ids.
    probabilities : ndarray of float32, shape (n_posts, n_labels)
        Their probabilities.
    decided : ndarray of bool, shape (n_posts, n_labels)
        Whether each label is given.
    """
    met, contest = routing.met(labels, probabilities, decided), Contest(routing, labels)
    contest.add(ids, probabilities, met, np.arange(len(ids)))
    return seat(routing, met, winners(routing, contest.contenders())).queue
