#!/usr/bin/env python
"""A noisy copy of a test set, to measure what training with --noise gains (RESULTS.md).

    mkdir -p data/noises/{train,test}; cp NOISES/* data/noises/train
    mv data/noises/train/{city,rain}.ogg data/noises/test
    run="bash run.sh --corpus CORPUS --corpus-name noise --out-of-domain none --lm none --stop-stage 6"
    $run --stop-stage 1
    python local/noise.py data/noise/test data/noises/test data/noise/test_noise
    for noise in "" "--noise data/noises/train --noise-snr 5,20"; do
      $run --test-sets "test test_noise" --system ia3_plus${noise:+_noise} --train-opts "--epochs 2 $noise"
    done
    for set in test test_noise; do
      ia3-speech score data/noise/$set exp/noise/ia3_plus_noise_seed1/decode_greedy_$set \
        --baseline exp/noise/ia3_plus_seed1/decode_greedy_$set --cluster utterance \
        --terms exp/noise/terms_$set --training data/noise/train \
        --system ia3_plus_noise --system-seed 1 --corpus noise
    done

In: a data directory and a folder of noises. Out: the directory OUT, each utterance mixed with
a piece of a noise; its audio is in OUT_audio.
"""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from ia3_speech.common.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi.directory import read_data_directory, write_data_directory
from ia3_speech.data.utterance import load_utterances
from ia3_speech.training.augmentation import Augmentation, read_waves


def main(data: Path, noises: Path, out: Path, snr: float = 5.0) -> None:
    """Write the noisy copy.

    Args:
        data, noises, out: as above.
        snr: signal-to-noise ratio, in dB.
    """
    folder = out.with_name(f"{out.name}_audio").absolute()
    folder.mkdir(parents=True)
    noise, utterances = Augmentation((snr, snr), read_waves("noises", noises)), []
    for utterance, wave in load_utterances(read_data_directory(data)):
        file = folder / f"{utterance.id}.wav"
        noisy = noise.apply(wave, np.random.default_rng(zlib.crc32(utterance.id.encode())))
        soundfile.write(file, noisy, SAMPLE_RATE, subtype="FLOAT")
        utterances.append(replace(utterance, recording=utterance.id, source=str(file), start=None, end=None))
    write_data_directory(out, utterances)


if __name__ == "__main__":
    command(main)
