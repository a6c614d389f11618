"""What README.md and CONTRIBUTING.md promise is there and works."""

import doctest
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dlkit.cli import COMMANDS, build_parser
from dlkit.lab.exercises.catalogue import entries

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"```(?:sh|powershell)\n(.*?)```|`([^`\n]+)`", README, re.DOTALL)
WORDS = [line.strip() for block, word in CODE for line in (block or word).splitlines()]


def test_its_python_examples_give_what_they_show():
    failed, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert tried > 10
    assert failed == 0


def test_the_examples_for_contributors_give_what_they_show():
    failed, tried = doctest.testfile(str(ROOT / "CONTRIBUTING.md"), module_relative=False)
    assert tried >= 5
    assert failed == 0


def test_the_paths_that_contributors_are_sent_to_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:dlkit|tests|notebooks|benchmarks)/[\w./]*)`", text))
    assert len(paths) > 8
    assert [path for path in sorted(paths) if "NN" not in path and not (ROOT / path).exists()] == []


def test_the_names_that_it_gives_are_there_after_importing_dlkit_alone():
    names = sorted({word.split("(")[0] for word in WORDS if re.match(r"dlkit(\.\w+)+", word)})
    assert {"dlkit.storage.convert", "dlkit.cache.MemoryCache", "dlkit.streaming"} <= set(names)
    code = "import dlkit\n" + "\n".join(names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_its_links_and_pictures_lead_to_files():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    files = [target for target in targets if "://" not in target]
    assert files
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_the_paths_that_it_names_exist():
    paths = {word for word in WORDS if re.fullmatch(r"(dlkit|notebooks|tests)/[\w./]*", word)}
    assert len(paths) > 10
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_the_notebooks_that_it_names_exist():
    names = set(re.findall(r"`(\d\d_\w+)`", README))
    assert names
    assert [name for name in sorted(names) if not (ROOT / f"notebooks/{name}.ipynb").exists()] == []


def test_there_are_as_many_cards_exercises_and_hunts_as_it_says():
    text = " ".join(README.split())
    said = {
        "card": re.search(r"asks (\d+) cards", text),
        "coding": re.search(r"has (\d+) exercises", text),
        "bug-hunt": re.search(r"(\d+) pieces of broken code", text),
    }
    there = Counter(entry.kind for entry in entries())
    assert {kind: int(found[1]) for kind, found in said.items()} == {
        kind: there[kind] for kind in said
    }


def test_the_make_targets_that_it_names_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {word.split()[1] for word in WORDS if re.match(r"make [a-z]", word)}
    assert {"lab", "test"} <= targets
    assert [name for name in sorted(targets) if f"\n{name}:" not in makefile] == []


def test_the_commands_that_it_names_parse():
    lines = [word for word in WORDS if re.match(rf"dlkit ({'|'.join(COMMANDS)})\b", word)]
    assert lines
    for line in lines:
        arguments = shlex.split(line, comments=True)[1:]
        if "--help" in arguments:
            with pytest.raises(SystemExit):
                build_parser(arguments[0]).parse_args(arguments)
        else:
            assert build_parser(arguments[0]).parse_args(arguments).run


def test_its_uv_commands_install_what_make_env_installs():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (pythons,) = re.findall(r"^PYTHONS := (.*)$", makefile, re.MULTILINE)
    (extras,) = re.findall(r"^EXTRAS := (.*)$", makefile, re.MULTILINE)
    assert f'uv venv --python "{pythons}"' in WORDS
    install = f'uv pip install --compile-bytecode -c requirements.txt -e ".[{extras}]"'
    assert install in WORDS
