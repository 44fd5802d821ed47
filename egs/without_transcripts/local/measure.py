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
from collections.abc import Iterator
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import ia3_speech
from ia3_speech import load, load_base
from ia3_speech.atomic import write_json
from ia3_speech.cli import CONFIGURATIONS, command
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.data.utterance import load_utterance
from ia3_speech.decoding.decode_directory import (
    Decoding,
    decode_utterances,
    decoding_record,
    speaker_adapters,
    write_decode_directory,
)
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.inputs import Inputs
from ia3_speech.model.base import Base
from ia3_speech.model.hypotheses import GreedySearch
from ia3_speech.search import SearchOptions
from ia3_speech.training.config import SharedOptions, TrainingOptions, plain_options
from ia3_speech.training.few_minutes import train_on_few
from ia3_speech.training.run import train as train_with_dev
from ia3_speech.unsupervised import suta
from ia3_speech.unsupervised.options import SelfTrainingOptions
from ia3_speech.unsupervised.self_training import BATCH_SECONDS, SelfTraining

TRAINED = ("with_transcripts", "self_train", "unfiltered")
TEST_TIME = ("suta", "dsuta", "layer_norms")
SEARCHES = {"greedy": "greedy", "lm": "beam"}
OTHER = Path(ia3_speech.__file__).parent / "out_of_domain/librispeech_dev"  # comes with the package
LOAD = {"device": "cpu", "precision": "auto", "vad": "off"}
STEP = 3  # forward passes that a step of training takes as long as


# ---- train


def train(data: Path, exp: Path, system: str, epochs: int = 6, rounds: int = 1, seed: int = 0) -> None:
    """Train a system of TRAINED on all of a condition's recordings, or on each speaker's.

    Args:
        data: of the condition
        exp: EXP/SYSTEM/all/adapter is written, or EXP/SYSTEM/SPEAKER/all/adapter
        system: one of those above
        epochs: at most
        rounds: of self-training, at most
        seed: of training
    """
    one = (data / "recordings").is_dir()
    for folder in [data] if one else sorted(path.parent for path in data.glob("*/recordings")):
        out = exp / system / ("" if one else folder.name) / "all"
        source = folder / ("train" if system == "with_transcripts" else "recordings")
        options = SelfTrainingOptions(
            data=source, out=out, epochs=epochs if one else 4, seed=seed, rounds=rounds, device="cpu",
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
            SelfTraining(options, SearchOptions()).run()
        seconds = {"cpu_seconds": time.process_time() - started, "audio_seconds": audio}
        write_json(out / "cpu.json", {name: round(value, 1) for name, value in seconds.items()})
        inputs.record(out)


def train_on_texts(options: SelfTrainingOptions, dev: Path | None) -> None:
    """On the texts of people: with dev as a round of self-training trains, else as conf/few.yaml has it."""
    if dev is None:
        few = yaml.safe_load((CONFIGURATIONS / "few.yaml").read_text("utf-8"))
        few |= {name: getattr(options, name) for name in ("base", "out", "epochs", "seed", "device")}
        train_on_few(TrainingOptions(**few, train=options.data))
        return
    shared = {each.name: getattr(options, each.name) for each in fields(SharedOptions)}
    shared |= {"train": options.data, "dev": dev, "out": options.out, "batch_seconds": BATCH_SECONDS}
    train_with_dev(TrainingOptions(**shared))


# ---- decode


def decode(data: Path, exp: Path, systems: str = " ".join(("base", *TRAINED, *TEST_TIME))) -> None:
    """Decode DATA/test with the base, with what was trained, and at test time, by both searches; and other
    speech with the base, and with what was trained on all.

    Args:
        data: of the condition
        exp: EXP/SYSTEM/decode_SEARCH is written, and decode_SEARCH_other
        systems: those to decode
    """
    sets = {"": data / "test"} | ({"_other": OTHER} if (data / "recordings").is_dir() else {})
    for system, (suffix, folder) in product(systems.split(), sets.items()):
        adapters = sorted((exp / system).glob("**/all/adapter"))
        numbers = [suta.STEPS, suta.LEARNING_RATE] if system in TEST_TIME else None
        inputs = Inputs({"data": folder, "adapters": adapters}, {"suta": numbers})
        outs = [exp / system / f"decode_{search}{suffix}" for search in SEARCHES]
        current = [inputs.is_current(out) for out in outs]
        if (system in TRAINED and not adapters) or (system in TEST_TIME and suffix) or all(current):
            continue
        test = read_data_directory(folder, text=False)
        decode_with = at_test_time if system in TEST_TIME else with_adapters
        decoded = decode_with(system, data, exp, test)
        for out, (result, recognizer, seconds) in zip(outs, decoded, strict=True):
            record = decoding_record(recognizer, result, folder)
            record |= {"system": system, "cpu_seconds": round(seconds, 2)}
            write_decode_directory(result, test.utterances, out, record)
            inputs.record(out)


Decoded = tuple[Decoding, Recognizer, float]  # by one search, and the processor's seconds


def with_adapters(system: str, _data: Path, exp: Path, test: DataDirectory) -> Iterator[Decoded]:
    """Decode a test set with the base, with an adapter, or with those of its speakers, search by search."""
    options: dict[str, Any] = {}
    adapters = None
    if system in TRAINED and (exp / system / "all/adapter").is_dir():
        options["adapter"] = exp / system / "all/adapter"
    elif system in TRAINED:
        adapters = speaker_adapters(exp / system, test.utterances)
    for search in SEARCHES.values():
        recognizer = load("mini", search=SearchOptions(search=search), **LOAD, **options).recognizer
        started = time.process_time()
        result = decode_utterances(recognizer, test.utterances, adapters=adapters)
        yield result, recognizer, time.process_time() - started


def at_test_time(system: str, data: Path, _exp: Path, test: DataDirectory) -> Iterator[Decoded]:
    """Decode a test set, to each utterance of which vectors or layer norms adapt, once for both searches.
    What dsuta remembers of a speaker begins with the recordings that others are trained on."""
    method = None if system == "layer_norms" else system
    recognizer = load("mini", search=SearchOptions(search="beam"), test_time=method, **LOAD).recognizer
    norms = LayerNorms(recognizer.base) if system == "layer_norms" else None
    searches = {"greedy": GreedySearch(recognizer.base.vocabulary), "lm": recognizer.search}
    results, started = [Decoding({}) for _ in searches], time.process_time()
    for speaker, utterances in test.speakers.items():
        vectors, earlier = recognizer.fresh().test_time, data / speaker / "recordings"
        if system == "dsuta" and earlier.is_dir():
            for utterance in read_data_directory(earlier, text=False):
                wave = load_utterance(utterance)
                vectors.candidates(wave, ())
                for result in results:  # of the time that it takes
                    result.audio_seconds += len(wave) / 16_000
        for utterance in utterances:
            wave = load_utterance(utterance)
            candidates = [norms.logits(wave)] if norms else vectors.candidates(wave, ())
            for result, search in zip(results, searches.values(), strict=True):
                logits = candidates[suta.choose_step(search, candidates)]
                result.texts[utterance.id] = search(logits).text
                result.audio_seconds += len(wave) / 16_000
    for result in results:
        yield result, recognizer, time.process_time() - started


class LayerNorms:
    """SUTA as published: the encoder's layer norms adapt to each utterance, and are reset."""

    def __init__(self, base: Base):
        self.base = base
        self.parameters = [
            parameter.requires_grad_()
            for name, module in base.model.named_modules()
            if isinstance(module, torch.nn.LayerNorm) and ".encoder." in name
            for parameter in module.parameters(recurse=False)
        ]
        self.start = [parameter.detach().clone() for parameter in self.parameters]

    def logits(self, wave: np.ndarray) -> torch.Tensor:
        """(frames, vocabulary) of a waveform, (samples,), after ten steps."""
        optimizer = torch.optim.AdamW(self.parameters, lr=2e-5, weight_decay=0.0)
        piece = suta.AudioPiece(self.base, wave)
        for _ in range(10):
            loss = piece.loss({})
            if not loss.requires_grad:
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            logits = piece.logits({})
            for parameter, before in zip(self.parameters, self.start, strict=True):
                parameter.copy_(before)
        return logits


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
        count = len(list((data / condition).glob("**/recordings")))
        audio = minutes["recordings"]
        few = condition == "speakers"
        learnt = max(audio, 1.5 * count) * (4 if few else epochs) * STEP  # of a round, were all certain
        passes = {
            "with_transcripts": 5 * 4 * STEP * audio if few else learnt + (epochs + 1) * minutes["dev"],
            "self_train, unfiltered": 2 * (learnt + (4 if few else 2.5) * audio),
            "base, with_transcripts, self_train, unfiltered": 2 * 4 * minutes["test"],
            "suta, dsuta, layer_norms": (2 * (STEP * suta.STEPS + 3) + 10 * STEP + 2) * minutes["test"],
        }
        for what, work in passes.items():
            hours = work * speed / 60
            total += hours
            print(f"{condition}: {what}: {work:.0f} minutes of audio, {hours:.2f} h")
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
