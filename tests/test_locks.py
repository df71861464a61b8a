"""The locks are closed, pin every byte, do not say where packages come from, and agree with each other.

An installer that follows a lock without resolving gets a whole environment only if the lock is closed: everything that
a pinned package requires is pinned, too. A lock that is not closed holds until somebody publishes the wrong release.
"""

import re
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "requirements"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
# What each lock is made from.
REQUIRED = {
    "uv.txt": PYPROJECT["dependency-groups"]["lock"],
    "default.txt": PROJECT["dependencies"],
    "spark.txt": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["spark"],
    "server.txt": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["server"],
    "delta.txt": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["delta"],
    "dev.txt": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"] + PROJECT["optional-dependencies"]["docs"],
}

PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[a-z0-9.+!]+)(?: ; (?P<marker>[^\\]+?))? \\")
HASH = re.compile(r"    --hash=(sha256:[0-9a-f]{64})( \\)?")
COMMENT = re.compile(r"    #   (?:  )?(?P<via>.+)|    # via(?: (?P<only>.+))?")


@dataclass
class Pin:
    """One requirement of a lock: a release, the environments it is for, and the files from which it may be installed."""

    name: str
    version: str
    marker: str | None
    hashes: set[str] = field(default_factory=set)


def read(lock: Path) -> tuple[list[Pin], list[str]]:
    """Return the pins of a lock, and what is wrong with its lines.

    Only pins, hashes and the names of the packages that require them are allowed.
    """
    pins: list[Pin] = []
    wrong: list[str] = []
    asked: list[str] = []
    more = False  # the line before ended in a backslash
    for number, line in enumerate(lock.read_text("utf-8").splitlines(), 1):
        if not more and (found := PIN.fullmatch(line)):
            pins.append(Pin(found["name"], found["version"], found["marker"]))
            more = True
        elif more and (found := HASH.fullmatch(line)):
            pins[-1].hashes.add(found[1])
            more = found[2] is not None
        elif not more and pins and (found := COMMENT.fullmatch(line)):
            asked += [who for who in (found["via"], found["only"]) if who]
        else:
            wrong.append(f"line {number}: {line}")
    wrong += [f"no hash: {pin.name}" for pin in pins if not pin.hashes]
    known = {pin.name for pin in pins} | {"-c requirements/default.txt"}
    ours = re.compile(rf"{PROJECT['name']} \(pyproject\.toml(?::[a-z]+)?\)")
    return pins, wrong + [f"comment: {who}" for who in asked if who not in known and not ours.fullmatch(who)]


@cache
def installed(name: str) -> tuple[str, list[Requirement]]:
    """Return the installed version of a package ("" if there is none), and its requirements, whatever their markers."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return "", []
    return found.version, [Requirement(line) for line in found.requires or []]


def open_ends(lock: Path, required: list[str]) -> list[str]:
    """Return the packages that an installation from this lock would lack here, and those that nothing needs.

    Starting from `required`, we follow the metadata of the installed packages, with the extras that are asked for.
    """
    pins = {pin.name: pin for pin in read(lock)[0] if pin.marker is None or Marker(pin.marker).evaluate()}
    ends: list[str] = []
    met: set[tuple[str, str]] = set()  # a name and an extra of it, or ""
    queue = [("pyproject.toml", Requirement(line)) for line in required]
    while queue:
        who, wanted = queue.pop()
        name = canonicalize_name(wanted.name)
        pin = pins.get(name)
        if pin is None:
            ends.append(f"{who} requires {wanted}: not in the lock")
            continue
        if not wanted.specifier.contains(pin.version, prereleases=True):
            ends.append(f"{who} requires {wanted}: the lock has {pin.version}")
        version, requirements = installed(name)
        if version != pin.version:
            ends.append(f"{name} {pin.version}: {version or 'none'} is installed here")
        for extra in {"", *wanted.extras} - {extra for of, extra in met if of == name}:
            met.add((name, extra))
            queue += [(name, need) for need in requirements if need.marker is None or need.marker.evaluate({"extra": extra})]
    return sorted({*ends, *(f"nothing requires {name}" for name in pins.keys() - {name for name, _ in met})})


def releases(lock: Path) -> dict[str, set[tuple[str, frozenset[str]]]]:
    """Return the versions of each package on all platforms, with their hashes."""
    found: dict[str, set[tuple[str, frozenset[str]]]] = {}
    for pin in read(lock)[0]:
        found.setdefault(pin.name, set()).add((pin.version, frozenset(pin.hashes)))
    return found


def apart(larger: Path, smaller: Path) -> list[str]:
    """Return the packages of the smaller lock that the larger one lacks or has in another version."""
    there = releases(larger)
    return sorted(name for name, versions in releases(smaller).items() if there.get(name) != versions)


def test_each_lock_is_checked():
    assert {path.name for path in FOLDER.glob("*.txt")} == REQUIRED.keys()


@pytest.mark.parametrize("name", REQUIRED)
def test_lock_holds_only_pins_with_hashes_and_no_address(name):
    pins, wrong = read(FOLDER / name)
    assert pins
    assert wrong == []


@pytest.mark.parametrize("name", REQUIRED)
def test_lock_is_closed(name):
    assert open_ends(FOLDER / name, REQUIRED[name]) == []


@pytest.mark.parametrize("name", ["delta.txt", "dev.txt", "server.txt", "spark.txt"])
def test_lock_pins_what_the_default_one_does(name):
    assert apart(FOLDER / name, FOLDER / "default.txt") == []


def without(name: str) -> Callable[[str], str]:
    """Take a package out of a lock."""
    return lambda text: re.sub(rf"^{name}==.*\n(?:[ ].*\n)*", "", text, flags=re.MULTILINE)


def with_line(line: str) -> Callable[[str], str]:
    return lambda text: f"{line}\n{text}"


def with_version(name: str, version: str) -> Callable[[str], str]:
    return lambda text: re.sub(rf"^{name}==\S+", f"{name}=={version}", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("edit", "wrong"),
    [
        (with_line("-i https://packages.example/simple"), "line 1: -i https://packages.example/simple"),
        (with_line("--extra-index-url=file:///srv/simple"), "line 1: --extra-index-url=file:///srv/simple"),
        (with_line("-f /srv/wheels"), "line 1: -f /srv/wheels"),
        (with_line("# from packages.example"), "line 1: # from packages.example"),
        (lambda text: text.replace("    # via", "    # via packages.example", 1), "comment: packages.example"),
        (lambda text: f"{text}    # from https://packages.example\n", "    # from https://packages.example"),
        (with_line("names @ https://packages.example/names.tar.gz"), "line 1: names @ https://packages.example/names.tar.gz"),
        (lambda text: re.sub(r"^coverage==", "coverage>=", text, flags=re.MULTILINE), r": coverage>="),
        (lambda text: re.sub(r"^coverage==\S+ \\\n(?:    --hash.*\n)*", "coverage==7.0\n", text, flags=re.MULTILINE), ": coverage==7.0"),
        (lambda text: text.replace("--hash=sha256:", "--hash=md5:", 1), "    --hash=md5:"),
    ],
)
def test_other_lines_would_be_found(edit, wrong, tmp_path):
    lock = tmp_path / "dev.txt"
    lock.write_text(edit((FOLDER / "dev.txt").read_text("utf-8")), "utf-8")
    found = read(lock)[1]
    assert any(wrong in line for line in found), found


@pytest.mark.parametrize(
    ("edit", "end"),
    [
        (without("coverage"), r"pytest-cov requires coverage\[toml\].*: not in the lock"),
        (with_version("coverage", "7.1"), r"pytest-cov requires coverage\[toml\].*: the lock has 7\.1"),
        (with_version("coverage", "999"), r"coverage 999: \d.* is installed here"),
        (without("ruff"), r"pyproject\.toml requires ruff.*: not in the lock"),
        (without("iniconfig"), r"pytest requires iniconfig.*: not in the lock"),
        (with_line("left-over==1.0 \\\n    --hash=sha256:" + "0" * 64), "nothing requires left-over"),
    ],
)
def test_open_ends_would_be_found(edit, end, tmp_path):
    lock = tmp_path / "dev.txt"
    lock.write_text(edit((FOLDER / "dev.txt").read_text("utf-8")), "utf-8")
    found = open_ends(lock, REQUIRED["dev.txt"])
    assert any(re.fullmatch(end, line) for line in found), found


def test_what_extras_require_counts():
    def of_pandas(extra):
        return [end for end in open_ends(FOLDER / "default.txt", [f"pandas{extra}"]) if end.startswith("pandas requires")]

    assert of_pandas("") == []
    assert any("lxml" in end for end in of_pandas("[html]"))


@pytest.mark.parametrize("edit", [without("numpy"), with_version("tzdata", "2020.1"), lambda text: text.replace("sha256:0", "sha256:1", 1)])
def test_other_pins_would_be_found(edit, tmp_path):
    larger = tmp_path / "dev.txt"
    larger.write_text(edit((FOLDER / "default.txt").read_text("utf-8")), "utf-8")
    assert len(apart(larger, FOLDER / "default.txt")) == 1


@pytest.mark.parametrize(("target", "lock"), [("install", "default.txt"), ("test", "dev.txt")])
def test_installing_sees_the_locks_alone(target, lock):
    """Installers must not look up what packages require, since they would find releases that are newer than the lock."""
    command = ["make", "--dry-run", "--always-make", target, "ARGS="]  # and not those of the make that runs the tests
    recipe = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.replace("\\\n", "")
    by_pip, by_uv, in_place = (line.split() for line in re.split(r"\n|&&", recipe) if re.search(r"\bpip\b.* (?:install|sync) ", line))
    assert by_pip[-1] == "requirements/uv.txt"
    assert {"--require-hashes", "--no-deps"} <= set(by_pip)
    assert by_uv[-1] == f"requirements/{lock}"
    assert {"sync", "--require-hashes", "--require-build-hashes"} <= set(by_uv)
    assert in_place[-2:] == ["--editable", "."]
    assert {"--no-deps", "--no-index", "--no-build-isolation"} <= set(in_place)
