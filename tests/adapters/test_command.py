"""ia3-speech adapters: every line that it prints, and its exit codes."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from ia3_speech.adapters import registry
from ia3_speech.adapters.card import BIOMETRIC
from ia3_speech.adapters.weights import weights_sha256

RECORD = {
    "base": "mini",
    "config": {"placements": ["key", "value"], "layers": "0-3", "train_head": False},
    "labels": {"speaker": "42", "accent": "scots"},
    "training": {"seed": 1, "dev_wer": 0.25},
    "created": "2026-01-02T03:04:05Z",
}


@pytest.fixture
def adapter(tmp_path):
    path = tmp_path / "exp/a/adapter"
    path.mkdir(parents=True)
    tensors = {"x.2.k_proj.ia3_key": np.ones(5), "x.2.v_proj.ia3_value": np.full(7, 0.5)}
    save_file(tensors, path / "ia3_speech.safetensors")
    (path / "ia3_speech.json").write_text(json.dumps(RECORD))
    return path


@pytest.fixture
def run(run_command):
    return lambda *words: run_command("adapters", *words)


def test_register_list_show_remove(run, adapter):
    home = registry.adapters_dir()
    assert run("list") == (0, "", f"no adapter is registered in {home} (register FOLDER NAME)\n")
    assert run("list", "--format", "json") == (0, "", "")
    assert run("register", adapter, "speaker42") == (0, f"speaker42: registered in {home}\n", "")
    assert run("list") == (
        0,
        "NAME       BASE  PLACEMENTS  PARAMETERS  LABELS\n"
        "speaker42  mini  key,value   12          speaker=42 accent=scots\n",
        "",
    )
    code, out, _ = run("show", "speaker42")
    assert code == 0
    sha, registered = weights_sha256(adapter), registry.registration_of(home / "speaker42")["registered"]
    assert out == (
        f"name:        speaker42\npath:        {home / 'speaker42'}\nbase:        mini\n"
        f"placements:  key,value\nlayers:      0-3\nparameters:  12\n"
        f"labels:      speaker=42 accent=scots\nbiometric:   yes\ntraining:    seed=1 dev_wer=0.25\n"
        f"created:     2026-01-02T03:04:05Z\nsha256:      {sha}\n"
        f"source:      {adapter}\nregistered:  {registered}\n"
        f"\n{BIOMETRIC}\n\n"
        "LAYER  PLACEMENT  PARAMETERS    MIN   MEAN    MAX  BELOW 0.9  ABOVE 1.1\n"
        "    2  key                 5  1.000  1.000  1.000       0.0%       0.0%\n"
        "    2  value               7  0.500  0.500  0.500     100.0%       0.0%\n"
        "  all  key                 5  1.000  1.000  1.000       0.0%       0.0%\n"
        "  all  value               7  0.500  0.500  0.500     100.0%       0.0%\n"
    )
    assert run("remove", "speaker42") == (0, f"speaker42: removed from {home}\n", "")
    assert registry.registered_names() == []


def test_json(run, adapter):
    run("register", adapter, "a")
    run("register", adapter, "b")
    lines = run("list", "--format=json").out.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["a", "b"]
    shown = json.loads(run("show", adapter, "--format", "json").out)  # by its path: it has no name
    assert "name" not in shown and "source" not in shown
    assert (shown["path"], shown["parameters"], shown["labels"]) == (str(adapter), 12, RECORD["labels"])
    assert shown["biometric"] is True
    assert shown["vectors"][1] == {
        "layer": 2, "placement": "value", "parameters": 7, "min": 0.5, "mean": 0.5, "max": 0.5,
        "inhibiting": 1.0, "amplifying": 0.0,
    }  # fmt: skip
    assert shown["placements"] == ["key", "value"]
    of_head = {"method": "head", "placements": ["key"], "layers": "all"}  # of the options' defaults
    (adapter / "ia3_speech.json").write_text(json.dumps(RECORD | {"config": of_head}))
    shown = json.loads(run("show", adapter, "--format", "json").out)
    assert shown["method"] == "head" and not {"placements", "layers"} & shown.keys()


def test_an_adapter_that_says_nothing_is_listed(run, adapter):
    run("register", adapter, "a")
    path = registry.adapters_dir() / "a"
    (path / "ia3_speech.json").write_text("not JSON")
    (path / "ia3_speech.safetensors").write_bytes(b"")
    line = "a     -     -           -           -"
    assert run("list").out == f"NAME  BASE  PLACEMENTS  PARAMETERS  LABELS\n{line}\n"
    assert "damaged: copy it again" in run("show", "a").out
    assert run("show", "a", "--plot", "a.svg").code == 1


def test_plot(run, adapter, tmp_path):
    run("register", adapter, "s42")
    assert run("show", "s42", "--plot", tmp_path / "new/s42.svg").code == 0
    drawing = (tmp_path / "new/s42.svg").read_text()
    assert "<title>s42</title>" in drawing and "layer 2, value: 5, 25, 50, 75 and 95 % lie" in drawing
    run("show", adapter, "--plot", tmp_path / "a.svg")
    assert "<title>IA³ adapter: speaker 42, accent scots</title>" in (tmp_path / "a.svg").read_text()
    shown = run("show", adapter, "--plot", tmp_path / "a.jpg")
    assert shown.code == 1 and "a.jpg: a picture ends in .svg, .pdf, .png" in shown.err


def test_card(run, adapter, tmp_path):
    """Scores of two test sets, by card and by register; those of one set are replaced."""

    def score_file(name, data, wer=0.4):
        (tmp_path / name).mkdir()
        change = {"baseline": 0.5, "relative": wer / 0.5 - 1, "relative_ci": None}
        score = {"schema": 1, "data": data, "wer": wer, "wer_ci": [wer - 0.1, wer + 0.1], "words": 9}
        score |= {"ci_unit": "speaker", "cer": 0.1, "changes": {"wer": change}}
        (tmp_path / name / "score.json").write_text(json.dumps(score))
        return tmp_path / name / "score.json"

    scores = [score_file(name, f"data/x/{name}") for name in ("test", "other")]
    experiment = adapter.parent
    assert run("card", experiment, "--name", "s42", "--score", *scores) == (
        0, f"{adapter / 'README.md'}: written\n", "",
    )  # fmt: skip
    text = (adapter / "README.md").read_text()
    row = "| 40.0% | 30.0%–50.0% | 50.0% | -20.0% | 10.0% | 9 | speakers |"
    assert "# s42\n" in text and f"| x/test {row}\n| x/other {row}\n" in text
    shown = "scores:      x/test: WER 40.0% (30.0%–50.0%); x/other: WER 40.0% (30.0%–50.0%)\n"
    assert shown in run("show", adapter).out
    assert run("card", tmp_path / "none").code == 1
    run("card", adapter, "--name", "other")
    assert run("register", experiment, "s42", "--score", *scores).code == 0
    assert (
        (registry.adapters_dir() / "s42/README.md").read_text() == (adapter / "README.md").read_text() == text
    )
    code, _, err = run("register", adapter, "s43", "--score", tmp_path / "none.json")
    assert code == 1 and err.startswith(f"error: {tmp_path / 'none.json'}: ")
    assert not (registry.adapters_dir() / "s43").exists()
    run("card", adapter, "--score", score_file("again", "data/x/test", 0.3))
    record = json.loads((adapter / "ia3_speech.json").read_text())
    assert [(score["set"], score["wer"]) for score in record["scores"]] == [("x/other", 0.4), ("x/test", 0.3)]
    assert record | {"scores": []} == RECORD | {"scores": []}
    twice = [score_file(name, f"/{name}/test") for name in ("one", "two")]
    assert "two of the scores are of sets called test, " in run("card", adapter, "--score", *twice).err
    scores[0].write_text('{"schema": 2, "wer": 1}')
    code, _, err = run("card", adapter, "--score", scores[0])
    assert code == 1 and "score.json: " in err and "(ia3-speech score writes it)" in err


def test_errors(run, adapter):
    run("register", adapter, "speaker42")
    assert run("show", "speaker24") == (
        1, "", "error: speaker24: no adapter has this name (nearest names: speaker42)\n",
    )  # fmt: skip
    assert run("remove", "x").code == run("register", "/none", "x").code == 1
    assert run("register", adapter, "a/b") == (
        1, "", "error: 'a/b' can't be an adapter's name: it holds / (letters, digits, - and _ are safe)\n",
    )  # fmt: skip
    save_file({"x.2.k_proj.ia3_key": np.full(5, np.nan)}, adapter / "ia3_speech.safetensors")
    code, _, err = run("register", adapter, "nan")
    assert code == 1 and "x.2.k_proj.ia3_key holds NaN" in err
    assert registry.registered_names() == ["speaker42"]
    for wrong in ((), ("nonsense",), ("register", adapter), ("list", "--format", "xml")):
        assert run(*wrong).code == 2


COMMANDS = ("list", "show", "register", "remove", "card", "push", "pull", "combine", "export")
SCRIPT = """
import sys
from ia3_speech.commands import run
for argv in {argvs}:
    try:
        run("adapters", argv)
    except SystemExit as end:
        print(end.code, {{"torch", "transformers", "huggingface_hub"}} & set(sys.modules), file=sys.stderr)
"""


def test_help_and_mistakes_load_no_torch():
    """Nor do the sub-commands, sums and the registry; an unknown adapter and a mistyped flag are refused
    before."""
    helps = [["--help"], *([command, "--help"] for command in COMMANDS)]
    mistakes = [["combine", "nobody:0.5+me", "--out", "x"], ["export", "nobody", "--out", "x"]]
    flags = [[command, "a", "--nonsense"] for command in COMMANDS]
    script = SCRIPT.format(argvs=helps + mistakes + flags)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    codes = [line for line in done.stderr.splitlines() if line.endswith("set()")]
    assert codes == ["0 set()"] * len(helps) + ["1 set()"] * len(mistakes) + ["2 set()"] * len(flags)
    assert done.stdout.count("usage: ") == len(helps)
