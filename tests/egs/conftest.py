"""What the tests of recipes share: a recipe's run.sh, and its local modules, which are no package."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def run_recipe(forking_path) -> Callable[..., subprocess.CompletedProcess]:
    """A function: `bash egs/RECIPE/run.sh OPTION…` with this Python; stdout and stderr as text."""

    def run(recipe: str, *options: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
        command = ["bash", str(ROOT / "egs" / recipe / "run.sh"), *options]
        environment = os.environ | {"PATH": forking_path, "CUDA_VISIBLE_DEVICES": ""} | environment
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)

    return run


@contextmanager
def modules_of(recipe: str, *names: str) -> Iterator[SimpleNamespace]:
    """Modules of egs/RECIPE/local, and what they import from there; forgotten afterwards, since another
    recipe has its own of these names."""
    places = (f"egs/{recipe}/local", "recipes/utils", "scripts", "egs/speechocean762/local")
    folders = [str(ROOT / place) for place in places]
    sys.path[:0] = folders
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        sys.path[:] = [path for path in sys.path if path not in folders]
        for name, module in [*sys.modules.items()]:
            if str(getattr(module, "__file__", None)).startswith(folders[0]):
                del sys.modules[name]


@pytest.fixture(scope="module")
def local(request) -> Iterator[SimpleNamespace]:
    """The modules that the test's file names: RECIPE and MODULES."""
    with modules_of(request.module.RECIPE, *request.module.MODULES) as modules:
        yield modules
