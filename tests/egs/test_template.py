"""egs/TEMPLATE: your own recordings, with a CSV file or as Kaldi data directories."""

import shutil

import bench

from ia3_speech.data.kaldi import read_data_directory

RECIPE = "TEMPLATE"


def corpus(folder, count, speakers):
    """A folder with `count` recordings of `speakers` and their CSV file."""
    rows = [f"wavs/{n:02d}.wav,sentence {'abcdefghijkl'[n]},spk {n % speakers}" for n in range(count)]
    for n in range(count):
        bench.noise(folder / f"wavs/{n:02d}.wav", 1.0)
    (folder / "list.csv").write_text("\n".join(["file,text,speaker", *rows]) + "\n")
    return folder


def test_a_copy_of_the_folder_passes_the_first_three_stages(tmp_path, base_folder):
    """As the README says: copied inside egs/, here inside a clone's like."""
    clone = tmp_path / "clone"
    (clone / "egs").mkdir(parents=True)
    for folder in ("ia3_speech", "recipes", "scripts"):
        (clone / folder).symlink_to(bench.ROOT / folder)
    shutil.copytree(bench.ROOT / "egs" / RECIPE, clone / "egs/clinic")
    folder = corpus(tmp_path / "notes", 12, speakers=4)
    options = ("--corpus", str(folder), "--stop-stage", "3", "--base", str(base_folder))
    done = bench.run(str(clone / "egs/clinic"), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("stage")] == [
        "stage 1, prepare notes", "stage 2, validate notes", "stage 3, check the texts",
    ]  # fmt: skip
    assert len(read_data_directory(clone / "egs/clinic/data/notes/train").speakers) == 2


def test_without_a_corpus_it_says_how_one_looks(tmp_path):
    done = bench.run(RECIPE, "--work-dir", str(tmp_path / "work"))
    assert (done.returncode, done.stdout) == (1, "")
    assert 'monday/002.wav,"no fever, no cough",anna,scottish' in done.stderr


def test_run_sh_stays_a_page():
    assert len((bench.ROOT / "egs" / RECIPE / "run.sh").read_text().splitlines()) <= 40
