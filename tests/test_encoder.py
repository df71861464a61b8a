"""The encoder from which teachers are made, tested with a tiny one that has random weights. This needs torch."""

from pathlib import Path

import numpy as np
import pytest
from school import TARGETS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402 - needs torch

from pipeline.teaching import encoder  # noqa: E402 - needs both
from pipeline.teaching.encoder import Encoder  # noqa: E402 - needs both
from pipeline.teaching.teacher import teach  # noqa: E402

pytest_plugins = ["taught"]

WORDS = ["zaxa", "wiku", "ba", "de", "fi", "go", "lu", "ma"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    transformers.BertTokenizer({word: number for number, word in enumerate(vocabulary)}).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 13}
    transformers.set_seed(0)
    transformers.BertModel(transformers.BertConfig(**sizes)).save_pretrained(folder)
    return folder


def texts_of(n_posts: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Return posts of one to nine words, and which of two given words each of them contains."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, 10), p=[0.1, 0.1, *[0.8 / 6] * 6])) for _ in range(n_posts)]
    return texts, np.array([["zaxa" in text, "wiku" in text] for text in texts], np.float32)


def taught(tiny: Path, kept: Path, **wanted) -> Encoder:
    texts, targets = texts_of(200)
    return Encoder(tiny, 2, **{"epochs": 12, "learning_rate": 2e-2, **wanted}).fit(texts, targets, np.ones(200, np.float32), kept)


def test_encoder_learns_what_tells_the_labels(tiny, tmp_path):
    texts, targets = texts_of(100, seed=1)
    scores = taught(tiny, tmp_path / "kept").decision_function(texts)
    assert scores.shape == (100, 2)
    assert ((scores > 0) == (targets == 1)).mean() > 0.95


def test_same_seed_gives_the_same_scores(tiny, tmp_path):
    texts, _ = texts_of(9)
    first, again, other = (
        taught(tiny, tmp_path / str(number), epochs=1, seed=seed).decision_function(texts) for number, seed in enumerate((1, 1, 2))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    pass


def test_stopped_run_continues_with_the_same_results(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder, "_KEPT_EVERY", 4)
    texts, _ = texts_of(9)
    whole = taught(tiny, tmp_path / "whole", epochs=2).decision_function(texts)
    losses = Encoder._loss

    def stopping(self, ids, rows, *others):
        stopping.left -= 1
        if not stopping.left:
            raise Stopped
        return losses(self, ids, rows, *others)

    stopping.left = 7
    monkeypatch.setattr(Encoder, "_loss", stopping)
    with pytest.raises(Stopped):
        taught(tiny, tmp_path / "kept", epochs=2)
    stopping.left = 11  # of 14 steps, four were kept: the other ten are done now
    np.testing.assert_array_equal(taught(tiny, tmp_path / "kept", epochs=2).decision_function(texts), whole)


def test_damaged_state_is_refused(tiny, tmp_path, refused):
    (tmp_path / "kept").write_bytes(b"no safetensors")
    with refused(tmp_path / "kept", "damaged", "delete it"):
        taught(tiny, tmp_path / "kept")


def test_posts_without_weight_teach_nothing(tiny, tmp_path):
    texts, targets = texts_of(200)
    wrong = np.concatenate([targets, 1 - targets])
    weights = np.repeat(np.array([1, 0], np.float32), 200)
    learnt = Encoder(tiny, 2, epochs=12, learning_rate=2e-2).fit(texts * 2, wrong, weights, tmp_path / "kept")
    assert ((learnt.decision_function(texts) > 0) == (targets == 1)).mean() > 0.95


def test_scores_and_vectors_are_those_of_each_post_in_the_order_given(tiny):
    texts, _ = texts_of(150)
    untaught = Encoder(tiny, 2)
    for of_posts in (untaught.decision_function, untaught.embed):
        together = of_posts(texts)
        for number in range(0, 150, 15):
            np.testing.assert_allclose(of_posts([texts[number]])[0], together[number], atol=1e-2 if encoder._BFLOAT16 else 1e-5)
    assert untaught.embed(WORDS).shape == (8, 16)


def test_only_the_beginnings_of_long_posts_are_read(tiny):
    short = Encoder(tiny, 2, max_tokens=10)
    long = "ba de fi go lu ma ba de"
    np.testing.assert_allclose(*(short.decision_function([f"{long} {end}"]) for end in ("zaxa", "wiku go")), atol=1e-6)


@pytest.mark.parametrize("content", [None, "{}"])
def test_what_is_no_encoder_is_refused(tmp_path, refused, content):
    if content:
        (tmp_path / "config.json").write_text(content)
    with refused(tmp_path, "cannot be loaded as an encoder", "give a folder with its weights as safetensors"):
        Encoder(tmp_path, 2)


def test_weights_that_may_run_code_are_not_read(tiny, tmp_path, refused):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny / name).read_bytes())
    torch.save(load_file(tiny / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with refused(tmp_path, "cannot be loaded as an encoder", "as safetensors"):
        Encoder(tmp_path, 2)
    (tmp_path / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes())
    Encoder(tmp_path, 2)


def test_teachers_of_it_make_lessons(tiny, files):
    config, _ = files.load()
    lessons = teach(config, str(tiny), 15, 2, files.folder / "work")
    lessons.check(files.material, TARGETS)
    assert lessons.answers.shape == (20, 4, 3)
    assert lessons.composed.shape == lessons.composed_by_all.shape == (3, 15, 3)
    for answers in (lessons.answers, lessons.composed, lessons.composed_by_all):
        assert np.isfinite(answers).all()
