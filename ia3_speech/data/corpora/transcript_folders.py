"""Your own corpus as recordings and a text file for each, in two folders side by side.

    python -m ia3_speech.data.corpora.transcript_folders CORPUS DATA_DIR [--size full|small]

    ABA/wav/arctic_a0001.wav                  ABA/transcript/arctic_a0001.txt         L2-ARCTIC
    wav48_silence_trimmed/p225/p225_001_mic1.flac   txt/p225/p225_001.txt             VCTK
    wav/001.wav                               transcript/001.txt                      nobody is named

In: such a folder; the other folders of a path are the speaker's name. Out: DATA_DIR/{train,dev,test}, divided
by `preparation.divide`. Texts without a recording and recordings without a text are left out, and counted.
"""

from dataclasses import dataclass
from pathlib import Path

from ia3_speech.cli import command
from ia3_speech.data.corpora.preparation import Size, divide, is_recording, recordings_by_stem, write_set
from ia3_speech.data.kaldi.directory import UtteranceIds
from ia3_speech.data.kaldi.table_file import raise_if_any, read_utf8
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance
from ia3_speech.formatting import plural

FOLDERS = ("transcript", "transcripts", "txt")
MICROPHONE = "_mic1"  # of VCTK's two


@dataclass(frozen=True)
class TranscribedRecording:
    """A recording with its text and its speaker's name, empty where nobody is named."""

    audio: Path
    text: str
    speaker: str


def find_text_files(corpus: Path) -> list[tuple[Path, Path]]:
    """(folder of texts, text file), sorted; none where the corpus has another layout."""
    folders = sorted(path for path in corpus.rglob("*") if path.name in FOLDERS and path.is_dir())
    return [(folder, file) for folder in folders for file in sorted(folder.rglob("*.txt"))]


def read_transcripts(corpus: Path) -> list[TranscribedRecording]:
    """Every recording with a text; prints how many of either are left out.

    Raises:
        DataError: texts that are empty, each by its file.
    """
    pairs, problems, alone = [], [], []
    for folder, file in find_text_files(corpus):
        inside = file.relative_to(folder).with_suffix("")
        names, beside = (inside.name, inside.name + MICROPHONE), sorted(folder.parent.iterdir())
        by_stem = [recordings_by_stem(sibling / inside.parent) for sibling in beside]
        audio = next((found[name] for name in names for found in by_stem if name in found), None)
        text = " ".join(read_utf8(file, "save it as UTF-8").lstrip("\ufeff").split())
        if audio is None:
            alone.append(file)
        elif not normalize(text):
            problems.append(f"{file}:1: no text for {audio} (write what is said, or remove both files)")
        speaker = "-".join((*folder.parent.relative_to(corpus).parts, *inside.parent.parts))
        pairs += [TranscribedRecording(audio, text, speaker)] if audio else []
    raise_if_any(problems)
    used = {pair.audio for pair in pairs}
    other = sorted(path for path in corpus.rglob("*") if is_recording(path) and path not in used)
    for paths, what, partner in ((alone, "text", "recording"), (other, "recording", "text")):
        if paths:
            such_as = f"such as {paths[0].relative_to(corpus)}"
            print(f"{corpus}: {plural(len(paths), what)} without a {partner}, {such_as}, left out")
    return pairs


def prepare(corpus: Path, out: Path, size: Size = "full", allow_pipes: bool = False) -> None:
    """Write OUT/{train,dev,test}.

    Args:
        corpus: a folder of recordings beside a folder transcript or txt of texts, or of such pairs
        out: where the data directories go
        size: small keeps 48, 12 and 24 utterances
        allow_pipes: not used, the corpus holds files
    """
    pairs = read_transcripts(corpus)
    ids, utterances = UtteranceIds(len(pairs)), []
    for number, pair in enumerate(pairs):
        speaker, id = ids.assign(pair.speaker, pair.audio.stem, number)
        utterances.append(Utterance(id, speaker, id, str(pair.audio.absolute()), text=pair.text))
    speakers_known = all(pair.speaker for pair in pairs)
    for name, chosen in divide(utterances, speakers_known=speakers_known).items():
        write_set(out / name, chosen, size)


if __name__ == "__main__":
    command(prepare)
