"""Sums by name, everywhere that an adapter is taken: what a sum does, an adapter made by hand does too."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ia3_speech import IA3Config, attach, detach, load_adapter, load_base, save_adapter
from ia3_speech import decode as decode_module
from ia3_speech.adapters import registry
from ia3_speech.adapters.__main__ import main
from ia3_speech.adapters.adapter import Adapter
from ia3_speech.adapters.combine import combine
from ia3_speech.adapters.expressions import parse_terms
from ia3_speech.adapters.io import adapter_of
from ia3_speech.adapters.load import read_sum
from ia3_speech.adapters.record import METADATA, read_metadata, recorded_base
from ia3_speech.adapters.weights import weights_sha256
from ia3_speech.cli import command
from ia3_speech.data.kaldi import write_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.loading import load
from ia3_speech.model import ia3
from ia3_speech.model.architectures import AdapterError
from ia3_speech.model.attach import trainable
from ia3_speech.training.config import TrainingOptions
from ia3_speech.training.run import train
from ia3_speech.transcribe import transcribe

WAVE = np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32)


def draw(model, seed: int) -> None:
    """Random numbers into all that is trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in trainable(model):
            parameter.copy_(14 * torch.rand(parameter.shape, generator=generator) - 6)


def same(a: Adapter, b: Adapter) -> bool:
    """Bit for bit."""
    mine, other = a.vectors | a.head, b.vectors | b.head
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


@pytest.fixture
def pair(tiny_folder, tmp_path, monkeypatch) -> Path:
    """accent and medical, registered, for the base that is returned; they share their language."""
    base = load_base(tiny_folder)
    made = {
        "accent": (1, IA3Config(("key", "value", "ffn"), "0-1"), {"language": "en", "accent": "scots"}),
        "medical": (2, IA3Config(("ffn", "attention_output"), "1-2", True), {"language": "en"}),
    }
    for name, (seed, config, labels) in made.items():
        attach(base.model, config, check=False)
        draw(base.model, seed)
        save_adapter(base.model, tmp_path / "made" / name, base=base, labels=labels)
        detach(base.model)
        registry.register(tmp_path / "made" / name, name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    soundfile.write("a.wav", WAVE, 16_000)
    return tiny_folder


def by_hand(folder: Path, weights: dict[str, float]) -> Path:
    """The same sum, made without `combine`: an ordinary adapter in a folder."""
    base, found, heads = load_base(folder), {}, {}
    own = {name: p.detach().double().clone() for name, p in base.model.lm_head.named_parameters()}
    for name, weight in weights.items():
        load_adapter(base.model, registry.home() / name)
        for path, vector in ia3.vectors(base.model).items():
            found[path] = found.get(path, 1) + weight * (vector.l.detach().double() - 1)
        for key, p in base.model.lm_head.named_parameters():
            heads[key] = heads.get(key, own[key]) + weight * (p.detach().double() - own[key])
        detach(base.model)
    attach(base.model, IA3Config(("key", "value", "ffn", "attention_output"), "all", True), check=False)
    with torch.no_grad():
        for path, vector in ia3.vectors(base.model).items():
            vector.l.copy_(found.get(path, torch.ones_like(vector.l)))
        for key, p in base.model.lm_head.named_parameters():
            p.copy_(heads[key])
    return save_adapter(base.model, Path("by_hand"), base=base)


def test_a_sum_transcribes_as_the_adapter_made_by_hand(pair):
    hand = by_hand(pair, {"accent": 0.7, "medical": 0.5})
    summed = load(adapter="accent:0.7+medical:0.5").recognizer  # its base is recorded
    wanted, found = load(adapter=hand).recognizer.logits([WAVE])[0], summed.logits([WAVE])[0]
    assert (found - wanted).abs().max() <= 1e-5 * max(1, wanted.abs().max())
    text = transcribe("a.wav", adapter="accent:0.7+medical:0.5")
    assert (text.adapter, text.base) == ("accent:0.7+medical:0.5", str(pair))
    assert text.text == transcribe("a.wav", adapter=hand).text
    base, accent = transcribe("a.wav", base=pair).text, transcribe("a.wav", adapter="accent").text
    assert len({base, accent, text.text}) == 3
    for nothing in ("accent:0", "medical:0+accent:0", "accent+accent:-1"):
        assert transcribe("a.wav", adapter=nothing).text == base
    assert transcribe("a.wav", adapter="accent:1").text == accent
    assert transcribe("a.wav", adapter="medical:0+accent").text == accent


def test_an_exact_name_wins(pair):
    """PEFT's fault 6: a sum under an existing name is dropped in silence. Here the name is what it names."""
    registry.register(registry.home() / "accent", "accent+medical")
    exact, summed = load(adapter="accent+medical").recognizer, load(adapter="accent:1+medical:1").recognizer
    assert torch.equal(exact.logits([WAVE])[0], load(adapter="accent").recognizer.logits([WAVE])[0])
    assert not torch.equal(exact.logits([WAVE])[0], summed.logits([WAVE])[0])


def test_decode_records_the_terms(pair, tmp_path):
    write_data_directory(
        tmp_path / "data",
        [Utterance("s-1", "s", "s-1", str(Path("a.wav").absolute()), text="", duration=2.0)],
    )
    for out, flags in (("base", ["--base", str(pair)]), ("sum", ["--adapter", "accent:0.7+medical"]),
                       ("none", ["--adapter", "accent:0+medical:0"])):  # fmt: skip
        with pytest.raises(SystemExit) as caught:
            command(decode_module.main, [*flags, str(tmp_path / "data"), out])
        assert caught.value.code == 0
    said = {out: Path(out, "text").read_text() for out in ("base", "sum", "none")}
    assert said["base"] == said["none"] != said["sum"]
    home = registry.home()
    assert json.loads(Path("sum/decode.json").read_text())["adapter"] == {
        "name": "accent:0.7+medical",
        "terms": [
            {
                "name": name,
                "path": str(home / name),
                "sha256": weights_sha256(home / name),
                "weight": weight,
            }
            for name, weight in (("accent", 0.7), ("medical", 1.0))
        ],
    }


def test_training_starts_from_a_sum(pair, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("train", "dev"):
        utterances = []
        for i in range(2):
            soundfile.write(tmp_path / f"{name}{i}.wav", rng.standard_normal(12_000) * 0.1, 16_000)
            path = str(tmp_path / f"{name}{i}.wav")
            utterances.append(Utterance(f"s-{name}{i}", "s", f"s-{name}{i}", path, text="no", duration=0.75))
        write_data_directory(tmp_path / name, utterances)
    options = TrainingOptions(
        train=tmp_path / "train", dev=tmp_path / "dev", out=tmp_path / "exp", base=str(pair),
        init_adapter="accent:0.7+medical:0.5", epochs=1, train_head=True,
        learning_rate=1e-12, head_learning_rate=1e-12, speeds=[1.0],
    )  # fmt: skip
    train(options)
    model = load_base(pair).model
    start = read_sum(model, parse_terms("accent:0.7+medical:0.5"))
    assert same(adapter_of(load_adapter(model, tmp_path / "exp/adapter")), start)


def test_terms_of_other_tools_and_other_bases(pair, tiny_model, tmp_path):
    """A PEFT folder is a term like any other; an adapter of another base is none."""
    theirs = tmp_path / "made/accent"
    (theirs / METADATA).unlink()
    model = load_base(pair).model
    assert recorded_base(theirs) == str(pair)
    found, ours = (read_sum(model, parse_terms(f"{a}+medical:2")) for a in (theirs, "accent"))
    assert same(found, ours) and found.metadata.base == str(pair) and found.metadata.labels == {}
    other = attach(tiny_model(seed=5), IA3Config(("key",)), check=False)
    draw(other, 1)
    save_adapter(other, tmp_path / "other")
    message = (
        r"^accent was trained on .*tiny_base.*, and .*other on .*: only adapters of one base can be added"
    )
    with pytest.raises(AdapterError, match=message):
        load(adapter=f"accent+{tmp_path / 'other'}")


# ---- the command


@pytest.fixture
def run(capsys):
    """A function that runs `combine`: exit code, stdout, stderr."""

    def outcome(*argv):
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["combine", *map(str, argv)])
        printed = capsys.readouterr()
        return caught.value.code, printed.out, printed.err

    return outcome


def test_combine_writes_an_adapter_and_how_it_was_made(run, pair):
    expression, home = "accent:0.7+medical:0.5", registry.home()
    count = 3 * (32 + 32 + 48 + 32) + 29 * 32 + 29
    assert run(expression, "--out", "exp/both") == (0, f"exp/both: {expression}, {count:,} parameters\n", "")
    model = load_base(pair).model
    written = read_sum(model, parse_terms("exp/both"))
    assert same(written, read_sum(model, parse_terms(expression)))
    metadata = read_metadata(Path("exp/both"))
    assert (metadata.base, metadata.labels) == (str(pair), {"language": "en"})
    assert metadata.training == {
        "expression": expression,
        "method": "linear",
        "terms": [
            {"name": name, "weight": weight, "sha256": weights_sha256(home / name)}
            for name, weight in (("accent", 0.7), ("medical", 0.5))
        ],
    }
    assert metadata.fingerprint == read_metadata(home / "accent").fingerprint
    assert run("medical+accent:-1", "--name", "clinic", "--base", pair)[:2] == (
        0, f"{home / 'clinic'}: medical+accent:-1, {count:,} parameters\n",
    )  # fmt: skip
    assert same(adapter_of(load_adapter(model, "clinic")), read_sum(model, parse_terms("medical+accent:-1")))


def test_combine_average_interpolate_log(run, pair):
    model = load_base(pair).model
    assert run("accent+medical", "--average", "--out", "mean")[0] == 0
    assert read_metadata(Path("mean")).training["expression"] == "accent:0.5+medical:0.5"
    accent, medical = (read_sum(model, parse_terms(name)) for name in ("accent", "medical"))
    assert same(read_sum(model, parse_terms("mean")), combine(model, [accent, medical], [0.5, 0.5]))
    assert run("accent+medical", "--interpolate", "0.25", "--out", "between")[0] == 0
    assert same(read_sum(model, parse_terms("between")), combine(model, [accent, medical], [0.25, 0.75]))
    code, _, err = run("accent+medical", "--method", "log", "--out", "product")
    assert code == 1 and "and the method log needs positive numbers (take the method linear)" in err
    assert not Path("product").exists()


def test_combine_average_of_experiments(run, pair, tmp_path):
    """As recipes/adapt.sh calls it: the mean of several seeds, with what all of their trainings took."""
    for seed, name in ((1, "accent"), (2, "medical")):
        experiment = tmp_path / f"exp/ia3_seed{seed}"
        shutil.copytree(registry.home() / name, experiment / "adapter")
        (experiment / "train.json").write_text(
            json.dumps({"trainable": 336, "seconds": 1.5 * seed, "seed": seed})
        )
    words = ["--average", *(tmp_path / f"exp/ia3_seed{seed}/adapter" for seed in (1, 2)), "--force"]
    out = tmp_path / "exp/ia3_average/adapter"
    assert run(*words, "--out", out) == run(*words, "--out", out) == (
        0, f"{out}: ia3_seed1:0.5+ia3_seed2:0.5, 1,389 parameters\n", "",
    )  # fmt: skip
    assert json.loads((out.parent / "train.json").read_text()) == {
        "trainable": 336, "seconds": 4.5,
    }  # fmt: skip
    training, mean = read_metadata(out).training, load_base(pair).model
    assert training["expression"] == "ia3_seed1:0.5+ia3_seed2:0.5"
    assert [(term["name"], term["weight"]) for term in training["terms"]] == [
        ("ia3_seed1", 0.5),
        ("ia3_seed2", 0.5),
    ]
    wanted = read_sum(mean, parse_terms("accent:0.5+medical:0.5"))
    assert same(read_sum(mean, parse_terms(out)), wanted)
    (tmp_path / "exp/ia3_seed2/train.json").unlink()  # not what training left, so there is no summary
    other = tmp_path / "exp/other/adapter"
    assert run(*words, "--out", other)[0] == 0 and not (other.parent / "train.json").exists()


def test_combine_replaces_nothing_unasked(run, pair):
    """PEFT's fault 6: add_weighted_adapter with an existing name returns without a word."""
    assert run("accent:2", "--name", "medical")[2].startswith("error: medical: another adapter has this name")
    assert run("accent:2", "--name", "medical", "--force")[0] == 0
    assert read_metadata(registry.home() / "medical").training["expression"] == "accent:2"
    assert run("accent:2", "--out", "x")[0] == 0
    assert run("accent:3", "--out", "x") == (
        1, "", "error: x: holds another adapter (replace it with --force)\n",
    )  # fmt: skip
    assert run("accent:3", "--out", "x", "--force")[0] == 0
    assert read_metadata(Path("x")).training["expression"] == "accent:3"
    assert run("accent:3", "--out", ".", "--force") == (
        1, "", "error: .: exists, and is no adapter (give another --out)\n",
    )  # fmt: skip


def test_combine_of_one_term_of_another_tool_is_ours(run, pair, tmp_path):
    theirs = tmp_path / "made/accent"
    (theirs / METADATA).unlink()
    assert run(theirs, "--out", "x")[0] == 0
    metadata, wanted = read_metadata(Path("x")), read_metadata(registry.home() / "accent")
    assert (metadata.base, metadata.config, metadata.fingerprint) == (
        str(pair), wanted.config, wanted.fingerprint,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["accent"], "say where to write it: --out FOLDER, or --name NAME to register it"),
        (["accent", "--out", "x", "--name", "y"], "say where to write it"),
        (["accent", "--name", "a/b"], "'a/b' can't be an adapter's name: it holds /"),
        (["accent+medcal", "--out", "x"], "medcal: no adapter has this name (nearest names: medical), in "),
        (["accent:2+medical", "--average", "--out", "x"], "--average sets the weights (leave out that of "),
        (["accent", "--interpolate", "0.5", "--out", "x"], "--interpolate takes two adapters"),
        (["accent", "--interpolate", "0.5", "--average", "--out", "x"], "both set the weights"),
        (["accent:2", "--base", "/none", "--out", "x"], "no base '/none'"),
    ],
)  # fmt: skip
def test_combine_errors(run, pair, argv, message):
    code, out, err = run(*argv)
    assert (code, out) == (1, "") and err.startswith("error: ") and message in err
    assert not Path("x").exists()
