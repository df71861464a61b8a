"""Fine-tunes teachers on all folds of train but one, and on all of train, and saves the log odds that they give.

This needs the extra ``encoder`` and takes hours; a run that was stopped continues where it left off.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from models.classifier import Classifier
from models.composition import Neighbours, written
from models.errors import InputError
from models.features import TfidfFeatures
from models.fitting import material_of
from models.folders import owner_only
from models.lessons import Lessons, Material, posts_digest
from models.text import normalise
from pipeline.config import Config
from pipeline.corpora import load_training_corpus

if TYPE_CHECKING:
    from pipeline.teaching.encoder import Encoder

NEIGHBOURS = 8
_TEMPERATURE = 0.1  # temperature of the softmax over cosine similarities


def neighbours(encoder: "Encoder", words: Sequence[str]) -> Neighbours:
    """Find the nearest words of each word in an encoder's space; nearer words get larger weights.

    Parameters
    ----------
    encoder : Encoder
        The encoder before fine-tuning.
    words : sequence of str
        The words; each gets its neighbours from among the others, so there must be more than `NEIGHBOURS` of them.
    """
    vectors = encoder.embed(words)
    vectors -= vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)  # exclude the word itself, even if others have the same vector
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :NEIGHBOURS]
    values = np.take_along_axis(similarity, nearest, axis=1)
    weights = np.exp((values - values[:, :1]) / _TEMPERATURE)
    return Neighbours(list(words), nearest, weights / weights.sum(axis=1, keepdims=True))


def _ordinary_words(config: Config, material: Material) -> list[str]:
    """Return words that enough authors used and that are not names: only these may be put into somebody's post."""
    wanted = config.features
    features = TfidfFeatures(1, None, wanted.word_min_df, min_authors=max(5, wanted.min_authors), private="drop")
    words = [word for word in features.fit(material.posts, material.groups).words_ if word.isalpha()]
    if len(words) <= NEIGHBOURS:
        raise InputError(f"only {len(words)} words are used by {features.min_authors} authors or more; give posts by more authors")
    return words


def _new_encoder(pretrained: str, n_targets: int, seed: int, threads: int) -> "Encoder":
    try:
        from pipeline.teaching.encoder import Encoder
    except ImportError:
        raise InputError(
            "a teacher needs torch and transformers, which are not installed; install the extra: pip install -e '.[encoder]'"
        ) from None
    return Encoder(pretrained, n_targets, seed, threads=threads)


def _folder(work: Path, material: Material) -> Path:
    """Make and return the folder in which answers are kept."""
    folder = work / material.digest[:12]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{work}: cannot be written ({error.strerror}); choose another --work") from None
    return folder


def _digest(posts: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer(hashlib.sha256("\n".join(posts).encode()).digest(), np.uint8)


def _write_down(kept: Path, teacher: "Encoder", posts: Sequence[str], unlabelled: Sequence[str]) -> None:
    """Let a teacher label posts, and save its log odds."""
    found = {"composed": teacher.decision_function(posts), "unlabelled": teacher.decision_function(unlabelled)}
    unfinished = kept.with_name("unfinished")
    save_file(found | {"posts": _digest(posts)}, unfinished)
    unfinished.rename(kept)


def _written_down(kept: Path, posts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Load a teacher's log odds, perhaps from an earlier run, for these composed posts and for the unlabelled ones."""
    try:
        done = load_file(kept)
        answered, composed, unlabelled = done["posts"], done["composed"], done["unlabelled"]
    except (SafetensorError, KeyError):
        raise InputError(f"{kept}: is damaged; delete it and run the same command again, which fine-tunes this teacher again") from None
    if not np.array_equal(answered, _digest(posts)):
        why = "another encoder, config, --composed or --teachers"
        raise InputError(f"{kept}: has answers for other composed posts (from {why}); choose another --work")
    return composed, unlabelled


def _given(config: Config) -> tuple[Material, list[str]]:
    """Return the posts that teachers learn from and label, and their normalised texts in the same order."""
    posts = load_training_corpus(config).to_learn_from()
    model = Classifier.from_config(config.of_model())
    material = material_of(model.config, posts.tokenised(model.tokenizer))
    if len(posts.texts) == material.train:
        raise InputError("a teacher labels unlabelled posts, but there are none; add some, as in --data unlabelled=FILE")
    return material, [normalise(text) for text in posts.texts]


@dataclass(frozen=True)
class _Teaching:
    """Fine-tunes teachers and asks them.

    Attributes
    ----------
    encoder : str
        Folder or name of the pretrained encoder.
    threads : int
        Number of threads for torch.
    teachers : int
        Number of teachers to fine-tune without each fold, and on all folds.
    material : Material
        What teachers learn from and label.
    texts : list of str
        Its posts as normalised texts.
    folder : Path
        Where answers are kept.
    progress : callable
        Called with a description of each step.
    """

    encoder: str
    threads: int
    teachers: int
    material: Material
    texts: list[str]
    folder: Path
    progress: Callable[[str], None]

    def answers(self, fold: int, composed: Sequence[Sequence[str]]) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """Return the log odds of composed posts, shape (n_batches, n_composed, n_targets), and of the unlabelled ones.

        Parameters
        ----------
        fold : int
            The fold that the teachers leave out; the number of folds for teachers that leave none out.
        composed : sequence of sequences of str
            Batches of composed posts, all equally long: one for the teachers of a fold, and each fold's for those that leave none out. Each
            teacher labels its share of every batch.
        """
        found = []
        for number in range(self.teachers):
            share = [post for posts in composed for post in self._share(posts, number)]
            kept = self.folder / f"{f'fold{fold}' if fold < self.material.folds else 'all'}-teacher{number}.safetensors"
            if not kept.exists():
                unfinished = kept.with_stem(f"{kept.stem}-unfinished")
                _write_down(kept, self._fine_tuned(fold, number, unfinished), share, self.texts[self.material.train :])
                unfinished.unlink(missing_ok=True)
            found.append(_written_down(kept, share))
        of_composed = [answers.reshape(len(composed), -1, answers.shape[1]) for answers, _ in found]
        of_unlabelled = [answers for _, answers in found]
        return np.concatenate(of_composed, axis=1).astype(np.float16), np.mean(of_unlabelled, axis=0).astype(np.float16)

    def _share(self, posts: Sequence[str], number: int) -> Sequence[str]:
        return posts[len(posts) * number // self.teachers : len(posts) * (number + 1) // self.teachers]

    def _fine_tuned(self, fold: int, number: int, unfinished: Path) -> "Encoder":
        material, folds = self.material, self.material.folds

        def told(step: str) -> None:
            taught = f"fold {fold + 1} of {folds}" if fold < folds else "all folds"
            self.progress(f"{taught}, teacher {number + 1} of {self.teachers}: {step}")

        taught = np.flatnonzero(material.fold != fold)
        # Seeds are distinct and do not depend on the number of teachers, so more teachers can be added later.
        teacher = _new_encoder(self.encoder, material.targets.shape[1], 1 + fold + number * (folds + 1), self.threads)
        targets, weights = material.targets[taught].astype(np.float32), material.weights[taught]
        teacher.fit([self.texts[row] for row in taught], targets, weights, unfinished, told)
        told("labelling posts")
        return teacher


@owner_only()
def teach(
    config: Config,
    encoder: str,
    composed: int,
    teachers: int,
    work: Path,
    threads: int = 1,
    progress: Callable[[str], None] = lambda step: None,
) -> Lessons:
    """Fine-tune teachers and make lessons of the log odds that they give.

    Parameters
    ----------
    config : Config
        Its data must have unlabelled posts; its folds and seed must be those of the model that will learn.
    encoder : str
        Folder or name of the pretrained encoder.
    composed : int
        Number of posts to compose for each fold, at least `teachers`.
    teachers : int
        Number of teachers to fine-tune without each fold, and as many on all folds, each with its own seed. Each labels its share of the
        composed posts, and all of them label the unlabelled posts, for which the mean of their log odds is kept.
    work : Path
        Folder for intermediate results, so that a stopped run can continue. They must be from the same data and config.
    threads : int
        Number of threads for torch. Changing it changes the last digits of the results.
    progress : callable, optional
        Called with a description of each step.

    Raises
    ------
    InputError
        If the data or the encoder cannot be used, or there are fewer composed posts than teachers.
    """
    if composed < teachers:
        raise InputError(f"--composed {composed} is too few for --teachers {teachers}; use --composed {teachers} or more")
    names = [*config.labels.names, *config.labels.auxiliary]
    pretrained = _new_encoder(encoder, len(names), 0, threads)  # errors in the encoder are raised before any work
    material, texts = _given(config)
    near = neighbours(pretrained, _ordinary_words(config, material))
    teaching = _Teaching(encoder, threads, teachers, material, texts, _folder(work, material), progress)
    made = [material.compose(fold, near, composed) for fold in range(material.folds)]
    posts = [[written(post) for post in each.to_lists()] for each in made]
    found = [*(teaching.answers(fold, [each]) for fold, each in enumerate(posts)), teaching.answers(len(posts), posts)]
    (*of_folds, of_all), of_unlabelled = zip(*found, strict=True)
    answers = np.stack(of_unlabelled, axis=1), np.concatenate(of_folds), of_all
    return Lessons(names, material.digest, material.fold.astype(np.uint8), *answers, [*map(posts_digest, made)], near)
