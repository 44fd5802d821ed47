"""Methods beside IA³: trained, saved, loaded and decoded with; and what each refuses."""

import warnings
from pathlib import Path

import pytest
import torch
import yaml
from tiny_models import tiny, tiny_processor

from ia3_speech import Bank, load, load_adapter, load_base
from ia3_speech.adapters.merge import export_terms
from ia3_speech.adapters.methods import METHODS, add_user_method, insert, load_any, save_method
from ia3_speech.adapters.record import read_record, write_record
from ia3_speech.adapters.spec import parse_sum
from ia3_speech.common.cli import CONFIGURATIONS
from ia3_speech.common.errors import AdapterError
from ia3_speech.model.base import Base, make_base
from ia3_speech.training.run import train
from tests.commands.test_train import bad_start, options_of, record, tensors

ROOT = Path(__file__).parents[2]
PRESETS = ("dora", "ln_tuning", "lora", "vera")
STUDY = ROOT / "egs/compare_methods"
OF_STUDY = ("bitfit", "bottleneck", "full", "head", "prompt")
STABLE = {"stable": True, "norm": "layer"}  # transformers has bottleneck adapters in such layers alone
WAVES = [torch.randn(n, generator=torch.Generator().manual_seed(n)).numpy() for n in (9_000, 6_000)]

__all__ = ["bad_start"]  # a fixture


@pytest.fixture
def place(tmp_path, save_base) -> Path:
    """A folder with a small base and data to train on."""
    save_base(tmp_path / "base", hidden_dropout=0.1, mask_time_prob=0.1, mask_time_length=2, **STABLE)
    record(tmp_path / "train", 12)
    record(tmp_path / "dev", 4, seed=1)
    return tmp_path


def preset(method: str) -> dict:
    """What `--config METHOD` sets, and for a method of the study its file; of peft:FILE, OFT."""
    if method == "peft":
        return {"method": "peft:oft.json"}
    if method in PRESETS:
        return yaml.safe_load((CONFIGURATIONS / f"{method}.yaml").read_text())
    options = yaml.safe_load((STUDY / f"conf/{method}.yaml").read_text())
    return options | {"method": f"{STUDY}/local/methods.py:{method}"}


@pytest.fixture
def study_methods(monkeypatch):
    """The methods of egs/compare_methods are added, and forgotten after the test."""
    for name in OF_STUDY:
        monkeypatch.setitem(METHODS, name, None)
        add_user_method(f"{STUDY}/local/methods.py:{name}")


def config_of(method: str, **changes) -> dict:
    """A method's record for the small models."""
    options = preset(method).get("method_options", {})
    if method == "peft":
        options = {"peft_type": "HRA", "r": 2}
    return {"method": method, "placements": ["query", "value"], "layers": "all", "options": options} | changes


def with_values(base: Base, config: dict) -> Base:
    """The base with a method's parameters in it, moved away from where they start."""
    inserted, generator = insert(base.model, config), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in inserted.parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return base


@pytest.mark.parametrize("method", ["lora", "peft", "prompt"])
@pytest.mark.usefixtures("study_methods")
def test_a_method_trains_and_decode_takes_it(method, place, bad_start, run_command, monkeypatch):
    monkeypatch.chdir(place)
    (place / "oft.json").write_text('{"peft_type": "OFT", "oft_block_size": 4, "target_modules": ["q_proj"]}')
    settings = preset(method) | {"epochs": 2, "batch_seconds": 2.0, "learning_rate": 0.05}
    summary = train(options_of(place, "whole", **settings))
    [file] = (place / "whole/adapter").glob("*.safetensors")
    assert summary["bytes"] == file.stat().st_size
    assert summary["trainable"] == sum(tensor.numel() for tensor in tensors(place, "whole").values())
    done = run_command("decode", "--adapter", place / "whole", place / "dev", place / "decode")
    assert done.code == 0, done.err
    text = load(place / "base", adapter=place / "whole").transcribe(place / "audio/dev/0.wav").text
    assert f"s0-00 {text}".strip() in (place / "decode/text").read_text().splitlines()
    name = read_record(place / "whole/adapter")["config"]["method"]
    card = (place / "whole/adapter/README.md").read_text()
    assert f"by {name}" in card and "IA³" not in card


def test_a_users_method_as_documented(place, run_command, monkeypatch):
    """Trained and decoded with; its file is the user's, and never what an adapter's record names."""
    monkeypatch.chdir(place)
    documented = (ROOT / "docs/architecture.md").read_text("utf-8").partition("**An adapter method**")[2]
    (place / "gain.py").write_text(documented.partition("```python\n")[2].partition("```")[0])
    words = ["--method", "gain.py:gain", "--base", place / "base", "--train", place / "train"]
    words += ["--dev", place / "dev", "--epochs", 1, "--out", "exp"]
    trained = run_command("train", *words)
    assert trained.code == 0 and "32 parameters" in trained.out, trained.err
    decode = ["decode", "--adapter", "exp", place / "dev", "decoded"]
    assert run_command(*decode, "--method", "gain.py:gain").code == 0
    monkeypatch.delitem(METHODS, "gain")  # as in another process
    refused = run_command(*decode[:-1], "again")
    assert refused.code == 1 and "no method gain" in refused.err and "--method FILE.py:NAME" in refused.err
    record = read_record(place / "exp/adapter")
    (place / "gain.py").write_text("raise SystemExit('was run')")
    write_record(place / "exp/adapter", record | {"config": record["config"] | {"method": "gain.py:gain"}})
    assert "no method gain.py:gain" in run_command(*decode[:-1], "again").err
    changed = run_command("train", *words)
    assert changed.code == 1 and "holds a run from other inputs (method)" in changed.err


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *(("wav2vec2-stable", method) for method in (*PRESETS, "peft")),
        *(("wav2vec2-stable", method) for method in OF_STUDY),
        *(("wavlm", method) for method in ("lora", "full")),  # whose attention is replaced
        *((kind, "prompt") for kind in ("conformer", "wavlm")),
    ],
)
@pytest.mark.usefixtures("study_methods")
def test_a_saved_adapter_gives_the_same_logits_and_rows_do_not_mix(kind, method, processor, tmp_path):
    trained, plain, loaded = (
        make_base(tiny(kind), tiny_processor(kind, processor.tokenizer), "tiny") for _ in range(3)
    )
    save_method(with_values(trained, config_of(method)), tmp_path / "adapter", {}, {})
    load_any(loaded, parse_sum(tmp_path / "adapter"))
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    for wave, row in zip(WAVES, trained.logits(WAVES), strict=True):
        alone = trained.logits([wave])[0]
        assert torch.equal(loaded.logits([wave])[0], alone)
        assert not torch.allclose(plain.logits([wave])[0], alone, atol=1e-3)
        torch.testing.assert_close(row, alone, atol=1e-5, rtol=1e-4)


def test_peft_reads_our_lora_and_we_read_its(tiny_base, tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    ours = with_values(tiny_base(), config_of("lora"))
    save_method(ours, tmp_path / "ours", {}, {})
    theirs = PeftModel.from_pretrained(tiny_base().model, tmp_path / "ours").eval()
    values = torch.randn(1, 9_000)
    assert torch.equal(theirs(values).logits, ours.model.eval()(values).logits)
    settings = LoraConfig(target_modules=["k_proj"], init_lora_weights=False)
    written = get_peft_model(tiny_base().model, settings)
    with warnings.catch_warnings(action="ignore"):
        written.save_pretrained(tmp_path / "theirs", save_embedding_layers=False)
    base = tiny_base()
    load_any(base, parse_sum(tmp_path / "theirs"))
    assert torch.equal(base.model(values).logits, written.eval()(values).logits)


@pytest.fixture
def lora(random_base, tmp_path) -> Path:
    """A LoRA adapter of `random_base`."""
    base = with_values(load_base(random_base), config_of("lora"))
    save_method(base, tmp_path / "lora", {}, {})
    return tmp_path / "lora"


def test_sums_banks_merging_and_starts_are_ia3s_alone(lora, random_base, place):
    base = load_base(random_base)
    for use in (
        lambda: Bank(base).add("a", lora),
        lambda: load_adapter(base.model, lora),
        lambda: load(random_base, adapter=f"{lora}:0.5"),
        lambda: export_terms(parse_sum(lora), place / "merged"),
        lambda: train(options_of(place, base=str(random_base), init_adapter=str(lora))),
    ):
        with pytest.raises(AdapterError, match=r"its method is lora; sums, banks, merging.* need IA³"):
            use()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"method": "lorra"}, "no method lorra"),
        ({"method": "bottleneck"}, "its layers take no adapter"),
        ({"options": {"rr": 3}}, "LORA has no option rr"),
        ({"options": {"target_modules": ["unused"]}}, "no effect of wav2vec2"),
    ],
)
@pytest.mark.usefixtures("study_methods")
def test_a_method_that_trains_nothing_or_changes_nothing_is_an_error(config, message, tiny_base):
    model = tiny_base().model
    model.wav2vec2.encoder.layers[0].unused = torch.nn.Linear(4, 4)
    with pytest.raises(AdapterError, match=message):
        insert(model, config_of("lora", options={}) | config)
