"""pyproject.toml, environment.yml and requirements.txt name the same packages, for all systems."""

import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {"torch": "pytorch", "playwright": "playwright-python"}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    "darwin": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
    "win32": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
}


def requirements_of(pyproject: dict) -> dict[str, SpecifierSet]:
    """Every package that pyproject.toml names, in any extra, with its range."""
    project = pyproject["project"]
    lines = itertools.chain(project["dependencies"], *project["optional-dependencies"].values())
    ranges: dict[str, SpecifierSet] = {}
    for requirement in map(Requirement, lines):
        name = canonicalize_name(requirement.name)
        ranges[name] = ranges.get(name, SpecifierSet()) & requirement.specifier
    return ranges


def conda_packages(environment: dict) -> dict[str, SpecifierSet]:
    """Every package that environment.yml names, of conda's or PyPI's, with its range."""
    specs = [line for line in environment["dependencies"] if isinstance(line, str)]
    for part in environment["dependencies"]:
        if isinstance(part, dict):
            specs += [spec for spec in part["pip"] if not spec.startswith("-e")]
    parts = (spec.partition(" ") for spec in specs)
    return {name: SpecifierSet(constraint) for name, _, constraint in parts}


def differences(pyproject: dict, environment: dict) -> list[str]:
    """What environment.yml says otherwise than pyproject.toml; empty when they agree."""
    wanted = {CONDA_NAMES.get(name, name): s for name, s in requirements_of(pyproject).items()}
    wanted["python"] = SpecifierSet(pyproject["project"]["requires-python"])
    present = conda_packages(environment)
    return [
        *(f"environment.yml lacks {name}" for name in wanted.keys() - present.keys()),
        *(f"pyproject.toml lacks {name}" for name in present.keys() - wanted.keys()),
        *(
            f"{name}: {wanted[name]} in pyproject.toml, {present[name]} in environment.yml"
            for name in wanted.keys() & present.keys()
            if wanted[name] != present[name]
        ),
    ]


def read_pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read_environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def read_pins() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pins_for(pins: list[Requirement], python: str, system: str) -> dict[str, str]:
    """The versions that hold for one Python on one system; two for one package is an error."""
    machine = default_environment() | SYSTEMS[system]
    machine |= {"python_version": python, "python_full_version": f"{python}.9"}
    found: dict[str, str] = {}
    for pin in pins:
        if pin.marker is None or pin.marker.evaluate(machine):
            (specifier,) = pin.specifier
            assert specifier.operator == "=="
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} is pinned twice for {python} on {system}"
            found[name] = specifier.version
    return found


def tracked_files() -> list[Path]:
    try:
        command = ["git", "ls-files", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a checkout, to know which files belong to the project")
    paths = (ROOT / name.decode() for name in listed.split(b"\0") if name)
    return [path for path in paths if path.is_file()]


def test_environment_yml_names_the_packages_and_ranges_of_pyproject():
    assert differences(read_pyproject(), read_environment()) == []


PYPROJECT = {
    "project": {
        "requires-python": ">=3.11,<3.15",
        "dependencies": ["torch>=2.11"],
        "optional-dependencies": {"test": ["types-PyYAML>=6.0", "mypy>=1.13,<3"]},
    }
}
SAME = ["python >=3.11,<3.15", "pytorch >=2.11", "types-pyyaml >=6.0", "mypy <3,>=1.13"]


@pytest.mark.parametrize(
    ("packages", "difference"),
    [
        (SAME, None),
        ([*SAME, {"pip": ["-e ."]}], None),
        (SAME[:3], "environment.yml lacks mypy"),
        (SAME[1:], "environment.yml lacks python"),
        ([*SAME, "rich"], "pyproject.toml lacks rich"),
        ([*SAME, {"pip": ["rich >=13", "-e ."]}], "pyproject.toml lacks rich"),
        ([*SAME[:3], {"pip": ["mypy <3,>=1.13", "-e ."]}], None),
        ([*SAME[:1], "torch >=2.11", *SAME[2:]], "pyproject.toml lacks torch"),
        ([*SAME[:1], "pytorch >=2.12", *SAME[2:]], "pytorch: >=2.11 in pyproject"),
        ([*SAME[:1], "pytorch", *SAME[2:]], "pytorch: >=2.11 in pyproject"),
        ([*SAME[:3], "mypy >=1.13"], "mypy: <3,>=1.13 in pyproject"),
        (["python >=3.12,<3.15", *SAME[1:]], "python: <3.15,>=3.11 in pyproject"),
    ],
)
def test_the_comparison_finds_each_kind_of_difference(packages, difference):
    found = differences(PYPROJECT, {"dependencies": packages})
    assert (found == []) if difference is None else any(difference in line for line in found)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_requirement_has_one_pin_within_its_range(python, system):
    pins = pins_for(read_pins(), python, system)
    wanted = requirements_of(read_pyproject())
    assert wanted.keys() <= pins.keys()
    assert [name for name, allowed in wanted.items() if pins[name] not in allowed] == []


def test_the_packages_for_cuda_are_pinned_for_linux_alone():
    for system in SYSTEMS:
        cuda = [name for name in pins_for(read_pins(), "3.11", system) if "nvidia" in name]
        assert bool(cuda) == (system == "linux"), (system, cuda)


def test_pythons_of_makefile_and_tests_are_those_of_pyproject():
    wanted = SpecifierSet(read_pyproject()["project"]["requires-python"])
    assert list(wanted.filter(f"3.{minor}" for minor in range(30))) == list(PYTHONS)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (pythons,) = re.findall(r"^PYTHONS := (.*)$", makefile, re.MULTILINE)
    assert SpecifierSet(pythons) == wanted
    (extras,) = re.findall(r"^EXTRAS := (.*)$", makefile, re.MULTILINE)
    assert extras.split(",") == list(read_pyproject()["project"]["optional-dependencies"])


def test_no_tracked_file_holds_an_index_address_or_the_place_of_this_checkout():
    # Put together here, so that this file is not a finding itself.
    words = ["--" + "index-url", "--extra-" + "index-url", "--find" + "-links", "/simp" + "le/"]
    words += ["pypi.org/" + "simple", "download.py" + "torch.org/whl"]
    if len(ROOT.parts) > 2:  # a checkout in "/app" would find its name in any path
        words.append(f"{ROOT}/")
    for path in tracked_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        assert [word for word in words if word in text] == [], path


def test_no_lock_file_is_tracked_beside_requirements_txt():
    assert [path.name for path in tracked_files() if path.name in ("uv.lock", "poetry.lock")] == []


def test_import_dlkit_loads_torch_numpy_and_cloudpickle_but_nothing_optional():
    core = {"torch", "numpy", "cloudpickle"}
    modules = {"scikit-learn": "sklearn", "pyyaml": "yaml", "pytest-xdist": "xdist"}
    optional = {modules.get(name, name) for name in requirements_of(read_pyproject())} - core
    code = "import sys, torch; before = set(sys.modules); import dlkit; " + (
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "dlkit" in loaded
    assert optional.intersection(loaded) == set()
