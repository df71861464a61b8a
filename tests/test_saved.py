"""A model and an MLflow version that an earlier release saved can still be loaded, used for scoring and served.

The release is 0.1.0, before the code was reorganised.
"""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from models import Classifier
from models.errors import NormaliserWarning

SAVED = Path(__file__).parent / "saved"


@pytest.fixture(scope="module")
def expected():
    told = json.loads((SAVED / "expected.json").read_text())
    return told["texts"], np.array(told["probabilities"], np.float32)


def test_a_saved_model_gives_the_same_probabilities_for_text_that_is_still_read_alike(expected):
    texts, probabilities = expected
    with pytest.warns(
        NormaliserWarning, match=r"version 1 of the normaliser, and this release has version 2.* train the model again"
    ) as caught:
        model = Classifier.load(SAVED / "data" / "model")
    assert [warning.filename for warning in caught] == [__file__], "it points to the caller's line"
    np.testing.assert_allclose(model.predict_proba(texts), probabilities, atol=1e-6)


def test_a_model_that_is_saved_again_is_still_said_to_be_of_an_older_normaliser(tmp_path):
    with pytest.warns(NormaliserWarning):
        model = Classifier.load(SAVED / "data" / "model")
    model.thresholds_ = [0.5] * len(model.labels)
    model.save(tmp_path / "again")
    with pytest.warns(NormaliserWarning, match="version 1 of the normaliser"):
        Classifier.load(tmp_path / "again")


@pytest.mark.filterwarnings("ignore::UserWarning")  # a warning of MLflow about any model that takes inputs of any type
def test_a_saved_version_is_served_by_the_module_that_it_names(expected):
    texts, probabilities = expected
    served = mlflow.pyfunc.load_model(str(SAVED)).predict(pd.DataFrame({"text": [*texts, None]}))
    columns = [name for name in served.columns if name.startswith("prob_")]
    np.testing.assert_allclose(served[columns].to_numpy()[:-1].astype(np.float32), probabilities, atol=1e-6)
    assert served["error"].tolist()[:-1] == [None] * len(texts)
    assert served["error"].tolist()[-1]
