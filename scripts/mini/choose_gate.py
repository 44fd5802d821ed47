#!/usr/bin/env python3
"""Write the out-of-domain speech of `mini`'s gate, and choose the constants of every gate.

    python scripts/mini/choose_gate.py 'GENERAL_DIR GENERAL_DIR' GENERAL_DEV_DIR 'accent=DIR orders=DIR …'

Out: `ia3_speech/mini/gate.safetensors` of the general speech, and `scripts/mini/choose_gate.md`: for each
shrinkage the distance, in units of the adapter's own speech, that 98 % of every kind's dev stay below; the
margin in nats with which at most 2 % of general dev speech gets an adapter; the share of each kind's dev that
then gets its adapter; the temperature that fits the gate's probabilities to dev. The constants of
`ia3_speech/routing/gate.py` are the best row; of equal rows that with the greatest shrinkage.
"""

from pathlib import Path

import numpy as np

from ia3_speech import load_base
from ia3_speech.common.atomic import write_text
from ia3_speech.common.cli import command
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.utterance import load_utterances
from ia3_speech.model.base import Base
from ia3_speech.model.location import MINI
from ia3_speech.routing.gate import GaussianGate, points_of, speech_statistics, write_gate
from ia3_speech.scoring.table import markdown_table

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "scripts/mini/choose_gate.md"
SHIPPED = ROOT / "ia3_speech/out_of_domain/librispeech_dev"
MAX_UTTERANCES = {"general": 510, "train": 430, "dev": 122}  # that are read of each set, evenly spaced
SHRINKAGES = (0.05, 0.1, 0.2, 0.3, 0.5)
TEMPERATURES = np.geomspace(1, 30, 60)
HEAD = """\
# The constants of a gate

Written by `scripts/mini/choose_gate.py`, which explains the columns. Each row is a shrinkage of the common
covariance; an adapter that is farther than `farthest` times its own speech is never chosen. `base %` is the
share of general dev speech that keeps the base, the others are the shares of each kind's dev that get their
adapter.
"""
FLOOR = 100.0  # nats below the likeliest kind, of a kind that is too far
MAX_TOUCHED = 0.02  # of general dev speech
MAX_FAR = 0.02  # of any kind's dev speech


def main(general: str, general_dev: Path, kinds: str) -> None:
    """Write the gate of mini, and the table.

    Args:
        general: data directories, with spaces between them
        general_dev: data directory
        kinds: NAME=DIR, with spaces between them, DIR with train and dev
    """
    base = load_base("mini")
    folders = dict(kind.split("=", 1) for kind in kinds.split())
    train = [np.concatenate([dev_points(base, Path(folder), "general") for folder in general.split()])]
    train += [dev_points(base, Path(folder) / "train", "train") for folder in folders.values()]
    dev = [dev_points(base, general_dev, "dev")]
    dev += [dev_points(base, Path(folder) / "dev", "dev") for folder in folders.values()]
    statistics = [speech_statistics(points) for points in train]
    write_gate(MINI, statistics[0], base.fingerprint)
    rows = []
    for shrinkage in SHRINKAGES:
        gate = GaussianGate(statistics[0], statistics[1:], shrinkage, max_distance=1.0)
        ratios = [gate.distances(p)[:, kind] / gate.max_distances[kind] for kind, p in enumerate(dev[1:], 1)]
        farthest = max(float(np.quantile(ratio, 1 - MAX_FAR)) for ratio in ratios)
        gate.max_distances *= farthest
        scores = [gate.scores(points) for points in dev]  # nats, the base's first
        margins = np.sort(scores[0][:, 1:].max(1) - scores[0][:, 0])
        margin = max(0.0, float(margins[int(np.ceil((1 - MAX_TOUCHED) * len(margins))) - 1]))
        for nats in scores:
            nats[:, 0] += margin
        shares = [float((nats.argmax(1) == kind).mean()) for kind, nats in enumerate(scores)]
        losses = [loss(scores, temperature) for temperature in TEMPERATURES]
        best = int(np.argmin(losses))
        cells = [f"{shrinkage:g}", f"{farthest:.2f}", f"{margin:.2f}", f"{TEMPERATURES[best]:.1f}"]
        percents = [f"{100 * share:.1f}" for share in (*shares, float(np.mean(shares[1:])))]
        rows.append([*cells, f"{losses[best]:.3f}", *percents])
    head = ["shrinkage", "farthest", "margin", "temperature", "nats of dev"]
    head += [f"{name} %" for name in ("base", *folders, "mean of the kinds")]
    names = ["general", *folders]
    counts, dev_counts = (
        ", ".join(f"{len(points):,} of {name}" for name, points in zip(names, sets, strict=True))
        for sets in (train, dev)
    )
    text = markdown_table(head, rows)
    write_text(PAGE, f"{HEAD}\n{text}\n- Utterances: {counts}; of dev: {dev_counts}.\n")
    print(text)


def dev_points(base: Base, data: Path, use: str) -> np.ndarray:
    """(utterances, d) of a data directory."""
    shipped = {utterance.id for utterance in read_data_directory(SHIPPED)}
    every = [each for each in read_data_directory(data, text=False) if each.id not in shipped]
    chosen = every[:: -(-len(every) // MAX_UTTERANCES[use])]
    waves = load_utterances(chosen, minimum_samples=base.minimum_samples, on_error="skip")
    return points_of(base, (wave for _, wave in waves))


def loss(scores: list[np.ndarray], temperature: float) -> float:
    """Cross-entropy of the right kind in nats, the mean over kinds."""
    losses = []
    for kind, nats in enumerate(scores):
        scaled = np.maximum(nats, nats.max(1, keepdims=True) - FLOOR) / temperature
        losses.append((np.logaddexp.reduce(scaled, axis=1) - scaled[:, kind]).mean())
    return float(np.mean(losses))


if __name__ == "__main__":
    command(main)
