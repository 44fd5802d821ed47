#!/usr/bin/env python3
"""Adapt to each of many speakers as a recipe adapts to one: who gets an adapter, and who loses by it.

    local/one_by_one.py data/speechocean762/test exp/speechocean762 --k '5 10'

Training uses each speaker's first K utterances, from the base and by folds; the base and the adapter then
decode the other utterances. An adapter is registered if its folds have fewer errors than the base, also in
80 % of a bootstrap's draws. Out: EXP/one_by_one/kK/SPEAKER.json, and EXP/one_by_one/RESULTS.md. Several
processes may share the work (--part 1/2).
"""

import tempfile
from itertools import product
from operator import attrgetter
from pathlib import Path

import numpy as np
from conclude import MIN_PROBABILITY

from ia3_speech.adapters.load import load_adapter
from ia3_speech.adapters.registry import check_name
from ia3_speech.common.atomic import write_json, write_text
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.directory import read_data_directory, write_data_directory
from ia3_speech.data.recordings import Part
from ia3_speech.data.utterance import Utterance, load_utterance
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model.attach import detach
from ia3_speech.model.base import Base, load_base
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.scoring.record import load_json
from ia3_speech.scoring.significance import relative_change
from ia3_speech.scoring.table import Cell, Rate, markdown_table
from ia3_speech.training.few_minutes import train_on_few
from ia3_speech.voices.voice import few_options

HEAD = ("utterances", "people", "base WER %", "draws needed %", "with an adapter %", "change %",
        "people worse off %", "largest loss %")  # fmt: skip
DRAWS = (None, MIN_PROBABILITY, 0.95)  # in which the folds have fewer errors; None: every adapter is used
FOLDS = ("words", "base_errors", "errors", "better", "selected_epoch", "scale", "learning_rate")


def main(
    data: Path, exp: Path, k: str = "5 10", base: str = "mini", seed: int = 1, part: str | None = None
) -> None:
    """Train and decode for each speaker; without --part, write the table.

    Args:
        data: a data directory
        exp: where results go
        k: numbers of utterances of each speaker to train on
        base: mini, a folder or a hub id
        seed: of training
        part: 1/2 takes the first of two shares of the speakers, and writes no table
    """
    share = Part.parse(part)
    speakers, loaded, numbers = read_data_directory(data).speakers, load_base(base), [*map(int, k.split())]
    for few, speaker in product(numbers, share.of(sorted(speakers))):
        spoken = sorted(speakers[speaker], key=attrgetter("id"))
        file = exp / f"one_by_one/k{few}/{check_name(speaker)}.json"
        if not file.is_file():
            print(f"{speaker}, {few} utterances", flush=True)
            write_json(file, adapt(loaded, spoken, few, seed))
    if not part:
        text = markdown_table(HEAD, [row for few in numbers for row in rows(exp / f"one_by_one/k{few}", few)])
        write_text(exp / "one_by_one/RESULTS.md", text)
        print(text, end="")


def adapt(base: Base, utterances: list[Utterance], few: int, seed: int) -> dict[str, object]:
    """The result of the folds on the first few, and word errors in the others before and after."""
    others = utterances[few:]
    if not others:
        speaker, count = utterances[0].speaker, len(utterances)
        raise UserError(f"{speaker} has {count} utterances: with --k {few} none is left")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data_directory(folder / "data", utterances[:few])
        options = few_options(base.name, folder / "data", folder / "exp", seed=seed)
        summary = train_on_few(options)
        detach(base.model)
        before = errors(base, others)
        load_adapter(base.model, folder / "exp/adapter", check=False)
        after = errors(base, others)
        detach(base.model)
    words = sum(text_errors(utterance.text, "").words for utterance in others)
    folds = {name: summary[name] for name in FOLDS}
    return {"test_words": words, "before": before, "after": after, "folds": folds}


def errors(base: Base, utterances: list[Utterance]) -> int:
    """Word errors of greedy search."""
    recognizer = Recognizer(base, max_seconds=base.maximum_seconds)
    texts = recognizer.texts([load_utterance(utterance) for utterance in utterances])
    return sum(text_errors(u.text, text).total for u, text in zip(utterances, texts, strict=True))


def rows(folder: Path, few: int) -> list[list[Cell]]:
    """The rows of a folder: with every adapter, and with the adapters that would be registered."""
    people = [load_json(file) for file in sorted(folder.glob("*.json"))]
    words, before, after = (np.array([p[name] for p in people]) for name in ("test_words", "before", "after"))
    fewer = np.array([p["folds"]["errors"] < p["folds"]["base_errors"] for p in people])
    better = np.array([p["folds"]["better"] for p in people])
    lines = []
    for needed in DRAWS:
        registered = fewer & (better >= needed) if needed else np.ones(len(people), dtype=bool)
        changed = np.where(registered, after, before)
        largest = float(((changed - before) / np.maximum(before, 1)).max())
        shares = [needed, registered.mean(), (changed > before).mean(), max(largest, 0.0)]
        needs, adapted, worse, loss = (Rate(share, digits=0) for share in shares)
        change = Rate(*relative_change(before, changed), signed=True)
        wer = Rate(before.sum() / words.sum())
        lines.append([few, len(people), wer, needs, adapted, change, worse, loss])
    return lines


if __name__ == "__main__":
    command(main)
