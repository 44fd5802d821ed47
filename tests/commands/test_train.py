"""train: one seed, one adapter, kill or no kill, cache or no cache; what can't be learnt is refused."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from corpus_files import full_disk
from safetensors.torch import load_file
from tiny_models import PIECE_TOKENIZERS, tiny, tiny_processor

from ia3_speech import attach, load_adapter, load_base
from ia3_speech.adapters.record import PEFT_WEIGHTS, read_record
from ia3_speech.common.errors import TrainingError
from ia3_speech.data.kaldi.directory import write_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.model import ia3
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.hypotheses import GreedySearch
from ia3_speech.model.precision import choose_precision
from ia3_speech.scoring.alignment import ErrorCounts
from ia3_speech.training.config import TrainingOptions, plain_options
from ia3_speech.training.data import read_examples
from ia3_speech.training.run import train
from ia3_speech.training.trainer import Trainer

WORDS = ["one", "two", "four", "no", "yes", "go on", "stop it", "well"]
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
def place(tmp_path, save_base) -> Path:
    """A folder with a small base and data to train on."""
    save_base(tmp_path / "base", hidden_dropout=0.1, mask_time_prob=0.1, mask_time_length=2)
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
def bad_start(monkeypatch) -> None:
    """The start counts as bad, so that an epoch is selected: of noise nothing is learnt."""
    evaluate, wrong = Trainer.dev_errors, [ErrorCounts(words=1, substitutions=9, utterances=1)]
    monkeypatch.setattr(Trainer, "dev_errors", lambda self: evaluate(self) if self.state.step else wrong)


def forked(run: Callable, *arguments: object) -> multiprocessing.Process:
    """A process that can be killed; it calls `run`. Its parent has only loaded PyTorch: a fork
    of this process would wait for ever on the locks of its threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ia3_speech.training.run", "ia3_speech.commands.train"])
    process = context.Process(target=run, args=arguments)
    process.start()
    return process


def metrics_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_leaves_an_adapter_and_its_record(place):
    """Of noise nothing is learnt, which it says: the adapter is the start, and the vectors have moved on."""
    summary = train(options_of(place, labels={"speaker": "042"}, precision="auto"))
    out = place / "exp"
    files = {"adapter", "checkpoints", "config.yaml", "metrics.jsonl", "train.json"}
    assert {p.name for p in out.iterdir()} == files
    assert json.loads((out / "train.json").read_text()) == summary
    assert summary["method"] == "ia3" and summary["bytes"] == (out / "adapter" / PEFT_WEIGHTS).stat().st_size
    assert summary["trainable"] == 3 * (32 + 32 + 48) and summary["utterances"] == 24
    rows = metrics_of(out)
    assert [row["epoch"] for row in rows] == [0, 1, 2] and rows[-1]["step"] == summary["steps"]
    assert rows[-1]["selected_epoch"] == summary["selected_epoch"] == 0
    assert rows[0]["dev_wer"] == pytest.approx(summary["dev_wer"], abs=1e-6)
    assert "no epoch improved" in summary["note"]
    saved = load_file(out / "adapter" / PEFT_WEIGHTS)
    assert all(bool((tensor == 1).all()) for tensor in saved.values())
    assert not all(bool((tensor == 1).all()) for tensor in tensors(place).values())
    assert read_record(out / "adapter")["base"] == str(place / "base")
    decided, _ = choose_precision("auto", load_base(place / "base").model)
    options = options_of(place, labels={"speaker": "042"}, precision=decided)
    assert yaml.safe_load((out / "config.yaml").read_text()) == plain_options(options)


def test_loss_rate_and_dev_wer_go_to_a_tracker(place, run_command):
    pytest.importorskip("tensorboardX")
    words = ["--base", place / "base", "--train", place / "train", "--dev", place / "dev", "--epochs", 1]
    result = run_command("train", *words, "--out", place / "exp", "--log-to", "tensorboard")
    assert result.code == 0, result.err
    [events] = (file.read_bytes() for file in (place / "exp").rglob("events.out.tfevents.*"))
    steps = json.loads((place / "exp/train.json").read_text())["steps"]
    counts = {name: events.count(name.encode()) for name in ("epoch", "dev_wer", "loss", "learning_rate")}
    assert counts == {"epoch": 2, "dev_wer": 2, "loss": steps, "learning_rate": steps}


def trainer_of(place: Path, **changes) -> Trainer:
    options = options_of(place, **changes)
    base = load_base(options.base)
    attach(base.model, IA3Config(tuple(options.placements), options.layers, options.train_head))
    examples = [
        read_examples(folder, base, options, options.speeds) for folder in (options.train, options.dev)
    ]
    return Trainer(base, *examples, options)


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
    rows = metrics_of(tmp_path / "exp")
    assert rows[-1]["loss"] < 0.5 * rows[1]["loss"]
    base = load_base(tmp_path / "base")
    load_adapter(base.model, tmp_path / "exp/adapter")
    wave, _ = soundfile.read(tmp_path / "audio/train/1.wav", dtype="float32")
    said = GreedySearch(base.vocabulary)(base.logits([wave])[0]).text
    assert said and set(said.split()) <= set(text.split())


def test_seed_and_cache(place):
    """Random order, speeds, masks and dropout: all hang on the seed; the cache changes nothing."""
    train(options_of(place, "a"))
    train(options_of(place, "b", cache_gb=0.0))
    train(options_of(place, "c", cache_gb=1e-5))
    stored = []
    for out in ("e", "f"):  # the first fills the folder
        train(options_of(place, out, cache_gb=1e-5, cache_dir=place / "features"))
        stored.append({file: file.stat().st_mtime_ns for file in place.glob("features/*/*.safetensors")})
    assert stored[0] == stored[1] and len(stored[0]) > 10
    train(options_of(place, "d", seed=4))
    assert all(same(tensors(place, "a"), tensors(place, out)) for out in "bcef")
    assert not same(tensors(place, "a"), tensors(place, "d"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_killed_at_any_moment_it_ends_with_the_same_adapter_bit_for_bit(place, caplog):
    """SIGKILL while it starts, in the middle of an epoch, and around an epoch's end."""
    changes = {"epochs": 3, "batch_seconds": 1.2, "checkpoint_steps": 1, "seed": 5}
    train(options_of(place, "whole", **changes))
    metrics, checkpoint = place / "killed/metrics.jsonl", place / "killed/checkpoints/last.pt"

    def rows() -> int:
        return metrics.read_text().count("\n") if metrics.exists() else 0

    caplog.set_level("INFO", "ia3_speech")
    moments = [lambda: checkpoint.exists(), lambda: rows() >= 2, lambda: rows() >= 3]  # the first: the start
    for number, reached in enumerate(moments):
        process = forked(train, options_of(place, "killed", **changes))
        while process.is_alive() and not reached():
            process.join(0.002)
        process.join(0.013 * number)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    (place / "killed/.adapter.abcd1234/new").mkdir(parents=True)  # killed while it saved its adapter
    train(options_of(place, "killed", **changes))
    assert "resuming after step" in caplog.text
    assert same(tensors(place, "whole"), tensors(place, "killed"))
    whole, killed = (
        [row | {"seconds_per_second": None} for row in metrics_of(place / out)] for out in ("whole", "killed")
    )
    assert whole == killed and len(whole) == 4
    assert [p.name for p in checkpoint.parent.iterdir()] == ["last.pt"]
    assert not [*(place / "killed").glob(".*")]


def test_two_processes_train_the_same_adapter_as_a_single_process(place, tiny_model):
    """Each takes half of every batch; gradients and the logged loss are averaged (here: CPUs, gloo)."""
    tiny_model(mask_time_prob=0.0, **NO_DROPOUT).save_pretrained(place / "base")
    train(options_of(place, "one"))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2",
               "--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no",
               "-m", "ia3_speech", "train", "--base", place / "base", "--train", place / "train",
               "--dev", place / "dev", "--epochs", "2", "--batch-seconds", "2", "--seed", "3",
               "--out", place / "two"]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("two/adapter: dev WER") == 1, done.stderr
    single, two = tensors(place, "one"), tensors(place, "two")
    for name, tensor in single.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=0)
    losses = [[row["loss"] for row in metrics_of(place / out) if row["epoch"]] for out in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_another_run_does_not_go_on_in_its_folder(place, bad_start):
    """Whatever else decides the adapter counts by its content, wherever it lies."""
    train(options_of(place, "start", epochs=1))
    train(options_of(place, "other", epochs=1, seed=4))
    standard = {"epochs": 1, "init_adapter": str(place / "start/adapter")}
    summary = train(options_of(place, **standard))

    def refused(message: str, **changes) -> None:
        with pytest.raises(TrainingError, match=rf"exp holds another run: {message} "):
            train(options_of(place, **(standard | changes)))

    refused("learning_rate was 0.01, is 0.5", learning_rate=0.5)
    refused("sha256 of the start was", init_adapter=str(place / "other/adapter"))
    (place / "link").symlink_to(place / "train")
    assert train(options_of(place, **standard, train=place / "link")) == summary
    checkpoint = place / "exp/checkpoints/last.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"cannot resume from .*last\.pt"):
        train(options_of(place, **standard))


FOUR = [[1, 1, 1, 1], [3, 3, 0, 0], [2, 0, 2, 1]]  # errors of four utterances: 4, 6 and 5


@pytest.mark.parametrize(
    ("errors", "selected", "epochs"),  # of the start, which is epoch 0, and of each epoch
    [
        ([[4] * 4, FOUR[0], FOUR[2], [2] * 4], 2, 3),  # one more: can't be told from the best
        ([[4] * 4, FOUR[0], [2] * 4, FOUR[1]], 3, 3),  # two more errors, up here and down there
        ([[4] * 4, FOUR[0], [2] * 4, [1, 1, 2, 2]], 1, 3),  # two more, and no utterance better
        ([[4] * 4, [3] * 4, [2] * 4, FOUR[1], FOUR[0], FOUR[2], [2] * 4], 5, 6),  # a new best begins anew
        ([[2] * 4, [2] * 4, [2] * 4, [2] * 4], 0, 3),  # as many errors as the start: no improvement
        ([FOUR[2], FOUR[0], FOUR[1], FOUR[1]], 1, 3),  # of those within it the last below the start
    ],
)
def test_the_last_epoch_that_dev_cannot_tell_from_the_best_is_selected(
    place, monkeypatch, errors, selected, epochs
):
    trainer = trainer_of(place, epochs=9, patience=2, learning_rate=0.5)
    coming, seen = iter(errors), []

    def dev_errors() -> list[ErrorCounts]:
        seen.append(trainer.copy_parameters())
        return [ErrorCounts(words=5, substitutions=count, utterances=1) for count in next(coming, [5] * 4)]

    monkeypatch.setattr(trainer, "dev_errors", dev_errors)
    trainer.run()
    assert len(seen) == 1 + epochs  # patience is of the fewest errors alone
    state = trainer.state
    assert (state.selected_epoch, state.selected_wer) == (selected, sum(errors[selected]) / 20)
    assert same(state.selected_tensors, seen[selected])


@pytest.mark.parametrize(
    ("options", "expected"), [({"decay_to_one": 20.0}, 1.4), ({"trust_region": 0.25}, 1.25)]
)
def test_vectors_are_held_near_one(options, expected, place):
    """Decoupled from the gradient: after the optimizer's step, l − 1 shrinks by rate × decay_to_one."""
    trainer = trainer_of(place, train_head=True, **options)
    with torch.no_grad():
        for p in trainer.parameters.values():
            p.fill_(1.5)
    trainer.optimizer.param_groups[0]["lr"] = 0.01
    trainer.decay_to_one()
    for name, p in trainer.parameters.items():
        torch.testing.assert_close(p, torch.full_like(p, 1.5 if ia3.is_head(name) else expected))


def test_a_full_disk_leaves_the_last_checkpoint(place, run_command):
    train(options_of(place, epochs=1))
    size = (place / "exp/checkpoints/last.pt").stat().st_size

    words = ["--base", place / "base", "--train", place / "train", "--dev", place / "dev", "--epochs", 1]
    with full_disk(size - 4096):
        done = run_command("train", *words, "--out", place / "full")
    last = done.err.splitlines()[-1]
    assert done.code == 1 and last.startswith("error: ") and "File too large" in last
    assert "(run it again" in last and not list((place / "full/checkpoints").iterdir())
