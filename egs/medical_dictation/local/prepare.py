#!/usr/bin/env python3
"""Make the demonstration corpus of the recipe for medical dictation (README.md has the corpus card).

    local/prepare.py espeak OUT_DIR [--size full|small]     # made here; nothing is downloaded
    local/prepare.py CORPUS OUT_DIR [--size full|small]     # Kaldi directories; nothing is added

Out: OUT_DIR/{train,dev,test}, with the labels accent, voice, wording and gender, and
OUT_DIR/speaker42/{train,test}: the 15 sentences that speaker42 gives to adapt to, and sentences to test on.
"""

from itertools import cycle
from pathlib import Path

from espeak import Voice, synthesize
from grammar import Grammar, Sentence, rows

from ia3_speech.common.cli import command
from ia3_speech.data.corpora import kaldi
from ia3_speech.data.corpora.preparation import Size
from ia3_speech.data.kaldi.directory import summarize, write_data_directory
from ia3_speech.data.utterance import Utterance

HERE = Path(__file__).parent
ACCENTS = {"en-029": "caribbean", "en-gb-scotland": "scottish"}
# Sentences a set, and the seed that draws them; speaker42 gives 15 of theirs in every size.
SENTENCES = {
    "full": {"train": 240, "dev": 48, "test": 160, "speaker42": 15 + 60},
    "small": {"train": 48, "dev": 12, "test": 24, "speaker42": 15 + 12},
}
SEEDS = {"train": 1, "dev": 2, "test": 3, "speaker42": 42}


def main(corpus: str, out: Path, size: Size = "full", allow_pipes: bool = False) -> None:
    """Write OUT/{train,dev,test} and, of espeak, OUT/speaker42/{train,test}.

    Args:
        corpus: espeak, which is made here, or a folder of Kaldi data directories
        out: where the data directories go
        size: small makes a few minutes of speech, to see that everything works
        allow_pipes: wav.scp of the folder may hold shell commands
    """
    if corpus != "espeak":
        kaldi.prepare(Path(corpus), out, size, allow_pipes)
        return
    texts, speakers = draw_texts(SENTENCES[size]), read_speakers()
    for name in ("train", "dev", "test"):
        record(texts[name], speakers[name], out / name)
    for name, sentences in (("train", texts["speaker42"][:15]), ("test", texts["speaker42"][15:])):
        record(sentences, speakers["speaker42"], out / "speaker42" / name)


def read_speakers() -> dict[str, list[tuple[str, str, Voice]]]:
    """Set → name, gender and voice of who speaks in it, from speakers.tsv."""
    speakers: dict[str, list[tuple[str, str, Voice]]] = {}
    for set_name, name, accent, variant, gender, rate, pitch in rows(HERE / "speakers.tsv"):
        voice = Voice(accent, variant, int(rate), int(pitch))
        speakers.setdefault(set_name, []).append((name, gender, voice))
    return speakers


def draw_texts(counts: dict[str, int]) -> dict[str, list[Sentence]]:
    """Sentences of each set; no sentence in two sets. Held-out terms and patterns only in the test sets."""
    grammar = Grammar(HERE)
    texts: dict[str, list[Sentence]] = {}
    used: set[str] = set()
    for name, count in counts.items():
        test = name in ("test", "speaker42")
        texts[name] = grammar.draw(count, seed=SEEDS[name], test=test, avoid=used)
        used |= {sentence.text for sentence in texts[name]}
    return texts


def record(sentences: list[Sentence], speakers: list[tuple[str, str, Voice]], out: Path) -> None:
    """Speak the sentences, the speakers in turn; write a data directory, its audio in audio/ beside it."""
    texts = []
    for index, (sentence, (name, gender, voice)) in enumerate(zip(sentences, cycle(speakers), strict=False)):
        id = f"{name}-{out.name}-{index:04d}"  # speaker42 speaks in all three sets
        labels = {"accent": ACCENTS[voice.accent], "voice": voice.variant, "gender": gender}
        labels["wording"] = "only-in-test" if sentence.new_wording else "as-in-train"
        texts.append((Utterance(id, name, id, "", text=sentence.text, labels=labels), voice))
    utterances = synthesize(texts, out.parent / "audio" / out.name)
    write_data_directory(out, utterances)
    print(f"{out}: {summarize(utterances)}")


if __name__ == "__main__":
    command(main)
