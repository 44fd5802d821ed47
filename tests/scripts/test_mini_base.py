"""The mini base: each part of the transplant against Whisper's own, and the training batches."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ia3_speech.data.corpora import espeak

ROOT = Path(__file__).parents[2]
NAMES = ("whisper_transplant", "mini_base_speech", "train_mini_base")


@pytest.fixture(scope="module")
def scripts():
    """The modules of scripts/, which are no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})


@pytest.fixture(scope="module")
def english_mix(scripts):
    """The clips of english_mix for train and for dev, read once."""
    folder = ROOT.parent / "shared/data/english_mix"
    if not folder.is_dir():
        pytest.skip("../shared/data/english_mix is absent")
    clips, every = scripts.mini_base_speech.read_kaldi(folder), scripts.mini_base_speech.DEV_EVERY
    return [clip for number, clip in enumerate(clips) if number % every], clips[::every]


@pytest.fixture(scope="module")
def speech(scripts, english_mix):
    """Twelve clips of at most 4.5 s, (samples,) at zero mean and unit variance."""
    short = [clip for clip in english_mix[0] if len(clip.wave) < 4.5 * 16_000]
    return [clip.normalized() for clip in short[:: len(short) // 12][:12]]


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory):
    """Whisper base's encoder, which a script of shared/ makes from two packages."""
    script = ROOT.parent / "shared/models/whisper_base.py"
    if not script.is_file():
        pytest.skip("../shared/models/whisper_base.py is absent")
    folder = tmp_path_factory.mktemp("models") / "whisper-base"
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"Whisper base cannot be fetched here: {done.stderr.strip().splitlines()[-1]}")
    return str(folder)


@pytest.fixture(scope="module")
def whisper(scripts, whisper_folder):
    return scripts.whisper_transplant.Whisper.load(whisper_folder)


@pytest.fixture(scope="module")
def model(scripts, speech, whisper_folder):
    return scripts.whisper_transplant.transplant(whisper_folder, speech[:8], positions=512)


@torch.no_grad()
def test_every_part_explains_whispers_own(scripts, model, whisper, speech):
    """The unexplained share of the variance of Whisper's own values, part by part, on four clips that are not
    in the ridge fit. Whisper's first frame is centred at 0, ours at sample 520."""
    body, encoder, gelu = model.wav2vec2, whisper.encoder, torch.nn.functional.gelu
    positions = encoder.embed_positions.weight
    pairs = {"convolutions": [], "positions": [], "last hidden state": []}
    for wave in (np.pad(wave, (0, 4800)) for wave in speech[8:]):  # 0.3 s of silence
        log_mel = torch.from_numpy(whisper.log_mel(wave[520:]))
        theirs = gelu(encoder.conv2(gelu(encoder.conv1(log_mel.T[None]))))[0].T
        x = (theirs + positions[: len(theirs)])[None]
        for layer in encoder.layers:
            x = layer(x, None)
            x = x[0] if isinstance(x, tuple) else x
        features = body.feature_extractor(torch.from_numpy(wave)[None])
        frames, width = min(features.shape[-1], len(theirs)), theirs.shape[1]
        projected = body.feature_projection(features.transpose(1, 2))[0]
        ours = body.encoder.pos_conv_embed(projected)[0] - scripts.whisper_transplant.OFFSET
        pairs["convolutions"].append((features[0, :width, :frames].T, theirs[:frames]))
        pairs["positions"].append((ours[:frames], positions[:frames]))
        hidden = body.encoder(projected).last_hidden_state[0]
        pairs["last hidden state"].append((hidden[:frames], encoder.layer_norm(x)[0, :frames]))
    shares = {}
    for part, both in pairs.items():
        ours, theirs = (torch.cat(side) for side in zip(*both, strict=True))
        shares[part] = ((ours - theirs) ** 2).sum() / ((theirs - theirs.mean(0)) ** 2).sum()
    assert shares["convolutions"] < 0.035
    assert shares["positions"] < 0.01
    assert shares["last hidden state"] < 0.1


def test_batches_are_a_function_of_seed_and_step_and_use_no_held_out_voice(scripts, english_mix):
    speech_module = scripts.mini_base_speech
    clips, dev = english_mix
    assert len(dev) == 37 and not {c.name for c in clips} & {c.name for c in dev}
    sentences = ["the state of the union", "we hold these truths", "it is a new year"]
    material, again = (speech_module.TrainingSpeech(clips, sentences, 1, 20.0) for _ in range(2))
    batches = [material.batch(step) for step in range(3)]
    (_, lengths, labels), (_, other_lengths, other_labels) = batches[2], again.batch(2)
    assert torch.equal(labels, other_labels)
    # espeak-ng's own noise has no seed, and moves lengths by some samples
    assert (lengths - other_lengths).abs().max() < 160
    assert batches[0][0].numel() <= 20 * 16_000 and not torch.equal(batches[0][0], batches[1][0])
    accents, variants = zip(*(voice.split("+") for voice in material.voices), strict=True)
    assert not set(accents) & set(espeak.UNHEARD_ACCENTS)
    assert not set(variants) & {*espeak.UNHEARD_VARIANTS, *speech_module.DEV_VARIANTS}
