#!/usr/bin/env python3
"""Spoken keywords in noise, or a bank's intents: a classifier's head alone, IA³, LoRA and full fine-tuning.

    1 prepare   2 train and test each method by transformers' Trainer; register IA³'s median   3 the table

Out: EXP/METHOD_seedN/{train.json, dev.npz, test.npz, background.npz, adapter/}: the probabilities of the
classes, and for the head and IA³ an adapter that classify.py takes; EXP/RESULTS.md. No method trains below
the encoder's first layer, so the features below it are computed once for each clip, and stay in memory.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
import yaml
from prepare import HOP, prepare
from stages import CorpusOptions, Study, located, python
from torch import nn
from transformers import Trainer, TrainingArguments, set_seed

from ia3_speech.adapters.io import save_adapter
from ia3_speech.adapters.methods import add_user_method, insert
from ia3_speech.adapters.record import read_json
from ia3_speech.common.atomic import write_json
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.directory import read_data_directory, split_data_directory
from ia3_speech.data.utterance import load_utterances
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.attach import attach, trainable
from ia3_speech.model.base import Base, load_classifier
from ia3_speech.model.location import base_files
from ia3_speech.model.precision import choose_precision
from ia3_speech.scoring.significance import wilson_interval
from ia3_speech.scoring.table import Rate, markdown_table

LOCAL = Path(__file__).resolve().parent
METHODS_FILE = LOCAL.parents[1] / "compare_methods/local/methods.py"  # which has full fine-tuning
CONFIG = LOCAL.parent / "conf/methods.yaml"
METHODS = yaml.safe_load(CONFIG.read_text("utf-8"))
HEAD, HEAD_RATE = ("projector.", "classifier."), 1e-3
SETS = ("train", "dev", "test")
BATCH = 16
FALSE_ALARMS = 0.1  # an hour: one in ten


@dataclass(frozen=True, kw_only=True)
class Options(CorpusOptions):
    """Options of the study."""

    task: Literal["keywords", "intents"] = "keywords"
    """what is classified"""
    speech_train: str = ""
    """'DIR DIR': other speech to train on, in files named READER-…"""
    speech_test: str = ""
    """'DIR DIR': other speech to test on, by other readers"""
    noises: Path | None = None
    """recordings of noise, one for each place"""
    clips: int = 0
    """clips of each class in train, half as many in dev and test; 0: all"""
    methods: str = " ".join(METHODS)
    """methods to compare"""
    seeds: int = 3
    """number of seeds of each method"""
    epochs: int = 4
    """epochs of each training"""


def main(options: Options) -> None:
    """Compare ways to train a classifier of audio."""
    methods, corpus = options.methods.split(), options.corpus
    if unknown := sorted({*methods} - METHODS.keys()):
        raise UserError(f"`methods`: there is no {unknown[0]} (there are {', '.join(METHODS)})")
    study = Study(__file__, options.task, options)
    if study.runs(1) and options.task == "intents":
        study.once("stage 1, divide intents", study.data, [corpus], divide, corpus=str(corpus))
    elif study.runs(1):
        if not (options.speech_train and options.speech_test and options.noises):
            raise UserError("give `speech_train`, `speech_test` and `noises`")
        speech = f"{options.speech_train} {options.speech_test}".split()
        names = ("speech_train", "speech_test", "noises", "clips", "size")
        parts = {name: getattr(options, name) for name in names} | {"corpus": corpus}
        sources = [corpus, *map(Path, speech), options.noises, LOCAL / "prepare.py"]
        study.once("stage 1, prepare keywords", study.data, sources, prepare, **parts)
    if study.runs(2):
        train(study, "intent" if options.task == "intents" else "label")
        if runs := runs_of(study.exp, "ia3_plus"):
            median_run = runs[(len(runs) - 1) // 2]["folder"]
            study.command(python("adapters", "register", "--keep", median_run / "adapter", study.exp.name))
    if study.runs(3):
        study.write_results([table(study.data, study.exp)], {})


def divide(out: Path, corpus: str) -> None:
    """Write OUT/{train,dev,test}: train of the corpus is divided by recording."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(Path(corpus, "test"), out / "test")
    split_data_directory(Path(corpus, "train"), out / "train", out / "dev", by="recording")


class FromFeatures(nn.Module):
    """A classifier that begins at its encoder's first layer."""

    def __init__(self, base: Base):
        super().__init__()
        self.base, self.model = base, base.model

    def forward(self, features: Sequence[torch.Tensor], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features (frames, channels) a row, labels (batch,) → loss, and logits (batch, classes)."""
        logits, _ = self.base.forward(features, 0)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    labels = torch.tensor([row["label"] for row in rows])
    return {"features": [row["features"] for row in rows], "labels": labels}


def train(study: Study, label: str) -> None:
    """Train and test the missing systems; the classes are the utterances' labels of the name `label`."""
    options, data = study.options, study.data
    base, epochs = located(options.base), 1 if study.small else options.epochs
    names = [name for name in (*SETS, "background") if (data / name).is_dir()]
    sets = {name: list(read_data_directory(data / name, text=False)) for name in names}
    classes = sorted({utterance.labels[label] for utterance in sets["train"]})
    frozen = load_classifier(base, classes)
    rows = {name: [] for name in names}
    for name, utterances in sets.items():
        for utterance, wave in load_utterances(utterances):
            row = {"features": frozen.features(wave, 0), "snr": utterance.labels.get("snr", "clean")}
            rows[name].append(row | {"label": classes.index(utterance.labels[label])})
    sources = [*(data / name for name in names), *(base_files(base) or ()), CONFIG]
    for method, seed in product(options.methods.split(), range(1, options.seeds + 1)):
        out = study.exp / f"{method}_seed{seed}"
        given = {"method": method, "seed": seed, "epochs": epochs, "classes": classes}
        study.once(f"train {out.name}", out, sources, partial(fit, base=base, rows=rows), **given)


def fit(
    out: Path, base: str, rows: dict[str, list[dict[str, Any]]],
    method: str, seed: int, epochs: int, classes: list[str],
) -> None:  # fmt: skip
    """One training and its tests, into OUT."""
    started = time.monotonic()
    set_seed(seed)
    classifier = load_classifier(base, classes)
    model = classifier.model
    classifier.precision, _ = choose_precision("auto", model)
    model.config.apply_spec_augment = False  # the masks would be below the features
    of_method, rate = METHODS[method], METHODS[method]["rate"]
    if "method" in of_method:
        add_user_method(f"{METHODS_FILE}:full" if method == "full" else None)
        insert(model, {"layers": "all", "options": {}, **of_method}, seed)
    else:
        attach(model, IA3Config(tuple(of_method["placements"]), train_head=True))
    parameters = dict(trainable(model))
    rates = [rate if method == "head" or not name.startswith(HEAD) else HEAD_RATE for name in parameters]
    groups = [{"params": [p], "lr": rate} for p, rate in zip(parameters.values(), rates, strict=True)]
    options = TrainingArguments(
        str(out), num_train_epochs=epochs, warmup_steps=0.06, weight_decay=0.0, seed=seed,
        per_device_train_batch_size=BATCH, per_device_eval_batch_size=BATCH, dataloader_pin_memory=False,
        save_strategy="no", logging_strategy="epoch", report_to=[], disable_tqdm=True,
        remove_unused_columns=False, label_names=["labels"],
    )  # fmt: skip
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    trainer = Trainer(FromFeatures(classifier), options, collate, rows["train"], optimizers=(optimizer, None))
    trainer.train()
    record = {
        "method": method, "rate": rate, "seed": seed, "epochs": epochs, "classes": classes,
        "trained": sum(p.numel() for p in parameters.values()), "clips": len(rows["train"]),
        "training_seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    for name, tested in rows.items():
        if name != "train":
            predicted = torch.tensor(trainer.predict(tested).predictions).softmax(-1).numpy()
            true, snrs = np.array([r["label"] for r in tested]), np.array([r["snr"] for r in tested])
            np.savez(out / f"{name}.npz", snrs=snrs, true=true, probabilities=predicted)
            if name == "dev":
                record["dev_accuracy"] = float(np.mean(predicted.argmax(1) == true))
    if "method" not in of_method:
        save_adapter(model, out / "adapter", base=classifier, training=record)
    write_json(out / "train.json", record)
    print(f"{record['trained']:,} parameters, dev {record['dev_accuracy']:.1%}, "
          f"{record['training_seconds']:.0f} s of training", flush=True)  # fmt: skip


# ---- results


def scores(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """SNRs (clips,), true classes (clips,) and probabilities (clips, classes) of a set."""
    with np.load(folder / f"{name}.npz") as arrays:
        return arrays["snrs"], arrays["true"], arrays["probabilities"]


def macro_f1(true: np.ndarray, predicted: np.ndarray, count: int) -> float:
    """The mean over classes of 2·hits / (2·hits + false alarms + misses)."""
    pairs = [(true == number, predicted == number) for number in range(count)]
    return float(np.mean([2 * (a & b).sum() / max(1, a.sum() + b.sum()) for a, b in pairs]))


def miss_rate(folder: Path, hours: float) -> float:
    """The share of keywords at 10 dB that are missed, the mean over keywords, each by the lowest threshold
    with at most one false alarm in ten hours: of less than ten hours, none."""
    background, (snrs, true, probabilities) = scores(folder, "background")[2], scores(folder, "test")
    classes = read_json(folder / "train.json")["classes"]
    allowed, missed = int(hours * FALSE_ALARMS), []
    for number in (n for n, name in enumerate(classes) if name != "other"):
        threshold = np.sort(background[:, number])[-1 - allowed]
        missed.append(np.mean(probabilities[(true == number) & (snrs == "10"), number] <= threshold))
    return float(np.mean(missed))


def runs_of(exp: Path, method: str) -> list[dict[str, Any]]:
    """The records of a method's seeds, by their accuracy on dev."""
    runs = [read_json(file) | {"folder": file.parent} for file in exp.glob(f"{method}_seed*/train.json")]
    return sorted(runs, key=lambda run: run["dev_accuracy"])


def table(data: Path, exp: Path) -> str:
    """Markdown: accuracies and F1 of each method by SNR, medians over seeds, and missed keywords."""
    background = data / "background"
    windows = len(read_data_directory(background, text=False)) if background.is_dir() else 0
    hours, accuracies, f1s = windows * HOP / 3600, [], []
    for method in METHODS:
        if not (runs := runs_of(exp, method)):
            continue
        folders, by_snr, first = [run["folder"] for run in runs], {}, runs[0]
        for folder in folders:
            snrs, true, probabilities = scores(folder, "test")
            predicted, count = probabilities.argmax(1), probabilities.shape[1]
            for snr in sorted(set(snrs), key=lambda s: -999 if s == "clean" else -int(s)):
                of = snrs == snr
                pair = np.mean(true[of] == predicted[of]), macro_f1(true[of], predicted[of], count)
                by_snr.setdefault(snr, []).append(pair)
        misses = [miss_rate(folder, hours) for folder in folders] if windows else []
        names = f"{method} + head" if method in ("ia3_plus", "lora") else method
        head = [names, f"{first['trained']:,}", str(len(folders)), f"{first['rate']:g}"]
        medians = {snr: [median(s[i] for s in seeds) for i in (0, 1)] for snr, seeds in by_snr.items()}
        clips = {snr: int(np.sum(snrs == snr)) for snr in medians}
        accuracy = [Rate(pair[0], wilson_interval(pair[0], clips[snr])) for snr, pair in medians.items()]
        accuracies.append([*head, *accuracy, *([Rate(median(misses))] if misses else [])])
        f1s.append([names, *(Rate(pair[1]) for pair in medians.values())])
    conditions = [snr if snr == "clean" else f"{snr} dB" for snr in by_snr]
    missed = [f"missed, {int(hours * FALSE_ALARMS)} false alarms in {hours:.2f} h"] if windows else []
    of_test = int(np.sum(snrs == "clean"))
    return (
        f"Trained on {first['clips']:,} clips ({first['epochs']} epochs), tested on {of_test} a condition; "
        f"medians over seeds. Accuracy, %, with a 95 % interval (Wilson) over these clips:\n\n"
        + markdown_table(["method", "trained", "seeds", "rate", *conditions, *missed], accuracies)
        + "\nMacro F1, %:\n\n"
        + markdown_table(["method", *conditions], f1s)
    )


if __name__ == "__main__":
    command(main)
