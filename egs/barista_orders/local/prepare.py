#!/usr/bin/env python3
"""Prepare the coffee orders of Picovoice's speech-to-intent benchmark (README.md has the corpus card).

    local/prepare.py CORPUS_DIR OUT_DIR [--base mini] [--size full|small]

In: data/label/label.json, data/speech/clean/UUID.wav, or the same names with another suffix; perhaps
transcripts.tsv (file, split, transcript). Without it the base decodes everything, and the text is the
sentence of the grammar that is nearest to its hypothesis, and a third of the orders is test. Out:
OUT_DIR/{train,dev,test}, with the slots as labels, and OUT_DIR/heard, the hypotheses, if there are any.
"""

import json
from dataclasses import replace
from pathlib import Path

from grammar import nearest, order, sentences

from ia3_speech.common.atomic import write_text
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.corpora.preparation import Size, find_recording, hold_out, write_set
from ia3_speech.data.kaldi.table_file import format_table, read_utf8
from ia3_speech.data.utterance import Utterance
from ia3_speech.decoding.decode_directory import decode_utterances
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.session import load

TEST_SHARE = 1 / 3
SMALL = 120  # orders that the base decodes with --size small
COLUMNS = ["file", "split", "transcript"]


def main(corpus: Path, out: Path, base: str = "mini", size: Size = "full", allow_pipes: bool = False) -> None:
    """Write OUT/{train,dev,test}.

    Args:
        corpus: a clone of the publisher's repository
        out: where the data directories go
        base: decodes the orders if there is no transcripts.tsv: mini, a folder or a hub id
        size: small keeps 48, 12 and 24 utterances
        allow_pipes: not used, the corpus holds files
    """
    orders, transcripts = read_orders(corpus), corpus / "transcripts.tsv"
    (out / "heard").unlink(missing_ok=True)
    if transcripts.is_file():
        texts = read_transcripts(transcripts, orders)
    else:
        if size == "small":  # decoding takes longest
            orders = orders[:: max(1, len(orders) // SMALL)]
        print(f"there is no transcripts.tsv: {base} listens to {len(orders)} orders", flush=True)
        recognizer = load(base, search=SearchOptions("greedy")).recognizer
        hypotheses = decode_utterances(recognizer, orders, on_error="fail").texts
        write_text(out / "heard", format_table(hypotheses.items()))
        test = hold_out(map(key_of, orders), TEST_SHARE)
        sides = {utterance.id: "test" if key_of(utterance) in test else "train" for utterance in orders}
        texts = {
            utterance.id: (sides[utterance.id], nearest(utterance.labels, hypotheses[utterance.id]))
            for utterance in orders
        }
    orders = [utterance for utterance in orders if utterance.id in texts]
    dev = hold_out(key_of(utterance) for utterance in orders if texts[utterance.id][0] == "train")
    sets: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for utterance in orders:
        side, text = texts[utterance.id]
        sets["dev" if side == "train" and key_of(utterance) in dev else side].append(
            replace(utterance, text=text)
        )
    for name, utterances in sets.items():
        write_set(out / name, utterances, size, speaker_labels=())


def key_of(utterance: Utterance) -> str:
    """The order in one line, whose hash decides the set."""
    return " ".join(f"{label}={words}" for label, words in sorted(utterance.labels.items()))


def read_orders(corpus: Path) -> list[Utterance]:
    """The orders that have audio, sorted by file, without texts; their slots are labels."""
    path, folder = corpus / "data/label/label.json", corpus / "data/speech/clean"
    if not path.is_file() or not folder.is_dir():
        layout = "with data/label/label.json and data/speech/clean; run.sh without --corpus says where it is"
        raise UserError(f"{corpus}: not the corpus as it was published ({layout})")
    published = json.loads(path.read_text(encoding="utf-8"))
    orders, absent = [], []
    for file, label in sorted(published.items()):
        try:
            ordered = order(label["slots"])
        except ValueError as error:
            raise UserError(f"{path}: {file}: {error} (correct it, or take it out)") from None
        id, recording = Path(file).stem, find_recording(folder / file)
        if recording:
            orders.append(Utterance(id, id, id, str(recording.resolve()), labels=ordered))
        else:
            absent.append(file)
    if absent:
        print(f"{len(absent)} of {len(published)} orders have no audio and are left out: {' '.join(absent)}")
    return orders


def read_transcripts(path: Path, orders: list[Utterance]) -> dict[str, tuple[str, str]]:
    """Id → train or test, and the sentence. A UserError names a wrong line."""
    head, *lines = read_utf8(path).splitlines()
    if head.split("\t") != COLUMNS:
        raise UserError(f"{path}:1: the columns are not {', '.join(COLUMNS)} (with TABs between them)")
    slots, texts = {utterance.id: utterance.labels for utterance in orders}, {}
    for number, line in enumerate(lines, 2):
        file, side, text = fields if len(fields := line.split("\t")) == len(COLUMNS) else ("", "", "")
        if side not in ("train", "test"):
            raise UserError(f"{path}:{number}: not a file, train or test, a transcript, with TABs between")
        if (id := Path(file).stem) in slots:
            if text not in sentences(slots[id]):
                raise UserError(f"{path}:{number}: {text!r} is not a sentence of the grammar for {slots[id]}")
            texts[id] = side, text
    if without := sorted(set(slots) - set(texts)):
        print(f"{path}: {len(without)} orders have no line and are left out: {' '.join(without)}")
    return texts


if __name__ == "__main__":
    command(main)
