"""Decode directories: decode a Kaldi data directory, and write the hypotheses.

In: a data directory and a recogniser. Out, in a decode directory:

    text         Kaldi's format: `utterance-id words…`; an utterance without output is a line with only the id
    hyp.trn      sclite's format: `words (speaker-utterance)`
    hyp.ctm      sclite's format: `utterance 1 start duration word confidence`, in seconds from the beginning
                 of the utterance; missing if only texts are known
    gate         `utterance<TAB>adapter<TAB>probability`, the gate's choice for the utterance, or for a piece
                 of it: an adapter, or base; written only with `--adapter auto`
    bad_audio    `utterance<TAB>file<TAB>fault`, a line for each fault; empty if there is none
    decode.json  base, adapter, their digests, real-time factor, command, versions; written last
"""

import math
import os
import platform
import re
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ia3_speech.adapters.record import read_json
from ia3_speech.adapters.spec import AdapterSpec, term_at
from ia3_speech.adapters.weights import weights_sha256
from ia3_speech.common.atomic import write_json, write_text
from ia3_speech.common.errors import UserError
from ia3_speech.common.inputs import Inputs, read_inputs, visible_files
from ia3_speech.common.progress import Progress
from ia3_speech.data.audio import SAMPLE_RATE, change_speed
from ia3_speech.data.kaldi.directory import DataDirectory, read_data_directory
from ia3_speech.data.kaldi.table_file import format_table
from ia3_speech.data.numbers_in_words import needs_words, numbers_in_words
from ia3_speech.data.recordings import Part
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import BadAudio, Utterance, load_utterances
from ia3_speech.decoding.formats import CONFIDENCES, ctm_line
from ia3_speech.decoding.recognizer import Recognizer, pools
from ia3_speech.decoding.transcript import Choice, Word
from ia3_speech.model.hypotheses import Hypothesis, Logits, TimedWord
from ia3_speech.scoring.kaldi_files import format_trn

if TYPE_CHECKING:
    from ia3_speech.model.base import Base

CHOICES = "gate"  # the file of a gate's choices
PARTS_FOLDER = "parts"  # in a decode directory: folders such as 3of8, of --part 3/8


@dataclass
class Decoding:
    """The result of decoding."""

    texts: dict[str, str]  # the hypothesis of every utterance, by id, in order; "" for unusable audio
    # Faults of the audio, including decoded audio (clipped, silent)
    bad: list[BadAudio] = field(default_factory=list)
    # By id, with times in seconds from the beginning of the utterance; empty if they were not asked for
    words: dict[str, tuple[Word, ...]] = field(default_factory=dict)
    choices: dict[str, tuple[Choice, ...]] = field(default_factory=dict)  # of a gate; empty without a gate
    audio_seconds: float = 0.0  # of the decoded audio
    seconds: float = 0.0  # wall-clock time, with reading the audio and without loading the model


def decode_utterances(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    *,
    adapters: Mapping[str, AdapterSpec] | None = None,
    on_error: Literal["fail", "skip"] = "skip",
    with_words: bool = False,
    speed: float = 1.0,
) -> Decoding:
    """Decode utterances. Raises AudioError if `on_error` is "fail" and audio is bad.

    Args:
        adapters: utterance id → adapter; None: all utterances have the recogniser's adapter.
        on_error: "fail" reads all audio first, and decodes only if all of it is good.
        with_words: find the times and confidences of the words too.
        speed: factor of the playback speed; the pitch changes too.
    """
    started = time.perf_counter()
    minimum = math.ceil(recognizer.base.minimum_samples * speed)
    if on_error == "fail":
        for _ in load_utterances(utterances, on_error="fail", minimum_samples=minimum):
            pass
    result = Decoding({utterance.id: "" for utterance in utterances})
    options = {"on_error": "skip", "bad": result.bad, "progress": None}
    waves = load_utterances(utterances, minimum_samples=minimum, **options)
    with Progress(len(utterances), "decoding") as bar:
        for pool in pools(waves):
            rows = [adapters[utterance.id].terms for utterance, _ in pool] if adapters else None
            played = [change_speed(wave, speed) for _, wave in pool]
            recognized = recognizer.recognize(
                played, lambda waves, _: bar.update(waves), rows, with_words=with_words
            )
            for (utterance, wave), recognition in zip(pool, recognized, strict=True):
                result.texts[utterance.id] = recognition.text
                if with_words:
                    result.words[utterance.id] = recognition.words
                if recognition.choices:
                    result.choices[utterance.id] = recognition.choices
                result.audio_seconds += len(wave) / SAMPLE_RATE
        bar.update(sum(fault.left_out for fault in result.bad))
    result.words = {id: result.words[id] for id in result.texts if id in result.words}
    result.seconds = time.perf_counter() - started
    return result


def dev_logits(
    recognizer: Recognizer, data: Path, allow_pipes: bool = False
) -> tuple[dict[str, list[str]], dict[str, list[np.ndarray]]]:
    """The data for tuning a search or calibrating confidences, by utterance: the words of a data directory's
    texts, and the logits of the pieces of its audio, (frames, vocabulary) each, as float16. Raises UserError
    if the directory holds no words, AudioError if a recording cannot be used."""
    utterances = read_data_directory(data, spk_sort=False, allow_pipes=allow_pipes).utterances
    if needs_words(recognizer.base.vocabulary.letters):
        utterances = numbers_in_words(utterances, f"{data}/text")
    references = {u.id: normalize(u.text or "").split() for u in utterances}
    if not any(references.values()):
        raise UserError(f"{data}: has no texts, which are the references")
    pieces: list[np.ndarray] = []

    def store(logits: Logits) -> Hypothesis:
        """In place of a search: store the logits of a piece, and return its number as the text."""
        pieces.append(logits.astype(np.float16))
        return Hypothesis((TimedWord(str(len(pieces) - 1), 0, 0),))

    storing = replace(recognizer, search=store)
    texts = decode_utterances(storing, utterances, on_error="fail").texts
    return references, {name: [pieces[int(n)] for n in text.split()] for name, text in texts.items()}


def read_for_decoding(data: Path, allow_pipes: bool = False) -> DataDirectory:
    """A data directory without its `text`. Some of its files may be missing: they are bad audio. Raises
    DataError if it is not valid; all its files are missing, so their paths must be wrong; or wav.scp holds
    shell commands, and `allow_pipes` is false."""
    directory = read_data_directory(data, text=False, wav=False, spk_sort=False, allow_pipes=allow_pipes)
    sources = {utterance.source for utterance in directory}
    pipes = {source for source in sources if source.endswith("|")}
    if (pipes and not allow_pipes) or not (pipes or any(map(os.path.isfile, sources))):
        return read_data_directory(data, text=False, spk_sort=False, allow_pipes=allow_pipes)
    return directory


def speaker_adapters(folder: Path, utterances: Sequence[Utterance]) -> dict[str, AdapterSpec]:
    """Utterance → adapter, from a folder that `ia3-speech speakers`, or `train` without dev, wrote: the
    adapter of the fold that held the utterance out, else its speaker's adapter (of the first fold, or without
    folds), else the adapter of all utterances. Raises UserError if the folder holds no adapter, or none for a
    speaker."""
    files = sorted(folder.glob("*/fold*/task.json"))
    by_utterance = {id: file.parent / "adapter" for file in files for id in read_json(file).get("texts", ())}
    paths = sorted([*folder.glob("*/fold1/adapter"), *folder.glob("*/all/adapter")])
    if not paths:
        raise UserError(
            f"{folder}: holds no SPEAKER/fold1/adapter or SPEAKER/all/adapter (run ia3-speech speakers)"
        )
    by_speaker = {adapter.parent.parent.name: adapter for adapter in paths}
    whole = folder / "adapter" if (folder / "adapter").is_dir() else None
    adapters = {u.id: by_utterance.get(u.id) or by_speaker.get(u.speaker, whole) for u in utterances}
    if missing := sorted({utterance.speaker for utterance in utterances if not adapters[utterance.id]}):
        raise UserError(f"{folder}: {len(missing)} speakers have no adapter: {', '.join(missing[:20])}")
    terms = {path: term_at(path.relative_to(folder).parent.as_posix(), path) for path in adapters.values()}
    return {id: AdapterSpec((terms[path],)) for id, path in adapters.items()}


def write_decode_directory(
    result: Decoding, utterances: Sequence[Utterance], folder: Path, record: dict[str, Any]
) -> None:
    """Write each file in one step, decode.json last, so that its presence shows that all are complete."""
    flat = str.maketrans("\t\n", "  ")  # a shell pipe may hold a TAB
    lines = ["\t".join(part.translate(flat) for part in (b.utterance, b.file, b.reason)) for b in result.bad]
    contents = {
        "text": format_table(result.texts.items()),
        "hyp.trn": format_trn(
            {u.id: result.texts[u.id] for u in utterances}, {u.id: u.speaker for u in utterances}
        ),
        "bad_audio": "".join(f"{line}\n" for line in lines),
    }
    if result.words:
        contents[CONFIDENCES] = "".join(
            # Six decimals, since readers look for the least certain words.
            ctm_line(name, word, digits=6)
            for name, words in result.words.items()
            for word in words
        )
    if result.choices:
        contents[CHOICES] = "".join(
            f"{name}\t{choice.adapter or 'base'}\t{choice.probability:.4f}\n"
            for name, choices in result.choices.items()
            for choice in choices
        )
    write_files(contents, folder, record)


def write_files(contents: Mapping[str, str], folder: Path, record: dict[str, Any]) -> None:
    """Write the files of a decode directory, by their names, and decode.json."""
    for stale in ("decode.json", "score.json", CONFIDENCES, CHOICES):  # of earlier texts
        (folder / stale).unlink(missing_ok=True)
    for name, text in contents.items():
        write_text(folder / name, text)
    write_json(folder / "decode.json", record)


def part_inputs(inputs: Inputs, part: Part, data: DataDirectory) -> Inputs:
    """The inputs of a part of a decoding: the tables, and the audio of its utterances."""
    audio = dict.fromkeys(Path(u.source) for u in part.of(data.utterances) if not u.is_piped)
    tables = {*visible_files(data.path)} - {Path(u.source) for u in data.utterances}
    sources = {**inputs.sources, "data": [*sorted(tables), *audio]}
    return Inputs(sources, {**inputs.options, "part": str(part)})


def finished_parts(folder: Path, inputs: Inputs, data: DataDirectory) -> list[Path]:
    """The folders of the parts that `decode --part` decoded from these inputs, in order; empty if there are
    none. Raises UserError if some parts are missing."""
    parts = defaultdict(dict)
    for part in (folder / PARTS_FOLDER).glob("*of*"):
        number, count = map(int, part.name.split("of"))
        expected = part_inputs(inputs, Part(number, count), data)
        if expected.as_json.items() <= read_inputs(part).items():
            parts[count][number] = part
    if not parts:
        return []
    count, by_number = max(parts.items(), key=lambda item: len(item[1]) == item[0])  # a complete set
    if missing := {*range(1, count + 1)} - {*by_number}:
        hint = f"delete {folder / PARTS_FOLDER}"
        raise UserError(f"{folder}: part {min(missing)}/{count} is not decoded (or {hint})")
    return [by_number[number] for number in sorted(by_number)]


def gather_parts(parts: Sequence[Path], folder: Path, ids: Sequence[str]) -> dict[str, Any]:
    """Merge the parts of `finished_parts` in their decode directory; returns its decode.json. Texts, words
    and their order equal those of a single decoding, except last digits, which depend on the batches."""
    place, contents = {id: number for number, id in enumerate(ids)}, {}
    for name in ("text", "hyp.trn", CONFIDENCES, CHOICES, "bad_audio"):
        files = [part / name for part in parts if (part / name).is_file()]
        lines = [file.read_text("utf-8").split("\n")[:-1] for file in files]
        if name == "hyp.trn":  # a line for each utterance; the parts alternate
            gathered = [line for row in zip_longest(*lines) for line in row if line is not None]
        else:
            gathered = sorted(chain(*lines), key=lambda line: place[re.split("[ \t]", line)[0]])
        if files:
            contents[name] = "".join(f"{line}\n" for line in gathered)
    records = [read_json(part / "decode.json") for part in parts]
    counted = ("utterances", "bad_audio", "without_output", "audio_seconds", "seconds")
    record = records[0] | {name: round(sum(part[name] for part in records), 3) for name in counted}
    if record["audio_seconds"]:
        record["real_time_factor"] = round(record["seconds"] / record["audio_seconds"], 4)
    write_files(contents, folder, record)
    return record


def decoding_record(recognizer: Recognizer, result: Decoding, data: Path) -> dict[str, Any]:
    """The contents of decode.json, schema 1."""
    base = recognizer.base
    return {
        "schema": 1,
        "data": str(data),
        "base": {"name": base.name, "sha256": base.fingerprint["sha256"]},
        "adapter": adapter_record(recognizer.spec),
        **recognizer.search_record,
        **({"test_time": "suta"} if recognizer.test_time else {}),
        "confidence_scaling": recognizer.scaling and vars(recognizer.scaling),
        "normalize": "none",
        "utterances": len(result.texts),
        "bad_audio": len(result.bad),
        "without_output": sum(fault.left_out for fault in result.bad),
        **({"decoded_again": len(again)} if (again := getattr(recognizer.search, "again", [])) else {}),
        "audio_seconds": round(result.audio_seconds, 3),
        "seconds": round(result.seconds, 3),
        "real_time_factor": round(result.seconds / result.audio_seconds, 4) if result.audio_seconds else None,
        "batch_seconds": recognizer.batch_seconds,
        "max_seconds": recognizer.max_seconds,
        **environment_record(base, "decode"),
    }


def environment_record(base: "Base", command: str) -> dict[str, Any]:
    """How the texts are scored, device, precision with its reason, command line and versions."""
    return {
        **({"scoring": base.scoring} if base.scoring != "ctc" else {}),
        "device": str(base.device),
        "dtype": base.dtype,
        "precision": base.precision,
        "precision_reason": base.precision_reason,
        "command": shlex.join(["ia3-speech", command, *sys.argv[1:]]),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("ia3-speech", "torch", "transformers", "numpy")},
        },
    }


def adapter_record(spec: AdapterSpec) -> dict[str, Any] | None:
    """An adapter's name, path and digest; for a sum its name, and its terms' with their weights."""
    parts = [
        {"name": term.name, "path": str(term.folder.absolute()), "sha256": weights_sha256(term.folder),
         "weight": term.weight}
        for term in spec.terms
    ]  # fmt: skip
    if spec.is_single:
        return {name: parts[0][name] for name in ("name", "path", "sha256")}
    return {"name": str(spec), "terms": parts} if parts else None
