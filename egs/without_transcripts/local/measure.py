#!/usr/bin/env python3
"""Train and decode the systems of a condition, which local/prepare.py wrote; say beforehand how long it is.

    local/measure.py plan DATA 'accent telephone speakers' --epochs 6
    local/measure.py train DATA/accent EXP/accent SYSTEM --epochs 6
    local/measure.py decode DATA/accent EXP/accent

    with_transcripts    IA³ vectors trained on the texts, dev or folds choose
    self_train          without texts, as `ia3-speech self-train` does it by itself
    unfiltered          the same with --min-confidence 0: all that was heard is learnt
    suta, dsuta         at test time, IA³ vectors (ia3_speech/unsupervised/suta.py)
    layer_norms         at test time, SUTA as published: layer norms, AdamW 2e-5, ten steps

What is finished, of the same inputs, is not done again. Each training leaves cpu.json, and each decoding
decode.json, with cpu_seconds and audio_seconds: the time of the processor, which other work does not change;
of a training that was resumed, that of its last part.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ia3_speech import load, load_base
from ia3_speech.atomic import write_json
from ia3_speech.cli import command
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.data.utterance import load_utterance
from ia3_speech.decoding.decode_directory import (
    decode_utterances,
    decoding_record,
    speaker_adapters,
    write_decode_directory,
)
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.inputs import Inputs
from ia3_speech.loading import SearchOptions
from ia3_speech.self_train import SelfTrainingOptions
from ia3_speech.training.config import SharedOptions, TrainingOptions, plain_options
from ia3_speech.training.few_run import train_on_few
from ia3_speech.training.run import train as train_with_dev
from ia3_speech.unsupervised import suta
from ia3_speech.unsupervised.self_training import SelfTraining

TRAINED = ("with_transcripts", "self_train", "unfiltered")
TEST_TIME = ("suta", "dsuta", "layer_norms")
SEARCHES = {"greedy": "greedy", "lm": "beam"}
STEP = 3  # forward passes that a step of training takes as long as


# ---- train


def train(data: Path, exp: Path, system: str, epochs: int = 6, seed: int = 0) -> None:
    """Train a system of TRAINED on all of a condition's recordings, or on each speaker's.

    Args:
        data: of the condition
        exp: EXP/SYSTEM/all/adapter is written, or EXP/SYSTEM/SPEAKER/all/adapter
        system: one of those above
        epochs: at most
        seed: of training
    """
    one = (data / "recordings").is_dir()
    for folder in [data] if one else sorted(path.parent for path in data.glob("*/recordings")):
        out = exp / system / ("" if one else folder.name) / "all"
        source = folder / ("train" if system == "with_transcripts" else "recordings")
        options = SelfTrainingOptions(
            data=source, out=out, epochs=epochs if one else 4, seed=seed, device="cpu",
            min_confidence=0.0 if system == "unfiltered" else SelfTrainingOptions.min_confidence,
        )  # fmt: skip
        dev = folder / "dev" if one and system == "with_transcripts" else None
        compared = plain_options(options) | {"data": None, "out": None, "system": system}
        inputs = Inputs({"data": source, "dev": dev}, compared)
        if inputs.is_current(out, resume=True):
            continue
        audio = sum(utterance.duration for utterance in read_data_directory(source, text=False))
        started = time.process_time()
        if system == "with_transcripts":
            train_on_texts(options, dev)
        else:
            numbers = options.rounds, options.min_confidence
            SelfTraining(source, out, options, SearchOptions(), *numbers).run()
        seconds = {"cpu_seconds": time.process_time() - started, "audio_seconds": audio}
        write_json(out / "cpu.json", {name: round(value, 1) for name, value in seconds.items()})
        inputs.record(out)


def train_on_texts(options: SelfTrainingOptions, dev: Path | None) -> None:
    """The same training as a round of self-training, on the texts of people."""
    shared = {name: getattr(options, name) for name in SharedOptions.__dataclass_fields__}
    training = TrainingOptions(**shared | {"out": options.out, "train": options.data, "dev": dev})
    if dev:
        train_with_dev(training)
    else:
        training.speeds, training.spec_augment = [1.0], "off"
        train_on_few(training)


# ---- decode


def decode(data: Path, exp: Path) -> None:
    """Decode DATA/test with the base, all that was trained, and at test time, by both searches.

    Args:
        data: of the condition
        exp: EXP/SYSTEM/decode_SEARCH is written
    """
    test = read_data_directory(data / "test", text=False)
    for system in ("base", *TRAINED, *TEST_TIME):
        adapters = sorted((exp / system).glob("**/all/adapter"))
        if system in TRAINED and not adapters:
            continue
        for name, search in SEARCHES.items():
            out, numbers = exp / system / f"decode_{name}", [suta.STEPS, suta.LEARNING_RATE]
            inputs = Inputs(
                {"data": data / "test", "adapters": adapters},
                {"search": search, "suta": numbers if system in TEST_TIME else None},
            )
            if (system, name) != ("layer_norms", "lm") and not inputs.is_current(out):
                decode_with(system, search, data, test, exp, out)
                inputs.record(out)


def decode_with(system: str, search: str, data: Path, test: DataDirectory, exp: Path, out: Path) -> None:
    """Decode a test set with one system, and write its decode directory."""
    options: dict[str, Any] = {"search": SearchOptions(search=search), "device": "cpu", "precision": "auto"}
    names = None
    if system in TRAINED and (exp / system / "all/adapter").is_dir():
        options["adapter"] = exp / system / "all/adapter"
    elif system in TRAINED:
        folders = speaker_adapters(exp / system, test.utterances)
        names = {id: folder.parent.parent.name for id, folder in folders.items()}
        options["bank"] = {names[id]: folder for id, folder in folders.items()}
    elif system in ("suta", "dsuta"):
        options["test_time"] = system
    recognizer = load("mini", vad="off", **options).recognizer
    if system == "layer_norms":
        adapted = layer_norm_logits(recognizer)
        recognizer.logits = lambda waves, _adapters=None: [adapted(wave) for wave in waves]
    started = time.process_time()
    result = decode_utterances(recognizer, test.utterances, adapters=names, with_words=True)
    seconds = time.process_time() - started
    record = decoding_record(recognizer, result, data / "test") | {"cpu_seconds": round(seconds, 2)}
    write_decode_directory(result, test.utterances, out, record)


def layer_norm_logits(recognizer: Recognizer) -> Callable:
    """SUTA as published, on the layer norms of the encoder, with reset: a waveform → its logits."""
    base = recognizer.base
    parameters = [
        parameter.requires_grad_()
        for name, module in base.model.named_modules()
        if isinstance(module, torch.nn.LayerNorm) and ".encoder." in name
        for parameter in module.parameters(recurse=False)
    ]
    start = [parameter.detach().clone() for parameter in parameters]

    def adapted(wave: Any) -> torch.Tensor:
        optimizer = torch.optim.AdamW(parameters, lr=2e-5, weight_decay=0.0)
        piece = suta.Piece(base, wave)
        for _ in range(10):
            loss = piece.loss({})
            if not loss.requires_grad:
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            logits = piece.logits({})
            for parameter, before in zip(parameters, start, strict=True):
                parameter.copy_(before)
        return logits

    return adapted


# ---- plan


def plan(data: Path, conditions: str, epochs: int = 6) -> None:
    """Print how many hours each condition takes on this machine, at most, from the time of a forward pass.

    Args:
        data: of the conditions
        conditions: their names
        epochs: of training, at most
    """
    total = 0.0
    speed = None
    for condition in conditions.split():
        minutes = {
            name: sum(u.duration for path in sorted((data / condition).glob(f"{pattern}{name}"))
                      for u in read_data_directory(path, text=False)) / 60
            for name, pattern in (("recordings", "**/"), ("dev", ""), ("test", ""))
        }  # fmt: skip
        speed = speed or seconds_of_a_pass(data / condition / "test")
        few = condition == "speakers"
        training = 5 * 4 * STEP if few else epochs * STEP  # by folds: five trainings
        passes = {
            "with_transcripts": training * minutes["recordings"] + (epochs + 1) * minutes["dev"],
            "self_train, unfiltered": 2 * (1 if few else 2) * (training + 2) * minutes["recordings"],
            "decode": 2 * 4 * minutes["test"],
            "suta, dsuta, layer_norms": (4 * (STEP * suta.STEPS + 2) + 10 * STEP + 2) * minutes["test"],
        }
        for what, audio in passes.items():
            hours = audio * speed / 60
            total += hours
            print(f"{condition}: {what}: {audio:.0f} minutes of audio, {hours:.2f} h")
    print(f"in all {total:.1f} h, where the machine does nothing else ({speed:.2f} s for a pass of a second)")


def seconds_of_a_pass(test: Path) -> float:
    """Seconds of the processor that a forward pass takes for a second of audio."""
    base = load_base("mini", device="cpu")
    waves = [load_utterance(utterance) for utterance in list(read_data_directory(test))[:4]]
    base.logits(waves[:1])
    started = time.process_time()
    base.logits(waves)
    return (time.process_time() - started) * 16_000 / sum(map(len, waves))


if __name__ == "__main__":
    command({"train": train, "decode": decode, "plan": plan})
