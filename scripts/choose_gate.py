#!/usr/bin/env python3
"""Write the out-of-domain speech of `mini`'s gate, and choose the constants of every gate.

    python scripts/choose_gate.py 'GENERAL_DIR GENERAL_DIR' GENERAL_DEV_DIR 'accent=DIR orders=DIR …'

In: data directories of general speech, one of general dev speech, of which the clips are left out that the
package ships as a test set, and of each kind of adapted speech a folder with train and dev. Out:
`ia3_speech/mini/gate.safetensors`, of the general speech; and `scripts/choose_gate.md`: for each shrinkage
how far from an adapter's speech 98 % of every kind's dev are at most, the margin in nats that an adapter must
have before the base so that at most 2 % of general dev speech is touched, the shares of each kind's dev that
are then given to their adapter, and the temperature that makes the gate's probabilities fit dev. The
constants of `ia3_speech/routing/gate.py` are the best row; of equals the one with the greater shrinkage,
since a folder may know twenty utterances only.
"""

from pathlib import Path

import numpy as np

from ia3_speech import load_base
from ia3_speech.atomic import write_text
from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.utterance import load_utterances
from ia3_speech.model.base import Base
from ia3_speech.model.location import MINI
from ia3_speech.routing.gate import MAX_SECONDS, GaussianGate, speech_statistics, utterance_point, write_gate
from ia3_speech.scoring.table import markdown_table

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "ia3_speech/out_of_domain/librispeech_dev"
MAX_UTTERANCES = {
    "general": 510,
    "train": 430,
    "dev": 122,
}  # utterances that are read of each set, evenly spaced
SHRINKAGES = (0.05, 0.1, 0.2, 0.3, 0.5)
TEMPERATURES = np.geomspace(1, 30, 60)
HEAD = """\
# By what a gate decides

Written by `scripts/choose_gate.py`, which explains the columns. Each row is a shrinkage of the common
covariance; an adapter that is farther than `farthest` times its own speech is never taken. `base %` is
the share of general dev speech that keeps the base, the others are those of each kind's dev that get their
adapter.
"""
FLOOR = 100.0  # nats below the likeliest kind, of a kind that is too far
TOUCHED = 0.02  # of general dev speech, at most
FAR = 0.02  # of any kind's dev speech, at most


def main(general: str, general_dev: Path, kinds: str, out: Path = ROOT / "scripts/choose_gate.md") -> None:
    """Write the gate of mini, and the table.

    Args:
        general: data directories, with spaces between them
        general_dev: data directory
        kinds: NAME=DIR, with spaces between them, DIR with train and dev
        out: the Markdown file
    """
    base = load_base("mini")
    folders = dict(kind.split("=", 1) for kind in kinds.split())
    train = [np.concatenate([points_of(base, Path(one), "general") for one in general.split()])]
    train += [points_of(base, Path(folder) / "train", "train") for folder in folders.values()]
    dev = [points_of(base, general_dev, "dev")]
    dev += [points_of(base, Path(folder) / "dev", "dev") for folder in folders.values()]
    statistics = [speech_statistics(base.fingerprint, points) for points in train]
    write_gate(MINI, statistics[0])
    rows = []
    for shrinkage in SHRINKAGES:
        trained = GaussianGate(statistics[0], statistics[1:], shrinkage, farthest=1.0)
        ratios = [
            trained.distances(points)[:, number] / trained.farthest[number]
            for number, points in enumerate(dev[1:], 1)
        ]
        farthest = max(float(np.quantile(one, 1 - FAR)) for one in ratios)
        trained.farthest *= farthest
        scores = [trained.scores(points) for points in dev]  # nats, the base's first
        margins = np.sort(scores[0][:, 1:].max(1) - scores[0][:, 0])
        margin = max(0.0, float(margins[int(np.ceil((1 - TOUCHED) * len(margins))) - 1]))
        for one in scores:
            one[:, 0] += margin
        right = [float((one.argmax(1) == number).mean()) for number, one in enumerate(scores)]
        losses = [loss(scores, temperature) for temperature in TEMPERATURES]
        best = int(np.argmin(losses))
        cells = [f"{shrinkage:g}", f"{farthest:.2f}", f"{margin:.2f}", f"{TEMPERATURES[best]:.1f}"]
        shares = [f"{100 * share:.1f}" for share in (*right, float(np.mean(right[1:])))]
        rows.append([*cells, f"{losses[best]:.3f}", *shares])
    head = ["shrinkage", "farthest", "margin", "temperature", "nats of dev"]
    head += [f"{name} %" for name in ("base", *folders, "mean of the kinds")]
    counts, held = (
        ", ".join(f"{len(one):,} of {name}" for name, one in zip(["general", *folders], every, strict=True))
        for every in (train, dev)
    )
    text = markdown_table(head, rows)
    write_text(out, f"{HEAD}\n{text}\n- Utterances: {counts}; of dev: {held}.\n")
    print(out.read_text("utf-8"), end="")


def points_of(base: Base, data: Path, use: str) -> np.ndarray:
    """(utterances, d) of a data directory."""
    shipped = {one.id for one in read_data_directory(SHIPPED)}
    every = [one for one in read_data_directory(data, text=False) if one.id not in shipped]
    chosen = every[:: -(-len(every) // MAX_UTTERANCES[use])]
    waves = load_utterances(chosen, minimum_samples=base.minimum_samples, on_error="skip")
    return np.array([utterance_point(base.features(wave[: MAX_SECONDS * SAMPLE_RATE])) for _, wave in waves])


def loss(scores: list[np.ndarray], temperature: float) -> float:
    """Nats that the right kind's probability lacks, the mean over kinds."""
    losses = []
    for number, one in enumerate(scores):
        scaled = np.maximum(one, one.max(1, keepdims=True) - FLOOR) / temperature
        normalisers = np.logaddexp.reduce(scaled, axis=1)
        losses.append(float((normalisers - scaled[:, number]).mean()))
    return float(np.mean(losses))


if __name__ == "__main__":
    command(main)
