#!/usr/bin/env python3
"""Prepare speechocean762: English read by people whose first language is Mandarin.

    local/prepare.py CORPUS_DIR OUT_DIR [--size full|small]

Corpus card

    What      250 speakers, 20 sentences each, half of them children, read into phones; 16 kHz
    Sets      published train and test, 125 speakers each. Here: dev = 15 % of the train adults and 15 % of
              the train children, by a hash of their ids; test in two, adults and children
    Labels    spk2gender, spk2age, spk2agegroup (06-10, 11-15, 19-up), utt2sentence (of a test utterance:
              new, or also-in-train where train or dev holds its sentence), and where resource/scores.json
              is there utt2accuracy and utt2fluency, the experts' marks in the bands of their instructions
    Licence   CC BY 4.0, OpenSLR 101
    Citation  Zhang et al. 2021, "speechocean762: An Open-Source Non-native English Speech Corpus For
              Pronunciation Assessment", arXiv 2104.01378

In: the corpus (recipes/utils/speechocean762.py reads it). Out: OUT_DIR/{train,dev,test_adults,test_children}
and OUT_DIR/prepare.log: speakers without any audio are left out and named there, which is no error. A speaker
who lacks single files is one.
"""

from dataclasses import replace
from pathlib import Path

from sets import Size, put
from speechocean762 import SPEAKER_LABELS, dev_speakers, is_adult, is_published, read_set

from ia3_speech.atomic import write_text
from ia3_speech.cli import UserError, command
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance

PUBLISHED = Path(__file__).with_name("published.txt")


def main(corpus: Path, out: Path, size: Size = "full", allow_pipes: bool = False) -> None:
    """Write OUT/{train,dev,test_adults,test_children}.

    Args:
        corpus: the folder that speechocean762.tar.gz unpacks to
        out: where the data directories go
        size: small keeps 48, 12, 24 and 24 utterances
        allow_pipes: not used, the corpus holds files
    """
    if not is_published(corpus):
        layout = PUBLISHED.read_text(encoding="utf-8").partition("\n\n")[2]
        raise UserError(f"{corpus}: not the corpus as it was published\n\n{layout}")
    said: list[str] = []
    train, test = (list(read_set(corpus, name, said)) for name in ("train", "test"))
    dev = dev_speakers(train)
    seen = {normalize(one.text or "") for one in train}
    test = [with_sentence(one, seen) for one in test]
    sets = {
        "train": [one for one in train if one.speaker not in dev],
        "dev": [one for one in train if one.speaker in dev],
        "test_adults": [one for one in test if is_adult(one)],
        "test_children": [one for one in test if not is_adult(one)],
    }
    for name, utterances in sets.items():
        put(out / name, utterances, size, SPEAKER_LABELS)
    both = sum(one.labels["sentence"] != "new" for one in test)
    said.append(f"{both} of {len(test)} test utterances have a sentence of train or dev (label sentence)")
    write_text(out / "prepare.log", "".join(f"{line}\n" for line in said))
    print("\n".join(said))


def with_sentence(utterance: Utterance, seen: set[str]) -> Utterance:
    """With the label that tells whether training saw its sentence, spoken by somebody else."""
    known = "also-in-train" if normalize(utterance.text or "") in seen else "new"
    return replace(utterance, labels=utterance.labels | {"sentence": known})


if __name__ == "__main__":
    command(main)
