"""ia3-speech adapters: every line that it prints, and its exit codes."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from ia3_speech import IA3Config, attach, load_base, save_adapter
from ia3_speech.adapters import registry
from ia3_speech.adapters.card import BIOMETRIC
from ia3_speech.adapters.weights import weights_sha256

RECORD = {
    "schema": 1,
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
    shown = dict(line.split(":", 1) for line in out.partition("\n\n")[0].splitlines())
    assert shown["source"].strip() == str(adapter) and shown["sha256"].strip() == weights_sha256(adapter)
    assert BIOMETRIC in out and out.endswith(
        "LAYER  PLACEMENT  PARAMETERS    MIN   MEAN    MAX  BELOW 0.9  ABOVE 1.1\n"
        "    2  key                 5  1.000  1.000  1.000       0.0%       0.0%\n"
        "    2  value               7  0.500  0.500  0.500     100.0%       0.0%\n"
        "  all  key                 5  1.000  1.000  1.000       0.0%       0.0%\n"
        "  all  value               7  0.500  0.500  0.500     100.0%       0.0%\n"
    )
    assert run("remove", "speaker42") == (0, f"speaker42: removed from {home}\n", "")
    (adapter / "guard.json").write_text(5_000_000 * " ")
    assert "guard.json: larger than 64 kB" in run("register", adapter, "speaker42").err
    assert registry.registered_names() == []
    assert registry.registered_names() == []


def test_the_base_mini_is_called_mini_in_pefts_files(run, tmp_path):
    """PEFT itself writes the path of the installation."""
    from peft import IA3Config as PeftConfig
    from peft import get_peft_model

    save_adapter(attach(load_base("mini").model, IA3Config()), tmp_path / "ours")
    config = json.loads((tmp_path / "ours/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "mini"
    options = {"target_modules": ["k_proj", "v_proj"], "feedforward_modules": []}
    get_peft_model(load_base("mini").model, PeftConfig(**options)).save_pretrained(tmp_path / "theirs")
    config = json.loads((tmp_path / "theirs/adapter_config.json").read_text())
    assert config["base_model_name_or_path"].endswith("ia3_speech/mini")
    run("register", tmp_path / "theirs", "theirs")
    assert run("list").out.splitlines()[1].split()[:2] == ["theirs", "mini"]


def test_json(run, adapter):
    run("register", adapter, "a")
    run("register", adapter, "b")
    lines = run("list", "--format=json").out.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["a", "b"]
    shown = json.loads(run("show", adapter, "--format", "json").out)  # by its path: it has no name
    assert "name" not in shown and "source" not in shown
    assert (shown["path"], shown["parameters"], shown["labels"]) == (str(adapter), 12, RECORD["labels"])
    assert shown["placements"] == ["key", "value"] and shown["vectors"][1]["max"] == 0.5
