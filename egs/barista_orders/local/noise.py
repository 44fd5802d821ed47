#!/usr/bin/env python
"""Does training with --noise help? A noisy test set, and noises of other places for training.

    data=data/barista_orders exp=exp/barista_orders/noise
    local/noise.py $data/test NOISES $data/noise                  writes $data/noise/{test,places}
    train="python -m ia3_speech.train --config ia3_plus --replay shipped --train $data/train --dev $data/dev"
    $train --seed 1 --out $exp/without
    $train --seed 1 --out $exp/with --noise $data/noise/places --noise-snr 5,20
    for system in without with; do for set in test noise/test; do
      decode_dir=$exp/$system/decode_${set%%/*}
      python -m ia3_speech.decode --search greedy --adapter $exp/$system $data/$set $decode_dir
      python -m ia3_speech.score --cluster utterance $data/$set $decode_dir
    done; done

Out: OUT/test, each utterance with a piece of a place kept aside; OUT/places, the other places.
"""

import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.utterance import load_utterances
from ia3_speech.errors import UserError
from ia3_speech.training.augmentation import Augmentation, read_waves


def main(data: Path, noises: Path, out: Path, aside: str = "city,rain", snr: float = 5.0) -> None:
    """Write the noisy test set, and the noises for training.

    Args:
        data, noises: the test set; a folder with a recording a place.
        out: OUT/test and OUT/places are written.
        aside: places for the test set alone.
        snr: of the test set, in dB.
    """
    missing = {*aside.split(",")} - {file.stem for file in noises.iterdir()}
    if missing or out.exists():
        raise UserError(f"{noises}: has no {min(missing)}" if missing else f"{out}: exists (delete it)")
    for name in ("places", "aside", "wav"):
        (out / name).mkdir(parents=True)
    for file in noises.iterdir():
        shutil.copy(file, out / ("aside" if file.stem in aside.split(",") else "places"))
    noise, utterances = Augmentation((snr, snr), read_waves("noises", out / "aside")), []
    for utterance, wave in load_utterances(read_data_directory(data)):
        file = (out / "wav" / f"{utterance.id}.wav").absolute()
        noisy = noise.apply(wave, np.random.default_rng(zlib.crc32(utterance.id.encode())))
        soundfile.write(file, noisy, SAMPLE_RATE, subtype="FLOAT")
        utterances.append(replace(utterance, recording=utterance.id, source=str(file), start=None, end=None))
    write_data_directory(out / "test", utterances)


if __name__ == "__main__":
    command(main)
