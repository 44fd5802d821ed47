"""README's lines: an attached model in transformers' own Trainer and pipeline, neither of them touched."""

import pickle

import numpy as np
import torch
from corpus_files import noise

from ia3_speech import AdapterCallback, attach, load, load_base
from ia3_speech.adapters.record import read_record
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.utterance import load_utterance
from ia3_speech.model.hypotheses import GreedySearch
from ia3_speech.model.ia3 import vectors


def test_collate_normalises_and_pads(tiny_base):
    base = tiny_base()
    texts = ("Ab", "it's  so", "?!")
    rows = [{"audio": np.arange(n), "text": text} for n, text in zip((5.0, 3.0, 4.0), texts, strict=True)]
    batch = base.collate(rows)
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]
    assert batch["labels"][0].tolist() == [3, 4, *[-100] * 5]
    assert base.vocabulary.decode(batch["labels"][1].tolist()) == "it's so"
    assert batch["labels"].dtype == torch.long and batch["labels"][2].tolist() == [-100] * 7
    assert batch["input_values"].shape == (3, 5) and batch["input_values"][1, 3:].tolist() == [0, 0]


def test_collate_can_be_pickled_for_spawned_workers(tiny_base):
    base = tiny_base()
    attach(base.model)
    rows = [{"audio": wave, "text": "a"} for wave in (np.ones(4_000), np.ones(1_600))]
    batch = pickle.loads(pickle.dumps(base.collate))(rows)
    assert all(torch.equal(batch[name], tensor) for name, tensor in base.collate(rows).items())


def test_checkpoints_hold_the_adapters_labels_and_weight_decay_spares_it(tiny_folder, tmp_path):
    """The rows are a dataset with a column of audio, which is decoded without torchcodec."""
    from datasets import Audio, Dataset
    from transformers import Trainer, TrainingArguments

    base = load_base(tiny_folder, device="cpu")
    model = attach(base.model)
    files = [str(noise(tmp_path / f"{number}.wav", 0.5)) for number in range(4)]
    rows = Dataset.from_dict({"audio": files, "text": ["go"] * 4}).cast_column("audio", Audio(16_000))
    arguments = TrainingArguments(
        str(tmp_path / "exp"), max_steps=2, save_steps=2, learning_rate=0.1, weight_decay=0.9, use_cpu=True,
        per_device_train_batch_size=2, remove_unused_columns=False, report_to="none",
    )  # fmt: skip
    callback = AdapterCallback(base, {"accent": "scots"})
    trainer = Trainer(model, arguments, base.collate, rows, callbacks=[callback])
    trainer.create_optimizer()
    groups = {g["weight_decay"]: len(g["params"]) for g in trainer.optimizer.param_groups if g["params"]}
    assert groups == {0.0: len(vectors(model))}
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    trainer.train()
    assert all(torch.equal(tensor, model.get_parameter(name)) for name, tensor in frozen.items())
    assert read_record(tmp_path / "exp/checkpoint-2/adapter")["labels"] == {"accent": "scots"}
    asr = load(tiny_folder)
    assert [each.text for each in asr.transcribe(rows["audio"])] == [
        each.text for each in asr.transcribe(files)
    ]


def test_the_shipped_base_works_without_us(base_folder, shared_data):
    """AutoProcessor, from_pretrained and the pipeline, on real speech; the same text as ours."""
    from transformers import AutoModelForCTC, AutoProcessor, pipeline

    processor = AutoProcessor.from_pretrained(base_folder)
    model = AutoModelForCTC.from_pretrained(base_folder)
    assert type(model).__name__ == "Wav2Vec2ForCTC" and model.dtype == torch.float32
    vocabulary = processor.tokenizer.get_vocab()
    assert sorted(vocabulary, key=vocabulary.get) == ["<pad>", "|", "'", *"abcdefghijklmnopqrstuvwxyz"]
    wave = load_utterance(next(iter(read_data_directory(shared_data / "medical_notes/test"))))
    parts = {"tokenizer": processor.tokenizer, "feature_extractor": processor.feature_extractor}
    said = pipeline("automatic-speech-recognition", model, **parts)(wave)["text"]
    base = load_base(base_folder)
    attach(base.model)
    assert said == GreedySearch(base.vocabulary)(base.logits([wave])[0]).text != ""
