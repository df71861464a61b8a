"""Openings that must not matter: that they are ordinary tokens, in front of copies with unchanged labels, and that they stop mattering."""

import numpy as np
import pytest
from conftest import invent, model_config, training

from models import Classifier
from models.composition import written
from models.config import Model
from models.openings import openings, with_openings
from models.text import normalise
from models.tokens import PostTokenizer, TokenBatch

JOB = "i 'm a nurse ."


def test_every_opening_is_written_as_posts_are_tokenised():
    lines = [" ".join(tokens) for tokens in openings()]
    assert lines == sorted(set(lines))
    assert JOB in lines
    texts = [written(tokens).replace("y' all", "y'all") for tokens in openings()]
    assert PostTokenizer()([normalise(text) for text in texts]).to_lists() == openings()


def test_copies_are_posts_with_an_opening_in_front():
    posts = TokenBatch.from_lists([[f"word{number}", "end"] for number in range(400)])
    shown, rows = with_openings(posts, 0.25, 3)
    lists = shown.to_lists()
    assert lists[:400] == posts.to_lists()
    assert rows[:400].tolist() == list(range(400))
    copies = dict(zip(rows[400:].tolist(), lists[400:], strict=True))
    assert len(copies) == len(rows) - 400
    assert 60 < len(copies) < 140
    for row, copy in copies.items():
        assert copy[-2:] == [f"word{row}", "end"]
        assert copy[:-2] in openings()
    again, same = with_openings(posts, 0.25, 3)
    assert (again.to_lists(), same.tolist()) == (lists, rows.tolist())
    assert with_openings(posts, 0.25, 4)[1].tolist() != rows.tolist()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_share_may_be_none_or_all(share):
    posts = TokenBatch.from_lists([["a"], [], ["b", "c"]])
    _, rows = with_openings(posts, share, 0)
    assert rows.tolist() == [0, 1, 2] + [0, 1, 2] * int(share)


def test_job_that_always_stands_beside_a_label_matters_less(monkeypatch):
    monkeypatch.setattr("models.openings.openings", lambda: [JOB.split()])
    posts = invent(seed=5)
    opened = [f"{JOB} {text}" if alpha else text for text, alpha in zip(posts.texts, posts.Y[:, 0], strict=True)]
    tokens = TokenBatch.from_lists(text.split() for text in opened)
    harmless = TokenBatch.from_lists([text.split(), [*JOB.split(), *text.split()]][k] for text in invent(seed=6).texts for k in (0, 1))
    moved = []
    for share in (0.0, 1.0):
        model = Classifier.from_config(model_config(model=Model(openings=share)))
        model.fit_tokens(training(tokens, posts.Y, posts.groups))
        plain, with_job = model.predict_proba_tokens(harmless)[:, 0].reshape(-1, 2).T
        moved.append(float(np.mean(with_job - plain)))
    assert moved[0] > 0.3
    assert moved[1] < 0.5 * moved[0]
