#!/usr/bin/env python3
"""The head alone, IA³, LoRA and full fine-tuning of one classifier, by transformers' Trainer; and the tables.

    local/compare.py train data/keywords exp/keywords --seeds 3 --epochs 8
    local/compare.py table data/keywords exp/keywords
    local/compare.py best exp/keywords ia3_plus              the seed with the median accuracy on dev

In: data directories with the class in utt2label. Out: EXP/METHOD_rateR_seedN/{train.json, dev.npz, test.npz,
background.npz, adapter/}: the probabilities of the classes, and of the head and of IA³ an adapter that
`ia3-speech classify` takes; EXP/RESULTS.md. Each method's rate is the best of three on dev with seed 1. What
is finished is not done again. No method trains below the encoder's first layer: what stands there is
computed once a clip, and kept in memory.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Trainer, TrainingArguments, set_seed

from ia3_speech.adapters.io import save_adapter
from ia3_speech.adapters.methods import insert
from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import command
from ia3_speech.commands.classify import load_classifier
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.utterance import load_utterances
from ia3_speech.errors import UserError
from ia3_speech.inputs import Inputs, read_inputs
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.attach import attach, trainable
from ia3_speech.model.base import Base
from ia3_speech.model.location import base_files
from ia3_speech.model.precision import choose_precision
from ia3_speech.results.systems import load_json
from ia3_speech.scoring.significance import wilson_interval
from ia3_speech.scoring.table import Rate, markdown_table

HEAD, HEAD_RATE = ("projector.", "classifier."), 1e-3
RATES = {
    "head": (3e-4, 1e-3, 3e-3),
    "ia3_plus": (1e-2, 2e-2, 4e-2),
    "lora": (3e-4, 1e-3, 3e-3),
    "full": (3e-5, 1e-4, 3e-4),
}
PLACEMENTS = {"head": (), "ia3_plus": ("key", "value", "ffn", "ffn_output", "attention_output")}
OTHERS: dict[str, dict[str, Any]] = {
    "lora": {
        "placements": ["query", "value"],
        "options": {"r": 4, "lora_alpha": 8, "modules_to_save": ["projector", "classifier"]},
    },
    "full": {"placements": [], "options": {}},
}
BATCH = 16
FALSE_ALARMS = 0.1  # an hour: one in ten


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


def train(
    data: Path,
    exp: Path,
    base: str = "mini",
    methods: str = "head ia3_plus lora full",
    seeds: int = 3,
    epochs: int = 8,
    rates: int = 3,
    label: str = "label",
) -> None:
    """Train and test what is not there yet.

    Args:
        data: folder of the data directories
        exp: folder of the results
        base: mini, a folder or a hub id
        methods: of head, ia3_plus, lora, full
        seeds: of each method at its best rate
        epochs: of each training
        rates: to choose from on dev; 1: the middle one, without a choice
        label: of the utterances, which names their classes
    """
    if unknown := sorted({*methods.split()} - RATES.keys()):
        raise UserError(f"--methods: there is no {unknown[0]} (there are {', '.join(RATES)})")
    names = [name for name in ("train", "dev", "test", "background") if (data / name).is_dir()]
    sets = {name: list(read_data_directory(data / name, text=False)) for name in names}
    classes = sorted({utterance.labels[label] for utterance in sets["train"]})
    sources: dict[str, Any] = {name: data / name for name in names} | {"base": base_files(base)}
    for folder in sorted(exp.glob("*_rate*_seed*")):
        inputs_of(sources, folder, classes, epochs)  # raises where one was trained otherwise
    frozen, rows = load_classifier(base, classes), {}
    for name, utterances in sets.items():
        rows[name] = [
            {
                "features": frozen.features(wave, 0),
                "label": classes.index(utterance.labels[label]),
                "snr": utterance.labels.get("snr", "clean"),
            }
            for utterance, wave in load_utterances(utterances)
        ]
    for method in methods.split():
        choices = RATES[method] if rates > 1 else RATES[method][1:2]
        more = base, classes, epochs, rows, sources
        runs = {rate: run(exp, method, rate, 1, *more) for rate in choices}
        best = max(runs, key=lambda rate: runs[rate]["dev_accuracy"])
        for seed in range(2, seeds + 1):
            run(exp, method, best, seed, *more)


def inputs_of(sources: Mapping[str, Any], folder: Path, classes: list[str], epochs: int) -> Inputs:
    """What a training is made from. Raises UserError where `folder` holds one that was made from others."""
    inputs, record = Inputs(sources, {"classes": classes, "epochs": epochs}), read_inputs(folder)
    for part, now in inputs.as_json.items():
        changed = [name for name in now if record and record[part].get(name) != now[name]]
        if changed:
            raise UserError(
                f"{folder} was made from other {changed[0]} (delete {folder.parent} to train anew)"
            )
    return inputs


def run(
    exp: Path, method: str, rate: float, seed: int, base: str, classes: list[str], epochs: int,
    rows: dict[str, list[dict[str, Any]]], sources: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """One training and its tests, unless they are there. Returns the contents of train.json."""
    folder = exp / f"{method}_rate{rate:g}_seed{seed}"
    inputs = inputs_of(sources, folder, classes, epochs)
    if (folder / "train.json").exists():
        return load_json(folder / "train.json")
    inputs.record(folder, finished=False)
    started = time.monotonic()
    set_seed(seed)
    classifier = load_classifier(base, classes)
    model = classifier.model
    classifier.precision, _ = choose_precision("auto", model)
    model.config.apply_spec_augment = False  # masks stand below the features
    if method in PLACEMENTS:
        attach(model, IA3Config(PLACEMENTS[method], train_head=True))
    else:
        insert(model, {"method": method, "layers": "all", **OTHERS[method]}, seed)
    parameters = dict(trainable(model))
    rates = [rate if method == "head" or not name.startswith(HEAD) else HEAD_RATE for name in parameters]
    groups = [{"params": [p], "lr": rate} for p, rate in zip(parameters.values(), rates, strict=True)]
    options = TrainingArguments(
        str(folder), num_train_epochs=epochs, warmup_steps=0.06, weight_decay=0.0, seed=seed,
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
            np.savez(folder / f"{name}.npz", snrs=snrs, true=true, probabilities=predicted)
            if name == "dev":
                record["dev_accuracy"] = float(np.mean(predicted.argmax(1) == true))
    if method in PLACEMENTS:
        save_adapter(model, folder / "adapter", base=classifier, training=record)
    write_json(folder / "train.json", record)
    print(f"{folder.name}: {record['trained']:,} parameters, dev {record['dev_accuracy']:.1%}, "
          f"{record['training_seconds']:.0f} s of training", flush=True)  # fmt: skip
    return record


def scores(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """SNRs (clips,), true classes (clips,) and probabilities (clips, classes) of a set."""
    with np.load(folder / f"{name}.npz") as arrays:
        return arrays["snrs"], arrays["true"], arrays["probabilities"]


def macro_f1(true: np.ndarray, predicted: np.ndarray, count: int) -> float:
    """The mean over classes of 2·hits / (2·hits + false alarms + misses)."""
    each = []
    for number in range(count):
        hits = np.sum((true == number) & (predicted == number))
        each.append(2 * hits / max(1, np.sum(true == number) + np.sum(predicted == number)))
    return float(np.mean(each))


def miss_rate(folder: Path, hours: float) -> float:
    """The share of keywords at 10 dB that are missed, the mean over keywords, each by the lowest threshold
    with at most one false alarm in ten hours: of less than ten hours, none."""
    background, (snrs, true, probabilities) = scores(folder, "background")[2], scores(folder, "test")
    classes = load_json(folder / "train.json")["classes"]
    allowed, missed = int(hours * FALSE_ALARMS), []
    for number in (n for n, name in enumerate(classes) if name != "other"):
        threshold = np.sort(background[:, number])[-1 - allowed]
        missed.append(np.mean(probabilities[(true == number) & (snrs == "10"), number] <= threshold))
    return float(np.mean(missed))


def runs_of(exp: Path, method: str) -> list[Path]:
    """The seeds of a method at the rate that is the best on dev with seed 1."""
    if not (firsts := sorted(exp.glob(f"{method}_rate*_seed1/train.json"))):
        raise UserError(f"{exp}: {method} has not been trained")
    best = max(firsts, key=lambda file: load_json(file)["dev_accuracy"]).parent.name.rpartition("_")[0]
    return sorted(file.parent for file in exp.glob(f"{best}_seed*/train.json"))


def best(exp: Path, method: str) -> None:
    """Print the folder of a method's seed with the median accuracy on dev.

    Args:
        exp: folder of the results
        method: its name
    """
    runs = sorted(runs_of(exp, method), key=lambda folder: load_json(folder / "train.json")["dev_accuracy"])
    print(runs[(len(runs) - 1) // 2])


def table(data: Path, exp: Path, hop: float = 1.0) -> None:
    """Write EXP/RESULTS.md, and print it: medians over seeds.

    Args:
        data: folder of the data directories
        exp: folder of the results
        hop: seconds from one window of the background to the next
    """
    methods = [method for method in RATES if list(exp.glob(f"{method}_rate*_seed1/train.json"))]
    background = data / "background"
    windows = len(read_data_directory(background, text=False)) if background.is_dir() else 0
    hours, accuracies, f1s = windows * min(hop, 2) / 3600, [], []
    for method in methods:
        folders, by_snr = runs_of(exp, method), {}
        for folder in folders:
            snrs, true, probabilities = scores(folder, "test")
            predicted, count = probabilities.argmax(1), probabilities.shape[1]
            for snr in sorted(set(snrs), key=lambda s: -999 if s == "clean" else -int(s)):
                of = snrs == snr
                pair = np.mean(true[of] == predicted[of]), macro_f1(true[of], predicted[of], count)
                by_snr.setdefault(snr, []).append(pair)
        first = load_json(folders[0] / "train.json")
        misses = [miss_rate(folder, hours) for folder in folders] if windows else []
        names = f"{method} + head" if method in ("ia3_plus", "lora") else method
        head = [names, f"{first['trained']:,}", str(len(folders)), f"{first['rate']:g}"]
        medians = {snr: [median(s[i] for s in seeds) for i in (0, 1)] for snr, seeds in by_snr.items()}
        clips = {snr: int(np.sum(snrs == snr)) for snr in medians}
        found = [Rate(pair[0], wilson_interval(pair[0], clips[snr])) for snr, pair in medians.items()]
        accuracies.append([*head, *found, *([Rate(median(misses))] if misses else [])])
        f1s.append([names, *(Rate(pair[1]) for pair in medians.values())])
    conditions = [snr if snr == "clean" else f"{snr} dB" for snr in by_snr]
    missed = [f"missed, {int(hours * FALSE_ALARMS)} false alarms in {hours:.2f} h"] if windows else []
    of_test = int(np.sum(snrs == "clean"))
    text = (
        f"Trained on {first['clips']:,} clips ({first['epochs']} epochs), tested on {of_test} a condition; "
        f"medians over seeds. Accuracy, %, with a 95 % interval (Wilson) over these clips:\n\n"
        + markdown_table(["method", "trained", "seeds", "rate", *conditions, *missed], accuracies)
        + "\nMacro F1, %:\n\n"
        + markdown_table(["method", *conditions], f1s)
    )
    write_text(exp / "RESULTS.md", text)
    print(text)


if __name__ == "__main__":
    command({"train": train, "table": table, "best": best})
