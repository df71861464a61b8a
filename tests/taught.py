"""Fixtures with a model that learned from a teacher (for ``pytest_plugins``)."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Posts, invent, training
from school import Class, Files, lessons_of, taught_config, write_files

from models import Classifier
from models.fitting import material_of
from models.tokens import TokenBatch


@pytest.fixture(scope="session")
def school(posts: Posts, tmp_path_factory: pytest.TempPathFactory) -> Class:
    config = taught_config(tmp_path_factory.mktemp("school") / "lessons.safetensors")
    tokens = TokenBatch.from_lists(text.split() for text in [*posts.texts, *invent(80, seed=2).texts])
    groups = np.concatenate([posts.groups, 1000 + np.arange(80)])
    material = material_of(config, training(tokens, posts.Y, groups, posts.auxiliary))
    lessons_of(material).save(Path(config.model.network.lessons))
    return Class(posts, tokens, groups, config)


@pytest.fixture(scope="session")
def taught(school: Class) -> Classifier:
    """A fitted model with a network, which tests must not change."""
    return school.fit()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_files(tmp_path)
