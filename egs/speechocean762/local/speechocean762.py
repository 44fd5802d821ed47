#!/usr/bin/env python3
"""speechocean762: English read by people whose first language is Mandarin.

    local/speechocean762.py CORPUS DATA_DIR [--size full|small]

Corpus card

    What      250 speakers, 20 sentences each, half of them children, read into phones; 16 kHz
    Sets      published train and test, 125 speakers each. Here: dev = 15 % of the train adults and 15 % of
              the train children, by a hash of their ids; test in two, adults and children
    Labels    spk2gender, spk2age, spk2agegroup (06-10, 11-15, 19-up), utt2sentence (of a test utterance:
              new, or also-in-train where train or dev holds its sentence), and where resource/scores.json
              exists utt2accuracy and utt2fluency, the experts' marks in the bands of their instructions
    Licence   CC BY 4.0, OpenSLR 101
    Citation  Zhang et al. 2021, "speechocean762: An Open-Source Non-native English Speech Corpus For
              Pronunciation Assessment", arXiv 2104.01378

In: the published layout (README.md shows it). Out: DATA_DIR/{train,dev,test_adults,test_children} and
DATA_DIR/prepare.log, which names the speakers without any audio: they are left out. A speaker
who lacks single files is an error. Published ids (000010011) begin with a 0 and the speaker's id; here the
speaker's id stands in front (0001-000010011), as Kaldi requires.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from ia3_speech.common.atomic import write_text
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.corpora.preparation import Size, find_recording, hold_out, write_set
from ia3_speech.data.kaldi.table_file import read_kaldi_text
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance

# The oldest of each group, in whole years. The corpus has nobody of 16 to 18.
AGE_GROUPS = {10: "06-10", 15: "11-15"}
ADULTS = "19-up"

# The lowest mark of each band, as the experts were instructed (the corpus's README).
BANDS = {
    "accuracy": {9: "09-10", 7: "07-08", 5: "05-06", 3: "03-04", 0: "00-02"},
    "fluency": {8: "08-10", 6: "06-07", 4: "04-05", 0: "00-03"},
}
SPEAKER_LABELS = ("gender", "age", "agegroup")


def prepare(corpus: Path, out: Path, size: Size = "full") -> None:
    """Write OUT/{train,dev,test_adults,test_children}.

    Args:
        corpus: the folder that speechocean762.tar.gz unpacks to
        out: where the data directories go
        size: small keeps 48, 12, 24 and 24 utterances
    """
    if not is_published(corpus):
        layout = "train/wav.scp, test/wav.scp, WAVE/: README.md shows the layout"
        raise UserError(f"{corpus}: not speechocean762 as it was published ({layout})")
    log: list[str] = []
    train, test = (list(read_set(corpus, name, log)) for name in ("train", "test"))
    dev = dev_speakers(train)
    trained = {normalize(u.text or "") for u in train}
    for utterance in test:
        is_new = normalize(utterance.text or "") not in trained
        utterance.labels["sentence"] = "new" if is_new else "also-in-train"
    sets = {
        "train": [u for u in train if u.speaker not in dev],
        "dev": [u for u in train if u.speaker in dev],
        "test_adults": [u for u in test if is_adult(u)],
        "test_children": [u for u in test if not is_adult(u)],
    }
    for name, utterances in sets.items():
        write_set(out / name, utterances, size, SPEAKER_LABELS)
    common = sum(u.labels["sentence"] != "new" for u in test)
    log.append(f"{common} of {len(test)} test utterances have a sentence of train or dev (label sentence)")
    write_text(out / "prepare.log", "".join(f"{line}\n" for line in log))
    print("\n".join(log))


def dev_speakers(train: list[Utterance]) -> set[str]:
    """The published train speakers that are held out: 15 % of the adults and of the children."""
    adults, children = ([u.speaker for u in train if is_adult(u) == adult] for adult in (True, False))
    return hold_out(adults) | hold_out(children)


def is_adult(utterance: Utterance) -> bool:
    return utterance.labels["agegroup"] == ADULTS


# ---- the published layout ----


def is_published(corpus: Path) -> bool:
    """Whether a folder is the corpus as it was published."""
    tables = all((corpus / name / "wav.scp").is_file() for name in ("train", "test"))
    return tables and (corpus / "WAVE").is_dir()


def read_set(corpus: Path, name: str, log: list[str]) -> Iterator[Utterance]:
    """The utterances of the published set `name`; `log` receives which speakers have no audio.

    Raises:
        UserError: a table lacks a line, a speaker lacks single files, or no speaker has audio.
    """
    folder = corpus / name
    names = ("wav.scp", "text", "utt2spk", "spk2gender", "spk2age")
    tables = {table: read_kaldi_text(folder / table, "unpack the corpus again") for table in names}

    def lookup(table: str, key: str) -> str:
        if not tables[table].get(key):
            raise UserError(f"{folder / table}: has no line for {key} (unpack the corpus again)")
        return tables[table][key]

    files, ids_of = tables["wav.scp"], {}
    for id in sorted(files):
        ids_of.setdefault(lookup("utt2spk", id), []).append(id)
    scores_file, absent = corpus / "resource/scores.json", []
    scores = json.loads(scores_file.read_text(encoding="utf-8")) if scores_file.is_file() else {}
    for speaker, ids in sorted(ids_of.items()):
        recordings = {id: find_recording(corpus / files[id]) for id in ids}
        missing = [id for id, recording in recordings.items() if recording is None]
        if len(missing) == len(ids):
            absent.append(speaker)
            continue
        if missing:
            raise UserError(
                f"{folder}/wav.scp: speaker {speaker} lacks {len(missing)} of {len(ids)} files, such as "
                f"{files[missing[0]]} (fetch them again; a speaker is left out only if all are absent)"
            )
        labels = {label: lookup(f"spk2{label}", speaker) for label in ("gender", "age")}
        labels["agegroup"] = next((g for age, g in AGE_GROUPS.items() if int(labels["age"]) <= age), ADULTS)
        for id, recording in recordings.items():
            marks = {label: round(float(m)) for label, m in scores.get(id, {}).items() if label in BANDS}
            bands = {
                label: next(band for lowest, band in BANDS[label].items() if mark >= lowest)
                for label, mark in marks.items()
            }
            key, file = f"{speaker}-{id}", str(recording.resolve())
            yield Utterance(key, speaker, key, file, text=lookup("text", id), labels=labels | bands)
    if len(absent) == len(ids_of):
        raise UserError(f"{corpus}/WAVE: no audio of any {name} speaker (wav.scp names {files[min(files)]})")
    log.append(f"{name}: {len(ids_of) - len(absent)} of {len(ids_of)} speakers have audio")
    if absent:
        count = sum(len(ids_of[speaker]) for speaker in absent)
        log.append(f"{name}: {count} utterances are left out, no audio of the speakers: {' '.join(absent)}")


if __name__ == "__main__":
    command(prepare)
