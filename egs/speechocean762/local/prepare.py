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

In: train/ and test/ (Kaldi's tables; spk2utt isn't needed), WAVE/SPEAKER0001/000010011.WAV, or the same name
with another suffix. Published ids (000010011) start with a 0 and the speaker's; here the speaker's stands in
front (0001-000010011), as Kaldi wants it. Out: OUT_DIR/{train,dev,test_adults,test_children}, and
OUT_DIR/prepare.log: speakers without any audio are left out and named there, which is no error. A speaker who
lacks single files is one.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from sets import Size, held_out, put, sound, table

from ia3_speech.atomic import write_text
from ia3_speech.cli import UserError, command
from ia3_speech.datadir import Utterance
from ia3_speech.text import normalize

PUBLISHED = Path(__file__).with_name("published.txt")

# Whole years up to which a group reaches. Nobody of 16 to 18 was found in the corpus.
AGE_GROUPS = {10: "06-10", 15: "11-15"}
ADULTS = "19-up"

# The lowest mark of each band, as the experts were instructed (the corpus's README).
BANDS = {
    "accuracy": {9: "09-10", 7: "07-08", 5: "05-06", 3: "03-04", 0: "00-02"},
    "fluency": {8: "08-10", 6: "06-07", 4: "04-05", 0: "00-03"},
}
SPEAKER_LABELS = ("gender", "age", "agegroup")


def main(corpus: Path, out: Path, size: Size = "full", allow_pipes: bool = False) -> None:
    """Write OUT/{train,dev,test_adults,test_children}.

    Args:
        corpus: the folder that speechocean762.tar.gz unpacks to
        out: where the data directories go
        size: small keeps 48, 12, 24 and 24 utterances
        allow_pipes: not used, the corpus holds files
    """
    scores = read_scores(corpus / "resource/scores.json")
    said: list[str] = []
    train, test = (list(read_set(corpus, name, scores, said)) for name in ("train", "test"))
    grown, young = (speakers(train, adult=adult) for adult in (True, False))
    dev = held_out(grown) | held_out(young)
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


def read_set(corpus: Path, name: str, scores: dict[str, dict], said: list[str]) -> Iterator[Utterance]:
    """The utterances of the published set `name` whose speakers are at hand; `said` gets who isn't.

    Raises:
        UserError: the folder is no speechocean762, its tables don't agree, nobody or a single file is absent.
    """
    folder = corpus / name
    if not (folder / "wav.scp").is_file() or not (corpus / "WAVE").is_dir():
        layout = PUBLISHED.read_text(encoding="utf-8").partition("\n\n")[2]
        raise UserError(f"{corpus}: not the corpus as it was published\n\n{layout}")
    files, texts, utt2spk = (table(folder / one) for one in ("wav.scp", "text", "utt2spk"))
    tables = {label: table(folder / f"spk2{label}") for label in ("gender", "age")}
    of_speaker: dict[str, list[str]] = {}
    for id in sorted(files):
        of_speaker.setdefault(value(utt2spk, id, folder / "utt2spk"), []).append(id)
    absent = []
    for speaker, ids in sorted(of_speaker.items()):
        places = {id: sound(corpus / files[id]) for id in ids}
        missing = [id for id, place in places.items() if place is None]
        if len(missing) == len(ids):
            absent.append(speaker)
            continue
        if missing:
            raise UserError(
                f"{folder}/wav.scp: speaker {speaker} lacks {len(missing)} of {len(ids)} files, such as "
                f"{files[missing[0]]} (fetch them again; a speaker is left out only if all are absent)"
            )
        own = {label: value(lines, speaker, folder / f"spk2{label}") for label, lines in tables.items()}
        own["agegroup"] = age_group(own["age"], folder / "spk2age", speaker)
        for id, place in places.items():
            yield Utterance(
                id=f"{speaker}-{id}",
                speaker=speaker,
                recording=f"{speaker}-{id}",
                source=str(place.resolve()),
                text=value(texts, id, folder / "text"),
                labels=own | bands(scores.get(id, {})),
            )
    if len(absent) == len(of_speaker):
        raise UserError(f"{corpus}/WAVE: no audio of any {name} speaker (wav.scp names {files[min(files)]})")
    said.append(f"{name}: {len(of_speaker) - len(absent)} of {len(of_speaker)} speakers are at hand")
    if absent:
        lost = sum(len(of_speaker[speaker]) for speaker in absent)
        said.append(f"{name}: {lost} utterances are left out, no audio of the speakers: {' '.join(absent)}")


def value(lines: dict[str, str], key: str, path: Path) -> str:
    if key not in lines:
        raise UserError(f"{path}: has no line for {key} (unpack the corpus again)")
    return lines[key]


def age_group(age: str, path: Path, speaker: str) -> str:
    if not age.isdigit():
        raise UserError(f"{path}: the age of {speaker} is {age!r}, not in whole years")
    return next((group for oldest, group in AGE_GROUPS.items() if int(age) <= oldest), ADULTS)


def is_adult(utterance: Utterance) -> bool:
    return utterance.labels["agegroup"] == ADULTS


def speakers(utterances: Iterable[Utterance], adult: bool) -> set[str]:
    return {one.speaker for one in utterances if is_adult(one) == adult}


def with_sentence(utterance: Utterance, seen: set[str]) -> Utterance:
    """With the label that tells whether training saw its sentence, spoken by somebody else."""
    known = "also-in-train" if normalize(utterance.text or "") in seen else "new"
    return replace(utterance, labels=utterance.labels | {"sentence": known})


def read_scores(path: Path) -> dict[str, dict]:
    """Utterance → the experts' marks; nothing where the file is not there."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: no JSON ({error}; unpack the corpus again)") from None


def bands(marks: dict) -> dict[str, str]:
    """The labels of one utterance's marks, 0 to 10."""
    return {
        label: next(band for lowest, band in rows.items() if round(float(marks[label])) >= lowest)
        for label, rows in BANDS.items()
        if label in marks
    }


if __name__ == "__main__":
    command(main)
