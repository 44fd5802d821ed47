"""adapters.io and load: what is saved comes back exactly, with its record; what misfits is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import ia3_speech
from ia3_speech import attach, detach, load_adapter, save_adapter
from ia3_speech.adapters.record import CARD, METADATA, PEFT_WEIGHTS, read_metadata
from ia3_speech.model.architectures import AdapterError, IA3Config
from ia3_speech.model.attach import is_attached
from ia3_speech.model.ia3 import vectors

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


@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert", "data2vec-audio"])
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
def test_what_is_saved_comes_back_exactly(tiny_model, tmp_path, model_type, placements, layers, head):
    model = adapted(tiny_model(model_type), placements, layers, head)
    expected = logits(model)
    save_adapter(model, tmp_path / "a", labels={"speaker": "042"}, training={"seed": 1})
    other = load_adapter(tiny_model(model_type), tmp_path / "a")
    assert torch.equal(logits(other), expected)
    assert other.ia3_config == model.ia3_config
    metadata = read_metadata(tmp_path / "a")
    assert metadata.labels == {"speaker": "042"} and metadata.training == {"seed": 1}
    assert torch.equal(logits(detach(other)), logits(tiny_model(model_type)))


def test_an_adapter_takes_the_place_of_another(tiny_model, tmp_path):
    save_adapter(adapted(tiny_model(), ("key",)), tmp_path / "a")
    model = adapted(tiny_model(), ("ffn",))
    load_adapter(model, tmp_path / "a")
    assert {v.target.placement for v in vectors(model).values()} == {"key"}


# ---- what stands beside the tensors


def test_what_a_killed_writer_left_is_removed(tiny_model, tmp_path):
    """Also by `adapters combine --out`, which writes in the same way."""
    (tmp_path / ".adapter.abcd1_34/new").mkdir(parents=True)
    save_adapter(attach(tiny_model(), check=False), tmp_path / "adapter")
    assert [entry.name for entry in tmp_path.iterdir()] == ["adapter"]


def test_nothing_else_is_deleted_with_an_older_adapter(tiny_model, tmp_path):
    model = attach(tiny_model())
    save_adapter(model, tmp_path / "hf")
    (tmp_path / "hf" / "checkpoint-100").mkdir()
    with pytest.raises(
        AdapterError, match=r"hf: holds checkpoint-100, which would be deleted \(take .*hf/adapter"
    ):
        save_adapter(model, tmp_path / "hf")
    assert [entry.name for entry in tmp_path.iterdir()] == ["hf"]
    assert (tmp_path / "hf" / "checkpoint-100").is_dir()
    save_adapter(model, tmp_path / "clone")
    (tmp_path / "clone/.git").mkdir()
    (tmp_path / "clone/.DS_Store").touch()
    with pytest.raises(AdapterError, match=r"clone: holds \.git, which would be deleted"):
        save_adapter(model, tmp_path / "clone")


def test_labels_scores_and_the_base_come_back(tiny_base, tmp_path):
    base = tiny_base()
    adapted(base.model, ("key",))
    labels = {"speaker": "042", "accent": "scots", "domain": "medical", "language": "en"}
    save_adapter(base.model, tmp_path / "a", base=base, labels=labels, training={"data": "data/train"})
    metadata = read_metadata(tmp_path / "a")
    assert (metadata.base, metadata.labels) == ("tiny", labels)
    assert metadata.config == {"placements": ["key"], "layers": "all", "train_head": False}
    assert metadata.fingerprint == base.fingerprint and metadata.scores == []
    assert (metadata.training, metadata.version) == ({"data": "data/train"}, ia3_speech.__version__)
    record = json.loads((tmp_path / "a" / METADATA).read_text())
    score = {"set": "medical/test", "wer": 0.4}
    (tmp_path / "a" / METADATA).write_text(json.dumps(record | {"scores": [score], "of a later version": 1}))
    assert read_metadata(tmp_path / "a").scores == [score]


def test_a_card_stands_beside_it(tiny_model, tmp_path):
    save_adapter(adapted(tiny_model(), ("ffn",), head=True), tmp_path / "a", labels={"speaker": "042"})
    text = (tmp_path / "a" / CARD).read_text()
    assert text.splitlines()[1] == "base_model_relation: adapter"
    assert "| placements | ffn (144 parameters), head (957 parameters) |" in text
    assert "biometric data" in text and "PEFT loads the folder too" in text
    save_adapter(adapted(tiny_model(), ("ffn", "ffn_output")), tmp_path / "a")
    text = (tmp_path / "a" / CARD).read_text()
    assert "biometric data" not in text and "PEFT" not in text


def test_the_base_is_known_by_its_folder_without_a_base_object(tiny_folder, tmp_path, monkeypatch):
    """transformers remembers a folder as it was typed, and from elsewhere that might be a hub id."""
    from transformers import AutoModelForCTC

    monkeypatch.chdir(tiny_folder.parent)
    model = AutoModelForCTC.from_pretrained(tiny_folder.name)
    save_adapter(attach(model, IA3Config(("key",)), check=False), tmp_path / "a")
    assert read_metadata(tmp_path / "a").base == str(tiny_folder.resolve())


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
        (narrow, r"k_proj\.ia3_l has 31 parameters, the base has 32 parameters there"),
        (poison, r"k_proj\.ia3_l holds NaN or infinite values"),
        (
            stray,
            r"layers\.9\.attention\.k_proj\.ia3_l of shape \(32, 1\) has no target module in Wav2Vec2ForCTC",
        ),
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_base_in_lower_precision_is_compared_by_its_sizes_and_the_log_says_so(
    tiny_model, tmp_path, caplog, dtype
):
    caplog.set_level("INFO", "ia3_speech")
    save_adapter(adapted(tiny_model()), tmp_path / "a")
    load_adapter(tiny_model(), tmp_path / "a")
    assert "compared by" not in caplog.text
    model = load_adapter(tiny_model().to(dtype), tmp_path / "a", check=False)
    assert all(v.l.dtype == torch.float32 for v in vectors(model).values())
    name = str(dtype).removeprefix("torch.")
    assert f"the base's weights are in {name} and those it was trained on in float32" in caplog.text
    assert "compared by architecture and sizes alone" in caplog.text
    with pytest.raises(AdapterError, match="another base"):
        load_adapter(tiny_model(vocab_size=30).to(dtype), tmp_path / "a")


def test_an_adapter_of_ones_warns(tiny_model, tmp_path, caplog):
    save_adapter(attach(tiny_model()), tmp_path / "a")
    load_adapter(tiny_model(), tmp_path / "a")
    assert "every parameter is 1, so this adapter changes nothing" in caplog.text


def test_pickles_and_damaged_files(tiny_model, tmp_path):
    save_adapter(adapted(tiny_model()), tmp_path / "a")
    weights = tmp_path / "a" / PEFT_WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(AdapterError, match="damaged: copy it again"):
        load_adapter(tiny_model(), tmp_path / "a")
    weights.rename(tmp_path / "a/adapter_model.bin")
    with pytest.raises(AdapterError, match=r"adapter_model\.bin is a pickle, which can run code"):
        load_adapter(tiny_model(), tmp_path / "a")


WITHOUT = '{"schema": 1, "base": "", "fingerprint": {}, "config": {}}'
NO_MARK = '{"schema": 1, "base": "", "fingerprint": 1, "config": {"placements": ["key"], "layers": "all"}}'


@pytest.mark.parametrize("text", ["{", "[1]", '{"schema": 1}', '{"schema": 99}', WITHOUT, NO_MARK])
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
