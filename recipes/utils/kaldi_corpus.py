#!/usr/bin/env python3
"""Take a corpus that consists of Kaldi directories: CORPUS/{train,test} and perhaps dev.

    kaldi_corpus.py CORPUS OUT [--size full|small] [--allow-pipes]

Out: OUT/{train,dev,test}, with absolute paths. Without CORPUS/dev, 15 % of train's consultations (where every
utterance has utt2consultation) or speakers become dev, by a hash of their names; of a single speaker, 15 % of
the sentences. `small` keeps some utterances of each, evenly spread.
"""

from pathlib import Path
from typing import Literal

from ia3_speech.cli import UserError, command
from ia3_speech.data.kaldi import (
    DataDirectory,
    read_data_directory,
    split_data_directory,
    write_data_directory,
)

DEV_SHARE = 0.15
SMALL = {"train": 48, "dev": 12, "test": 24}  # utterances


def take(corpus: Path, out: Path, size: Literal["full", "small"] = "full", allow_pipes: bool = False) -> None:
    """Write OUT/{train,dev,test} from the Kaldi directories of CORPUS.

    Args:
        corpus: folder with the data directories train, test and, if there, dev
        out: where the data directories go
        size: small keeps 48, 12 and 24 utterances
        allow_pipes: wav.scp may hold shell commands; none is run here
    """
    present = [name for name in ("train", "test", "dev") if (corpus / name / "wav.scp").is_file()]
    for name in ("train", "test"):
        if name not in present:
            raise UserError(
                f"{corpus / name}: no Kaldi directory (a corpus is a folder with train/ and test/, each with "
                f"wav.scp, text, utt2spk and spk2utt; dev/ is taken too if there)"
            )
    sets = {name: read_data_directory(corpus / name, allow_pipes=allow_pipes) for name in present}
    if "dev" not in sets:
        by = unit_of(sets["train"])
        sides = split_data_directory(corpus / "train", out / "train", out / "dev", by=by, fraction=DEV_SHARE)
        sets |= zip(("train", "dev"), sides, strict=True)
        print(f"{out / 'dev'}: split from train by {by}")
    for name, data in sets.items():
        chosen = evenly(data, SMALL[name]) if size == "small" else data.utterances
        write_data_directory(out / name, chosen, speaker_labels=data.speaker_labels)
        print(f"{out / name}: {len(chosen)} utterances")


def unit_of(data: DataDirectory) -> str:
    """What must not stand on both sides of the split."""
    if all("consultation" in utterance.labels for utterance in data):
        return "consultation"
    return "speaker" if len(data.speakers) > 1 else "text"


def evenly(data: DataDirectory, most: int) -> list:
    """At most so many utterances, at equal steps through the directory."""
    most = min(most, len(data))
    return [data.utterances[len(data) * number // most] for number in range(most)]


if __name__ == "__main__":
    command(take)
