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
        ("mine", "mine/data/ia3_speech_results"),  # else data/notes would be written into itself
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


# ---- recordings that are longer than the base can process


def words(seconds: float) -> str:
    """Of noise a random base can tell no place: a text that leaves it little choice, ten words to 1.3 s."""
    return " ".join(round(seconds / 1.3) * ["one two three four five six seven eight nine ten"])


@pytest.fixture
def base_of(tiny_model, processor, tmp_path):
    """A function that makes a small random base with a maximum input duration, in seconds."""

    def make(seconds: float) -> str:
        folder = tmp_path / f"base_{seconds}"
        tiny_model(num_conv_pos_embeddings=round(100 * seconds)).save_pretrained(folder)
        processor.save_pretrained(folder)
        return str(folder)

    return make


def test_long_recordings_of_train_and_dev_are_cut_at_the_maximum_of_the_base(
    local, tmp_path, base_of, capsys
):
    """Of a CSV corpus: with a base that hears 10 s none is, with one that hears 6 s two are."""
    folder = tmp_path / "notes"
    rows = []
    for name, length in (("train", 8.0), ("dev", 7.0), ("test", 9.0)):
        for number, seconds in ((1, 2.0), (2, length)):
            noise(folder / f"{name}{number}.wav", seconds)
            rows.append(f"{name}{number}.wav,{words(seconds)},{name},{name}")
    (folder / "list.csv").write_text("\n".join(["file,text,speaker,split", *rows]) + "\n")
    local.prepare.main(folder, tmp_path / "out", base=base_of(10))
    assert "became" not in capsys.readouterr().out
    assert [len(read_data_directory(tmp_path / "out" / name)) for name in ("train", "dev", "test")] == 3 * [2]
    local.prepare.main(folder, tmp_path / "out", base=base_of(6))
    printed = capsys.readouterr().out
    for name in ("train", "dev"):
        data = read_data_directory(tmp_path / "out" / name)
        assert len(data) > 2 and all(one.duration <= 6 for one in data)
        assert f"{data}; 1 long recordings became " in printed
    assert [one.duration for one in read_data_directory(tmp_path / "out/test")] == [2.0, 9.0]
