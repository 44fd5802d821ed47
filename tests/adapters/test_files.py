"""adapters.files: what is saved comes back exactly; PEFT reads ours, we read PEFT's; what misfits is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ia3_speech import attach, detach, load_adapter, save_adapter
from ia3_speech.adapters.files import METADATA, OWN_WEIGHTS, PEFT_CONFIG, PEFT_WEIGHTS, read_metadata
from ia3_speech.ia3 import AdapterError, IA3Config, is_attached, vectors

WAVE = torch.randn(1, 8_000, generator=torch.Generator().manual_seed(1))
KEY = "base_model.model.wav2vec2.encoder.layers.1.attention.k_proj.ia3_l"


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(WAVE).logits


def adapted(model, placements=("key", "value", "ffn"), layers="all", head=False):
    attach(model, IA3Config(placements, layers, head))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for vector in vectors(model).values():
            vector.l.copy_(torch.rand(vector.l.shape, generator=generator) + 0.5)
        if head:
            model.lm_head.weight.mul_(1.5)
    return model


# ---- there and back


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "data2vec-audio"])
@pytest.mark.parametrize(
    ("placements", "layers", "head"),
    [
        (("key", "value", "ffn"), "all", False),
        (("key", "value", "ffn_output"), "0-1", False),
        (("ffn", "ffn_output", "attention_output"), "1,2", False),
        (("key",), "2", True),
        ((), "all", True),
    ],
)
def test_what_is_saved_comes_back_exactly(tiny_model, tmp_path, kind, placements, layers, head):
    model = adapted(tiny_model(kind), placements, layers, head)
    expected = logits(model)
    save_adapter(model, tmp_path / "a", labels={"speaker": "042"}, training={"seed": 1})
    other = load_adapter(tiny_model(kind), tmp_path / "a")
    assert torch.equal(logits(other), expected)
    assert other.ia3_config == model.ia3_config
    metadata = read_metadata(tmp_path / "a")
    assert metadata.labels == {"speaker": "042"} and metadata.training == {"seed": 1}
    assert torch.equal(logits(detach(other)), logits(tiny_model(kind)))


def test_an_adapter_takes_the_place_of_another(tiny_model, tmp_path):
    save_adapter(adapted(tiny_model(), ("key",)), tmp_path / "a")
    model = adapted(tiny_model(), ("ffn",))
    load_adapter(model, tmp_path / "a")
    assert {v.place.placement for v in vectors(model).values()} == {"key"}


# ---- PEFT


def peft_file(**changes) -> dict:
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
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [PEFT_CONFIG, PEFT_WEIGHTS, METADATA]
    written = (tmp_path / "a" / PEFT_CONFIG).read_text()
    assert written == json.dumps(peft_file(), indent=2, sort_keys=True) + "\n"
    tensors = load_file(tmp_path / "a" / PEFT_WEIGHTS)
    assert len(tensors) == 9 and all(t.dtype == torch.float32 for t in tensors.values())
    assert tensors[KEY].shape == (32, 1)
    ffn = "base_model.model.wav2vec2.encoder.layers.1.feed_forward.output_dense.ia3_l"
    assert tensors[ffn].shape == (1, 48)


def test_ranges_of_layers_are_written_as_full_module_names(tiny_model, tmp_path):
    save_adapter(adapted(tiny_model(), ("value", "ffn"), "1"), tmp_path / "a")
    config = json.loads((tmp_path / "a" / PEFT_CONFIG).read_text())
    ffn = "wav2vec2.encoder.layers.1.feed_forward.output_dense"
    assert config["feedforward_modules"] == [ffn]
    assert config["target_modules"] == ["wav2vec2.encoder.layers.1.attention.v_proj", ffn]


@pytest.mark.parametrize(
    ("placements", "layers"),
    [
        (("key", "value", "ffn"), "all"),
        (("key", "value", "ffn"), "0,2"),
        (("ffn_output", "attention_output"), "all"),
    ],
)
def test_peft_loads_ours(tiny_model, tmp_path, placements, layers):
    from peft import PeftModel

    model = adapted(tiny_model(), placements, layers)
    save_adapter(model, tmp_path / "a")
    theirs = PeftModel.from_pretrained(tiny_model(), tmp_path / "a").eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(WAVE).logits, logits(model), atol=1e-6, rtol=1e-5)


def test_we_load_pefts_with_a_warning(tiny_model, tmp_path, caplog):
    from peft import IA3Config as PeftConfig
    from peft import get_peft_model

    config = PeftConfig(
        target_modules=["k_proj", "v_proj", "output_dense"], feedforward_modules=["output_dense"]
    )
    theirs = get_peft_model(tiny_model(), config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "ia3_l" in name:
                parameter.uniform_(0.5, 1.5)
        expected = theirs(WAVE).logits
    theirs.save_pretrained(tmp_path / "a")
    model = load_adapter(tiny_model(), tmp_path / "a")
    torch.testing.assert_close(logits(model), expected, atol=1e-6, rtol=1e-5)
    assert model.ia3_config == IA3Config(("key", "value", "ffn"), "0-2")
    assert "written by another tool, so its base is checked by shapes alone" in caplog.text


def test_peft_refuses_what_it_can_not_express(tiny_model, tmp_path):
    """`ffn` with `ffn_output`: half of it would be worse than nothing."""
    from peft import PeftModel

    save_adapter(adapted(tiny_model(), ("ffn", "ffn_output")), tmp_path / "a")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [METADATA, OWN_WEIGHTS]
    with pytest.raises(ValueError, match=PEFT_CONFIG):
        PeftModel.from_pretrained(tiny_model(), tmp_path / "a")


# ---- what doesn't fit


def damage(folder, change) -> None:
    file = folder / PEFT_WEIGHTS
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


def drop(tensors):
    del tensors[KEY]


def add(tensors):
    tensors[KEY.replace("k_proj", "q_proj")] = torch.ones(32, 1)


def narrow(tensors):
    tensors[KEY] = torch.ones(31, 1)


def poison(tensors):
    tensors[KEY][3] = float("nan")


def stray(tensors):
    tensors["base_model.model.wav2vec2.encoder.layers.9.attention.k_proj.ia3_l"] = torch.ones(32, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, r"missing beside its ia3_speech\.json: .*layers\.1\.attention\.k_proj \(key\)"),
        (add, r"left over beside its ia3_speech\.json: .*layers\.1\.attention\.q_proj \(query\)"),
        (narrow, r"k_proj\.ia3_l has 31 numbers, the base has 32 numbers there"),
        (poison, r"k_proj\.ia3_l holds NaN or infinite numbers"),
        (stray, r"layers\.9\.attention\.k_proj\.ia3_l of shape \(32, 1\) has no place in Wav2Vec2ForCTC"),
    ],
)
def test_every_tensor_is_used_once_and_none_is_missing(tiny_model, tmp_path, change, message):
    save_adapter(adapted(tiny_model()), tmp_path / "a")
    damage(tmp_path / "a", change)
    model = tiny_model()
    with pytest.raises(AdapterError, match=message):
        load_adapter(model, tmp_path / "a")
    assert not is_attached(model) and torch.equal(logits(model), logits(tiny_model()))


def test_a_wrong_base_is_refused_with_both_names(tiny_model, tmp_path):
    save_adapter(adapted(tiny_model()), tmp_path / "a")
    with pytest.raises(
        AdapterError, match=r"another base, .*Wav2Vec2ForCTC, 3 layers .*; this one is Wav2Vec2ForCTC"
    ):
        load_adapter(tiny_model(seed=5), tmp_path / "a")
    with pytest.raises(AdapterError, match="this one is HubertForCTC"):
        load_adapter(tiny_model("hubert"), tmp_path / "a")


def test_the_same_base_in_half_precision_is_the_same_base(tiny_model, tmp_path):
    save_adapter(adapted(tiny_model()), tmp_path / "a")
    model = load_adapter(tiny_model().to(torch.bfloat16), tmp_path / "a", check=False)
    assert all(v.l.dtype == torch.float32 for v in vectors(model).values())


def test_an_adapter_of_ones_warns(tiny_model, tmp_path, caplog):
    save_adapter(attach(tiny_model()), tmp_path / "a")
    load_adapter(tiny_model(), tmp_path / "a")
    assert "every number is 1, so this adapter changes nothing" in caplog.text


def test_pickles_and_damaged_files(tiny_model, tmp_path):
    save_adapter(adapted(tiny_model()), tmp_path / "a")
    weights = tmp_path / "a" / PEFT_WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(AdapterError, match="damaged: copy it again"):
        load_adapter(tiny_model(), tmp_path / "a")
    weights.rename(tmp_path / "a/adapter_model.bin")
    with pytest.raises(AdapterError, match=r"adapter_model\.bin is a pickle, which can run code"):
        load_adapter(tiny_model(), tmp_path / "a")


@pytest.mark.parametrize("text", ["{", "[1]", '{"schema": 1}', '{"schema": 99}'])
def test_damaged_metadata(tiny_model, tmp_path, text):
    save_adapter(adapted(tiny_model()), tmp_path / "a")
    (tmp_path / "a" / METADATA).write_text(text)
    model = tiny_model()
    with pytest.raises(AdapterError, match=METADATA.replace(".", r"\.")):
        load_adapter(model, tmp_path / "a")


def test_what_is_not_to_be_saved_leaves_the_older_adapter(tiny_model, tmp_path):
    model = adapted(tiny_model())
    save_adapter(model, tmp_path / "a")
    before = (tmp_path / "a" / PEFT_WEIGHTS).read_bytes()
    with torch.no_grad():
        next(iter(vectors(model).values())).l[0] = float("inf")
    with pytest.raises(AdapterError, match="not saved"):
        save_adapter(model, tmp_path / "a")
    with pytest.raises(AdapterError, match="no IA³ vectors to save"):
        save_adapter(detach(model), tmp_path / "a")
    assert (tmp_path / "a" / PEFT_WEIGHTS).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
