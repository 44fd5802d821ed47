"""speechocean762 as it was published (OpenSLR 101), read, for egs/speechocean762 and egs/speaker_adaptation.

In: train/ and test/ (Kaldi's tables; spk2utt isn't needed), WAVE/SPEAKER0001/000010011.WAV, or the same name
with another suffix, and perhaps resource/scores.json. Out: `Utterance`s. Published ids (000010011) start with
a 0 and the speaker's; here the speaker's stands in front (0001-000010011), as Kaldi wants it.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from sets import held_out, sound, table

from ia3_speech.cli import UserError
from ia3_speech.data.utterance import Utterance

# Whole years up to which a group reaches. Nobody of 16 to 18 was found in the corpus.
AGE_GROUPS = {10: "06-10", 15: "11-15"}
ADULTS = "19-up"

# The lowest mark of each band, as the experts were instructed (the corpus's README).
BANDS = {
    "accuracy": {9: "09-10", 7: "07-08", 5: "05-06", 3: "03-04", 0: "00-02"},
    "fluency": {8: "08-10", 6: "06-07", 4: "04-05", 0: "00-03"},
}
SPEAKER_LABELS = ("gender", "age", "agegroup")


def is_published(corpus: Path) -> bool:
    """Whether a folder is the corpus as it was published."""
    tables = all((corpus / name / "wav.scp").is_file() for name in ("train", "test"))
    return tables and (corpus / "WAVE").is_dir()


def read_set(corpus: Path, name: str, said: list[str]) -> Iterator[Utterance]:
    """The utterances of the published set `name` whose speakers are at hand; `said` gets who isn't.

    Raises:
        UserError: the tables don't agree, nobody or a single file is absent.
    """
    folder = corpus / name
    files, texts, utt2spk = (table(folder / one) for one in ("wav.scp", "text", "utt2spk"))
    tables = {label: table(folder / f"spk2{label}") for label in ("gender", "age")}
    of_speaker: dict[str, list[str]] = {}
    for id in sorted(files):
        of_speaker.setdefault(value(utt2spk, id, folder / "utt2spk"), []).append(id)
    scores = read_scores(corpus / "resource/scores.json")
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


def dev_speakers(train: Iterable[Utterance]) -> set[str]:
    """Of the published train speakers those who are held out: 15 % of the adults and of the children."""
    train = list(train)
    return held_out(speakers(train, adult=True)) | held_out(speakers(train, adult=False))


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
