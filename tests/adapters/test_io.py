"""What is saved comes back exactly, PEFT reads it and we read PEFT's, what misfits is refused."""

import json

import pytest
import torch
from corpus_files import names
from safetensors.torch import load_file, save_file
from tiny_models import attach_random

from ia3_speech import attach, detach, load_adapter, save_adapter
from ia3_speech.adapters.record import CARD, METADATA, OWN_WEIGHTS, PEFT_CONFIG, PEFT_WEIGHTS
from ia3_speech.common.errors import AdapterError
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.attach import is_attached, trainable
from ia3_speech.model.ia3 import attachment, vectors

WAVE = torch.randn(1, 8_000, generator=torch.Generator().manual_seed(1))
KEY = "base_model.model.wav2vec2.encoder.layers.1.attention.k_proj.ia3_l"
FFN = "wav2vec2.encoder.layers.{}.feed_forward.output_dense"
THREE = ("key", "value", "ffn")


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(WAVE).logits


def equal(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Within the tolerance of two ways to compute the same in fp32."""
    return float((found - expected).abs().max()) <= 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert", "data2vec-audio"])
@pytest.mark.parametrize(
    ("placements", "layers", "head"),
    [
        (THREE, "0,2", True),
        (("ffn_output", "attention_output", "query", "ffn_inner"), "all", False),
        (("ffn", "ffn_output", "conv"), "1,2", False),
        ((), "all", True),
    ],
)
def test_what_is_saved_comes_back_exactly(tiny_model, tmp_path, model_type, placements, layers, head):
    """PEFT loads it too, with equal logits, or refuses it: half of an adapter would be worse than nothing."""
    from peft import PeftModel

    model = attach_random(tiny_model(model_type), *placements, layers=layers, head=head)
    expected, base = logits(model), logits(tiny_model(model_type))
    save_adapter(model, tmp_path / "a")
    other = load_adapter(attach_random(tiny_model(model_type), "ffn", seed=3), tmp_path / "a")  # in its place
    assert torch.equal(logits(other), expected) and attachment(other).config == attachment(model).config
    assert torch.equal(logits(detach(other)), base)
    if placements and "conv" not in placements:
        theirs = PeftModel.from_pretrained(tiny_model(model_type), tmp_path / "a").eval()
        assert equal(logits(theirs), expected) and not equal(base, expected)
    else:
        assert names(tmp_path / "a") == [CARD, METADATA, OWN_WEIGHTS]
        with pytest.raises(ValueError, match=PEFT_CONFIG):
            PeftModel.from_pretrained(tiny_model(model_type), tmp_path / "a")


def test_the_files_are_pefts_to_the_byte(tiny_model, tmp_path):
    save_adapter(attach_random(tiny_model(), *THREE), tmp_path / "a")
    assert names(tmp_path / "a") == [CARD, PEFT_CONFIG, PEFT_WEIGHTS, METADATA]
    config = {
        "auto_mapping": {
            "base_model_class": "Wav2Vec2ForCTC",
            "parent_library": "transformers.models.wav2vec2.modeling_wav2vec2",
        },
        "base_model_name_or_path": "", "exclude_modules": None, "fan_in_fan_out": False,
        "feedforward_modules": ["output_dense"], "inference_mode": True, "init_ia3_weights": True,
        "modules_to_save": None, "peft_type": "IA3", "peft_version": "0.21.2", "revision": None,
        "target_modules": ["k_proj", "output_dense", "v_proj"], "task_type": None,
    }  # fmt: skip
    written = (tmp_path / "a" / PEFT_CONFIG).read_text()
    assert written == json.dumps(config, indent=2, sort_keys=True) + "\n"
    tensors = load_file(tmp_path / "a" / PEFT_WEIGHTS)
    assert len(tensors) == 9 and all(t.dtype == torch.float32 for t in tensors.values())
    assert tensors[KEY].shape == (32, 1)
    assert tensors[f"base_model.model.{FFN.format(1)}.ia3_l"].shape == (1, 48)
    save_adapter(attach_random(tiny_model(), "value", "ffn", layers="1"), tmp_path / "a")
    config = json.loads((tmp_path / "a" / PEFT_CONFIG).read_text())  # full names for a range of layers
    assert config["feedforward_modules"] == [FFN.format(1)]
    assert config["target_modules"] == ["wav2vec2.encoder.layers.1.attention.v_proj", FFN.format(1)]


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
        {"target_modules": ["output_dense", "out_proj", "q_proj"], "feedforward_modules": []},
        IA3Config(("ffn_output", "attention_output", "query"), "0-2"),
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
    assert attachment(model).config == config
    assert "written by another tool, so its base is checked by shapes alone" in caplog.text
    save_adapter(model, tmp_path / "b")
    again = load_adapter(tiny_model(), tmp_path / "b")
    assert torch.equal(logits(again), logits(model)) and attachment(again).config == config


TASKS = {
    "AutoModelForAudioClassification": ("audio-classification", {"projector", "classifier"}),
    "AutoModelForAudioFrameClassification": ("audio-classification", {"classifier"}),
    "AutoModel": ("feature-extraction", set()),
}  # fmt: skip


def task_model(tiny_model, kind: str, loader: str, head_seed: int, **options):
    """A model of that class whose encoder is always the same, and whose head is drawn anew."""
    import transformers

    config = tiny_model(kind, num_labels=3, **options).config
    torch.manual_seed(head_seed)
    model = getattr(transformers, loader).from_config(config).eval()
    encoder = tiny_model(kind, **options).base_model.state_dict()
    model.base_model.load_state_dict(encoder)
    return model


@torch.no_grad()
def output(model) -> torch.Tensor:
    return model(WAVE)[0]


@pytest.mark.parametrize(
    ("kind", "loader", "options"),
    [
        *(("wav2vec2", loader, {}) for loader in TASKS),
        ("hubert", "AutoModelForAudioClassification", {}),
        ("wavlm", "AutoModelForAudioClassification", {"use_weighted_layer_sum": True}),
        ("wavlm", "AutoModel", {}),
    ],
)
def test_a_classifiers_head_is_trained_saved_and_loaded(tiny_model, tmp_path, kind, loader, options):
    """Into a model whose own head is another, as a load of an encoder's checkpoint draws it; and by PEFT."""
    from peft import PeftModel

    model = attach(task_model(tiny_model, kind, loader, 1, **options))
    tag, modules = TASKS[loader]
    heads = modules | ({"layer_weights"} if options else set())
    trained = [name for name, _ in trainable(model)]
    assert {name.partition(".")[0] for name in trained if name not in vectors(model)} == heads
    with torch.no_grad():
        for n, (_, parameter) in enumerate(trainable(model)):
            parameter.mul_(1.5 if n % 2 else 0.75)
    expected = output(model)
    save_adapter(model, tmp_path / "a")
    other = task_model(tiny_model, kind, loader, 2, **options)
    own = output(other)
    assert torch.equal(output(load_adapter(other, tmp_path / "a")), expected)
    assert torch.equal(output(detach(other)), own) and not equal(own, expected)
    assert f"pipeline_tag: {tag}\n" in (tmp_path / "a" / CARD).read_text()
    if kind == "wavlm":
        assert names(tmp_path / "a") == [CARD, METADATA, OWN_WEIGHTS]
        return
    theirs = PeftModel.from_pretrained(task_model(tiny_model, kind, loader, 3), tmp_path / "a")
    assert equal(output(theirs.eval()), expected)


STRAY = "base_model.model.wav2vec2.encoder.layers.9.attention.k_proj.ia3_l"
BESIDE = r"missing or left over beside its ia3_speech\.json: .*layers\.1\.attention"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({KEY: None}, rf"{BESIDE}\.k_proj \(key\)$"),
        ({KEY: torch.ones(31, 1)}, r"k_proj\.ia3_key has 31 parameters"),
        ({KEY: torch.full((32, 1), float("nan"))}, "NaN or infinite"),
        ({STRAY: torch.ones(32, 1)}, r"k_proj\.ia3_l of shape \(32, 1\) has no target module"),
    ],
)
def test_every_tensor_is_used_once_and_none_is_missing(tiny_model, tmp_path, change, message):
    save_adapter(attach_random(tiny_model(), *THREE), tmp_path / "a")
    file = tmp_path / "a" / PEFT_WEIGHTS
    tensors = load_file(file) | change
    save_file({key: tensor for key, tensor in tensors.items() if tensor is not None}, file, {"format": "pt"})
    model = tiny_model()
    with pytest.raises(AdapterError, match=message):
        load_adapter(model, tmp_path / "a")
    assert not is_attached(model) and torch.equal(logits(model), logits(tiny_model()))


def test_a_wrong_base_is_refused_with_both_names(tiny_model, tmp_path):
    save_adapter(attach_random(tiny_model(), *THREE), tmp_path / "a")
    for other, name in ((tiny_model(seed=5), "Wav2Vec2ForCTC"), (tiny_model("hubert"), "HubertForCTC")):
        with pytest.raises(AdapterError, match=f"another base, .*Wav2Vec2ForCTC.*; this base is {name}"):
            load_adapter(other, tmp_path / "a")
