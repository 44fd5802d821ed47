"""The package: what it offers by name, and what its import loads."""

import ast
import importlib
import re
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


def test_transcribe_is_a_module_that_holds_the_function():
    from ia3_speech.decoding.transcription import transcribe

    assert ia3_speech.transcribe.transcribe is transcribe


def test_the_import_loads_nothing_heavy():
    script = "import sys, ia3_speech; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def imported_modules(file: Path) -> set[str]:
    """The modules of ia3_speech that a file imports, in functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ia3_speech":
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("package", ["model", "adapters"])
def test_modules_import_in_the_order_that_their_package_states(package):
    folder = Path(ia3_speech.__file__).parent / package
    docstring = importlib.import_module(f"ia3_speech.{package}").__doc__
    lines = re.findall(r"^    (\w+(?:, \w+)*)  ", docstring, re.MULTILINE)
    order = [name for line in lines for name in line.split(", ")]
    modules = {file.stem for file in folder.glob("*.py")} - {"__init__", "__main__"}
    assert len(order) == len(set(order)) and set(order) == modules
    above = {"adapters", "decoding", "training", "experiments", "report", "serve"} - {package}
    for number, module in enumerate(order):
        found = imported_modules(folder / f"{module}.py")
        below = {f"ia3_speech.{package}.{name}" for name in order[number:]}
        assert not found & below, f"{module} imports what stands below it"
        assert not {name.split(".")[1] for name in found if name.startswith("ia3_speech.")} & above
