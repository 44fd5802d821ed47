"""What the tests of recipes share: a recipe's local modules, its run.sh, and files with a sound in them."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from corpus_files import content as content
from corpus_files import noise
from warm_python import path_with_warm_python

ROOT = Path(__file__).parents[2]
UTILS = ROOT / "recipes/utils"


@contextmanager
def local(recipe: str, *names: str) -> Iterator[SimpleNamespace]:
    """Modules of egs/RECIPE/local and recipes/utils, which are no packages; forgotten afterwards."""
    places = [str(ROOT / "egs" / recipe / "local"), str(UTILS)]
    sys.path[:0] = places
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        for place in places:
            sys.path.remove(place)
        for name in names:
            sys.modules.pop(name, None)


def run(recipe: str, *options: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """`bash egs/RECIPE/run.sh OPTION…` with this Python; stdout and stderr as text."""
    return subprocess.run(
        ["bash", str(ROOT / "egs" / recipe / "run.sh"), *options],
        cwd=cwd,
        env=os.environ | {"PATH": path_with_warm_python(), "CUDA_VISIBLE_DEVICES": ""} | environment,
        capture_output=True,
        text=True,
    )


def general(folder: Path) -> Path:
    """A Kaldi directory of general speech: eight noises, two speakers."""
    from ia3_speech.data.kaldi import write_data_directory
    from ia3_speech.data.utterance import Utterance

    utterances = []
    for number in range(8):
        id, speaker = f"g{number // 4}-{number}", f"g{number // 4}"
        sound = folder.parent / f"sound/{'x' * number}{id}.wav"  # `noise` differs by the length of the name
        noise(sound)
        utterances.append(Utterance(id, speaker, id, str(sound), text="A WORD"))
    write_data_directory(folder, utterances)
    return folder
