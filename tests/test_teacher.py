"""Lessons are made here with a fake encoder, because the real one takes hours and needs torch."""

import random
import sys
from types import ModuleType

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from school import TARGETS, Files, rows_of, write_posts
from typer.testing import CliRunner

from models.lessons import Lessons
from pipeline.commands.teach import main
from pipeline.teaching import teacher
from pipeline.terminal import command_line
from pipeline.training import fit

pytest_plugins = ["taught"]

COMPOSED = 15


class Slow:
    """An encoder that knows which words reveal a label, and adds a tenth of its seed to its log odds."""

    made: list["Slow"] = []

    def __init__(self, pretrained: str, n_targets: int, seed: int, threads: int = 1) -> None:
        self.pretrained, self.n_targets, self.seed, self.threads = pretrained, n_targets, seed, threads
        self.fitted: list[str] | None = None
        self.targets = np.empty((0, n_targets))
        self.made.append(self)

    def fit(self, texts, targets, weights, kept, progress) -> "Slow":
        self.fitted, self.targets = texts, targets
        progress("step 50 of 50")
        return self

    def decision_function(self, texts) -> np.ndarray:
        telling = np.array([[f"{stem}a" in text.split() for stem in ("zax", "wik", "qor")] for text in texts])
        return np.where(telling, 2.5, -2.5).astype(np.float32) + np.float32(self.seed / 10)

    def embed(self, words) -> np.ndarray:
        return np.array([[random.Random(f"{word}{number}").gauss() for number in range(6)] for word in words], np.float32)


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    pass


@pytest.fixture(autouse=True)
def encoder(monkeypatch) -> type[Slow]:
    """A fake encoder in place of `pipeline.teaching.encoder`."""
    module = ModuleType("pipeline.teaching.encoder")
    module.Encoder = type("Encoder", (Slow,), {"made": []})
    monkeypatch.setitem(sys.modules, "pipeline.teaching.encoder", module)
    return module.Encoder


def call(files: Files, *more) -> tuple[Lessons, str]:
    """Run the command, and return the lessons and what it printed."""
    paths = ["--out", files.lessons, "--work", files.folder / "work"]
    arguments = [*files.options, "--encoder", "some/encoder", *paths, "--composed", COMPOSED, *more]
    result = CliRunner().invoke(command_line(main), [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return Lessons.load(files.lessons), result.stderr


def test_command_writes_lessons_that_training_accepts(files, encoder):
    lessons, said = call(files)
    config, corpus = files.load()
    assert lessons.targets == TARGETS
    assert lessons.answers.shape == (20, 4, 3)
    assert lessons.composed.shape == lessons.composed_by_all.shape == (3, COMPOSED, 3)
    assert {each.pretrained for each in encoder.made} == {"some/encoder"}
    assert {"fold 3 of 3, teacher 2 of 2: step 50 of 50", "all folds, teacher 2 of 2: step 50 of 50"} < set(said.splitlines())
    steps: list[str] = []
    model = fit(config, corpus, steps.append)
    assert "fitting on all train posts: epoch 2 of 2" in steps
    assert model.scorers_.network.coef_.shape == (5, 3)


def test_teachers_of_a_fold_never_saw_it_and_answer_for_what_its_pupil_learns_of(files, encoder):
    lessons, _ = call(files)
    material, texts = files.material, [row["text"] for row in rows_of(0, 72)]
    _, *teachers = encoder.made
    assert sorted(each.seed for each in teachers) == [*range(1, 9)], "each begins with other random numbers"
    for fold in range(3):
        outside = np.flatnonzero(material.fold != fold)
        first, second = teachers[2 * fold : 2 * fold + 2]
        for each in (first, second):
            assert each.fitted == [texts[row] for row in outside]
            np.testing.assert_array_equal(each.targets, material.targets[outside])
        composed = [" ".join(post) for post in material.compose(fold, lessons.neighbours, COMPOSED).to_lists()]
        of_both = [first.decision_function(composed[: COMPOSED // 2]), second.decision_function(composed[COMPOSED // 2 :])]
        np.testing.assert_array_equal(lessons.composed[fold], np.concatenate(of_both).astype(np.float16))
        unlabelled = [each.decision_function([row["text"] for row in rows_of(100, 120)]) for each in (first, second)]
        np.testing.assert_array_equal(lessons.answers[:, fold], np.mean(unlabelled, axis=0).astype(np.float16))


def test_teachers_of_all_folds_answer_for_the_same_posts(files, encoder):
    lessons, _ = call(files)
    material, texts = files.material, [row["text"] for row in rows_of(0, 72)]
    first, second = encoder.made[-2:]
    for each in (first, second):
        assert each.fitted == texts
        np.testing.assert_array_equal(each.targets, material.targets)
    for fold in range(3):
        composed = [" ".join(post) for post in material.compose(fold, lessons.neighbours, COMPOSED).to_lists()]
        of_both = [first.decision_function(composed[: COMPOSED // 2]), second.decision_function(composed[COMPOSED // 2 :])]
        np.testing.assert_array_equal(lessons.composed_by_all[fold], np.concatenate(of_both).astype(np.float16))
    unlabelled = [each.decision_function([row["text"] for row in rows_of(100, 120)]) for each in (first, second)]
    np.testing.assert_array_equal(lessons.answers[:, 3], np.mean(unlabelled, axis=0).astype(np.float16))


def test_a_single_teacher_answers_for_all(files, encoder):
    lessons, _ = call(files, "--teachers", 1)
    assert [each.seed for each in encoder.made] == [0, 1, 2, 3, 4]
    composed = [" ".join(post) for post in files.material.compose(2, lessons.neighbours, COMPOSED).to_lists()]
    np.testing.assert_array_equal(lessons.composed[2], encoder.made[3].decision_function(composed).astype(np.float16))
    unlabelled = encoder.made[3].decision_function([row["text"] for row in rows_of(100, 120)])
    np.testing.assert_array_equal(lessons.answers[:, 2], unlabelled.astype(np.float16))


def test_more_teachers_keep_those_that_are_done(files, encoder):
    call(files, "--composed", 8, "--teachers", 1)
    encoder.made.clear()
    call(files, "--composed", 24, "--teachers", 3)
    assert sorted(each.seed for each in encoder.made if each.fitted) == [*range(5, 13)]


def test_threads_are_one_unless_more_are_asked_for(files, encoder):
    call(files)
    call(files, "--threads", 3, "--work", files.folder / "elsewhere")
    assert [each.threads for each in encoder.made] == [1] * 9 + [3] * 9


def test_words_put_into_posts_are_ordinary_and_of_many_authors(files):
    rows = rows_of(0, 72)
    rows[0]["text"] += " yesterday"
    for row in rows[:40]:
        row["text"] += " kevin 2017 @somebody"
    write_posts(files.folder / "train.jsonl", rows)
    lessons, _ = call(files)
    words = set(lessons.neighbours.words)
    assert {"river", "bread", "walked"} <= words
    assert not words & {"zaxa", "wika", "yesterday", "kevin", "2017", "@user"}


def test_second_run_fits_no_teacher_again(files, encoder, monkeypatch):
    call(files)
    first = files.lessons.read_bytes()
    monkeypatch.setattr(encoder, "fit", lambda *arguments: pytest.fail("fitted again"))
    call(files)
    assert files.lessons.read_bytes() == first


def test_run_that_was_stopped_goes_on_and_ends_as_if_undisturbed(files, encoder, monkeypatch):
    answer = encoder.decision_function

    def stop(self, texts):
        if self.seed == 6:
            raise Stopped
        return answer(self, texts)

    monkeypatch.setattr(encoder, "decision_function", stop)
    with pytest.raises(Stopped):
        call(files)
    assert not files.lessons.exists()
    monkeypatch.setattr(encoder, "decision_function", answer)
    encoder.made.clear()
    call(files)
    assert [each.seed for each in encoder.made if each.fitted] == [6, 3, 7, 4, 8]
    went_on = files.lessons.read_bytes()
    call(files, "--work", files.folder / "elsewhere")
    assert files.lessons.read_bytes() == went_on


def test_other_posts_in_the_same_work_folder_get_teachers_of_their_own(files, encoder):
    call(files)
    write_posts(files.folder / "more.jsonl", rows_of(200, 220))
    encoder.made.clear()
    lessons, _ = call(files)
    assert [each.seed for each in encoder.made if each.fitted] == [1, 5, 2, 6, 3, 7, 4, 8]
    lessons.check(files.material, TARGETS)


def test_answers_for_other_composed_posts_are_not_taken(files, encoder, monkeypatch, refused):
    call(files)
    with refused("fold0-teacher0.safetensors: has answers for other composed posts", "choose another --work"):
        call(files, "--composed", COMPOSED + 1)
    with refused("fold0-teacher0.safetensors: has answers for other composed posts", "--teachers"):
        call(files, "--teachers", 1)
    monkeypatch.setattr(encoder, "embed", lambda self, words: -Slow.embed(self, words[::-1]))
    with refused("fold0-teacher0.safetensors: has answers for other composed posts", "choose another --work"):
        call(files)


def test_fewer_composed_posts_than_teachers_are_refused(files, refused):
    with refused("--composed 1 is too few for --teachers 2", "use --composed 2 or more"):
        call(files, "--composed", 1)


def test_answers_that_lack_something_are_damaged(files, refused):
    call(files)
    (kept,) = files.folder.glob("work/*/fold1-teacher1.safetensors")
    whole = load_file(kept)
    for lacking in whole:
        save_file({name: array for name, array in whole.items() if name != lacking}, kept)
        with refused(kept, "damaged", "delete it"):
            call(files)


def test_damaged_answers_and_a_folder_that_cannot_be_written_are_told(files, refused):
    call(files)
    (kept,) = files.folder.glob("work/*/fold1-teacher1.safetensors")
    kept.write_bytes(kept.read_bytes()[:-1])
    with refused(kept, "damaged", "delete it"):
        call(files)
    with refused(files.lessons, "cannot be written", "choose another --work"):
        call(files, "--work", files.lessons)


def test_no_train_posts_are_refused(files, refused):
    (files.folder / "test.jsonl").write_text((files.folder / "train.jsonl").read_text().replace('"p', '"t'))
    (files.folder / "train.jsonl").write_text((files.folder / "train.jsonl").read_text().splitlines()[0])  # in test, too: dropped
    with refused("all 1 train posts were dropped", "data.drop_overlap=false"):
        call(files, "--data", f"test={files.folder / 'test.jsonl'}")


def test_no_posts_without_labels_is_refused(files, refused):
    (files.folder / "more.jsonl").write_text((files.folder / "train.jsonl").read_text().replace('"p', '"again'))  # texts of train
    with refused("a teacher labels unlabelled posts, but there are none", "--data unlabelled=FILE"):
        call(files)


def test_too_few_words_of_many_authors_are_refused(files, refused):
    for name, start, stop in (("train", 0, 72), ("more", 100, 120)):
        rows = rows_of(start, stop)
        for row in rows:
            row["text"] = f"river bread {row['id']} {row['text'].split()[-1] if row['labels'] else ''}"
        write_posts(files.folder / f"{name}.jsonl", rows)
    with refused("only 2 words are used by 5 authors or more", "give posts by more authors"):
        call(files)


def test_without_torch_the_command_is_one_line_and_says_what_to_install(script, files, monkeypatch):
    monkeypatch.delitem(sys.modules, "pipeline.teaching.encoder")
    monkeypatch.setitem(sys.modules, "torch", None)
    paths = ["--out", files.lessons, "--work", files.folder / "work"]
    code, printed, said = script(main, *files.options, "--encoder", "none", *paths)
    assert (code, printed) == (2, "")
    (line,) = said.splitlines()
    assert line.startswith("error: a teacher needs torch and transformers, which are not installed")
    assert "pip install -e '.[encoder]'" in line
    assert not files.lessons.exists()


class OnACircle(Slow):
    """An encoder whose words lie on a circle, in their order."""

    def embed(self, words) -> np.ndarray:
        angles = np.arange(len(words)) * 2 * np.pi / len(words)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32) + 5  # what all words have in common


def test_neighbours_are_the_nearest_words_the_likelier_the_nearer():
    words = [f"word{number}" for number in range(24)]
    found = teacher.neighbours(OnACircle("", 1, 0), words)
    assert found.words == words
    for number, (nearest, probabilities) in enumerate(zip(found.nearest, found.probabilities, strict=True)):
        assert {(other - number + 12) % 24 - 12 for other in nearest.tolist()} == {-4, -3, -2, -1, 1, 2, 3, 4}
        away = [abs((other - number + 12) % 24 - 12) for other in nearest.tolist()]
        assert away == sorted(away)
        weights = np.exp(np.cos(np.array(away) * 2 * np.pi / 24) / 0.1)
        np.testing.assert_allclose(probabilities, weights / weights.sum(), rtol=1e-3)


def test_no_word_is_its_own_neighbour_even_where_others_are_the_same_to_the_encoder(encoder):
    encoder.embed = lambda self, words: np.array([[number // 3 % 5, number // 3 % 7] for number in range(len(words))], np.float32)
    found = teacher.neighbours(encoder("", 1, 0), [f"word{number}" for number in range(30)])
    assert not (found.nearest == np.arange(30)[:, None]).any()
