"""adapters.weights, record and plot: vectors read without torch, how they lie around 1, what is recorded."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors.numpy import save_file

from ia3_speech.adapters.record import own_record, read_record, read_summary
from ia3_speech.adapters.weights import read_weights, vector_of
from ia3_speech.common.errors import AdapterError, UserError
from ia3_speech.model.architectures import ARCHITECTURES

BODY = "base_model.model.wav2vec2.encoder.layers"
VALUES = np.array([0.5, 0.8, 1.0, 1.05, 1.2], np.float32)
TENSORS = {  # PEFT's names and ours
    f"{BODY}.10.attention.k_proj.ia3_l": VALUES[:, None],
    f"{BODY}.2.attention.k_proj.ia3_l": np.full((5, 1), 1.5, np.float32),
    f"{BODY}.2.feed_forward.output_dense.ia3_l": np.full((1, 7), 0.5, np.float32),
    "wav2vec2.encoder.layers.2.feed_forward.output_dense.ia3_ffn_output": np.ones(5, np.float32),
    "wav2vec2.feature_extractor.conv_layers.0.conv.ia3_conv": np.ones(3, np.float32),
    "somewhere.else.ia3_l": np.ones((2, 1), np.float32),
    "base_model.model.lm_head.weight": np.ones((4, 5), np.float32),
}


def test_a_modules_last_name_tells_the_placement_in_every_architecture():
    for architecture in ARCHITECTURES.values():
        for path, placements in architecture.stacks.items():
            targets = [(placement, *target) for placement, both in placements.items() for target in both]
            for placement, module, side in targets:
                vector = np.ones((1, 2) if side == "in" else (2, 1))
                assert vector_of(f"{path}.0.{module}.ia3_l", vector).placement == placement


def test_reading(tmp_path):
    (tmp_path / "adapter_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(UserError, match=r"adapter_model\.bin is a pickle, which can run code"):
        read_weights(tmp_path)
    save_file(TENSORS, tmp_path / "adapter_model.safetensors")
    assert read_weights(tmp_path).keys() == TENSORS.keys()
    halves = {name: torch.from_numpy(tensor).bfloat16() for name, tensor in TENSORS.items()}
    safetensors.torch.save_file(halves, tmp_path / "adapter_model.safetensors")  # numpy lacks bfloat16
    assert all(tensor.dtype == np.float32 for tensor in read_weights(tmp_path).values())
    (tmp_path / "adapter_model.safetensors").write_bytes(b"0" * 20)
    with pytest.raises(UserError, match="damaged: copy it again"):
        read_weights(tmp_path)


def test_the_record(tmp_path):
    with pytest.raises(AdapterError, match=r"adapter_config\.json"):
        read_record(tmp_path)
    assert read_summary(tmp_path) == {}
    theirs = {"base_model_name_or_path": "facebook/x", "peft_type": "LORA"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(theirs))
    assert read_summary(tmp_path) == {"base": "facebook/x", "config": {"method": "lora"}}
    # mini in an installation's folder, and as versions to 0.2 wrote it; not a user's folder of that name
    mini = ("mini", "/usr/lib/ia3_speech/mini", "C:\\ia3_speech\\mini", "mini (it comes with ia3-speech)")
    for base in (*mini, "/home/ann/mini"):
        (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
        assert read_summary(tmp_path) == {"base": "mini" if base in mini else base}
    with pytest.raises(AdapterError, match=r"no ia3_speech\.json, so another tool wrote it"):
        own_record(tmp_path)
    record = {"schema": 1, "base": "mini", "labels": {"domain": "médical"}}
    (tmp_path / "ia3_speech.json").write_text(json.dumps(record, ensure_ascii=False), "utf-8")
    assert read_record(tmp_path) == own_record(tmp_path) == read_summary(tmp_path) == record
    for text in ("[1]", "{", "[" * 100_000, '{"labels": ["speaker", "42"]}', '{"schema": 2}'):
        (tmp_path / "ia3_speech.json").write_text(text)
        with pytest.raises(UserError, match=r"ia3_speech\.json: .*(damaged: restore a copy|upgrade)"):
            read_record(tmp_path)
        assert read_summary(tmp_path) == {}
