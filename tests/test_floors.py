"""The three floors of the code: scripts start commands, `pipeline` builds on `models`, and no floor imports from one above it."""

import ast
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("train.py", "evaluate.py", "score.py")
FLOORS = ("models", "pipeline")
LONGEST_MODULE, LONGEST_SCRIPT = 400, 12  # lines


def modules(root: Path, *folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((root / folder).rglob("*.py"))]


def imported(path: Path, root: Path) -> Iterator[str]:
    """Yield the dotted names of all that a module imports, in whatever way, and of all that it takes from other modules."""
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"}:
                yield str(node.args[0].value)


def importers(root: Path, paths: list[Path], *forbidden: str) -> list[str]:
    """Return the modules that import one of these packages or a part of one."""
    found = []
    for path in paths:
        names = imported(path, root)
        if any(name == package or name.startswith(f"{package}.") for name in names for package in forbidden):
            found.append(str(path.relative_to(root)))
    return found


def models_that_look_up(root: Path) -> list[str]:
    return importers(root, modules(root, "models"), "pipeline")


def scripts_that_do_something(root: Path) -> list[str]:
    """Return the scripts that hold more than a docstring, imports and a call of `terminal.run` where they are run."""
    found = []
    for name in SCRIPTS:
        text = (root / name).read_text(encoding="utf-8")
        _, *body, last = ast.parse(text).body
        only_imports = all(isinstance(node, ast.Import | ast.ImportFrom) for node in body)
        starts = isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'" and not last.orelse
        calls = starts and len(last.body) == 1 and ast.unparse(last.body[0]).startswith("terminal.run(main")
        if not (ast.get_docstring(ast.parse(text)) and only_imports and calls and text.count("\n") <= LONGEST_SCRIPT):
            found.append(name)
    return found


def users_of_mlflow(root: Path) -> list[str]:
    paths = [path for path in modules(root, *FLOORS, "benchmarks") if root / "pipeline" / "tracking" not in path.parents]
    return importers(root, [*paths, *(root / name for name in SCRIPTS)], "mlflow")


def parts_of_the_server_that_look_around(root: Path) -> list[str]:
    """Return the modules of the server that import ours, where the model should bring its own copy of `models`.

    Two modules on queues may be imported, because they import nothing of `models` themselves.
    """
    own = "pipeline.tracking.server.scoringserver"  # its modules import each other by relative names
    queues = ("pipeline.routing.serving", "pipeline.routing.matching")
    server, found = modules(root, "pipeline/tracking/server"), []
    for path in [*server, *(root / f"{name.replace('.', '/')}.py" for name in queues)]:
        names = imported(path, root) if path.exists() else []
        names = [name for name in names if name != own and not name.startswith((f"{own}.", *queues))]
        if any(name.partition(".")[0] in {"models", "pipeline"} for name in names):
            found.append(str(path.relative_to(root)))
    return found


def long_modules(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in modules(root, *FLOORS) if path.read_text("utf-8").count("\n") > LONGEST_MODULE]


def steps_that_know_commands(root: Path) -> list[str]:
    paths = [path for path in modules(root, "pipeline") if root / "pipeline" / "commands" not in path.parents]
    return importers(root, paths, "pipeline.commands")


def steps_that_talk(root: Path) -> list[str]:
    paths = [path for path in modules(root, *FLOORS) if root / "pipeline" / "commands" not in path.parents]
    return importers(root, paths, "pipeline.terminal")


def users_of_scripts(root: Path) -> list[str]:
    return importers(root, modules(root, *FLOORS, "benchmarks", "tests"), *(name.removesuffix(".py") for name in SCRIPTS))


# For each rule and each way of breaking it: a module, and the line that is added to it.
RULES: dict[Callable[[Path], list[str]], list[tuple[str, str]]] = {
    models_that_look_up: [
        ("models/text.py", "import pipeline"),
        ("models/text.py", "import numpy, pipeline.config as config"),
        ("models/text.py", "from pipeline import metrics"),
        ("models/text.py", "def late():\n    from pipeline.metrics import compute_metrics"),
        ("models/text.py", "if TYPE_CHECKING:\n    from pipeline.config import Config"),
        ("models/text.py", "config = importlib.import_module('pipeline.config')"),
        ("models/deep/new.py", "from pipeline.config import Config"),
    ],
    scripts_that_do_something: [
        ("train.py", "print('more')"),
        ("evaluate.py", "def helper():\n    pass"),
        ("score.py", "\n" * LONGEST_SCRIPT),
    ],
    users_of_mlflow: [
        ("models/text.py", "import mlflow"),
        ("pipeline/training.py", "def late():\n    from mlflow.models import ModelSignature"),
        ("pipeline/tracking_more.py", "import mlflow.pyfunc"),
        ("train.py", "import mlflow"),
        ("benchmarks/speed.py", "import mlflow"),
    ],
    parts_of_the_server_that_look_around: [
        ("pipeline/tracking/server/app.py", "from models.errors import InputError"),
        ("pipeline/tracking/server/scoringserver/app.py", "def late():\n    import pipeline.config"),
        ("pipeline/tracking/server/scoringserver/app.py", "from ... import store"),
        ("pipeline/tracking/server/app.py", "def late():\n    import pipeline.config"),
        ("pipeline/tracking/server/app.py", "from pipeline.routing.rules import load_routing"),
        ("pipeline/routing/serving.py", "from models.config import Section"),
    ],
    long_modules: [("models/text.py", "#\n" * LONGEST_MODULE), ("pipeline/deep/new.py", "#\n" * (LONGEST_MODULE + 1))],
    steps_that_know_commands: [
        ("pipeline/training.py", "from pipeline.commands.train import main"),
        ("pipeline/training.py", "from pipeline import commands"),
        ("pipeline/training.py", "def late():\n    from . import commands"),
        ("pipeline/tracking/store.py", "from ..commands import train"),
    ],
    steps_that_talk: [
        ("models/text.py", "from pipeline.terminal import output"),
        ("pipeline/training.py", "from pipeline import terminal"),
        ("pipeline/tracking/store.py", "def late():\n    from ..terminal import runnable"),
        ("pipeline/report/new.py", "import pipeline.terminal as terminal"),
    ],
    users_of_scripts: [
        ("pipeline/commands/train.py", "import train"),
        ("models/text.py", "from score import main"),
        ("benchmarks/speed.py", "def late():\n    import evaluate"),
        ("tests/test_train.py", "from train import main"),
    ],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_this_repository_keeps(rule):
    assert rule(ROOT) == []


@pytest.fixture
def small(tmp_path) -> Path:
    """A small repository that only just keeps every rule."""
    script = (
        'from pipeline import terminal\nfrom pipeline.commands.train import main\n\nif __name__ == "__main__":\n    terminal.run(main)\n'
    )
    allowed = {
        **dict.fromkeys(SCRIPTS, f'"""Start a command."""\n\n{script}'),
        "models/text.py": "import pipelines\nimport mlflows\nfrom .pipeline import x\nfrom train_more import y\n",
        "pipeline/training.py": "from models import pipeline\nfrom pipeline.commands_more import z\n" + "#\n" * (LONGEST_MODULE - 2),
        "pipeline/commands/score.py": "from pipeline import terminal\n",
        "pipeline/commands/train.py": "from pipeline.commands import shared\nfrom pipeline.training import train\n",
        "pipeline/tracking/store.py": "import mlflow\nfrom mlflow.models import ModelSignature\n",
        "benchmarks/speed.py": "from pipeline import terminal\nfrom pipeline.commands.train import main\n",
        "tests/test_train.py": "import mlflow\nfrom pipeline.commands import train\n",
    }
    for name, content in allowed.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_what_is_allowed_passes(rule, small):
    assert rule(small) == []


@pytest.mark.parametrize(
    ("rule", "name", "added"),
    [(rule, *broken) for rule, ways in RULES.items() for broken in ways],
    ids=[f"{rule.__name__}-{number}" for rule, ways in RULES.items() for number in range(len(ways))],
)
def test_what_is_not_allowed_is_found(rule, name, added, small):
    path = small / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + textwrap.dedent(added) + "\n")
    assert rule(small) == [name]
