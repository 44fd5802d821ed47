"""egs/librispeech: the recipe's own options, and its first stages on a tiny reader."""

import bench

RECIPE = "librispeech"


def test_the_first_three_stages(tmp_path, base_folder):
    chapter = tmp_path / "LibriSpeech/test-clean/237/134500"
    ids = [f"237-134500-{number:04d}" for number in range(9)]
    for id in ids:
        bench.noise(chapter / f"{id}.flac", 1.0)
    (chapter / "237-134500.trans.txt").write_text("".join(f"{id} CHAPTER ONE\n" for id in ids))
    options = ("--corpus", "LibriSpeech", "--reader", "237", "--stop-stage", "3")
    work = ("--work-dir", str(tmp_path / "work"), "--base", str(base_folder))
    done = bench.run(RECIPE, *options, *work, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("stage")] == [
        "stage 1, prepare reader237", "stage 2, validate reader237", "stage 3, check the texts",
    ]  # fmt: skip
    assert f"{tmp_path}/work/data/reader237/train: 5 utterances can be trained on" in done.stdout


def test_without_a_corpus_it_says_where_it_is_published(tmp_path):
    done = bench.run(RECIPE, "--reader", "237", "--work-dir", str(tmp_path / "work"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "https://www.openslr.org/12/" in done.stderr


def test_run_sh_stays_a_page():
    assert len((bench.ROOT / "egs" / RECIPE / "run.sh").read_text().splitlines()) <= 40
