"""A classifier: an encoder under a new head is attached, saved, loaded, merged and banked."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_models import noise_waves, tiny
from transformers import Trainer, TrainingArguments

from ia3_speech import AdapterCallback, Bank, attach, detach, load_adapter, merge, save_adapter, unmerge
from ia3_speech.adapters.registry import register
from ia3_speech.common.errors import AdapterError
from ia3_speech.model.attach import trainable
from ia3_speech.model.base import load_classifier

CLASSES = ["alexa", "computer", "other"]
WAVES = noise_waves(1.0, 0.5625, 0.77)


@pytest.fixture(params=["wav2vec2-adapter", "hubert"])
def folder(request, tmp_path, processor):
    """A CTC checkpoint, whose encoder becomes a classifier's: of Wav2Vec2 as mini's, with `add_adapter`."""
    tiny(request.param).save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def adapted(base, factor: float):
    """The base's model with every trained parameter multiplied."""
    model = attach(base.model)
    with torch.no_grad():
        for _, parameter in trainable(model):
            parameter.mul_(factor)
    return model


def close(rows, expected) -> bool:
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(rows, expected, strict=True))


def test_a_classifier_is_saved_loaded_merged_and_banked(folder, tmp_path):
    base = load_classifier(folder, CLASSES, device="cpu")
    logits = base.logits(WAVES)
    assert [row.shape for row in logits] == 3 * [(3,)]
    assert close(logits, [base.logits([wave])[0] for wave in WAVES])  # a row equals that row alone
    expected = []
    for name, factor in (("a", 1.3), ("b", 0.7)):
        model = adapted(base, factor)
        expected.append(base.logits(WAVES))
        save_adapter(model, tmp_path / name, base=base)
        merge(model)
        assert close(base.logits(WAVES), expected[-1])
        detach(unmerge(model))
    assert not close(expected[0], expected[1])
    other = load_classifier(folder, CLASSES, device="cpu")  # whose head is drawn anew
    load_adapter(other.model, tmp_path / "a")
    assert close(other.logits(WAVES), expected[0])
    bank = Bank(base)
    bank.add("a", tmp_path / "a"), bank.add("b", tmp_path / "b")
    rows = bank.logits(WAVES, ["a", None, "b"])
    assert close(rows, [expected[0][0], logits[1], expected[1][2]])
    with pytest.raises(AdapterError, match=r"3 classes, .* 2 classes"):
        load_adapter(load_classifier(folder, CLASSES[:2]).model, tmp_path / "a")


def test_transformers_trainer_trains_it_and_the_recipe_classifies(folder, tmp_path, run_command):
    base = load_classifier(folder, CLASSES, device="cpu")
    rows = [{"audio": wave, "label": number} for number, wave in enumerate(WAVES)]
    options = TrainingArguments(
        str(tmp_path / "hf"), learning_rate=3e-2, num_train_epochs=30, per_device_train_batch_size=3,
        remove_unused_columns=False, report_to=[], disable_tqdm=True, save_steps=30, use_cpu=True,
    )  # fmt: skip
    Trainer(attach(base.model), options, base.collate, rows, callbacks=[AdapterCallback(base)]).train()
    register(tmp_path / "hf/checkpoint-30/adapter", "keywords")
    for number, wave in enumerate(WAVES):
        soundfile.write(tmp_path / f"{number}.wav", wave, 16_000, "FLOAT")
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    named = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))  # not in UTF-8
    (tmp_path / "2.wav").rename(named)
    clips = [tmp_path / f"{name}.wav" for name in (0, "silence", 1, "missing")] + [named]
    classify = Path(__file__).parents[2] / "egs/keywords/local/classify.py"
    done = run_command(classify, "--adapter", "keywords", "--format", "json", *clips)
    lines = [json.loads(line) for line in done.out.splitlines()]
    files = [f"{tmp_path}/{name}.wav" for name in "01\ufffd"]
    assert [(line["path"], line["label"]) for line in lines] == [*zip(files, CLASSES, strict=True)]
    assert done.code == 1 and "silence.wav: silent" in done.err and "missing.wav: no such file" in done.err
