"""How the mini base is made: each part of the transplant against Whisper's own, and what it hears."""

import copy
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
PLACES = [str(ROOT / "scripts")]
NAMES = ("whisper_transplant", "mini_base_speech", "train_mini_base")


@pytest.fixture(scope="module")
def scripts():
    """The modules of scripts/, which are no package; forgotten afterwards."""
    sys.path[:0] = PLACES
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    finally:
        for place in PLACES:
            sys.path.remove(place)
        for name in NAMES:
            sys.modules.pop(name, None)


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
    short = [clip.wave for clip in english_mix[0] if len(clip.wave) < 4.5 * 16_000]
    normalize = scripts.mini_base_speech.normalize
    return [normalize(wave.astype(np.float32) / 32768) for wave in short[:: len(short) // 12][:12]]


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory):
    """Whisper base's encoder, which a script of shared/ makes of two packages."""
    script = ROOT.parent / "shared/models/whisper_base.py"
    if not script.is_file():
        pytest.skip("../shared/models/whisper_base.py is absent")
    folder = tmp_path_factory.mktemp("models") / "whisper-base"
    made = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, timeout=300)
    if made.returncode:
        pytest.skip(f"Whisper base cannot be fetched here: {made.stderr.strip().splitlines()[-1]}")
    return str(folder)


@pytest.fixture(scope="module")
def whisper(scripts, whisper_folder):
    return scripts.whisper_transplant.Whisper.load(whisper_folder)


@pytest.fixture(scope="module")
def model(scripts, speech, whisper_folder):
    return scripts.whisper_transplant.transplant(whisper_folder, speech[:8], positions=512)


# ---- the transplant, part by part


@torch.no_grad()
def test_the_first_convolution_is_a_rectified_spectrum(scripts, model, speech):
    """GELU(a) + GELU(−a) of 3 × the STFT with a Hann window: the layer norm after it is not seen."""
    layer, wave = model.wav2vec2.feature_extractor.conv_layers[0], torch.from_numpy(speech[0])
    found = layer(wave[None, None])[0, :804].reshape(4, 201, -1)
    exact = torch.stft(wave, 400, 160, window=torch.hann_window(400), center=False, return_complex=True) * 3
    cosines, sines = exact.real, -exact.imag
    wanted = torch.stack([torch.nn.functional.gelu(part) for part in (cosines, sines, -cosines, -sines)])
    assert found.shape == wanted.shape
    # GELU beside constants of 50,000: fp32 keeps some three decimals
    torch.testing.assert_close(found, wanted, atol=0.05, rtol=0.01)


@torch.no_grad()
def test_the_second_convolution_is_hinges_on_the_mel_bands(scripts, model, whisper, speech):
    transplant = scripts.whisper_transplant
    first, second = model.wav2vec2.feature_extractor.conv_layers[:2]
    sums = transplant.mel_sums(first, whisper, speech[0])
    hinges = second(first(torch.from_numpy(speech[0])[None, None]))[0, :480].T.reshape(-1, 6, 80).numpy()
    assert hinges.min() > -0.3  # GELU's own minimum is −0.17
    for band in (0, 20, 79):  # the lowest threshold's hinge rises with M, and is linear far above it
        order = np.argsort(sums[:, band])
        assert np.all(np.diff(hinges[order, 0, band][-50:]) >= -1e-3)


def test_every_part_explains_whispers_own(scripts, model, whisper, speech):
    """On four clips that the ridge fit has not seen."""
    shares = scripts.whisper_transplant.unexplained(model, whisper, speech[8:])
    assert shares["convolutions"] < 0.035
    assert shares["positions"] < 0.01
    assert shares["last hidden state"] < 0.1


@torch.no_grad()
def test_positions_are_the_sinusoid_and_stand_still_beyond_the_last_tap(scripts, model, whisper):
    offset = scripts.whisper_transplant.OFFSET
    positions = model.wav2vec2.encoder.pos_conv_embed(torch.full((1, 300, 512), -offset))[0] - offset
    sinusoid = whisper.encoder.embed_positions.weight
    torch.testing.assert_close(positions[:256], sinusoid[:256], atol=1e-3, rtol=0)
    torch.testing.assert_close(positions[256:], sinusoid[256].expand(44, -1), atol=1e-3, rtol=0)
    shortcut = scripts.train_mini_base.Sinusoid(
        scripts.train_mini_base.sinusoid_of(model.wav2vec2.encoder.pos_conv_embed)
    )
    torch.testing.assert_close(shortcut(torch.zeros(1, 300, 512))[0] - offset, positions, atol=1e-3, rtol=0)


def test_half_precision_holds_every_number(scripts, model, whisper, speech):
    numbers = torch.cat([parameter.detach().abs().flatten() for parameter in model.parameters()])
    assert numbers.max() < 60_000
    rounded = copy.deepcopy(model).half().float()
    shares = scripts.whisper_transplant.unexplained(rounded, whisper, speech[8:])
    assert shares["last hidden state"] < 0.1


@torch.no_grad()
def test_bf16_training_hears_what_dev_hears(scripts, model, speech):
    """Rounding the feature projection as well, whose constants are large, trained what dev could not see."""
    options = scripts.train_mini_base.Options(Path(), Path(), Path(), bf16=True)
    model = copy.deepcopy(model)
    trainer = scripts.train_mini_base.Trainer(model, None, {}, options)
    outputs = []
    for training in (True, False):
        trainer.mode(training)
        model.eval()
        outputs.append(model(torch.from_numpy(speech[0])[None]).logits.float())
    low, exact = outputs
    error = (low - exact).norm() / (exact - exact.mean()).norm()
    assert 0 < error < 0.1


def test_the_teacher_misses_nothing_of_itself_and_what_is_masked(scripts, model, speech):
    """The pupil tells Whisper's output exactly where it sees all, and not where stretches are hidden."""
    pupil = copy.deepcopy(model)
    teacher = scripts.train_mini_base.Teacher(copy.deepcopy(model.wav2vec2.encoder), pupil.wav2vec2)
    frames = torch.ones(1, pupil._get_feat_extract_output_lengths(len(speech[0])), dtype=torch.bool)
    missed = {}
    for masks in (0.0, 0.3):
        pupil.config.mask_time_prob = masks
        np.random.seed(0)
        pupil.train()
        pupil(torch.from_numpy(speech[0])[None])
        missed[masks] = float(teacher.loss(frames[:, : teacher.seen["features"].shape[1]]))
    assert missed[0.0] < 0.05 < 0.1 < missed[0.3]


def test_the_mean_of_two_models(scripts, model):
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.lm_head.weight += 2
    scripts.train_mini_base.mix_in(other, model)
    torch.testing.assert_close(other.lm_head.weight, model.lm_head.weight + 1)


# ---- what it hears


def test_a_clip_in_pieces(scripts, english_mix):
    """Cut by the shipped base's alignment, a piece says its own words."""
    from transformers import Wav2Vec2ForCTC

    module = scripts.mini_base_speech
    clips = [copy.copy(clip) for clip in english_mix[0] if clip.source == "ljspeech"][:12]
    base = Wav2Vec2ForCTC.from_pretrained(ROOT / "ia3_speech/mini").eval()
    module.word_cuts(base, clips)
    for clip in clips:
        assert clip.cuts[0] == 0 and clip.cuts[-1] == len(clip.wave) and sorted(clip.cuts) == clip.cuts
        assert len(clip.cuts) == len(clip.text.split()) + 1
    rng, heard = np.random.default_rng(0), []
    for clip in clips:
        wave, text = clip.piece(rng)
        heard.append((module.normalize(np.pad(wave, 1_600).astype(np.float32) / 32768), text))
    assert scripts.train_mini_base.word_errors(base, heard)["cer"] < 0.2


def test_two_synthesisers_in_one_process(scripts):
    """The library keeps one callback: when the second was freed, the first once said nothing."""
    import gc

    first, second = espeak.Espeak(), espeak.Espeak()
    assert len(second.speak("hello there")) > 5_000
    del second
    gc.collect()
    assert len(first.speak("hello there", "en-us+m3")) > 5_000


def test_batches_are_a_function_of_seed_and_step_and_hear_no_forbidden_voice(scripts, english_mix):
    speech_module = scripts.mini_base_speech
    clips, dev = english_mix
    assert len(dev) == 37 and not {c.name for c in clips} & {c.name for c in dev}
    sentences = ["the state of the union", "we hold these truths", "it is a new year"]
    material = speech_module.TrainingSpeech(clips, sentences, 1, 20.0)
    again = speech_module.TrainingSpeech(clips, sentences, 1, 20.0)
    said = []
    say = material.say
    material.say = lambda text, rng: said.append(text) or say(text, rng)
    batches = [material.batch(step) for step in range(3)]
    assert said
    (waves, lengths, labels), (other_waves, other_lengths, other_labels) = batches[2], again.batch(2)
    assert torch.equal(labels, other_labels)
    # espeak-ng's own noise is not ours to seed, and moves what it says by some samples
    assert (lengths - other_lengths).abs().max() < 160
    same = lengths == other_lengths
    waves, other_waves = waves[same], other_waves[same][:, : waves.shape[1]]
    likeness = (waves * other_waves).sum(1) / (waves.norm(dim=1) * other_waves.norm(dim=1))
    assert same.any() and float(likeness.max()) > 0.97  # the rows that people speak
    waves, lengths, labels = batches[0]
    assert waves.numel() <= 20 * 16_000 and len(waves) == len(lengths) == len(labels)
    assert not torch.equal(batches[0][0], batches[1][0])
    accents, variants = zip(*(voice.split("+") for voice in material.voices), strict=True)
    assert not set(accents) & set(espeak.UNHEARD_ACCENTS)
    assert not set(variants) & {*espeak.UNHEARD_VARIANTS, *speech_module.DEV_VARIANTS}
    assert {"m7", "f5", "belinda", "max", "shelby", "Mario"} <= set(espeak.UNHEARD_VARIANTS)


def test_the_card_is_filled_by_the_runs(scripts):
    numbers = {"minutes": 120, "hours_heard": 40.04, "step": 6000, "english_mix_dev_wer": 0.25,
               "english_mix_dev_cer": 0.07, "espeak_dev_wer": 0.4, "espeak_dev_cer": 0.1,
               "read_english_dev_wer": 0.3, "read_english_dev_cer": 0.09}  # fmt: skip
    text = scripts.train_mini_base.card([{"command": "a --seed 1", "seed": 1, **numbers}] * 2)
    assert text.count("| `a --seed 1` | 1 | 2.0 | 40.0 | 6,000 |") == 2
    assert "| every 40th clip of english_mix (37) | 25.0% | 7.0% |" in text
