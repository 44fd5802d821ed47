"""The package: what it offers by name, and what its import loads."""

import ast
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


# The packages of the library, each of which may import those before it; commands stand at the end.
CORE = ["data", "model", "scoring", "adapters", "decoding", "training"]
EXTRAS = {"lm", "confidence", "dictation", "live", "results", "report", "serve"}
EXTRAS |= {"onnx", "routing", "unsupervised", "speakers", "corrections"}
SHARED_BY_ALL = {
    "ia3_speech",
    *(f"ia3_speech.{name}" for name in ("errors", "cli", "atomic", "formatting", "inputs")),
}
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


def package_of(module: str) -> str:
    """data, lm, …; empty for what stands directly below ia3_speech."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / parts[1]).is_dir() else ""


def test_core_imports_no_extra_and_no_package_one_above_it():
    for module in FILES:
        package = package_of(module)
        if module.endswith("__main__") or (module not in SHARED_BY_ALL and package not in CORE):
            continue
        level = CORE.index(package) if package else -1
        for other in imports_of(module) - SHARED_BY_ALL:
            assert package_of(other) in CORE, f"{module} imports {other}"
            assert CORE.index(package_of(other)) <= level, f"{module} imports {other}"


def test_commands_import_extras_in_functions_alone():
    for module in FILES:
        if package_of(module) in ("commands", ""):
            others = EXTRAS - {module.rpartition(".")[2]}  # `report` may import report/
            imported = {other for other in imports_of(module, at_start=True) if package_of(other) in others}
            extras = {other for other in imported if not other.endswith(".options")}  # flags need no extra
            assert not extras, f"{module} imports {', '.join(extras)}"


def test_transcribe_starts_with_little():
    """The modules that `ia3-speech transcribe` imports at once."""
    closure, left = set(), ["ia3_speech.commands.transcribe"]
    while left:
        module = left.pop()
        closure.add(module)
        parents = {module.rpartition(".")[0]} & FILES.keys()
        left += (imports_of(module, at_start=True) | parents) - closure
    assert sum(len(FILES[module].read_text("utf-8").splitlines()) for module in closure) <= 7_500


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
