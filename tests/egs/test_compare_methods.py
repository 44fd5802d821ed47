"""egs/compare_methods: the table, with rows of an earlier run; options that can't be meant."""

import json
import shutil

import pytest
from corpus_files import noise

from ia3_speech.atomic import write_json
from ia3_speech.commands import score as scoring
from ia3_speech.data.kaldi import write_data_directory
from ia3_speech.data.utterance import Utterance

RECIPE = "compare_methods"
MODULES = ("methods",)
SAID = {"a-1": "one two three four", "b-1": "seven eight nine ten"}
HEARD = {  # one word wrong for each x
    "base": ("x x three four", "x x nine ten"),
    "ia3_plus_seed1": ("one two three four", "x x nine ten"),
    "ia3_plus_seed2": ("x two three four", "x x nine ten"),
    "head_seed1": ("x two three four", "x x nine x"),
}


@pytest.fixture
def exp(tmp_path):
    """Three systems, decoded and scored on test and on other speech, as trained and timed."""
    noise(tmp_path / "a.wav")
    said = [Utterance(id, id[0], id, str(tmp_path / "a.wav"), text=text) for id, text in SAID.items()]
    exp = tmp_path / "exp"
    for name in ("test", "out_of_domain"):
        write_data_directory(tmp_path / name, said)
        for system, texts in HEARD.items():
            folder = exp / system / f"decode_greedy_{name}"
            folder.mkdir(parents=True)
            lines = (f"{id} {text}\n" for id, text in zip(SAID, texts, strict=True))
            (folder / "text").write_text("".join(lines))
            write_json(folder / "decode.json", {"adapter": None})
            scoring.main(tmp_path / name, folder, None if system == "base" else exp / "base" / folder.name)
            train = {"trainable": 24576, "bytes": 99000, "seconds_per_step": 9.0, "dev_wer": 0.2}
            write_json(exp / system / "train.json", train | {"peak_memory_bytes": 2**30})
            (exp / system / "config.yaml").write_text("learning_rate: 0.02\n")
    (exp / "base/train.json").unlink()
    write_json(exp / "rates/ia3_plus_rate9e-1_seed1/train.json", {"selected_epoch": 0})
    for method in ("ia3_plus", "head"):
        write_json(exp / f"forward/{method}.json", {"one": 1.01, "sixteen": None})
        write_json(exp / f"timed/{method}/train.json", {"seconds_per_step": 0.5})
    return exp


def test_rows_of_an_earlier_run_stand_beside_those_of_this_one(local, exp, monkeypatch):
    monkeypatch.setenv("IA3_SPEECH_COMMAND", "bash run.sh")
    local.methods.table(exp, "ia3_plus lora_r4 full")
    rows = json.loads((exp / "methods.json").read_text())["methods"]
    assert list(rows) == ["ia3_plus"] and rows["ia3_plus"]["no_gain_at"] == "9e-1"
    # Another machine had full fine-tuning, and ia3_plus, which is measured anew here.
    earlier = {
        "full": rows["ia3_plus"] | {"test": [0.125, 0.0, 0.25], "trained": 19_000_000, "commit": "abc1234"}
    }
    write_json(exp / "earlier.json", {"methods": earlier | {"ia3_plus": rows["ia3_plus"] | {"rate": 7}}})
    local.methods.table(exp, "ia3_plus lora_r4 head full", exp / "earlier.json")
    lines = (exp / "methods.md").read_text().splitlines()
    table = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in lines if line.startswith("| ")}
    assert [*table] == ["method", "---", "base", "ia3_plus", "head", "full"]
    assert table["ia3_plus"][1:8] == [
        "24,576",
        "99,000",
        "0.50",
        "1024",
        "25.0 [0.0, 50.0]",
        "25.0 to 37.5",
        "67",
    ]
    assert table["ia3_plus"][9] == "0.02" and table["full"][7] == "100" and table["head"][10] == "–"
    assert "- `bash run.sh` (commit abc1234)" in lines
    assert (exp / "figures/methods.csv").read_text().count("\n") == 5


def test_a_learning_curve_has_the_seeds_and_all_of_train(local, exp):
    for seed, system in enumerate(("ia3_plus_seed1", "head_seed1"), 1):
        shutil.copytree(exp / system, exp / f"curve/ia3_5_seed{seed}")
    local.methods.table(exp, "ia3_plus")
    assert (exp / "methods.md").read_text().splitlines()[-5:] == [
        "| minutes of train | ia3_plus: test WER %, median (range of seeds) |",
        "| --- | ---: |",
        "| 0 (the base) | 50.0 |",
        "| 5 | 37.5 (25.0 to 50.0) |",
        "| all | 31.2 (25.0 to 37.5) |",
    ]
    # Another machine measures on: the curve goes with the rows.
    shutil.copy(exp / "methods.json", exp / "earlier.json")
    for seed in (1, 2):
        (exp / f"curve/ia3_5_seed{seed}").rename(exp / f"curve/ia3_20_seed{seed}")
    local.methods.table(exp, "ia3_plus", exp / "earlier.json")
    text = (exp / "methods.md").read_text()
    assert "| 5 | 37.5 (25.0 to 50.0) |\n| 20 | 37.5 (25.0 to 50.0) |" in text
    assert (exp / "figures/curves.svg").is_file()


def test_any_corpus_is_taken_as_the_template_takes_it(run_recipe, tmp_path):
    """A folder of recordings and a CSV file; one without a dev set is refused."""
    options = ("--work-dir", str(tmp_path), "--stop-stage", "2")
    for name, sets in (("my notes", ("train", "dev", "test")), ("few", ("train", "test"))):
        rows = ["file,text,speaker,split"]
        for number, split in enumerate(2 * sets):
            noise(tmp_path / name / f"{number}.wav", 1.0)
            rows.append(f"{number}.wav,sentence {'abcdef'[number]},{split},{split}")
        (tmp_path / name / "list.csv").write_text("\n".join(rows) + "\n")
        done = run_recipe(RECIPE, "--corpus", str(tmp_path / name), *options)
        if "dev" in sets:
            assert done.returncode == 0 and "stage 2, validate my_notes" in done.stdout, done.stderr
        else:
            assert done.returncode == 1 and "data/few has no dev set" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "ia4"), "--methods: no method ia4 (there are bitfit bottleneck"),
        (("--out-of-domain", "none"), "--out-of-domain none: the table shows"),
        (("--task", "notes"), "--task must be orders, accent or own, not 'notes'"),
        (("--rates", "full=fast"), "--rates takes METHOD=RATE, as 'full=1e-4', not 'full=fast'"),
    ],
)
def test_what_can_not_be_meant_is_refused(run_recipe, tmp_path, options, message):
    done = run_recipe(RECIPE, "--corpus", str(tmp_path), "--work-dir", str(tmp_path), *options)
    assert done.returncode == 1 and f"error: {message}" in done.stderr
