"""egs/compare_methods: the table, with rows of an earlier run; a run on a corpus of one's own; options that
can't be meant."""

import json
import shutil

import pytest
from corpus_files import noise

from ia3_speech.atomic import write_json
from ia3_speech.data.kaldi import write_data_directory
from ia3_speech.data.utterance import Utterance

RECIPE = "compare_methods"
MODULES = ("study",)
WER = {"base": 0.5, "ia3_plus_seed1": 0.25, "ia3_plus_seed2": 0.375, "head_seed1": 0.375}


@pytest.fixture
def exp(tmp_path):
    """What stages 3 to 7 leave of three systems."""
    exp = tmp_path / "exp"
    for system, wer in WER.items():
        for name in ("test", "out_of_domain"):
            score = {"wer": wer, "wer_ci": [wer - 0.25, wer + 0.25]}
            write_json(exp / system / f"decode_greedy_{name}/score.json", score)
        if system != "base":
            train = {"trainable": 24576, "bytes": 99000, "peak_memory_bytes": 2**30, "dev_wer": 0.2}
            write_json(exp / system / "train.json", train)
            (exp / system / "config.yaml").write_text("learning_rate: 0.02\n")
    write_json(exp / "rates/ia3_plus_rate9e-1_seed1/train.json", {"selected_epoch": 0})
    (exp / "rates/ia3_plus_rate9e-1_seed1/config.yaml").write_text("learning_rate: 0.9\n")
    for method in ("ia3_plus", "head"):
        write_json(exp / f"forward/{method}.json", {"one": 1.01, "sixteen": None})
        write_json(exp / f"timed/{method}/train.json", {"seconds_per_step": 0.5})
    return exp


def rows_of(exp):
    lines = (exp / "methods.md").read_text().splitlines()
    return {line.split(" | ")[0].strip("| "): line.split(" | ") for line in lines if line.startswith("| ")}


def test_rows_of_an_earlier_run_stand_beside_those_of_this_run(local, exp):
    local.study.write_tables(exp, ["ia3_plus", "lora_r4", "full"], None, 2, [])
    rows = json.loads((exp / "methods.json").read_text())["methods"]
    assert list(rows) == ["ia3_plus"] and rows["ia3_plus"]["no_gain_at"] == "0.9"
    # Another machine had full fine-tuning, and ia3_plus, which is measured anew here.
    full = rows["ia3_plus"] | {"test": [0.125, 0.0, 0.25], "trained": 19_000_000, "commit": "abc1234"}
    earlier = {"full": full, "ia3_plus": rows["ia3_plus"] | {"rate": 7}}
    write_json(exp / "earlier.json", {"methods": earlier})
    local.study.write_tables(exp, ["ia3_plus", "lora_r4", "head", "full"], exp / "earlier.json", 2, [])
    table = rows_of(exp)
    assert [*table] == ["method", "---", "base", "ia3_plus", "head", "full"]
    shown = "24,576 | 99,000 | 0.50 | 1024 | 25.0 [0.0, 50.0] | 25.0 to 37.5 | 67"
    assert " | ".join(table["ia3_plus"][1:8]) == shown and table["ia3_plus"][9] == "0.02"
    assert table["full"][7] == "100" and table["head"][10] == "–"
    assert "(commit abc1234)" in (exp / "methods.md").read_text()
    assert (exp / "figures/methods.csv").read_text().count("\n") == 5


def test_a_run_on_kaldi_directories(run_recipe, tmp_path, random_base):
    """Most stages with IA³, in a folder whose name a shell would read."""
    corpus = tmp_path / "Anna's notes & more"
    for name, letters, seconds in (("train", "abcdef", 11.0), ("dev", "gh", 1.5), ("test", "ij", 1.5)):
        files = {f"{name}-{x}": str(noise(tmp_path / f"{x}.wav", seconds)) for x in letters}
        said = [Utterance(id, name, id, file, text=f"word {id[-1]}") for id, file in files.items()]
        write_data_directory(corpus / name, said)
    shutil.copytree(corpus / "test", tmp_path / "other")
    options = ["--corpus", str(corpus), "--work-dir", str(tmp_path / "w"), "--size", "small", "--seeds", "1"]
    options += ["--base", str(random_base), "--methods", "ia3", "--rates", "ia3=1e-2", "--task", "own"]
    options += ["--out-of-domain", str(tmp_path / "other")]
    for stages in (("1", "1"), ("3", "100")):
        done = run_recipe(RECIPE, *options, "--stage", stages[0], "--stop-stage", stages[1])
        assert done.returncode == 0, done.stdout + done.stderr
    assert "| ia3 | " in done.stdout and "| base | " in done.stdout
