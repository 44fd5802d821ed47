#!/usr/bin/env python3
"""Prepare a corpus of speakers to adapt to: one Kaldi directory, OUT_DIR/test.

    local/prepare.py espeak OUT_DIR                              # made on the spot, no download
    local/prepare.py DATA_DIR OUT_DIR                            # a Kaldi data directory
    local/prepare.py CORPUS_DIR OUT_DIR [--speakers train]       # speechocean762 as it was published

`espeak` has 12 speakers with 20 sentences each of egs/medical_dictation's grammar: six voice variants that
the mini base never heard, each in an accent that it never heard and in another accent. Of speechocean762 the
published test speakers are taken; with --speakers train those of the train speakers who are that recipe's dev
set. Speakers with fewer than five utterances are left out and named. `small` keeps three speakers.
"""

from itertools import cycle
from pathlib import Path
from typing import Literal

import speechocean762
from espeak import ACCENTS, UNHEARD_ACCENTS, UNHEARD_VARIANTS, Voice, synthesize

from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.corpora.preparation import Size, evenly_spaced, write_set
from ia3_speech.data.kaldi.directory import DataDirectory, read_data_directory
from ia3_speech.data.utterance import Utterance

MIN_UTTERANCES = 5  # utterances of a speaker
SMALL_SPEAKERS, SMALL_UTTERANCES = 3, 12
SENTENCES, MAX_WORDS = 20, 8  # of each espeak voice; words
SEED = 762
Speakers = Literal["test", "train"]
WOMEN = ("f5", "belinda", "shelby")


def main(
    corpus: str, out: Path, speakers: Speakers = "test", size: Size = "full", allow_pipes: bool = False
) -> None:
    """Write OUT/test.

    Args:
        corpus: "espeak", a Kaldi data directory, or the folder that speechocean762.tar.gz unpacks to
        out: where the data directory goes
        speakers: speakers of speechocean762: test, or the held-out speakers of train
        size: small keeps three speakers with twelve utterances each
        allow_pipes: wav.scp of a Kaldi directory may hold shell commands
    """
    folder, labels = Path(corpus), speechocean762.SPEAKER_LABELS
    is_published = speechocean762.is_published(folder)
    if speakers == "train" and not is_published:
        raise UserError(f"{corpus}: --speakers train is for speechocean762 as it was published")
    if corpus == "espeak":
        utterances, labels = record(out), ("accent", "voice", "gender")
    elif is_published:
        log: list[str] = []
        utterances = list(speechocean762.read_set(folder, speakers, log))
        print("\n".join(log))
        if speakers == "train":  # that recipe's dev set
            dev = speechocean762.dev_speakers(utterances)
            utterances = [utterance for utterance in utterances if utterance.speaker in dev]
    elif (folder / "wav.scp").is_file():
        data = read_data_directory(folder, allow_pipes=allow_pipes)
        utterances, labels = data.utterances, data.speaker_labels
    else:
        layouts = "neither a Kaldi data directory (wav.scp, text, utt2spk, spk2utt) nor speechocean762"
        raise UserError(f"{corpus}: {layouts} as it was published (train/, test/, WAVE/)")
    by_speaker = DataDirectory(folder, utterances).speakers
    if few := [speaker for speaker, spoken in by_speaker.items() if len(spoken) < MIN_UTTERANCES]:
        print(f"left out, with fewer than {MIN_UTTERANCES} utterances: {' '.join(few)}")
    names = [speaker for speaker in by_speaker if speaker not in few]
    if size == "small":
        names = evenly_spaced(names, SMALL_SPEAKERS)
        by_speaker = {name: evenly_spaced(by_speaker[name], SMALL_UTTERANCES) for name in names}
    spoken = [utterance for name in names for utterance in by_speaker[name]]
    write_set(out / "test", spoken, speaker_labels=labels)


def record(out: Path) -> list[Utterance]:
    """Utterances spoken by the voices, into OUT/audio. run.sh puts grammar.py of egs/medical_dictation on the
    path."""
    import grammar

    voices = [*zip(cycle(UNHEARD_ACCENTS), UNHEARD_VARIANTS, strict=False)]
    voices += zip(ACCENTS, UNHEARD_VARIANTS, strict=True)
    count = SENTENCES * len(voices)
    drawn = grammar.Grammar(Path(grammar.__file__).parent).draw(5 * count, seed=SEED)
    sentences = iter([sentence.text for sentence in drawn if len(sentence.text.split()) <= MAX_WORDS][:count])
    texts = []
    for number, (accent, variant) in enumerate(voices):
        speaker = f"{number + 1:02d}"
        labels = {"accent": accent, "voice": variant, "gender": "f" if variant in WOMEN else "m"}
        voice = Voice(accent, variant, rate=145 + 3 * number, pitch=44 + number)
        for sentence in range(SENTENCES):
            id = f"{speaker}-{sentence + 1:02d}"
            texts.append((Utterance(id, speaker, id, "", text=next(sentences), labels=labels), voice))
    return synthesize(texts, out / "audio")


if __name__ == "__main__":
    command(main)
