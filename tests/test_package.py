"""The package: what it offers by name, and what its import loads."""

import ast
import importlib
import re
import subprocess
import sys
from collections import Counter
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

    assert importlib.import_module("ia3_speech.transcribe").transcribe is transcribe


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


# The packages of the library, each of which may import those before it; commands stand at the end.
ORDER = ["data", "model", "scoring", "adapters", "decoding", "training", "experiments", "report"]
SHARED_BY_ALL = {"ia3_speech", *(f"ia3_speech.{name}" for name in ("cli", "atomic", "formatting", "inputs"))}


def level(module: str) -> int:
    """Where a module stands in the order of imports."""
    package = module.split(".")[1] if "." in module else ""
    if module in SHARED_BY_ALL:
        return -1
    return ORDER.index(package) if package in ORDER and not module.endswith("__main__") else len(ORDER)


def import_graph() -> dict[str, set[str]]:
    """Each module of the library and the modules that it imports, wherever in its code."""
    root = Path(ia3_speech.__file__).parent
    names = {
        f: "ia3_speech." + ".".join(f.relative_to(root).with_suffix("").parts) for f in root.rglob("*.py")
    }
    names = {file: name.removesuffix(".__init__") for file, name in names.items()}
    known = set(names.values())
    return {name: (imported_modules(file) & known) - {name, "ia3_speech"} for file, name in names.items()}


def test_no_package_imports_one_above_it():
    upward = [
        f"{module} imports {other}"
        for module, found in import_graph().items()
        for other in found
        if level(other) > level(module)
    ]
    assert not upward


def test_no_circle_of_imports():
    graph, finished = import_graph(), set()

    def visit(module: str, path: list[str]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in finished:
            return
        for other in sorted(graph[module]):
            visit(other, [*path, module])
        finished.add(module)

    for module in graph:
        visit(module, [])


# What two modules may have under one name, since it is the same thing: a command and the function that it
# calls, the steps that corpora, plans and commands have in common, and a table as HTML and as Markdown.
COMMANDS = {"combine", "push", "register", "remove", "show"}
STEPS = {"main", "prepare", "inputs_of", "evaluation", "systems", "trainings"}
SAME_TABLES = {"trade_off_table", "warning_list"}


def test_a_name_means_one_thing():
    """No two modules, and no two functions or classes of modules, have the same name."""
    files = [*Path(ia3_speech.__file__).parent.rglob("*.py")]
    modules = Counter(file.stem for file in files if not file.stem.startswith("__"))
    definitions = Counter(
        node.name
        for file in files
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    )
    assert not [name for name, count in modules.items() if count > 1]
    assert {name for name, count in definitions.items() if count > 1} == COMMANDS | STEPS | SAME_TABLES
