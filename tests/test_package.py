"""The package: what it offers by name, and what its import loads."""

import importlib
import subprocess
import sys

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
    from ia3_speech.transcribe import transcribe

    assert ia3_speech.transcribe.transcribe is transcribe


def test_the_import_loads_nothing_heavy():
    script = "import sys, ia3_speech; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
