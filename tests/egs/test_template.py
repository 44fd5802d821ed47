"""egs/TEMPLATE: your own recordings, with a CSV file or as Kaldi data directories."""

import shutil
from pathlib import Path

import pytest
from corpus_files import noise

from ia3_speech.data.kaldi import read_data_directory

RECIPE = "TEMPLATE"
MODULES = ("prepare",)
ROOT = Path(__file__).parents[2]


def corpus(folder, count, speakers):
    """A folder with `count` recordings of `speakers` and their CSV file."""
    rows = [f"wavs/{n:02d}.wav,sentence {'abcdefghijkl'[n]},spk {n % speakers}" for n in range(count)]
    for n in range(count):
        noise(folder / f"wavs/{n:02d}.wav", 1.0)
    (folder / "list.csv").write_text("\n".join(["file,text,speaker", *rows]) + "\n")
    return folder


def test_a_copy_of_the_folder_passes_the_first_three_stages(tmp_path, random_base, run_recipe):
    """As the README says: copied inside egs/, here inside a clone's like."""
    clone = tmp_path / "clone"
    (clone / "egs").mkdir(parents=True)
    for folder in ("ia3_speech", "recipes", "scripts"):
        (clone / folder).symlink_to(ROOT / folder)
    shutil.copytree(ROOT / "egs" / RECIPE, clone / "egs/clinic")
    folder = corpus(tmp_path / "my notes (Anna's)", 12, speakers=4)
    options = ("--corpus", str(folder), "--base", str(random_base))
    options += ("--stop-stage", "3", "--out-of-domain", "none")
    done = run_recipe(str(clone / "egs/clinic"), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    stages = [line.partition(" … ")[0] for line in done.stdout.splitlines() if line.startswith("stage")]
    name = "my_notes__Anna_s_"
    assert f"my notes (Anna's) is called {name} below data/ and exp/\n" in done.stdout
    assert stages[:2] == [f"stage 1, prepare {name}", f"stage 2, validate {name}"] and len(stages) == 3
    assert "    less than five minutes: train and test are all of it" in done.stdout
    assert len(read_data_directory(clone / "egs/clinic/data" / name / "train").speakers) == 4
    (tmp_path / "terms.txt").write_text("seven\n")
    done = run_recipe(str(clone / "egs/clinic"), *options, "--hotwords", str(tmp_path / "terms.txt"))
    assert done.returncode == 1 and "error: --lm and --hotwords take no FILE without a dev" in done.stderr


@pytest.mark.parametrize(
    ("start", "place"),
    [
        ("project", "project"),
        (str(ROOT), "mine/data/ia3_speech_results"),
        ("mine/data/notes", "mine/data/ia3_speech_results"),
    ],
)
def test_results_are_where_the_user_started_or_beside_the_corpus(tmp_path, run_recipe, start, place):
    folder = corpus(tmp_path / "mine/data/notes", 6, speakers=1)
    (tmp_path / "project").mkdir()
    options = ("--corpus", str(folder), "--stop-stage", "1", "--out-of-domain", "none")
    done = run_recipe(RECIPE, *options, cwd=tmp_path / start)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"data/ and exp/ are in {tmp_path / place}\n" in done.stdout
    for name in ("data/notes/train/text", "exp/notes/log"):
        assert (tmp_path / place / name).exists()
