#!/usr/bin/env python3
"""Decode one data directory with the adapters of many speakers, each utterance with that of the next one.

    in_turn.py --base mini data/x/general exp/x/from_base_k15_seed1 DECODE_DIR

What a speaker's adapter costs on other people's speech, of all of them for the price of one decoding. In: a
Kaldi data directory; the folder that `python -m ia3_speech.speakers` wrote, of which the first fold's
adapters are taken (or those made without folds), in the order of the speakers' names. Out: what
`python -m ia3_speech.decode` writes.
"""

import shlex
import sys
from pathlib import Path
from typing import Literal

from ia3_speech.adapters.load import load_adapter
from ia3_speech.cli import UserError, command
from ia3_speech.decode import Decoding, complaint, decode, read_directory, record_of, write
from ia3_speech.decoding.recognizer import BATCH_SECONDS, load_recognizer


def main(
    data: Path,
    speakers: Path,
    decode_dir: Path,
    base: str | None = None,
    on_error: Literal["skip", "fail"] = "skip",
    allow_pipes: bool = False,
    batch_seconds: float = BATCH_SECONDS,
    max_seconds: float | None = None,
    device: str | None = None,
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float32",
) -> int:
    """Decode DATA into DECODE_DIR. The options are those of `python -m ia3_speech.decode`.

    Args:
        data: data directory
        speakers: folder with SPEAKER/fold1/adapter, or SPEAKER/all/adapter
        decode_dir: where to write
    """
    adapters = sorted([*speakers.glob("*/fold1/adapter"), *speakers.glob("*/all/adapter")])
    if not adapters:
        raise UserError(f"{speakers}: holds no SPEAKER/fold1/adapter (adapt to the speakers first)")
    directory = read_directory(data, allow_pipes)
    recognizer = load_recognizer(
        base, device=device, dtype=dtype, batch_seconds=batch_seconds, max_seconds=max_seconds
    )
    whole = Decoding({one.id: "" for one in directory})
    for number, adapter in enumerate(adapters):
        own = directory.utterances[number :: len(adapters)]
        if own:
            load_adapter(recognizer.base.model, adapter)
            found = decode(recognizer, own, on_error=on_error, allow_pipes=allow_pipes, progress=False)
            whole.texts |= found.texts
            whole.bad += found.bad
            whole.audio_seconds += found.audio_seconds
            whole.seconds += found.seconds
    record = record_of(recognizer, whole, data) | {
        "adapter": {"name": f"one of {len(adapters)} speakers' in turn", "path": str(speakers.absolute())},
        "command": shlex.join(sys.argv),
    }
    write(whole, directory.utterances, decode_dir, record)
    if whole.bad:
        print(complaint(whole, decode_dir), file=sys.stderr)
    return int(any(fault.left_out for fault in whole.bad))


if __name__ == "__main__":
    command(main)
