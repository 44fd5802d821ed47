"""train: one seed, one adapter, kill or no kill, cache or no cache; what can't be learnt is refused."""

import dataclasses
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file
from tiny_models import PIECE_TOKENIZERS, tiny, tiny_processor
from warm_python import path_with_warm_python

from ia3_speech import attach, load_adapter, load_base
from ia3_speech.adapters.record import PEFT_WEIGHTS, read_metadata
from ia3_speech.cli import PACKAGED_CONFIGURATIONS, UserError, command
from ia3_speech.data.audio import AudioError
from ia3_speech.data.kaldi import write_data_directory
from ia3_speech.data.utterance import Utterance, load_utterance
from ia3_speech.decoding.ctc_search import greedy
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model import ia3
from ia3_speech.model.base import Base
from ia3_speech.model.fingerprint import fingerprint
from ia3_speech.model.ia3_config import IA3Config
from ia3_speech.model.precision import choose_precision
from ia3_speech.scoring.alignment import ErrorCounts, count_errors
from ia3_speech.train import main
from ia3_speech.training.checkpoint import ResumeError
from ia3_speech.training.config import TrainingError, TrainingOptions
from ia3_speech.training.data import data_digest, read_examples
from ia3_speech.training.run import train
from ia3_speech.training.run_lock import RunLockError, run_lock
from ia3_speech.training.trainer import Trainer

WORDS = ["one", "two", "four", "no", "yes", "go on", "stop it", "well"]
ROOT = Path(__file__).parents[1]
NO_DROPOUT = dict.fromkeys(
    ["hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout"], 0.0
)


def record(folder: Path, count: int, seed: int = 0, text: str | None = None, shortest: int = 8_000) -> Path:
    """A data directory of short noises with words to them."""
    rng, utterances = np.random.default_rng(seed), []
    audio = folder.parent / "audio" / folder.name
    audio.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        samples = shortest + 800 * (i % 4)
        soundfile.write(audio / f"{i}.wav", rng.standard_normal(samples) * 0.1, 16_000, subtype="FLOAT")
        utterances.append(
            Utterance(f"s{i % 2}-{i:02d}", f"s{i % 2}", f"s{i % 2}-{i:02d}", str(audio / f"{i}.wav"),
                      text=text or WORDS[i % len(WORDS)], duration=samples / 16_000)
        )  # fmt: skip
    write_data_directory(folder, utterances)
    return folder


@pytest.fixture
def place(tmp_path, tiny_model, processor) -> Path:
    """A folder with a small base and data to train on."""
    model = tiny_model(hidden_dropout=0.1, mask_time_prob=0.1, mask_time_length=2)
    model.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    record(tmp_path / "train", 24)
    record(tmp_path / "dev", 6, seed=1)
    return tmp_path


def options_of(place: Path, out: str = "exp", **changes) -> TrainingOptions:
    standard = {"base": str(place / "base"), "train": place / "train", "dev": place / "dev", "epochs": 2}
    return TrainingOptions(**(standard | {"out": place / out, "batch_seconds": 2.0, "seed": 3} | changes))


def tensors(place: Path, out: str = "exp") -> dict[str, torch.Tensor]:
    """The vectors after the last step: of noise nothing is learnt, so that the adapter is the start."""
    return torch.load(place / out / "checkpoints/last.pt", weights_only=True)["tensors"]


@pytest.fixture
def without_start(monkeypatch) -> None:
    """Runs as earlier versions began them: the start is not evaluated, so that an epoch is selected."""
    monkeypatch.setattr(Trainer, "evaluate_start", lambda self: None)


def metrics_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ---- one run


def test_a_run_leaves_an_adapter_and_its_record(place):
    summary = train(options_of(place, labels={"speaker": "042"}))
    out = place / "exp"
    assert sorted(p.name for p in out.iterdir() if p.name != "log") == [
        "adapter", "checkpoints", "config.yaml", "metrics.jsonl", "train.json",
    ]  # fmt: skip
    assert json.loads((out / "train.json").read_text()) == summary
    assert sorted(summary) == [
        "audio_seconds", "dev_wer", "epochs", "note", "seconds", "seed", "selected_epoch", "start_dev_wer",
        "steps", "trainable", "utterances",
    ]  # fmt: skip
    assert summary["trainable"] == 3 * (32 + 32 + 48) and summary["utterances"] == 24
    rows = metrics_of(out)
    assert [row["epoch"] for row in rows] == [0, 1, 2] and rows[-1]["step"] == summary["steps"]
    kept = rows[-1]["selected_epoch"]
    assert rows[kept]["dev_wer"] == pytest.approx(summary["dev_wer"], abs=1e-6)
    assert summary["selected_epoch"] == kept
    assert not all(bool((tensor == 1).all()) for tensor in tensors(place).values())
    metadata = read_metadata(out / "adapter")
    assert metadata.labels == {"speaker": "042"} and metadata.base == str(place / "base")
    again = TrainingOptions(**yaml.safe_load((out / "config.yaml").read_text()))
    assert json.dumps(dataclasses.asdict(again), default=str) == json.dumps(
        dataclasses.asdict(options_of(place, labels={"speaker": "042"})), default=str
    )


def trainer_of(place: Path, **changes) -> Trainer:
    options = options_of(place, **changes)
    base = load_base(options.base)
    attach(base.model, IA3Config(tuple(options.placements), options.layers, options.train_head))
    examples = [
        read_examples(folder, base, options, options.speeds) for folder in (options.train, options.dev)
    ]
    return Trainer(base, *examples, options)


def test_the_base_is_frozen(place):
    trainer = trainer_of(place)
    before = fingerprint(trainer.model)["sha256"]
    buffers = {name: buffer.clone() for name, buffer in trainer.model.named_buffers()}
    trainer.run()
    del trainer.model.ia3_digests  # the remembered one proves nothing
    assert fingerprint(trainer.model)["sha256"] == before
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in trainer.model.named_buffers())
    assert all(
        p.grad is None for name, p in trainer.model.named_parameters() if name not in vector_names(trainer)
    )
    assert any(bool((v.l != 1).any()) for v in ia3.vectors(trainer.model).values())


def test_a_dev_utterance_longer_than_the_base_can_hear_is_cut_as_decode_cuts_it(place, monkeypatch):
    limit = 0.52  # of lengths 0.5 to 0.65 s
    monkeypatch.setattr(Base, "maximum_seconds", property(lambda base: limit))
    heard: list[list[str]] = []
    monkeypatch.setattr(
        "ia3_speech.training.trainer.count_errors",
        lambda reference, hypothesis: heard.append(hypothesis) or count_errors(reference, hypothesis),
    )
    trainer = trainer_of(place)
    trainer.dev_errors()
    assert [number for number, _ in trainer.dev_pieces] == [0, 1, 1, 2, 3, 3, 4, 4, 5, 5]
    assert all(piece.duration <= limit for _, piece in trainer.dev_pieces)
    waves = [load_utterance(example.utterance) for example in trainer.dev]
    assert heard == [text.split() for text in Recognizer(trainer.base, max_seconds=limit).texts(waves)]
    whole = [greedy(logits, trainer.base.vocabulary).split()
             for logits in trainer.base.logits(waves, any_length=True)]  # fmt: skip
    assert heard != whole


def vector_names(trainer: Trainer) -> set[str]:
    return {f"{name}.l_as_bias" for name in ia3.vectors(trainer.model)}


def test_the_head_trains_along_and_is_saved(place, without_start):
    train(options_of(place, train_head=True))
    base = load_file(place / "base/model.safetensors")
    head = load_file(place / "exp/adapter" / PEFT_WEIGHTS)["base_model.model.lm_head.weight"]
    assert head.shape == base["lm_head.weight"].shape and not torch.equal(head, base["lm_head.weight"])


@pytest.mark.parametrize("kind", PIECE_TOKENIZERS)
def test_a_base_of_word_pieces_learns_and_writes_them(tmp_path, kind):
    """MedASR's kind, and Parakeet's: from a folder, through training, to text."""
    tokenizer = PIECE_TOKENIZERS[kind]()
    blank = tokenizer.pad_token_id
    model = tiny(kind, vocab_size=len(tokenizer), pad_token_id=blank)
    model.save_pretrained(tmp_path / "base")
    tiny_processor(kind, tokenizer).save_pretrained(tmp_path / "base")
    text = "the chest is stable"
    for name in ("train", "dev"):
        record(tmp_path / name, 8, text=text)
    rates = {"learning_rate": 0.1, "head_learning_rate": 0.1}
    train(options_of(tmp_path, epochs=30, patience=30, train_head=True, spec_augment="off", **rates))
    rows = [json.loads(line) for line in (tmp_path / "exp/metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.5 * rows[1]["loss"]
    base = load_base(tmp_path / "base")
    load_adapter(base.model, tmp_path / "exp/adapter")
    wave, _ = soundfile.read(tmp_path / "audio/train/1.wav", dtype="float32")
    said = greedy(base.logits([wave])[0], base.vocabulary)
    assert said and set(said.split()) <= set(text.split())


def test_clips_shorter_than_a_mask(place, tiny_model):
    """transformers refuses to mask 10 of their 5 frames."""
    tiny_model(mask_time_prob=0.2, mask_time_length=10).save_pretrained(place / "base")
    record(place / "train", 8, text="no", shortest=2_000)
    for i in range(8):
        soundfile.write(place / f"audio/train/{i}.wav", np.random.default_rng(i).standard_normal(2_000) / 9,
                        16_000)  # fmt: skip
    (place / "train/utt2dur").unlink(missing_ok=True)
    assert train(options_of(place, batch_seconds=0.3))["epochs"] == 2


# ---- the same seed, the same adapter


def test_seed_and_cache(place):
    """Random order, speeds, masks and dropout: all hang on the seed; the cache changes nothing."""
    train(options_of(place, "a"))
    train(options_of(place, "b", cache_gb=0.0))
    train(options_of(place, "c", cache_gb=1e-5))
    train(options_of(place, "d", seed=4))
    assert same(tensors(place, "a"), tensors(place, "b")) and same(tensors(place, "a"), tensors(place, "c"))
    assert not same(tensors(place, "a"), tensors(place, "d"))


def test_cache_below_the_lowest_vector(place, tiny_model):
    """Without augmentation and dropout all that stands below the lowest vector is computed once."""
    tiny_model(mask_time_prob=0.0, **NO_DROPOUT).save_pretrained(place / "base")
    changes = {"layers": "1-2", "spec_augment": "off"}
    assert trainer_of(place, **changes).cache.depth == 1
    train(options_of(place, "a", **changes))
    train(options_of(place, "b", cache_gb=0.0, **changes))
    assert same(tensors(place, "a"), tensors(place, "b"))


def test_killed_at_any_moment_it_ends_with_the_same_adapter_bit_for_bit(place):
    """SIGKILL while it starts, in the middle of an epoch, and around an epoch's end."""
    config = place / "config.yaml"
    config.write_text("epochs: 3\nbatch_seconds: 1.2\ncheckpoint_steps: 1\nseed: 5\n")

    def start(out: str) -> subprocess.Popen:
        command = ["python", "-m", "ia3_speech.train", "--config", config, "--base", place / "base",
                   "--train", place / "train", "--dev", place / "dev", "--out", place / out]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": path_with_warm_python()}
        return subprocess.Popen(list(map(str, command)), env=environment, stderr=subprocess.PIPE, text=True)

    train(options_of(place, "whole", epochs=3, batch_seconds=1.2, checkpoint_steps=1, seed=5))
    metrics, checkpoint = place / "killed/metrics.jsonl", place / "killed/checkpoints/last.pt"

    def rows() -> int:
        return metrics.read_text().count("\n") if metrics.exists() else 0

    moments = [lambda: checkpoint.exists(), lambda: rows() >= 2, lambda: rows() >= 3]  # the first: the start
    kills = 0
    for reached in moments:
        process = start("killed")
        while process.poll() is None and not reached():
            time.sleep(0.002)
        time.sleep(0.013 * kills)
        process.kill()
        process.communicate()  # its stderr is closed when it has ended
        kills += process.returncode == -signal.SIGKILL
    assert kills == 3
    last = start("killed")
    errors = last.communicate()[1]
    assert last.returncode == 0 and "resuming after step" in errors, errors
    assert same(tensors(place, "whole"), tensors(place, "killed"))
    without_speed = [
        [{k: v for k, v in json.loads(line).items() if k != "seconds_per_second"} for line in file.open()]
        for file in (place / "whole/metrics.jsonl", metrics)
    ]
    assert without_speed[0] == without_speed[1] and len(without_speed[0]) == 4
    assert [p.name for p in checkpoint.parent.iterdir()] == ["last.pt"]


def test_two_processes_learn_what_one_does(place, tiny_model):
    """Each takes half of every batch; gradients and the logged loss are averaged (here: CPUs, gloo)."""
    tiny_model(mask_time_prob=0.0, **NO_DROPOUT).save_pretrained(place / "base")
    train(options_of(place, "one"))
    command = ["python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               "-m", "ia3_speech.train", "--base", place / "base", "--train", place / "train",
               "--dev", place / "dev", "--epochs", "2", "--batch-seconds", "2", "--seed", "3",
               "--out", place / "two"]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    environment["PATH"] = path_with_warm_python()
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("two/adapter: dev WER") == 1, done.stderr
    one, two = tensors(place, "one"), tensors(place, "two")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=0)
    losses = [[row["loss"] for row in metrics_of(place / out) if row["epoch"]] for out in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_auto_precision_is_decided_once_and_recorded(place):
    train(options_of(place, precision="auto"))
    decided = yaml.safe_load((place / "exp/config.yaml").read_text())["precision"]
    assert decided == choose_precision("auto", load_base(place / "base").device)
    made = (place / "exp/adapter/ia3_speech.json").stat().st_mtime_ns
    train(options_of(place, precision="auto"))
    assert (place / "exp/adapter/ia3_speech.json").stat().st_mtime_ns == made


def test_a_finished_run_is_not_run_again(place):
    first = train(options_of(place))
    before = tensors(place)
    record = place / "exp/adapter/ia3_speech.json"
    scored = json.loads(record.read_text()) | {"scores": [{"set": "test", "wer": 0.5}]}
    record.write_text(json.dumps(scored))
    assert train(options_of(place)) == first and same(before, tensors(place))
    assert json.loads(record.read_text()) == scored  # what was scored since is not forgotten
    train(options_of(place, labels={"domain": "medical"}))
    assert read_metadata(place / "exp/adapter").labels == {"domain": "medical"}


def test_a_base_that_changed_at_its_place_is_noticed(place, tiny_model):
    train(options_of(place, epochs=1))
    tiny_model(seed=5, hidden_dropout=0.1, mask_time_prob=0.1, mask_time_length=2).save_pretrained(
        place / "base"
    )
    with pytest.raises(ResumeError, match=r"other options: sha256 of the base was '\w+', is '\w+' \("):
        train(options_of(place, epochs=1))


def test_an_adapter_to_start_from_that_changed_is_noticed(place, without_start):
    train(options_of(place, "start", epochs=1))
    options = options_of(place, epochs=1, init_adapter=str(place / "start/adapter"))
    train(options)
    train(options_of(place, "other", epochs=1, seed=4))
    (place / "start").rename(place / "before")
    (place / "other").rename(place / "start")
    with pytest.raises(ResumeError, match="other options: sha256 of the start was"):
        train(options)


def test_who_was_learnt_from_stays_in_the_labels(place):
    """What is made of a person's adapter is data about that person, and guarded as such."""
    train(options_of(place, "start", epochs=1, labels={"speaker": "042", "domain": "medical"}))
    start = {"init_adapter": str(place / "start/adapter"), "epochs": 1}
    train(options_of(place, "more", **start))
    train(options_of(place, "another", **start, labels={"speaker": "043"}))
    records = [read_metadata(place / out / "adapter") for out in ("more", "another")]
    assert [one.labels for one in records] == [{"speaker": "042"}, {"speaker": "042+043"}]
    assert records[0].training["init_adapter"] == start["init_adapter"]


def test_a_head_can_not_train_from_an_adapter_without_one(place):
    train(options_of(place, "start", epochs=1))
    with pytest.raises(TrainingError, match="has no head, so none can be trained from there"):
        train(options_of(place, init_adapter=str(place / "start/adapter"), train_head=True))
    train(options_of(place, "headed", epochs=1, train_head=True))
    with pytest.raises(TrainingError, match="has a head, which would train too"):
        train(options_of(place, init_adapter=str(place / "headed/adapter")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.5}, r"other options: learning_rate was 0\.01, is 0\.5"),
        ({"train": "dev"}, "other options: train was"),
    ],
)
def test_another_run_does_not_go_on_in_its_folder(place, changes, message):
    train(options_of(place, epochs=1))
    if "train" in changes:
        changes = {"train": place / changes["train"]}
    before = (place / "exp/config.yaml").read_text()
    with pytest.raises(ResumeError, match=message):
        train(options_of(place, epochs=1, **changes))
    assert (place / "exp/config.yaml").read_text() == before


def test_reversed_recordings_are_other_data(place):
    """Ids, texts and lengths are the same."""
    train(options_of(place, epochs=1))
    wave = place / "audio/train/3.wav"
    before = wave.read_bytes()
    reverse(wave)
    with pytest.raises(ResumeError, match="other data"):
        train(options_of(place, epochs=1))
    wave.write_bytes(before)
    train(options_of(place, epochs=1))


def reverse(file: Path) -> None:
    samples, rate = soundfile.read(file)
    soundfile.write(file, samples[::-1], rate, subtype="FLOAT")


def test_the_samples_of_a_pipe_are_its_identity(place):
    wave = place / "audio/train/3.wav"
    table = place / "train/wav.scp"
    table.write_text(table.read_text().replace(str(wave), f"cat {wave} |"))
    options = options_of(place, allow_pipes=True)

    def digest() -> str:
        return data_digest(read_examples(place / "train", load_base(options.base), options, [1.0]), [])

    before = digest()
    assert digest() == before
    reverse(wave)
    assert digest() != before


def test_paths_are_compared_resolved(place, monkeypatch):
    summary = train(options_of(place, epochs=1))
    monkeypatch.chdir(place)
    assert train(options_of(Path(), epochs=1)) == summary
    (place / "link").symlink_to(place / "train")
    assert train(options_of(place, epochs=1, train=place / "link")) == summary


def test_a_checkpoint_of_an_earlier_version_knew_no_audio_and_no_full_paths(place, monkeypatch):
    train(options_of(place, epochs=1))
    checkpoint = place / "exp/checkpoints/last.pt"
    state = torch.load(checkpoint, weights_only=True)
    examples = [
        example
        for folder, speeds in (("train", [0.9, 1.0, 1.1]), ("dev", [1.0]))
        for example in read_examples(place / folder, load_base(place / "base"), options_of(place), speeds)
    ]
    rows = [(e.utterance.id, e.ids, round(e.seconds, 4)) for e in examples]
    state["data"] = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    state["options"] |= {"train": "train", "dev": "dev", "base": "base"}
    torch.save(state, checkpoint)
    monkeypatch.chdir(place)
    train(options_of(place, epochs=1))
    (place / "train").rename(place / "moved")
    with pytest.raises(ResumeError, match="train was"):
        train(options_of(place, epochs=1, train=place / "moved"))


def test_changed_data_and_damaged_checkpoints(place):
    train(options_of(place, epochs=1))
    record(place / "train", 24, text="changed")
    with pytest.raises(ResumeError, match="other data"):
        train(options_of(place, epochs=1))
    record(place / "train", 24)
    checkpoint = place / "exp/checkpoints/last.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ResumeError, match=r"cannot resume from .*last\.pt"):
        train(options_of(place, epochs=1))


# ---- choice by dev, and early stopping


FOUR = [[1, 1, 1, 1], [3, 3, 0, 0], [2, 0, 2, 1]]  # errors of four utterances: 4, 6 and 5


@pytest.mark.parametrize(
    ("errors", "kept", "epochs"),
    [
        ([[2] * 4, FOUR[0], FOUR[2], [2] * 4, [0] * 4], 3, 4),  # one more, two up and one down: can't be told
        ([[2] * 4, FOUR[0], FOUR[2], FOUR[0], [0] * 4], 4, 4),  # as good as the second, and later
        ([FOUR[0], [2] * 4, FOUR[1]], 3, 3),  # two more errors, up here and down there
        ([FOUR[0], [2] * 4, [1, 1, 2, 2]], 1, 3),  # two more, and no utterance better
        ([[3] * 4, [2] * 4, FOUR[1], FOUR[0], FOUR[2], [2] * 4], 5, 6),  # a new best begins anew
    ],
)
def test_the_last_epoch_that_dev_cannot_tell_from_the_best_is_selected(
    place, monkeypatch, errors, kept, epochs
):
    trainer = trainer_of(place, epochs=9, patience=2)
    coming, seen = iter([[4] * 4, *errors]), []

    def dev_errors() -> list[ErrorCounts]:
        seen.append(trainer.copy_parameters())
        return [ErrorCounts(words=5, substitutions=one, utterances=1) for one in next(coming)]

    monkeypatch.setattr(trainer, "dev_errors", dev_errors)
    trainer.run()
    assert len(seen) == 1 + epochs  # patience is of the fewest errors alone
    assert (trainer.selected_epoch, trainer.selected_wer) == (kept, sum(errors[kept - 1]) / 20)
    assert same(trainer.selected_tensors, seen[kept])


@pytest.mark.parametrize(
    ("errors", "kept"),
    [
        ([[2] * 4, [3] * 4, [4] * 4], 0),
        ([[2] * 4, [2] * 4, [2] * 4], 0),  # as many errors as the start: no improvement
        ([FOUR[0], FOUR[1], FOUR[2]], 0),  # one more than the start, within one standard error
        ([FOUR[2], FOUR[0], FOUR[1]], 1),  # of those within one standard error the last below the start
    ],
)
def test_the_start_is_selected_where_no_epoch_improves_on_it(place, monkeypatch, errors, kept):
    trainer = trainer_of(place, epochs=2, learning_rate=0.5)
    coming = iter(errors)
    monkeypatch.setattr(
        trainer, "dev_errors",
        lambda: [ErrorCounts(words=5, substitutions=one, utterances=1) for one in next(coming)],
    )  # fmt: skip
    trainer.run()
    assert (trainer.selected_epoch, trainer.selected_wer) == (kept, sum(errors[kept]) / 20)
    assert kept or all(bool((tensor == 1).all()) for tensor in trainer.selected_tensors.values())
    assert [row["dev_wer"] for row in metrics_of(place / "exp")] == [sum(one) / 20 for one in errors]


def test_a_run_that_does_not_improve_says_so(place, caplog):
    summary = train(options_of(place, epochs=1, learning_rate=1.0))
    assert summary["note"] == "no epoch improved on the start" and summary["selected_epoch"] == 0
    assert summary["dev_wer"] == summary["start_dev_wer"]
    assert "exp: no epoch improved on the start, dev WER" in caplog.text
    record = read_metadata(place / "exp/adapter").training
    assert record["note"] == summary["note"] and record["selected_epoch"] == 0
    saved = load_file(place / "exp/adapter" / PEFT_WEIGHTS)
    assert all(bool((tensor == 1).all()) for tensor in saved.values())


def test_a_run_that_an_earlier_version_began_is_resumed(place, without_start):
    """It never evaluated its start, and its checkpoint has no word of it."""
    whole = train(options_of(place, "whole"))
    trainer_of(place, epochs=2).run()
    checkpoint = place / "exp/checkpoints/last.pt"
    state = torch.load(checkpoint, weights_only=True)
    del state["start_wer"]
    torch.save(state, checkpoint)
    summary = train(options_of(place))
    assert summary["start_dev_wer"] is None and "note" not in summary
    assert summary["selected_epoch"] == whole["selected_epoch"] > 0


def test_decay_to_one_holds_the_vectors_near_one(place):
    """Decoupled from the gradient: after the optimizer's step, l − 1 shrinks by rate × decay_to_one."""
    distance = {}
    for decay in (0.0, 1.0, 20.0):
        trainer = trainer_of(place, decay_to_one=decay, patience=9)
        trainer.run()
        distance[decay] = sum(float((p - 1).detach().abs().sum()) for p in trainer.parameters.values())
    assert distance[0.0] > distance[1.0] > 1.5 * distance[20.0] > 0
    with torch.no_grad():
        for p in trainer.parameters.values():
            p.fill_(1.5)
    trainer.optimizer.param_groups[0]["lr"] = 0.01
    trainer.decay_to_one()
    assert all(bool(torch.isclose(p, torch.tensor(1.4)).all()) for p in trainer.parameters.values())


def test_decay_to_one_leaves_the_head_alone(place):
    trainer = trainer_of(place, decay_to_one=5.0, train_head=True)
    before = trainer.copy_parameters()
    trainer.decay_to_one()
    assert all(torch.equal(p, before[name]) for name, p in trainer.parameters.items())  # all l are ones
    assert any(ia3.is_head(name) for name in before)


def test_an_epoch_goes_over_a_small_train_several_times(place):
    """24 utterances hold 13.8 s: 0.5 minutes are three times as much."""
    once, thrice = trainer_of(place), trainer_of(place, epoch_minutes=0.5)
    assert sorted(i for batch in thrice.order.batches() for i in batch) == list(range(3 * 24))
    assert sorted(i for batch in once.order.batches() for i in batch) == list(range(24))
    speeds = {round(thrice.draw_speed(thrice.train[5], 0, place), 1) for place in (5, 29, 53)}
    assert len(speeds) > 1  # each time another draw
    summary = train(options_of(place, epoch_minutes=0.5))
    assert summary["utterances"] == 24 and summary["steps"] == thrice.total_steps > 2.5 * once.total_steps
    train(options_of(place, "enough", epoch_minutes=0.1))
    train(options_of(place, "usual"))
    assert same(tensors(place, "enough"), tensors(place, "usual"))


# ---- what can't be learnt


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("naïve café", r"train/text: the base can't write .*'ï' × 24.*--drop-chars"),
        (
            "a" * 40,
            r"24 utterances can't be trained on:\n.*train/text: s0-00 needs 79 frames, its audio has",
        ),
    ],
)
def test_texts_that_can_not_be_learnt(place, text, message):
    record(place / "train", 24, text=text)
    with pytest.raises(TrainingError, match=message):
        train(options_of(place))
    assert not (place / "exp/adapter").exists()


def test_drop_chars_and_skip_go_on_and_name_what_is_left_out(place, caplog):
    record(place / "train", 24, text="naïve")
    (place / "train/text").write_text(
        (place / "train/text").read_text().replace("s0-02 naïve", "s0-02 " + "a" * 60)
    )
    summary = train(options_of(place, epochs=1, drop_chars=True, on_error="skip"))
    assert summary["utterances"] == 23
    assert "s0-02 needs 119 frames" in caplog.text and "train: 1 utterances left out" in caplog.text


@pytest.mark.parametrize("mode", ["ctc", "english"])
def test_numbers_are_learnt_in_words(place, processor, caplog, mode):
    base = load_base(str(place / "base"))
    record(place / "train", 2, text="Is it 9?")
    options = options_of(place, normalize=mode)
    example, _ = read_examples(place / "train", base, options, [1.0])
    assert base.vocabulary.decode(example.ids) == "is it nine"
    assert example.utterance.text == "Is it nine?"  # what dev is evaluated against
    assert "9 → nine (2 ×)" in caplog.text


def test_what_the_base_can_not_count_to_is_named(tmp_path, caplog):
    noise = np.random.default_rng(0).standard_normal(16 * 16_000) * 0.1
    soundfile.write(tmp_path / "long.wav", noise, 16_000)
    utterances = [
        Utterance(f"s0-{name}", "s0", f"s0-{name}", str(tmp_path / "long.wav"), 0.0, end, "one", end)
        for name, end in (("a", 15.0), ("b", 15.5), ("c", 15.8))
    ]
    write_data_directory(tmp_path / "dev", utterances)
    options = TrainingOptions(train=tmp_path / "dev", dev=tmp_path / "dev", out=tmp_path / "out")
    read_examples(tmp_path / "dev", load_base("mini"), options, [1.0])
    assert "dev: 2 of 3 utterances are longer than 15.4 s" in caplog.text
    assert (
        f"mini drops words: s0-b (15.5 s), s0-c (15.8 s) (cut them at pauses: ia3-speech datadir segment "
        f"{tmp_path}/dev OUT --base mini)" in caplog.text
    )


def test_bad_audio_stops_training_and_is_named(place):
    soundfile.write(place / "audio/train/3.wav", np.zeros(100), 16_000)
    with pytest.raises(AudioError, match=r"s1-03"):
        train(options_of(place))


@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_transcript_of_punctuation_is_a_text_problem(place, caplog, on_error):
    texts = place / "train/text"
    texts.write_text(texts.read_text().replace("s1-01 two", "s1-01 ..."))
    expected = "train/text: s1-01 has no text that the base can write: '...'"
    if on_error == "fail":
        with pytest.raises(TrainingError, match=re.escape(expected)) as raised:
            train(options_of(place))
        assert "audio" not in str(raised.value).replace(str(place), "")
    else:
        assert train(options_of(place, epochs=1, on_error="skip"))["utterances"] == 23
        assert expected in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="locks are POSIX")
def test_a_second_run_in_the_same_folder_is_refused(place):
    with (
        run_lock(place / "exp"),
        pytest.raises(RunLockError, match=r"exp: another run is writing to it, proc"),
    ):
        train(options_of(place))
    assert not (place / "exp").exists()
    train(options_of(place, epochs=1))
    assert not list((place / "exp").glob(".*"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_killed_while_it_saves_its_adapter_it_leaves_nothing_for_good(place):
    code = f"""
import os, signal, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from pathlib import Path
from ia3_speech import atomic
atomic.flush = lambda new, mode: new.name == "new" and new.is_dir() and os.kill(os.getpid(), signal.SIGKILL)
from tests.test_train import options_of, train
train(options_of(Path({str(place)!r}), epochs=1))
"""
    environment = os.environ | {"PATH": path_with_warm_python()}
    killed = subprocess.run(["python", "-c", code], capture_output=True, text=True, env=environment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert sorted(p.name[:9] for p in (place / "exp").glob(".*")) == [".adapter.", ".lock"]
    train(options_of(place, epochs=1))
    assert not list((place / "exp").glob(".*")) and (place / "exp/adapter").is_dir()


def test_no_data(place):
    (place / "empty").mkdir()
    for name in ("wav.scp", "text", "utt2spk", "spk2utt"):
        (place / "empty" / name).touch()
    with pytest.raises(UserError, match=r"empty"):
        train(options_of(place, train=place / "empty"))


def test_data_that_is_not_there_leaves_no_run(place, capsys):
    """It is named before the base is loaded, here one that is not there either; --out stays free."""
    words = ["--base", str(place / "nobody"), "--train", str(place / "none"), "--dev", str(place / "dev")]
    with pytest.raises(SystemExit) as ended:
        command(main, [*words, "--out", str(place / "exp")])
    assert ended.value.code == 1 and "none" in capsys.readouterr().err
    assert [path.name for path in (place / "exp").iterdir()] == ["inputs.json"]
    with pytest.raises(SystemExit):
        command(
            main, [*words[:2], "--train", str(place / "nowhere"), *words[4:], "--out", str(place / "exp")]
        )
    assert "nowhere" in capsys.readouterr().err  # and not that the folder holds another run


def test_a_loss_that_is_no_number_stops_the_run(place, without_start):
    trainer = trainer_of(place)
    with torch.no_grad():
        next(iter(trainer.parameters.values())).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"step 0: the loss is nan on s.*the last checkpoint stands"):
        trainer.run()


def test_a_vector_without_a_gradient_is_found_in_training(place):
    trainer = trainer_of(place, epochs=4)
    name = next(iter(trainer.parameters))
    trainer.parameters[name].register_hook(torch.zeros_like)
    with pytest.raises(TrainingError, match=f"no gradient in 10 batches: {name}"):
        trainer.run()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX")
def test_a_full_disk_leaves_the_last_checkpoint(place):
    """The file size limit of the shell stands in for a full disk: the system refuses to write on."""
    train(options_of(place, epochs=2))
    checkpoint = place / "exp/checkpoints/last.pt"
    good = checkpoint.read_bytes()
    (place / "exp/checkpoints/last.pt").unlink()
    (place / "exp/metrics.jsonl").unlink()
    limit = f"trap '' XFSZ; ulimit -f {len(good) // 1024 - 4}"
    command = f"""{limit}; exec "$0" -m ia3_speech.train --base {place}/base --train {place}/train \
        --dev {place}/dev --out {place}/exp --epochs 2 --batch-seconds 2 --seed 3"""
    done = subprocess.run(["bash", "-c", command, sys.executable], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "File too large" in done.stderr.splitlines()[-1] and "checkpoint" in done.stderr.splitlines()[-1]
    assert not checkpoint.exists() and not list(checkpoint.parent.iterdir())


def test_bad_numbers(place):
    with pytest.raises(
        TrainingError, match=r"epochs is 0, and has to be at least 1; learning_rate is -1.*; patience is -1"
    ):
        train(options_of(place, epochs=0, patience=-1, learning_rate=-1.0))


def test_the_shipped_configuration_is_short_and_of_known_options():
    file = PACKAGED_CONFIGURATIONS / "ia3.yaml"
    assert len(file.read_text().splitlines()) < 15
    config = yaml.safe_load(file.read_text())
    fields = {field.name for field in dataclasses.fields(TrainingOptions)}
    assert set(config) <= fields
