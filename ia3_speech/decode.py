"""Decode: a data directory → hypotheses.

    python -m ia3_speech.decode [--base mini] [--adapter NAME|PATH|SUM] data/test DECODE_DIR

In: a Kaldi data directory (its `text` is not looked at), a base, perhaps an adapter. Out, in DECODE_DIR:

    text         Kaldi's format: `utterance-id words…`; an utterance without output is a line with only the id
    hyp.trn      sclite's format: `words (speaker-utterance)`
    bad_audio    `utterance<TAB>file<TAB>what is wrong`, one line a fault; empty where there is none
    decode.json  how: base, adapter, their digests, real-time factor, command, versions; written last

Bad audio doesn't stop decoding: the utterance's hypothesis is empty, stderr lists it, and the exit code is 1,
with all output written. Clipped audio is listed too, and decoded, and no reason for another exit code.
"""

import os
import platform
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from ia3_speech.adapters import registry as store
from ia3_speech.adapters.combine import recorded_base
from ia3_speech.adapters.expressions import is_one, terms, weight_files
from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.data.utterance_audio import BadAudio, list_bad_audio, load_utterances
from ia3_speech.decoding.recognizer import BATCH_SECONDS, Recognizer, load_recognizer
from ia3_speech.inputs import Inputs, base_files
from ia3_speech.model.base import Base
from ia3_speech.scoring.kaldi_files import format_text, trn

POOL_SECONDS = 1200.0  # of audio read before it is sorted into batches: 77 MB, and room enough to sort in

Key = TypeVar("Key")


@dataclass
class Decoding:
    """What `decode` found: a text for every utterance, in the order given; "" for unusable audio."""

    texts: dict[str, str]
    bad: list[BadAudio] = field(default_factory=list)
    audio_seconds: float = 0.0  # of what was decoded
    seconds: float = 0.0  # of wall time, reading included, loading the model not


def decode(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    *,
    on_error: Literal["fail", "skip"] = "skip",
    allow_pipes: bool = False,
    progress: bool = True,
) -> Decoding:
    """Decode utterances, greedily.

    Args:
        on_error: "fail" looks at all audio first, and decodes only if nothing is wrong with any.

    Raises:
        AudioError: on_error is "fail" and audio is bad.
    """
    from tqdm import tqdm

    started = time.perf_counter()
    options = {"minimum_samples": recognizer.base.minimum_samples, "allow_pipes": allow_pipes}
    if on_error == "fail":
        for _ in load_utterances(utterances, on_error="fail", progress=progress, **options):
            pass
    result = Decoding({utterance.id: "" for utterance in utterances})
    waves = load_utterances(utterances, on_error="skip", bad=result.bad, progress=False, **options)
    with tqdm(
        total=len(utterances), desc="decoding", unit="utt", dynamic_ncols=True, leave=False,
        disable=None if progress else True,
    ) as bar:  # fmt: skip
        for pool in pools(waves):
            texts = recognizer.texts([wave for _, wave in pool], lambda waves, _: bar.update(waves))
            for (utterance, wave), text in zip(pool, texts, strict=True):
                result.texts[utterance.id] = text
                result.audio_seconds += len(wave) / SAMPLE_RATE
        bar.update(sum(fault.left_out for fault in result.bad))
    result.seconds = time.perf_counter() - started
    return result


def pools(
    waves: Iterable[tuple[Key, np.ndarray]], seconds: float = POOL_SECONDS
) -> Iterator[list[tuple[Key, np.ndarray]]]:
    """Collect (key, wave) pairs, in order, until they hold `seconds` of audio: what is in memory at once."""
    pool: list[tuple[Key, np.ndarray]] = []
    samples = 0
    for key, wave in waves:
        pool.append((key, wave))
        samples += len(wave)
        if samples >= seconds * SAMPLE_RATE:
            yield pool
            pool, samples = [], 0
    if pool:
        yield pool


def write(result: Decoding, utterances: Sequence[Utterance], folder: Path, record: dict[str, Any]) -> None:
    """Write DECODE_DIR, each file in one step, decode.json last: where it stands, the others are whole."""
    flat = str.maketrans("\t\n", "  ")  # a shell pipe may hold a TAB
    lines = ["\t".join(part.translate(flat) for part in (b.utterance, b.file, b.reason)) for b in result.bad]
    folder.mkdir(parents=True, exist_ok=True)
    for stale in ("decode.json", "score.json"):  # a score is of the texts that it was made of
        (folder / stale).unlink(missing_ok=True)
    write_text(folder / "text", format_text(result.texts))
    write_text(folder / "hyp.trn", trn((u.id, u.speaker, result.texts[u.id]) for u in utterances))
    write_text(folder / "bad_audio", "".join(f"{line}\n" for line in lines))
    write_json(folder / "decode.json", record)


def record_of(recognizer: Recognizer, result: Decoding, data: Path) -> dict[str, Any]:
    """The contents of decode.json, schema 1."""
    base = recognizer.base
    return {
        "schema": 1,
        "data": str(data),
        "base": {"name": base.name, "sha256": base.fingerprint["sha256"]},
        "adapter": adapter_record(recognizer),
        "search": "greedy",
        "normalize": "none",
        "utterances": len(result.texts),
        "bad_audio": len(result.bad),
        "without_output": sum(fault.left_out for fault in result.bad),
        "audio_seconds": round(result.audio_seconds, 3),
        "seconds": round(result.seconds, 3),
        "real_time_factor": round(result.seconds / result.audio_seconds, 4) if result.audio_seconds else None,
        "batch_seconds": recognizer.batch_seconds,
        "max_seconds": recognizer.max_seconds,
        **surroundings(base, "decode"),
    }


def surroundings(base: Base, module: str) -> dict[str, Any]:
    """With what it was decoded: device and precision, the command line, versions."""
    return {
        "device": str(base.device),
        "dtype": base.fingerprint["dtype"],
        "command": shlex.join(["python", "-m", f"ia3_speech.{module}", *sys.argv[1:]]),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("ia3-speech", "torch", "transformers", "numpy")},
        },
    }


def adapter_record(recognizer: Recognizer) -> dict[str, Any] | None:
    """An adapter's name, path and digest; a sum's name, and those of its terms with their weights."""
    parts = [
        {
            "name": term.name,
            "path": str(term.folder.absolute()),
            "sha256": store.weights_sha256(term.folder),
            "weight": term.weight,
        }
        for term in recognizer.adapter
    ]
    if not is_one(recognizer.adapter):
        return {"name": recognizer.name, "terms": parts} if parts else None
    return {name: parts[0][name] for name in ("name", "path", "sha256")}


def main(
    data: Path,
    decode_dir: Path,
    base: str | None = None,
    adapter: str | None = None,
    on_error: Literal["skip", "fail"] = "skip",
    allow_pipes: bool = False,
    batch_seconds: float = BATCH_SECONDS,
    max_seconds: float | None = None,
    device: str | None = None,
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float32",
    force: bool = False,
) -> int:
    """Decode a Kaldi data directory into DECODE_DIR: text, hyp.trn, bad_audio and decode.json.

    Args:
        data: data directory with wav.scp, utt2spk and perhaps segments
        decode_dir: where to write; made where it is missing
        base: mini, a folder or a hub id (default: the adapter's recorded base, else mini)
        adapter: a registered name, an adapter's folder, or a sum such as accent:0.7+medical:0.5 (default: the
            base alone)
        on_error: bad audio: skip decodes the rest and ends with code 1, fail decodes nothing
        allow_pipes: run the shell commands that wav.scp holds (entries that end in |)
        batch_seconds: seconds of padded audio that go through the model at once
        max_seconds: cut longer utterances at pauses (default: where the base loses count, mini after 15.36 s;
            .inf: never)
        device: cpu, cuda, … (default: cuda where there is one)
        dtype: of the base
        force: decode again what DECODE_DIR/inputs.json says was decoded from the same inputs
    """
    parts = terms(adapter) if adapter else []
    wanted = base or next(filter(None, (recorded_base(part.folder) for part in parts)), "mini")
    made = Inputs(
        {"data": data, "base": base_files(wanted), "adapter": weight_files(parts)},
        {
            "base": wanted,
            "weights": [part.weight for part in parts],
            "max_seconds": max_seconds,
            "dtype": dtype,
        },
    )
    if made.is_current(decode_dir, force):
        return 0
    directory = read_directory(data, allow_pipes)
    recognizer = load_recognizer(
        base, adapter, device=device, dtype=dtype, batch_seconds=batch_seconds, max_seconds=max_seconds
    )
    result = decode(recognizer, directory.utterances, on_error=on_error, allow_pipes=allow_pipes)
    write(result, directory.utterances, decode_dir, record_of(recognizer, result, data))
    minutes = result.audio_seconds / 60
    texts = f"{len(result.texts)} utterance{'s' * (len(result.texts) != 1)}"
    print(f"{decode_dir / 'text'}: {texts}, {minutes:.1f} minutes of audio in {result.seconds:.0f} s")
    if result.bad:
        print(complaint(result, decode_dir), file=sys.stderr)
    if any(fault.left_out for fault in result.bad):
        return 1
    made.record(decode_dir)
    return 0


def read_directory(data: Path, allow_pipes: bool = False) -> DataDirectory:
    """A data directory whose `text` is not looked at; some of its files may be missing: they are bad audio.

    Raises:
        DataError: it is not valid; all its files are missing, so it looks in the wrong place; or wav.scp
            holds shell commands and `allow_pipes` is false.
    """
    found = read_data_directory(data, text=False, wav=False, spk_sort=False)
    sources = {utterance.source for utterance in found}
    pipes = {source for source in sources if source.endswith("|")}
    if (pipes and not allow_pipes) or not (pipes or any(map(os.path.isfile, sources))):
        return read_data_directory(
            data, text=False, spk_sort=False, allow_pipes=allow_pipes
        )  # raises, and names the cure
    return found


def complaint(result: Decoding, folder: Path) -> str:
    """What stderr says of bad audio: the first 20 by name."""
    silent, n = sum(fault.left_out for fault in result.bad), len(result.bad)
    lines = [
        f"{n} of {len(result.texts)} utterances {'has' if n == 1 else 'have'} bad audio, {silent} of them no "
        f"output ({folder / 'bad_audio'} lists them):",
        *list_bad_audio(result.bad),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    command(main)
