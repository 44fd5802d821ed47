"""egs/TEMPLATE: your own recordings, with a CSV file or as Kaldi data directories."""

import json
from pathlib import Path

import pytest
from corpus_files import csv_corpus

from ia3_speech.data.kaldi.directory import read_data_directory

RECIPE = "TEMPLATE"
ROOT = Path(__file__).parents[2]


def corpus(folder, count, speakers):
    """A folder with `count` recordings of `speakers` and their CSV file."""
    rows = [f"wavs/{n:02d}.wav,sentence {'abcdefghijkl'[n]},spk {n % speakers}" for n in range(count)]
    folder.mkdir(parents=True)
    return csv_corpus(folder, ["file,text,speaker", *rows])


@pytest.mark.parametrize(
    ("start", "place"), [("project", "project"), (str(ROOT), "mine/data/ia3_speech_results")]
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


def test_a_study_of_an_adapter(tmp_path, random_base, run_recipe):
    """recipes/study.sh: the mean of the seeds, scaled adapters, variants, a learning curve."""
    sets = [(name, n) for name, count in (("train", 4), ("dev", 2), ("test", 2)) for n in range(count)]
    rows = [f"{name}{n}.wav,{name} {'abcd'[n]},{name}{n},{name}" for name, n in sets]
    notes = csv_corpus(tmp_path / "notes", ["file,text,speaker,split", *rows])
    work = tmp_path / "work"
    options = {
        "corpus": notes, "base": random_base, "work-dir": work,
        "out-of-domain": work / "data/notes/test", "train-opts": "--epochs 1", "stop-stage": 6, "seeds": 2,
        "average": "true", "trade-off": "0.5", "variants": "clip=2", "curve": "0.02", "replay": "none",
        "score-opts": "--replications 100",
    }  # fmt: skip
    done = run_recipe("TEMPLATE", *(str(w) for name, value in options.items() for w in (f"--{name}", value)))
    assert done.returncode == 0, done.stdout + done.stderr
    exp = work / "exp/notes"
    tested = {str(file.parent.relative_to(exp)) for file in exp.rglob("score.json")}
    on_both = ["base", "ia3_plus_seed1", "ia3_plus_seed2", "ia3_plus_average", "ia3_plus_average/scale_0.5",
               "ia3_plus_clip2_seed1", "ia3_plus_clip2_seed2"]  # fmt: skip
    assert tested == {
        *(f"{system}/decode_greedy_{name}" for system in on_both for name in ("test", "out_of_domain")),
        *(f"curve/minutes_0.02_seed{seed}/decode_greedy_test" for seed in (1, 2)),
        "ia3_plus_average/decode_greedy_dev",
    }
    assert len(read_data_directory(work / "data/notes/curve/minutes_0.02")) < 4
    score = json.loads((exp / "ia3_plus_average/scale_0.5/decode_greedy_test/score.json").read_text())
    assert score["adapter"]["name"] == f"{exp}/ia3_plus_average/adapter:0.5" and score["baseline"]
