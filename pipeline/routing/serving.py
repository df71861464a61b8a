"""The queues of posts that a server scores, without capacities, which only a job can keep.

Like `pipeline.routing.matching`, this module may be imported together with the copy of `models` that a served model brings along.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.routing.matching import Conditions, first_met, rules_met

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ServedQueues:
    """Adds queues to the answers of a served model.

    Attributes
    ----------
    rules : sequence of dict
        What each rule needs, as for `pipeline.routing.matching.rules_met`.
    queues : sequence of str
        The queue of each rule.
    """

    rules: Sequence[Conditions]
    queues: Sequence[str]

    def __call__(self, scored: "pd.DataFrame") -> "pd.DataFrame":
        """Return predictions with the column ``queue``: the queue of the first rule that a post meets, or None.

        Parameters
        ----------
        scored : DataFrame
            What `models.serving.ServedClassifier.predict` returns. A post with an error has no queue.
        """
        import pandas as pd

        probable = [name for name in scored.columns if name.startswith("prob_")]
        labels = [name.removeprefix("prob_") for name in probable]
        probabilities = scored[probable].to_numpy(np.float32, na_value=np.nan)
        given = np.array([[label in row for label in labels] for row in scored["labels"]], bool).reshape(probabilities.shape)
        first = first_met(rules_met(self.rules, labels, probabilities, given))
        queues = [[*self.queues, None][number] for number in first.tolist()]
        return scored.assign(queue=pd.Series(queues, scored.index, dtype=object))  # as strings, None would become NaN
