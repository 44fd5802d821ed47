#!/usr/bin/env python3
"""One data directory of several kinds of speech.

    local/mix.py data/real/test 'accent=DIR orders=DIR line_reader=DIR' [--without DIR] [--by accent]

In: KIND=DIR, Kaldi data directories, or folders in LibriSpeech's layout. Out: one directory, whose label
`corpus` is the kind, as is the prefix of ids. Of a kind that begins with line_ the audio is written again as
a telephone line of 8 kHz carries it, by G.711's µ-law, into a folder OUT_audio.
"""

from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import soundfile
import soxr

from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.corpora.out_of_domain import read_corpus, with_corpus_label
from ia3_speech.data.corpora.preparation import Size, evenly_spaced
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.kaldi.directory import summarize
from ia3_speech.data.utterance import Utterance, load_utterance
from ia3_speech.errors import UserError

LINE, LINE_RATE = "line_", 8000
SMALL = 12  # utterances of each kind with --size small


def main(
    out: Path, parts: str, without: Path | None = None, by: str | None = None, size: Size = "full"
) -> None:
    """Write OUT.

    Args:
        out: the data directory to write
        parts: KIND=DIR, with spaces between them
        without: a data directory whose utterances are left out
        by: take only utterances whose label of this name is the kind
        size: small keeps 12 utterances of each kind
    """
    left_out, mixed = set(), []
    if without:
        left_out = {one.id for one in read_data_directory(without, wav=False, spk_sort=False)}
    for part in parts.split():
        kind, equals, folder = part.partition("=")
        if not equals:
            raise UserError(f"{part}: is not KIND=DIR")
        utterances = [one for one in read_corpus(Path(folder), False) if one.id not in left_out]
        utterances = [one for one in utterances if by is None or one.labels.get(by) == kind]
        chosen = evenly_spaced(utterances, SMALL if size == "small" else len(utterances))
        mixed += [with_corpus_label(one, kind) for one in chosen]
    mixed = [over_line(one, out) if one.id.startswith(LINE) else one for one in mixed]
    write_data_directory(out, sorted(mixed, key=lambda one: one.id))
    print(f"{out}: {summarize(mixed)}")


def over_line(utterance: Utterance, out: Path) -> Utterance:
    """The utterance, whose audio is written as a telephone line carries it."""
    file = out.absolute().with_name(f"{out.name}_audio") / f"{quote(utterance.id, safe='')}.wav"
    file.parent.mkdir(parents=True, exist_ok=True)
    wave = soxr.resample(load_utterance(utterance), SAMPLE_RATE, LINE_RATE)
    soundfile.write(file, wave, LINE_RATE, "ULAW")
    of_segment = {} if utterance.end is None else {"start": 0.0, "end": len(wave) / LINE_RATE}
    return replace(utterance, recording=utterance.id, source=str(file), **of_segment)


if __name__ == "__main__":
    command(main)
