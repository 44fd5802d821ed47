"""The package: what it offers by name, and what its import loads."""

import ast
import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import ia3_speech


def test_every_public_name_is_there_and_no_module_hides_one():
    for name in ia3_speech.__all__:
        assert getattr(ia3_speech, name) is not None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"ia3_speech.{name}")
    with pytest.raises(AttributeError, match="no attribute 'transcriber'"):
        ia3_speech.transcriber  # noqa: B018


def test_the_import_loads_nothing_heavy():
    script = "import sys, ia3_speech; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# The rooms of the library; each may import only those in later lines (docs/architecture.md).
ROOMS = """
__main__ transcribe
commands
serve
voices
report
training
live
session
routing dictation onnx
decoding
lm
adapters
scoring
model
data
common
""".strip().splitlines()
LEVELS = {room: level for level, line in enumerate(ROOMS) for room in line.split()}
# The rooms that a command may import at its start
AT_START = {"commands", "voices", "session", "decoding", "adapters", "scoring", "model", "data", "common"}
ROOT = Path(ia3_speech.__file__).parent
FILES = {".".join(("ia3_speech", *f.relative_to(ROOT).with_suffix("").parts)): f for f in ROOT.rglob("*.py")}
FILES = {name.removesuffix(".__init__"): file for name, file in FILES.items()}


def imports_of(module: str, *, at_start: bool = False) -> set[str]:
    """The modules of the library that a module imports, in functions and under TYPE_CHECKING too, or at start
    alone."""
    tree = ast.parse(FILES[module].read_text("utf-8"))
    names = set()
    for node in tree.body if at_start else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ia3_speech":
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return (names & FILES.keys()) - {module, "ia3_speech"}


def room_of(module: str) -> str:
    """data, lm, session, …; empty for ia3_speech itself."""
    return ".".join(module.split(".")[1:2])


def test_no_import_goes_up():
    for module in FILES.keys() - {"ia3_speech"}:
        room = room_of(module)
        for other in {room_of(name) for name in imports_of(module)} - {room, ""}:
            assert LEVELS[room] < LEVELS[other], f"{module} imports {other}"


def test_commands_import_other_rooms_in_functions_alone():
    for module in FILES:
        if room_of(module) == "commands":
            imported = imports_of(module, at_start=True) - {"ia3_speech.training.config"}  # flags
            others = {room_of(other) for other in imported} - AT_START - {module.rpartition(".")[2], ""}
            assert not others, f"{module} imports {', '.join(others)} at its start"


def test_no_circle_of_imports():
    finished = set()

    def visit(module: str, path: list[str]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in finished:
            return
        for other in sorted(imports_of(module)):
            visit(other, [*path, module])
        finished.add(module)

    for module in FILES:
        visit(module, [])


@pytest.mark.parametrize("name", ["common.formatting", "scoring.alignment", "scoring.table", "report.charts"])
def test_the_examples_in_docstrings(name):
    results = doctest.testmod(importlib.import_module(f"ia3_speech.{name}"))
    assert results.attempted and not results.failed
