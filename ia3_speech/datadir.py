"""Kaldi data directories: check, repair, cut and divide them, or make one of a Hugging Face dataset.

    python -m ia3_speech.datadir validate --check-audio data/train
    python -m ia3_speech.datadir fix data/train
    python -m ia3_speech.datadir subset data/train data/train_1k --first 1000
    python -m ia3_speech.datadir split data/all data/train data/dev --by speaker --fraction 0.15
    python -m ia3_speech.datadir from-dataset USER/CORPUS data/corpus --split test

A data directory holds wav.scp, text, utt2spk, spk2utt and perhaps segments, utt2dur and labels: utt2LABEL,
spk2LABEL. A relative path in wav.scp is tried against the working directory, the data directory's parent and
the data directory. What is written holds absolute paths, replaces an older directory as a whole, and leaves
out tables of other tools (feats.scp, cmvn.scp …). Kaldi's order of words works too:
`subset --first data/train 1000 data/train_1k`.
"""

import sys
from pathlib import Path
from typing import Literal

from ia3_speech.cli import command
from ia3_speech.data import kaldi as datadir
from ia3_speech.data.kaldi import DataDir

COUNTED = ("--first", "--last", "--shortest", "--per-spk", "--speakers")


def validate(
    data: Path,
    no_text: bool = False,
    no_wav: bool = False,
    no_spk_sort: bool = False,
    allow_pipes: bool = False,
    check_audio: bool = False,
) -> None:
    """Check a data directory: refuse all that Kaldi's validate_data_dir.sh refuses, and what it overlooks.

    Args:
        data: the data directory.
        no_text: `text` may be missing.
        no_wav: `wav.scp` may be missing, and its files too.
        no_spk_sort: utt2spk need not be sorted by speaker.
        allow_pipes: wav.scp may hold shell commands (run only with --check-audio).
        check_audio: decode all audio as well.
    """
    found = datadir.validate(
        data,
        text=not no_text,
        wav=not no_wav,
        spk_sort=not no_spk_sort,
        allow_pipes=allow_pipes,
        check_audio=check_audio,
    )
    print(f"Successfully validated data-directory {data}: {size(found)}")


def fix(data: Path, out: Path | None = None) -> None:
    """Repair a data directory: sort it, keep the utterances that all tables know; originals go to .backup/.

    Args:
        data: the data directory.
        out: write the result to this folder instead, and leave `data` as it is.
    """
    print(datadir.fix(data, out))


def subset(
    source: Path,
    target: Path,
    first: int | None = None,
    last: int | None = None,
    shortest: int | None = None,
    per_spk: int | None = None,
    speakers: int | None = None,
    minutes: float | None = None,
    spk_list: Path | None = None,
    utt_list: Path | None = None,
) -> None:
    """Write a part of a data directory, chosen by exactly one of the flags.

    Kaldi's order of arguments works as well: `subset --first data/train 1000 data/train_1k`.

    Args:
        source: the data directory to take from.
        target: the data directory to write.
        first: so many utterances from the start.
        last: so many from the end.
        shortest: so many of the shortest.
        per_spk: so many of each speaker, evenly spread.
        speakers: whole speakers until there are so many utterances (as in Kaldi, a number of utterances).
        minutes: utterances of all speakers, shuffled by a hash of their ids, until there are so many minutes.
        spk_list: the speakers in the first column of this file.
        utt_list: the utterances in the first column of this file.
    """
    made = datadir.subset(
        source,
        target,
        first=first,
        last=last,
        shortest=shortest,
        per_spk=per_spk,
        speakers=speakers,
        minutes=minutes,
        spk_list=spk_list,
        utt_list=utt_list,
    )
    print(f"{target}: {size(made)}")


def split(source: Path, rest: Path, part: Path, by: str = "speaker", fraction: float = 0.15) -> None:
    """Divide a data directory so that no speaker (or consultation …) is on both sides.

    Args:
        source: the data directory to divide.
        rest: the data directory to write the larger side to.
        part: the data directory to write the held-out side to.
        by: speaker, recording, text (the sentence) or a label such as consultation.
        fraction: the share of speakers (groups) that goes to `part`; a hash of their names decides which.
    """
    for made in datadir.split(source, rest, part, by=by, fraction=fraction):
        print(f"{made.path}: {size(made)}")


def from_dataset(
    name: str,
    out: Path,
    split: str | None = None,
    config_name: str | None = None,
    revision: str | None = None,
    audio_column: str | None = None,
    text_column: str | None = None,
    speaker_column: str | None = None,
    id_column: str | None = None,
    labels: str | None = None,
    format: Literal["wav", "flac"] = "wav",
    on_error: Literal["fail", "skip"] = "fail",
) -> None:
    """Write a Hugging Face dataset (hub id, or a local folder or file) as a data directory with its audio.

    Args:
        name: a hub id, or a local folder or file (parquet, audiofolder, csv, jsonl, save_to_disk).
        out: the folder to write.
        split: the split to take, where there are several.
        config_name: the dataset's configuration, where it has several.
        revision: a branch, tag or commit on the hub.
        audio_column: the column with the sound or the path of a sound file; guessed.
        text_column: the column with the transcript; guessed; none if there is none.
        speaker_column: the column with the speaker; guessed; none makes each utterance its own speaker.
        id_column: the column with utterance ids; guessed; none numbers them.
        labels: columns to keep as utt2LABEL, separated by commas; guessed; none for no labels.
        format: of the audio files.
        on_error: whether unusable audio stops it, or is left out.
    """
    made = datadir.from_dataset(
        name,
        out,
        split=split,
        config=config_name,
        revision=revision,
        audio_column=audio_column,
        text_column=text_column,
        speaker_column=speaker_column,
        id_column=id_column,
        labels=labels,
        format=format,
        on_error=on_error,
    )
    print(f"{out}: {size(made)}")


def size(data: DataDir) -> str:
    """`454 utterances, 4 speakers, 0.45 hours`; no hours where lengths are unknown."""
    seconds = [utterance.duration for utterance in data]
    hours = "" if None in seconds else f", {sum(seconds) / 3600:.2f} hours"
    return f"{counted(len(data), 'utterance')}, {counted(len(data.speakers), 'speaker')}{hours}"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def natural_order(argv: list[str]) -> list[str]:
    """Kaldi's `subset --first SOURCE 1000 TARGET` as `subset SOURCE TARGET --first 1000`."""
    match argv:
        case ["subset", flag, source, number, target] if (
            flag in COUNTED and not source.isdigit() and number.isdigit()
        ):
            return ["subset", source, target, flag, number]
    return argv


def main(argv: list[str] | None = None) -> None:
    commands = {
        "validate": validate,
        "fix": fix,
        "subset": subset,
        "split": split,
        "from-dataset": from_dataset,
    }
    command(commands, natural_order(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    main()
