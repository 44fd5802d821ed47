"""Training speech of the mini base: recordings, and sentences spoken by espeak-ng and flite, augmented.

    python scripts/mini/mini_base_speech.py --data ../shared/data --cache exp/speech --aligner ia3_speech/mini

In: `english_mix/` and `read_english/{train,more,dev}` (Kaldi directories) and sentences. Out: all recordings
in --cache, with the starts of their words by forced alignment with an earlier base; batches, each a function
of (seed, step) only (but for espeak-ng's own noise); and the dev sets. The voices and accents of the recipes'
test speakers are left out. A model memorises eleven hours within ten epochs, so some clips are cut: a few
words of a clip, followed by a few words of another clip of the same source.
"""

import io
import json
import shutil
import subprocess
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import espeak
import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from whisper_transplant import FFT, HOP, Sinusoid, sinusoid_of

from ia3_speech.common.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.utterance import load_utterances

CHARACTERS = ["<pad>", "|", "'", *"abcdefghijklmnopqrstuvwxyz"]
IDS = {c: i for i, c in enumerate(CHARACTERS)} | {" ": 1}
DEV_EVERY = 40  # of the sorted utterances of english_mix
DEV_VARIANTS = ("f2", "m3", "linda", "klatt3", "Andrea", "m8")  # espeak voices of dev only
UNLIKE_SPEECH = {"Demonic", "UniRobot", "Tweaky", "croak", "anikaRobot", "AnxiousAndy", "whisper", "whisperf"}
FLITE_VOICES = ("slt", "rms")  # flite's natural voices of the accents that espeak speaks here too
SOURCES = {  # share of the utterances drawn
    "librispeech": 0.43,  # read_english/train: 36 readers
    "librispeech-train-clean-100": 0.12,  # 198 readers, 195 of them one clip each, labelled by Whisper
    "kathleen-arctic": 0.05,
    "an4": 0.04,
    "kokoro-82m": 0.08,
    "ljspeech": 0.05,
    "vcc2016": 0.03,
    "espeak": 0.24,
    "flite": 0.05,  # where it is installed (Debian: flite); else espeak's
}
MIN_SECONDS, MAX_SECONDS = 0.4, 17.5  # positions end at 15.36 s


@dataclass
class Clip:
    name: str
    source: str
    text: str
    wave: np.ndarray  # int16 at 16 kHz
    cuts: list[int] = field(default_factory=list)  # samples at which the words begin, and the end

    def piece(self, rng: np.random.Generator) -> tuple[np.ndarray, str]:
        """Up to 14 words in a row, at random: int16 samples and text."""
        words = self.text.split()
        count = int(rng.integers(1, 1 + min(14, len(words))))
        start = int(rng.integers(0, len(words) - count + 1))
        return self.wave[self.cuts[start] : self.cuts[start + count]], " ".join(words[start : start + count])

    def normalized(self) -> np.ndarray:
        """The whole wave at zero mean and unit variance."""
        return normalize(self.wave.astype(np.float32) / 32768)


def read_kaldi(folder: Path, source: str | None = None) -> list[Clip]:
    """The clips of a Kaldi directory, in the order of their ids; `source` where there is no utt2source."""
    clips = []
    for utterance, wave in load_utterances(read_data_directory(folder).utterances):
        samples = np.round(wave * 32768).clip(-32768, 32767).astype(np.int16)
        clips.append(Clip(utterance.id, source or utterance.labels["source"], spell(utterance.text), samples))
    return clips


def main(*, data: Path, cache: Path, aligner: str) -> None:
    """Decode and align the recordings once, for train_mini_base.py: `read_cache` reads it.

    Args:
        data: folder with english_mix/ and read_english/
        cache: folder to write
        aligner: folder of an earlier base
    """
    from transformers import Wav2Vec2ForCTC

    mix = read_kaldi(data / "english_mix")
    train = [clip for i, clip in enumerate(mix) if i % DEV_EVERY]
    train += read_kaldi(data / "read_english/train", "librispeech") + read_kaldi(data / "read_english/more")
    usable = [c for c in train if MIN_SECONDS <= len(c.wave) / SAMPLE_RATE <= MAX_SECONDS]
    left_out = {c.name for c in train} - {c.name for c in usable}
    print(f"{len(train)} clips; left out, not {MIN_SECONDS} to {MAX_SECONDS} s long:", *left_out)
    word_cuts(Wav2Vec2ForCTC.from_pretrained(aligner, dtype=torch.float32).eval(), usable)
    sets = {"train": usable, "read_english_dev": read_kaldi(data / "read_english/dev", "dev")}
    sets["english_mix_dev"] = mix[::DEV_EVERY]
    cache.mkdir(parents=True, exist_ok=True)
    rows, at = [], 0
    for where, clips in sets.items():
        for c in clips:
            row = {"set": where, "name": c.name, "source": c.source, "text": c.text, "cuts": c.cuts}
            rows.append(row | {"start": at, "end": at + len(c.wave)})
            at += len(c.wave)
    np.save(cache / "waves.npy", np.concatenate([c.wave for clips in sets.values() for c in clips]))
    (cache / "clips.json").write_text(json.dumps(rows))


def read_cache(cache: Path) -> tuple[list[Clip], dict[str, list[Clip]]]:
    """The clips of train, {name of a dev set: its clips}; the samples stay on disk until they are used."""
    waves = np.load(cache / "waves.npy", mmap_mode="r")
    sets: dict[str, list[Clip]] = {}
    for row in json.loads((cache / "clips.json").read_text()):
        clip = Clip(row["name"], row["source"], row["text"], waves[row["start"] : row["end"]], row["cuts"])
        sets.setdefault(row["set"], []).append(clip)
    return sets.pop("train"), sets


def spell(text: str) -> str:
    """Lower case, the 27 characters of the vocabulary alone."""
    return " ".join("".join(c if c in IDS else " " for c in text.lower().replace("’", "'")).split())


class TrainingSpeech:
    """Training batches of at most `batch_seconds` padded seconds."""

    def __init__(
        self, clips: list[Clip], sentences: list[str], seed: int, batch_seconds: float, pieces: float = 0.0
    ):
        self.pieces = pieces
        self.flite = shutil.which("flite")
        self.by_source = {s: [c for c in clips if c.source == s] for s in SOURCES}
        self.shares = {s: x for s, x in SOURCES.items() if s in ("espeak", "flite") or self.by_source[s]}
        self.sentences, self.seed, self.batch_seconds = sentences, seed, batch_seconds
        self.voices = [
            f"{accent}+{variant}"
            for accent in espeak.ACCENTS
            for variant in espeak.variants()
            if variant not in {*espeak.UNHEARD_VARIANTS, *DEV_VARIANTS, *UNLIKE_SPEECH}
            and not any(part in variant for part in ("robosoft", " "))
        ]
        self.speaker = espeak.Espeak()

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(waves (batch, samples), lengths (batch,), labels (batch, characters) padded with −100)."""
        rng = np.random.default_rng((self.seed, step))
        names, weights = list(self.shares), np.array(list(self.shares.values()))
        drawn = []
        for source in rng.choice(names, 30, p=weights / weights.sum()):
            if source in ("espeak", "flite"):
                words = self.sentences[rng.integers(len(self.sentences))].split()
                count = int(rng.integers(1, 12))
                start = int(rng.integers(0, max(1, len(words) - count + 1)))
                text = " ".join(words[start : start + count])
                engine = self.say_flite if source == "flite" and self.flite else self.say
                drawn.append((0.36 * len(text.split()) + 0.3, text, engine))
            else:
                wave, text = self.clip(self.by_source[source], rng)
                drawn.append((len(wave) / SAMPLE_RATE, text, wave))
        drawn.sort(key=lambda d: d[0])  # neighbours are of like length: little padding
        first = int(rng.integers(len(drawn) - 2))
        waves, texts = [], []
        for row, (_, text, wave) in enumerate(drawn[first:]):
            # A generator a row: espeak-ng's lengths differ by some samples from run to run, and with them
            # how many numbers a row draws. (numpy takes a 0 in the last place for none.)
            rng = np.random.default_rng((self.seed, step, 1 + row))
            wave = wave(text, rng) if callable(wave) else wave.astype(np.float32) / 32768
            wave = augment(wave, rng)
            longest = max([len(wave), *map(len, waves)])
            if waves and longest * (len(waves) + 1) > self.batch_seconds * SAMPLE_RATE:
                break
            labels = [IDS[c] for c in text]
            if frames(len(wave)) > len(labels) + sum(a == b for a, b in pairwise(labels)):
                waves.append(wave)
                texts.append(labels)
        if not waves:  # a single clip, too long or too fast; rare
            return self.batch(step + 10_000_000)
        lengths = torch.tensor([len(wave) for wave in waves])
        padded = pad_sequence([torch.from_numpy(wave) for wave in waves], batch_first=True)
        labels = pad_sequence([torch.tensor(ids) for ids in texts], batch_first=True, padding_value=-100)
        return padded, lengths, labels

    def clip(self, clips: list[Clip], rng: np.random.Generator) -> tuple[np.ndarray, str]:
        """A clip, whole or in pieces: int16 samples and text."""
        clip = clips[rng.integers(len(clips))]
        if not clip.cuts or rng.random() >= self.pieces:
            return clip.wave, clip.text
        wave, text = clip.piece(rng)
        other = clips[rng.integers(len(clips))]
        if other.cuts and rng.random() < 0.6:
            gap = np.zeros(int(rng.integers(0, SAMPLE_RATE // 6)), np.int16)
            second, words = other.piece(rng)
            wave, text = np.concatenate([wave, gap, second]), f"{text} {words}"
        return wave, text

    def say_flite(self, text: str, rng: np.random.Generator) -> np.ndarray:
        """flite at another rate, pitch and length of the vocal tract (by resampling)."""
        import soundfile
        import soxr

        stretch = rng.uniform(0.75, 1.2)  # the resampling's own change of speed taken out
        tract = rng.uniform(0.85, 1.2)
        pitch = rng.uniform(80, 240)
        settings = [f"duration_stretch={stretch * tract:.3f}", f"int_f0_target_mean={pitch / tract:.0f}"]
        voice = FLITE_VOICES[rng.integers(len(FLITE_VOICES))]
        command = [self.flite, "-voice", voice, *(x for s in settings for x in ("--setf", s))]
        sound = subprocess.run([*command, "-t", text, "-o", "/dev/stdout"], capture_output=True, check=True)
        wave, rate = soundfile.read(io.BytesIO(sound.stdout), dtype="float32")
        return soxr.resample(wave, rate * tract, SAMPLE_RATE, quality="MQ")

    def say(self, text: str, rng: np.random.Generator) -> np.ndarray:
        import soxr

        voice = self.voices[rng.integers(len(self.voices))]
        wave = self.speaker.speak(text, voice, int(rng.integers(120, 220)), *rng.integers(25, 80, 2))
        return soxr.resample(wave, espeak.ESPEAK_SAMPLE_RATE, SAMPLE_RATE, quality="MQ")


@torch.no_grad()
def word_cuts(model, clips: list[Clip]) -> None:
    """Fill in `cuts`: forced alignment by `model`, a cut where it is quietest between two words' letters."""
    from torchaudio.functional import forced_align

    encoder = model.wav2vec2.encoder
    encoder.pos_conv_embed = Sinusoid(sinusoid_of(encoder.pos_conv_embed))
    encoder.forward = torch.autocast("cpu", torch.bfloat16)(encoder.forward)
    for clip in tqdm(clips, "alignment", disable=None):
        ids = torch.tensor([[IDS[c] for c in clip.text]])
        wave = clip.normalized()
        scores = model(torch.from_numpy(wave)[None]).logits.float().log_softmax(-1)
        if scores.shape[1] <= ids.shape[1] + sum(a == b for a, b in pairwise(clip.text)):
            continue
        path = forced_align(scores, ids, blank=0)[0][0]
        moved = torch.cat([torch.tensor([True]), path[1:] != path[:-1]]) & (path != 0)
        at = moved.nonzero()[:, 0].tolist()  # the frame at which each character begins
        step = HOP * 2
        energy = np.convolve(wave**2, np.ones(step) / step, "same")
        clip.cuts = [0]
        for i, character in enumerate(clip.text):
            if character == " ":
                low, high = at[i - 1] * step + FFT // 2, at[i + 1] * step + FFT // 2
                low = min(low + step, high - 1)
                clip.cuts.append(low + int(energy[low:high].argmin()))
        clip.cuts.append(len(wave))


def frames(samples: int) -> int:
    return ((samples - FFT) // HOP + 1 - 2 - 3) // 2 + 1


def augment(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Speed, room, spectral tilt and bands, noise, level: then zero mean and unit variance."""
    import soxr
    from scipy import fft

    if rng.random() < 0.7:
        wave = soxr.resample(wave, 1000, 1000 / rng.uniform(0.88, 1.12), quality="MQ")
    edges = rng.integers(0, int(0.25 * SAMPLE_RATE), 2)
    wave = np.pad(wave, (int(edges[0]), int(edges[1])))
    n = len(wave)
    size = fft.next_fast_len(n, real=True)
    spectrum = fft.rfft(wave, size)
    hertz = np.linspace(0, SAMPLE_RATE / 2, len(spectrum), dtype=np.float32)
    if rng.random() < 0.25:
        spectrum = spectrum * fft.rfft(room(rng), size)
    if rng.random() < 0.6:  # tilt, and a smooth random equaliser
        knots = np.array([0, 250, 500, 1000, 2000, 4000, 8000])
        gains = rng.normal(0, 3, len(knots)) + rng.normal(0, 1.5) * np.log2(np.maximum(knots, 125) / 1000)
        spectrum = spectrum * 10 ** (np.interp(hertz, knots, gains) / 20)
    if rng.random() < 0.15:  # a telephone line, or another narrow band
        spectrum = spectrum / np.sqrt(1 + (hertz / rng.uniform(3000, 6000)) ** 16)
        if rng.random() < 0.7:
            spectrum = spectrum / np.sqrt(1 + (rng.uniform(100, 350) / np.maximum(hertz, 1)) ** 8)
    wave = fft.irfft(spectrum, size)[:n].astype(np.float32)
    if rng.random() < 0.6:
        colour = fft.rfft(rng.standard_normal(size, dtype=np.float32))
        noise = fft.irfft(colour / np.maximum(hertz, 50) ** rng.uniform(0, 1), size)[:n]
        level = np.sqrt((wave**2).mean() / (noise**2).mean()) * 10 ** (-rng.uniform(8, 35) / 20)
        wave = wave + (level * noise).astype(np.float32)
    return normalize(wave)


def room(rng: np.random.Generator) -> np.ndarray:
    """An impulse response: a direct path, then noise that decays by 60 dB in 0.1 to 0.6 s."""
    reverberation = rng.uniform(0.1, 0.6)
    t = np.arange(int(reverberation * SAMPLE_RATE * 0.7)) / SAMPLE_RATE
    tail = rng.standard_normal(len(t), dtype=np.float32) * 10 ** (-3 * t / reverberation)
    tail[: int(0.002 * SAMPLE_RATE)] = 0
    tail *= 10 ** (-rng.uniform(2, 14) / 20) / np.sqrt((tail**2).sum())
    tail[0] = 1
    return tail.astype(np.float32)


def normalize(wave: np.ndarray) -> np.ndarray:
    """As Wav2Vec2FeatureExtractor with do_normalize."""
    return ((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)).astype(np.float32)


def dev_sets(dev: dict[str, list[Clip]], sentences: list[str]) -> dict[str, list[tuple[np.ndarray, str]]]:
    """The dev recordings, and `sentences` in the espeak voices of dev: (wave, text) each."""
    import soxr

    sets = {name: [(c.normalized(), c.text) for c in clips] for name, clips in dev.items()}
    speaker, spoken = espeak.Espeak(), []
    for i, text in enumerate(sentences):
        voice = f"{espeak.ACCENTS[i % len(espeak.ACCENTS)]}+{DEV_VARIANTS[i // 3 % len(DEV_VARIANTS)]}"
        wave = speaker.speak(text, voice, 150 + 5 * (i % 9))
        spoken.append((normalize(soxr.resample(wave, espeak.ESPEAK_SAMPLE_RATE, SAMPLE_RATE)), text))
    return sets | {"espeak_dev": spoken}


if __name__ == "__main__":
    command(main)
