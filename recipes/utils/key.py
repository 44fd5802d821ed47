#!/usr/bin/env python3
"""A hash of what goes into a stage: 16 hexadecimal digits on stdout.

    key.py data/train conf/ia3.yaml "--seed 1"

An argument may be a Kaldi data directory (its files, and size and samples of the audio that wav.scp names),
another folder (all files in it), a file (its contents), or just text; what has no slash is text. Equal
inputs give equal keys wherever they lie: only names inside a folder count, not the path to it. Standard
library only: it runs before every stage.
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

LARGEST = 64 * 2**20  # bytes; of a larger file, and of audio, only samples are read
SAMPLE = 4096  # bytes at the start, in the middle and at the end


def of_file(path: Path) -> str:
    if path.stat().st_size > LARGEST:
        return sampled(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sampled(path: Path) -> str:
    """The size and a hash of three samples: another recording differs, a copy doesn't, whatever its date."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for place in (0, size // 2, max(0, size - SAMPLE)):
            file.seek(place)
            digest.update(file.read(SAMPLE))
    return f"{size} {digest.hexdigest()}"


def of_audio(wav_scp: Path) -> Iterator[str]:
    """One line a recording; a pipe counts by its command, which stands in wav.scp itself."""
    for line in wav_scp.read_text(encoding="utf-8", errors="replace").splitlines():
        recording, _, source = line.strip().partition(" ")
        source = source.strip()
        if source.endswith("|"):
            continue
        for place in (Path(source), wav_scp.parent.parent / source, wav_scp.parent / source):
            if place.is_file():
                yield f"{recording} {sampled(place)}"
                break


def of_folder(folder: Path) -> Iterator[str]:
    """One line a file; below a data directory only its own files, then the audio that they name."""
    if (folder / "wav.scp").is_file():
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    else:
        files = [
            path
            for path in sorted(below(folder))
            if "__pycache__" not in path.parts and not counted_elsewhere(path, folder)
        ]
    for path in files:
        yield f"{path.relative_to(folder)} {of_file(path)}"
        if path.name == "wav.scp":
            yield from of_audio(path)


def below(folder: Path) -> Iterator[Path]:
    """All files, also in folders that are linked there, each of which is entered once."""
    entered = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        entered.add(os.path.realpath(place))
        folders[:] = [name for name in folders if os.path.realpath(f"{place}/{name}") not in entered]
        yield from (path for name in names if (path := Path(place, name)).is_file())


def counted_elsewhere(path: Path, folder: Path) -> bool:
    """Whether a file lies deeper inside a data directory (its audio), or is hidden."""
    parts = path.relative_to(folder).parts
    inside = [folder.joinpath(*parts[:depth]) for depth in range(1, len(parts) - 1)]
    return any(part.startswith(".") for part in parts) or any(
        (place / "wav.scp").is_file() for place in inside
    )


def key(arguments: list[str]) -> str:
    total = hashlib.sha256()
    for argument in arguments:
        for line in lines_of(argument):
            total.update(line.encode() + b"\n")
    return total.hexdigest()[:16]


def lines_of(argument: str) -> list[str]:
    """What is hashed of one argument; the first line says what it is."""
    path = Path(argument)
    if "/" in argument and len(argument) < 1000:
        if path.is_dir():
            return ["[folder]", *of_folder(path)]
        if path.is_file():
            return ["[file]", of_file(path)]
    return ["[text]", argument]


if __name__ == "__main__":
    print(key(sys.argv[1:]))
