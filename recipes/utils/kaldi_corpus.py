#!/usr/bin/env python3
"""Take a corpus that consists of Kaldi directories: CORPUS/{train,test} and perhaps dev.

    kaldi_corpus.py CORPUS OUT [--size full|small]

Out: OUT/{train,dev,test}, validated, with absolute paths. Without CORPUS/dev, 15 % of train's consultations
(where every utterance has utt2consultation) or speakers become dev, by a hash of their names; of a single
speaker, 15 % of the sentences. `small` keeps some utterances of each, evenly spread.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from ia3_speech.cli import UserError, command
from ia3_speech.datadir import DataDir, read, split, write

DEV_SHARE = 0.15
SMALL = {"train": 48, "dev": 12, "test": 24}


def take(corpus: Path, out: Path, size: Literal["full", "small"] = "full") -> None:
    """Write OUT/{train,dev,test} from the Kaldi directories of CORPUS.

    Args:
        corpus: folder with the data directories train, test and, if there, dev
        out: where the data directories go
        size: small keeps 48, 12 and 24 utterances
    """
    for name in ("train", "test"):
        if not (corpus / name / "wav.scp").is_file():
            raise UserError(
                f"{corpus / name}: no Kaldi directory (a corpus is a folder with train/ and test/, each with "
                f"wav.scp, text, utt2spk and spk2utt; dev/ is taken too if there)"
            )
    sets = {name: read(corpus / name, spk_sort=False) for name in ("train", "test")}
    if (corpus / "dev" / "wav.scp").is_file():
        sets["dev"] = read(corpus / "dev", spk_sort=False)
    for name, data in sets.items():
        store(data, out / name, SMALL[name] if size == "small" and "dev" in sets else None)
    if "dev" not in sets:
        by = unit_of(sets["train"])
        train, dev = split(out / "train", out / "train_without_dev", out / "dev", by=by, fraction=DEV_SHARE)
        print(f"{out / 'dev'}: {len(dev)} utterances, split from train by {by}")
        limit = (lambda name: SMALL[name]) if size == "small" else lambda name: None
        store(train, out / "train", limit("train"))
        store(dev, out / "dev", limit("dev"))
        store(sets["test"], out / "test", limit("test"))


def unit_of(data: DataDir) -> str:
    """What must not stand on both sides of the split."""
    if all("consultation" in utterance.labels for utterance in data):
        return "consultation"
    return "speaker" if len(data.speakers) > 1 else "text"


def store(data: DataDir, out: Path, most: int | None) -> None:
    chosen = data.utterances
    if most and len(chosen) > most:
        chosen = [chosen[len(chosen) * number // most] for number in range(most)]
    write(
        out, [replace(utterance) for utterance in chosen], speaker_labels=data.speaker_labels, spk_sort=False
    )


if __name__ == "__main__":
    command(take)
