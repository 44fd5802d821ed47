"""adapters.peft_layout: PEFT reads what we write, and we read what PEFT writes, with equal logits."""

import json

import pytest
import torch
from safetensors.torch import load_file

from ia3_speech import attach, load_adapter, save_adapter
from ia3_speech.adapters.record import CARD, METADATA, OWN_WEIGHTS, PEFT_CONFIG, PEFT_WEIGHTS, recorded_base
from ia3_speech.model.architectures import AdapterError, IA3Config
from ia3_speech.model.attach import is_attached
from ia3_speech.model.base import MINI
from ia3_speech.model.ia3 import vectors

WAVE = torch.randn(1, 8_000, generator=torch.Generator().manual_seed(1))
KEY = "base_model.model.wav2vec2.encoder.layers.1.attention.k_proj.ia3_l"
FFN = "wav2vec2.encoder.layers.{}.feed_forward.output_dense"


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(WAVE).logits


def equal(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """The issue's tolerance for two ways to compute the same in fp32."""
    return float((found - expected).abs().max()) <= 1e-5 * max(1.0, float(expected.abs().max()))


def adapted(model, placements=("key", "value", "ffn"), layers="all", head=False):
    attach(model, IA3Config(placements, layers, head))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for vector in vectors(model).values():
            vector.l.copy_(torch.rand(vector.l.shape, generator=generator) + 0.5)
        if head:
            model.lm_head.weight.mul_(1.5)
    return model


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- out


def config_file(**changes) -> dict:
    return {
        "auto_mapping": {
            "base_model_class": "Wav2Vec2ForCTC",
            "parent_library": "transformers.models.wav2vec2.modeling_wav2vec2",
        },
        "base_model_name_or_path": "",
        "exclude_modules": None,
        "fan_in_fan_out": False,
        "feedforward_modules": ["output_dense"],
        "inference_mode": True,
        "init_ia3_weights": True,
        "modules_to_save": None,
        "peft_type": "IA3",
        "peft_version": "0.21.2",
        "revision": None,
        "target_modules": ["k_proj", "output_dense", "v_proj"],
        "task_type": None,
    } | changes


def test_the_files_are_pefts_to_the_byte(tiny_model, tmp_path):
    save_adapter(adapted(tiny_model()), tmp_path / "a")
    assert names(tmp_path / "a") == [CARD, PEFT_CONFIG, PEFT_WEIGHTS, METADATA]
    written = (tmp_path / "a" / PEFT_CONFIG).read_text()
    assert written == json.dumps(config_file(), indent=2, sort_keys=True) + "\n"
    tensors = load_file(tmp_path / "a" / PEFT_WEIGHTS)
    assert len(tensors) == 9 and all(t.dtype == torch.float32 for t in tensors.values())
    assert tensors[KEY].shape == (32, 1)
    assert tensors[f"base_model.model.{FFN.format(1)}.ia3_l"].shape == (1, 48)


def test_ranges_of_layers_are_written_as_full_module_names(tiny_model, tmp_path):
    save_adapter(adapted(tiny_model(), ("value", "ffn"), "1"), tmp_path / "a")
    config = json.loads((tmp_path / "a" / PEFT_CONFIG).read_text())
    assert config["feedforward_modules"] == [FFN.format(1)]
    assert config["target_modules"] == ["wav2vec2.encoder.layers.1.attention.v_proj", FFN.format(1)]


@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert", "data2vec-audio"])
@pytest.mark.parametrize(
    ("placements", "layers", "head"),
    [
        (("key", "value", "ffn"), "all", False),
        (("key", "value", "ffn"), "0,2", True),
        (("ffn_output", "attention_output", "query", "ffn_inner"), "all", False),
    ],
)
def test_peft_loads_ours(tiny_model, tmp_path, model_type, placements, layers, head):
    from peft import PeftModel

    model = adapted(tiny_model(model_type), placements, layers, head)
    save_adapter(model, tmp_path / "a")
    theirs = PeftModel.from_pretrained(tiny_model(model_type), tmp_path / "a").eval()
    expected = logits(model)
    assert equal(logits(theirs), expected) and not equal(logits(tiny_model(model_type)), expected)


def test_peft_refuses_what_it_can_not_express(tiny_model, tmp_path):
    """`ffn` with `ffn_output`: half of it would be worse than nothing."""
    from peft import PeftModel

    save_adapter(adapted(tiny_model(), ("ffn", "ffn_output")), tmp_path / "a")
    assert names(tmp_path / "a") == [CARD, METADATA, OWN_WEIGHTS]
    with pytest.raises(ValueError, match=PEFT_CONFIG):
        PeftModel.from_pretrained(tiny_model(), tmp_path / "a")


@pytest.mark.parametrize("placements", [("conv",), ("key", "conv")])
def test_peft_refuses_convolutions(tiny_model, tmp_path, placements):
    """PEFT's fault 9: it has no vectors on convolutions and norms."""
    save_adapter(adapted(tiny_model(), placements), tmp_path / "a")
    assert names(tmp_path / "a") == [CARD, METADATA, OWN_WEIGHTS]
    other = load_adapter(tiny_model(), tmp_path / "a")
    assert torch.equal(logits(other), logits(adapted(tiny_model(), placements)))


def test_no_vectors_for_peft_on_wavlms_attention(tiny_model, tmp_path):
    """PEFT's fault 2: there its key and value vectors load without a word, and do nothing."""
    from peft import PeftModel

    save_adapter(adapted(tiny_model("wavlm"), ("key", "ffn")), tmp_path / "a")
    assert names(tmp_path / "a") == [CARD, METADATA, OWN_WEIGHTS]
    model = adapted(tiny_model("wavlm"), ("ffn",))
    save_adapter(model, tmp_path / "b")
    assert equal(logits(PeftModel.from_pretrained(tiny_model("wavlm"), tmp_path / "b").eval()), logits(model))


# ---- in


def theirs(model, **options):
    """PEFT's IA3 on a model, all vectors drawn from [0.5, 1.5]; a saved head is not the base's."""
    from peft import IA3Config as PeftConfig
    from peft import get_peft_model

    adapter = get_peft_model(model, PeftConfig(**options)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if "ia3_l" in name:
                parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
            if "modules_to_save" in name:
                parameter.mul_(1.5)
    return adapter


FORMS = {
    "feed-forward": (
        {"target_modules": ["k_proj", "v_proj", "output_dense"], "feedforward_modules": ["output_dense"]},
        IA3Config(("key", "value", "ffn"), "0-2"),
    ),
    "outputs": (
        {"target_modules": ["output_dense", "out_proj"], "feedforward_modules": []},
        IA3Config(("ffn_output", "attention_output"), "0-2"),
    ),
    "intermediate": (
        {"target_modules": ["intermediate_dense", "q_proj"], "feedforward_modules": []},
        IA3Config(("ffn_inner", "query"), "0-2"),
    ),
    "regex and a part of the layers": (
        {
            "target_modules": r".*layers\.[02]\..*(k_proj|output_dense)",
            "feedforward_modules": r".*output_dense",
        },
        IA3Config(("key", "ffn"), "0,2"),
    ),
    "single modules": (
        {"target_modules": r".*layers\.(0\.attention\.k|2\.attention\.v)_proj", "feedforward_modules": []},
        IA3Config(("key", "value"), "0,2"),
    ),
    "both sides of a network, in different layers": (
        {"target_modules": r".*output_dense", "feedforward_modules": [FFN.format(0)]},
        IA3Config(("ffn", "ffn_output"), "0-2"),
    ),
    "saved head": (
        {"target_modules": ["k_proj"], "feedforward_modules": [], "modules_to_save": ["lm_head"]},
        IA3Config(("key",), "0-2", train_head=True),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_we_load_pefts(tiny_model, tmp_path, caplog, form):
    """And what we then write is the same again. PEFT itself does not restore a saved head (its fault 10)."""
    options, config = FORMS[form]
    adapter = theirs(tiny_model(), **options)
    expected = logits(adapter)
    adapter.save_pretrained(tmp_path / "a")
    model = load_adapter(tiny_model(), tmp_path / "a")
    assert equal(logits(model), expected) and not equal(logits(tiny_model()), expected)
    assert model.ia3_config == config
    assert "written by another tool, so its base is checked by shapes alone" in caplog.text
    save_adapter(model, tmp_path / "b")
    again = load_adapter(tiny_model(), tmp_path / "b")
    assert torch.equal(logits(again), logits(model)) and again.ia3_config == config


@pytest.mark.parametrize("model_type", ["hubert", "data2vec-audio"])
def test_we_load_pefts_on_other_kinds(tiny_model, tmp_path, model_type):
    adapter = theirs(tiny_model(model_type), **FORMS["feed-forward"][0])
    adapter.save_pretrained(tmp_path / "a")
    assert equal(logits(load_adapter(tiny_model(model_type), tmp_path / "a")), logits(adapter))


@pytest.mark.parametrize(
    ("options", "tensor"),
    [
        # PEFT matches a feed-forward module by a bare ending, so "dense" takes the first layer's input too.
        ({"target_modules": r".*feed_forward.*_dense", "feedforward_modules": ["dense"]},
         r"intermediate_dense\.ia3_l of shape \(1, 32\)"),
        ({"target_modules": ["projection"], "feedforward_modules": []},
         r"projection\.ia3_l of shape \(32, 1\)"),
    ],
)  # fmt: skip
def test_what_we_have_no_place_for_is_refused(tiny_model, tmp_path, options, tensor):
    theirs(tiny_model(), **options).save_pretrained(tmp_path / "a")
    model = tiny_model()
    with pytest.raises(AdapterError, match=f"{tensor} has no target module in Wav2Vec2ForCTC"):
        load_adapter(model, tmp_path / "a")
    assert not is_attached(model) and torch.equal(logits(model), logits(tiny_model()))


def test_auto_peft_model_says_where_mini_comes_from(tiny_model, tmp_path):
    """PEFT can't find `mini`, which is no hub id: its error holds the hint, and our own readers the name."""
    from peft import AutoPeftModel

    model = attach(tiny_model(), check=False)
    model.config.name_or_path = str(MINI)
    save_adapter(model, tmp_path / "a")
    with pytest.raises(Exception, match=r"ia3-speech adapters export ADAPTER --out FOLDER"):
        AutoPeftModel.from_pretrained(str(tmp_path / "a"))
    card = (tmp_path / "a/README.md").read_text("utf-8")
    assert "`AutoPeftModel` can't find the base" in card and "adapters export ADAPTER --out" in card
    (tmp_path / "a/ia3_speech.json").unlink()
    assert recorded_base(tmp_path / "a") == "mini"
