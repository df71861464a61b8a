"""spaCy is imported without its command line, which is there as soon as somebody uses it."""

import json
import subprocess
import sys

import pytest

from models.config import ROOT
from models.spacy_import import import_spacy

TOKENISE = """
import json, sys
from models.tokens import PostTokenizer
tokens = PostTokenizer()(["he wouldn't stop"]).to_lists()
early = [name for name in ("spacy.cli", "spacy.cli.info", "requests") if name in sys.modules]
import spacy
"""
USES = {
    "spacy.info(silent=True)['spacy_version'] == spacy.__version__": True,
    "callable(spacy.cli.download)": True,
    "hasattr(spacy, 'clii')": False,
    "__import__('spacy.cli.info') is spacy and spacy.info(silent=True) is not None": True,
}


@pytest.mark.slow
@pytest.mark.parametrize("use", USES)
def test_command_line_is_imported_only_when_it_is_used(use):
    script = f"{TOKENISE}print(json.dumps([tokens, early, {use}]))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[["he", "would", "n't", "stop"]], [], USES[use]]


def test_spacy_that_was_imported_before_stays_as_it_is():
    import spacy

    info = spacy.info
    assert import_spacy() is spacy
    assert spacy.info is info


def test_threads_that_import_it_together_get_all_of_it():
    script = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from models.spacy_import import import_spacy
barrier = Barrier(4)
def work(_):
    barrier.wait()
    return import_spacy().load is not None
sys.setswitchinterval(1e-6)
with ThreadPoolExecutor(4) as pool:
    assert all(pool.map(work, range(4)))
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=120)
