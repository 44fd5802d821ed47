"""Kaldi data directories: validate, fix, split, segment; convert a Hugging Face dataset.

    ia3-speech datadir validate --check-audio data/train
    ia3-speech datadir fix data/train
    ia3-speech datadir split data/all data/train data/dev --by speaker --fraction 0.15
    ia3-speech datadir segment data/long data/train --base mini
    ia3-speech datadir from-dataset USER/CORPUS data/corpus --split test

A data directory holds wav.scp, text, utt2spk, spk2utt and perhaps segments, utt2dur and labels: utt2LABEL,
spk2LABEL. A relative path in wav.scp is looked up in the working directory, the data directory's parent and
the data directory. Directories are written with absolute paths, without tables of other tools (feats.scp …).
"""

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import plural, shorten
from ia3_speech.data.huggingface import convert_dataset
from ia3_speech.data.kaldi.directory import read_data_directory, split_data_directory
from ia3_speech.data.kaldi.validation import fix_data_directory
from ia3_speech.data.utterance import BadAudio, bad_audio_report, load_utterances

log = logging.getLogger(__name__)


def printed(function: Callable[..., Any]) -> Callable[..., None]:
    """A command with the options of `function`; it prints each result on a line."""

    @wraps(function)
    def run(*args: Any, **options: Any) -> None:
        result = function(*args, **options)
        print(*(result if isinstance(result, tuple) else [result]), sep="\n")

    return run


def validate(
    data: Path,
    no_text: bool = False,
    no_wav: bool = False,
    no_spk_sort: bool = False,
    allow_pipes: bool = False,
    check_audio: bool = False,
) -> None:
    """Check a data directory by the rules of Kaldi's validate_data_dir.sh and further rules.

    Args:
        data: the data directory.
        no_text: `text` may be missing.
        no_wav: `wav.scp`, or the files that it names, may be missing.
        no_spk_sort: utt2spk need not be sorted by speaker.
        allow_pipes: wav.scp may hold shell commands (run only with --check-audio).
        check_audio: decode all audio as well.
    """
    needed = {"text": not no_text, "wav": not no_wav, "spk_sort": not no_spk_sort}
    checked = read_data_directory(data, **needed, allow_pipes=allow_pipes)
    if len(checked.speakers) == 1:
        log.warning(f"{data}: only one speaker (right for speaker adaptation; otherwise probably a mistake)")
    if wordless := [u.id for u in checked if not no_text and not (u.text or "").split()]:
        log.warning(f"{data}: {plural(len(wordless), 'utterance')} without a word: {shorten(wordless)}")
    bad: list[BadAudio] = []
    for _ in load_utterances(checked, bad=bad) if check_audio else ():
        pass
    if bad:  # clipped or silent: any other fault has raised an error
        report = bad_audio_report(bad, "clipped or silent audio, which is used all the same")
        log.warning(f"{data}: {report}")
    print(f"Successfully validated data-directory {checked}")


def segment(
    source: Path,
    target: Path,
    base: str = "mini",
    max_seconds: float | None = None,
    min_score: float = -4.0,
    allow_pipes: bool = False,
) -> None:
    """Cut long recordings and their texts at pauses, so that they can be trained on.

    CTC segmentation (Kürzinger et al. 2020) aligns text and audio; parts that do not align, and recordings
    whose text fits hardly better than in reverse order, are left out, and listed in TARGET.dropped.txt.
    Shorter utterances stay as they are.

    Args:
        source: the data directory with long recordings.
        target: the data directory to write.
        base: base that aligns texts and audio, in the texts' language: mini, a folder or a hub id.
        max_seconds: longest segment, in seconds [the base's maximum input duration, else 15].
        min_score: leave out segments below this log-probability; a text that does not match its audio has -5
            or less.
        allow_pipes: run the shell commands of wav.scp.
    """
    if max_seconds is not None and not max_seconds >= 1:
        raise UserError(f"--max-seconds is {max_seconds:g}, and must be at least 1 second")
    from ia3_speech.model.base import load_base
    from ia3_speech.training.segmentation import segment_data_directory

    options = {"max_seconds": max_seconds, "min_score": min_score, "allow_pipes": allow_pipes}
    print(f"{target}: {segment_data_directory(source, target, load_base(base), **options)[1]}")


SUB_COMMANDS = {
    "validate": validate,
    "fix": printed(fix_data_directory),
    "split": printed(split_data_directory),
    "segment": segment,
    "from-dataset": printed(convert_dataset),
}
