"""Prepare the data of three conditions of adaptation without transcripts, from two corpora.

In: CORPUS/speechocean762 and CORPUS/minds14. Out, below OUT:

    accent, telephone    train, dev, test (of speechocean762 the adults), and recordings: train without texts
    speakers             test: the last five utterances of each test speaker of speechocean762; SPEAKER/train
                         and SPEAKER/recordings: the fifteen others, with texts and without
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import speechocean762

from ia3_speech.adapters.registry import check_name
from ia3_speech.common.errors import UserError
from ia3_speech.data.corpora.preparation import Size, evenly_spaced
from ia3_speech.data.kaldi.directory import read_data_directory, summarize, write_data_directory
from ia3_speech.data.utterance import Utterance

ADAPT = 15  # utterances of a speaker
SMALL = {"minutes": 2.0, "tests": 12, "speakers": 2}


def prepare(
    corpus: str, out: Path, minutes: float = 0, tests: int = 0, speakers: int = 0, size: Size = "full"
) -> None:
    """Write OUT/{accent,telephone,speakers}, by the study's options; of each dev half as many as of test."""
    if size == "small":
        minutes, tests, speakers = SMALL.values()
    published = {"accent": out / "published/speechocean762", "telephone": out / "published/minds14"}
    speechocean762.prepare(Path(corpus, "speechocean762"), published["accent"])
    telephone = Path(__file__).resolve().parents[2] / "minds14/local/prepare.py"
    words = [sys.executable, telephone, Path(corpus, "minds14"), published["telephone"]]
    if subprocess.run(words, check=False).returncode:
        raise UserError(f"{corpus}/minds14: was not prepared (its messages are above)")
    for condition, source in published.items():
        test = "test_adults" if condition == "accent" else "test"
        sets = {name: read_data_directory(source / name).utterances for name in ("train", "dev", test)}
        seconds = sum(utterance.duration for utterance in sets["train"])
        most = {"train": round(len(sets["train"]) * 60 * minutes / seconds), "dev": tests // 2, test: tests}
        for name, utterances in sets.items():
            write(out / condition / name.partition("_")[0], choose(utterances, most[name]))
        write(out / condition / "recordings", without_texts(choose(sets["train"], most["train"])))
    by_speaker = {
        speaker: utterances
        for name in ("test_adults", "test_children")
        for speaker, utterances in read_data_directory(published["accent"] / name).speakers.items()
    }
    chosen = choose(sorted(by_speaker), speakers)
    tested = [utterance for speaker in chosen for utterance in by_speaker[speaker][ADAPT:]]
    write(out / "speakers/test", tested)
    for speaker in chosen:
        adapted_on = by_speaker[speaker][:ADAPT]
        write(out / f"speakers/{check_name(speaker)}/train", adapted_on)
        write(out / f"speakers/{speaker}/recordings", without_texts(adapted_on))


def choose(items: Sequence, most: int) -> list:
    """At most this number of items, evenly spaced; 0: all."""
    return evenly_spaced(items, most) if most else list(items)


def without_texts(utterances: Sequence[Utterance]) -> list[Utterance]:
    """The utterances with their audio and speaker only."""
    return [replace(utterance, text=None, labels={}) for utterance in utterances]


def write(folder: Path, utterances: Sequence[Utterance]) -> None:
    write_data_directory(folder, utterances)
    print(f"{folder}: {summarize(utterances)}")
