"""Spoken keywords in noise: clips, other speech and noise → Kaldi directories with the class in utt2label.

In: CORPUS/keywords.csv (file, keyword, split) with the clips; folders of read speech by different readers, of
which two seconds an utterance are the class `other`; a folder of noises. Out: data/keywords/{train,dev,test},
each clip clean and at each SNR, with utt2snr and utt2place; background, the other speech of the test set in
windows of two seconds at 10 dB; wav/. Half of the places are in train and dev, the others in test. A row that
can't be used is named, and the others are written.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from ia3_speech.common.errors import AudioError, UserError
from ia3_speech.data.audio import SAMPLE_RATE, load_audio
from ia3_speech.data.corpora.csv_folder import DELIMITERS
from ia3_speech.data.corpora.preparation import Size
from ia3_speech.data.kaldi.directory import hash_order, hold_out, write_data_directory
from ia3_speech.data.kaldi.table_file import read_utf8
from ia3_speech.data.recordings import find_recordings
from ia3_speech.data.utterance import Utterance, find_problem, is_silent

OTHER = "other"
CLIP = 2 * SAMPLE_RATE  # of other speech, and the windows of the background
SNRS = ("clean", "20", "10", "5", "0")  # dB
HARDER = ("-5", "-10")  # dB, of the test set alone
BACKGROUND_SNR = "10"  # as in Picovoice's wake-word benchmark
HOP = 1.0  # seconds from one window of the background to the next
SMALL = 4  # clips of a class with --size small
Clip = tuple[str, str, np.ndarray]  # id, class, samples (n,)


def prepare(
    corpus: Path, out: Path, *, speech_train: str, speech_test: str, noises: Path, clips: int, size: Size
) -> None:
    """Mix keywords and other speech with noise, by the study's options."""
    clips = SMALL if size == "small" else clips
    others = {"train": recordings(speech_train), "test": recordings(speech_test)}
    readers = {name: {path.stem.partition("-")[0] for path in paths} for name, paths in others.items()}
    if both := readers["train"] & readers["test"]:
        raise UserError(f"the readers {', '.join(sorted(both))} are in train and in test")
    held_out = hold_out(readers["train"])
    of_dev = [path for path in others["train"] if path.stem.partition("-")[0] in held_out]
    others |= {"train": [p for p in others["train"] if p not in set(of_dev)], "dev": of_dev}
    places = sorted(recordings(str(noises)), key=lambda path: hash_order(path.stem))
    if len(places) < 2:
        raise UserError(f"{noises}: two places are needed, one for train and one for test")
    known = {"train": places[::2], "dev": places[::2], "test": places[1::2]}
    rows, small = read_clips(corpus / "keywords.csv"), size == "small"
    for name in ("train", "dev", "test"):
        number = clips if name == "train" else (clips + 1) // 2
        by_class = {label: files[: number or None] for label, files in rows[name].items()}
        average = round(np.mean([len(files) for files in rows[name].values()]))
        most = number or 2 * average
        by_class[OTHER] = sorted(others[name], key=lambda path: hash_order(path.stem))[:most]
        noise = {path.stem: load_audio(path) for path in known[name]}
        snrs = (*SNRS, *HARDER) if name == "test" else SNRS
        folder, every = out / "wav" / name, usable(by_class)
        utterances = [write_mixture(folder, clip, snr, noise) for clip in every for snr in snrs]
        write_data_directory(out / name, utterances)
        print(f"{name}: {len(utterances)} clips of {len(by_class)} classes")
    windows = []
    for path in others["test"][: SMALL if small else None]:
        clip = path.stem, OTHER, load_audio(path)
        mixture = write_mixture(out / "wav/background", clip, BACKGROUND_SNR, noise)
        for start in map(float, np.arange(0, mixture.duration - CLIP / SAMPLE_RATE, HOP)):
            window = {"id": f"{mixture.id}-{round(100 * start):06d}", "start": start, "duration": None}
            windows.append(replace(mixture, **window, end=start + CLIP / SAMPLE_RATE))
    write_data_directory(out / "background", windows)
    print(f"background: {len(windows)} windows, {len(windows) * HOP / 3600:.2f} hours")


def recordings(folders: str) -> list[Path]:
    """The recordings in some folders. Raises UserError where one has none."""
    readable, bad = find_recordings(folders.split())
    if bad:
        raise UserError("\n".join(bad))
    return [Path(recording.path) for recording in readable]


def read_clips(file: Path) -> dict[str, dict[str, list[Path]]]:
    """Set → keyword → its clips, in an order that a hash of their names decides. Rows that can't be used are
    named. Raises UserError where there is no such file."""
    if not file.is_file():
        raise UserError(f"{file}: no such file (columns file, keyword, split: train, dev or test)")
    text = read_utf8(file)
    reader = csv.DictReader(io.StringIO(text), delimiter=max(DELIMITERS, key=text.partition("\n")[0].count))
    if missing := {"file", "keyword", "split"} - {*(reader.fieldnames or ())}:
        raise UserError(f"{file}:1: no column {min(missing)}")
    rows = [row | {"line": number} for number, row in enumerate(reader, 2)]
    if missing := {"train", "dev", "test"} - {row["split"] for row in rows}:
        raise UserError(f"{file}: no row has the split {min(missing)}")
    known = {row["keyword"] for row in rows if row["split"] == "train"}
    clips: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda row: hash_order(row["file"])):
        path = file.parent / row["file"]
        fault = "" if path.is_file() else f"no such file {path}"
        if row["keyword"] not in known:
            fault = f"unknown keyword {row['keyword']!r} (train has {', '.join(sorted(known))})"
        if fault:
            print(f"{file}:{row['line']}: {fault}")
        else:
            clips[row["split"]][row["keyword"]].append(path)
    return clips


def usable(by_class: dict[str, list[Path]]) -> Iterator[Clip]:
    """Each clip, two seconds from the middle of other speech; those that can't be used are named."""
    for label, paths in by_class.items():
        for path in paths:
            try:
                wave = load_audio(path)
            except AudioError as error:
                print(error)
                continue
            if label == OTHER:
                first = max(0, (len(wave) - CLIP) // 2)
                wave = wave[first : first + CLIP]
            problem = find_problem(wave)
            if problem and (problem.fatal or is_silent(wave)):
                print(f"{path}: {problem.reason}")
            else:
                yield f"{label.replace(' ', '_')}-{path.stem}", label, wave


def write_mixture(folder: Path, clip: Clip, snr: str, noise: dict[str, np.ndarray]) -> Utterance:
    """A clip with noise of a random place, whose energy over the whole clip is `snr` dB below the clip's; of
    the same name always the same."""
    name, label, wave = clip
    name = f"{name}-{snr}"
    rng = np.random.default_rng(int(hash_order(name)[:8], 16))
    place = "none" if snr == "clean" else sorted(noise)[rng.integers(len(noise))]
    if snr != "clean":
        start = rng.integers(len(noise[place]))
        added = np.resize(np.roll(noise[place], -start), len(wave))
        gain = np.sqrt(np.mean(wave**2) / (np.mean(added**2) + 1e-12) / 10 ** (int(snr) / 10))
        wave = wave + gain * added
    wave = wave / max(1.0, float(np.abs(wave).max()))
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / f"{name}.flac", wave, SAMPLE_RATE)
    labels, source = {"label": label, "snr": snr, "place": place}, str((folder / f"{name}.flac").absolute())
    return Utterance(name, name, name, source, duration=len(wave) / SAMPLE_RATE, labels=labels)
