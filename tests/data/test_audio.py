"""Decoding, what is wrong with audio, and speed."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ia3_speech.common.errors import AudioError, TooLong
from ia3_speech.data.audio import (
    SAMPLE_RATE,
    audio_duration,
    change_speed,
    container_format,
    load_audio,
    load_channels,
    resample,
)
from ia3_speech.data.utterance import BadAudio, Utterance, load_utterance, load_utterances

RATE = SAMPLE_RATE


def tone(seconds=1.0, rate=RATE, hertz=300.0, gain=0.3):
    return (gain * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def utterance(name, source, start=None, end=None):
    return Utterance(name, "spk", name, str(source), start, end)


def write(file: Path, data: bytes) -> Path:
    file.write_bytes(data)
    return file


def sound_file(file: Path, wave=None, rate=RATE, **options) -> Path:
    soundfile.write(file, tone() if wave is None else wave, rate, **options)
    return file


@pytest.mark.parametrize("suffix", ["wav", "mp3", "aiff", "au", "w64", "rf64", "nist", "ogg"])
def test_a_file_that_was_cut_off(tmp_path, suffix, caplog):
    """Its header still promises the whole; only Ogg's does not, where streams may lack the end mark."""
    file = sound_file(tmp_path / f"a.{suffix}", tone(6.0))
    assert abs(len(load_audio(file)) - 6 * RATE) < RATE / 2 and not caplog.text
    half = file.read_bytes()[: file.stat().st_size // 2]
    for source in (write(file, half), io.BytesIO(half)):
        if suffix == "ogg":
            load_audio(source)
            continue
        with pytest.raises(
            AudioError, match=r": ends [23]\.\d\d s before its header says it does, at [2356]"
        ):
            load_audio(source)
    assert ("a.ogg: has no end mark" in caplog.text) == (suffix == "ogg")
    assert suffix == "ogg" or len(load_audio(file, start=1.0, end=2.0)) == RATE


def test_a_rate_that_cannot_be_meant(tmp_path):
    """A block of it would be a billion samples at 16 kHz."""
    with pytest.raises(AudioError, match="a sampling rate of 1 Hz"):
        load_audio(sound_file(tmp_path / "a.wav", rate=1))


@pytest.mark.parametrize(
    ("suffix", "rate", "gains"),
    [("flac", RATE, [1]), ("mp3", 44_100, [1, 0.5]), ("ogg", 44_100, [1, -0.99]), ("wav", 8_000, [1, 0.5])],
)
def test_blocks_equal_the_whole_file(tmp_path, suffix, rate, gains):
    """Bit for bit: the mean of the channels, or the loudest channel where they cancel each other."""
    file = tmp_path / f"a.{suffix}"
    soundfile.write(file, np.outer(tone(18.0, rate) * tone(18.0, rate, 3.0, 1.0), gains), rate)
    whole, _ = soundfile.read(file, dtype="float32", always_2d=True)
    expected = resample(whole[:, 0] if min(gains) < 0 else whole.mean(axis=1), rate, RATE)
    assert np.array_equal(load_audio(file), expected)
    source = io.BytesIO(file.read_bytes())
    assert np.array_equal(load_audio(source, start=2.0), load_audio(file, start=2.0))
    for channel, samples in zip(load_channels(file), whole.T, strict=True):
        assert np.array_equal(channel, resample(samples, rate, RATE))


@pytest.mark.parametrize(
    ("suffix", "subtype", "error"),
    [(".wav", "FLOAT", 0), (".flac", "PCM_24", 1e-6), (".ogg", "VORBIS", 0.1), (".ogg", "OPUS", 0.1),
     (".mp3", "MPEG_LAYER_III", 0.1), (".aiff", "PCM_16", 1e-4)],
)  # fmt: skip
def test_formats_and_segments(tmp_path, suffix, subtype, error):
    """A segment has the samples of the whole file at that place, in lossy formats too: an MP3's tone packs
    tightly, and its frames need many earlier frames."""
    file = sound_file(tmp_path / f"a{suffix}", tone(3.0), subtype=subtype)
    whole = load_audio(file)
    assert np.abs(whole[1000:40000] - tone(3.0)[1000:40000]).max() <= error
    part = load_audio(file, start=0.5, end=1.25)
    assert len(part) == 12_000
    assert np.abs(part[2000:] - whole[10_000:20_000]).max() < 2e-3
    assert audio_duration(file) == pytest.approx(3.0, abs=0.05)
    for start in (0.3, 1.7, 2.003) if suffix == ".mp3" else ():
        assert np.abs(load_audio(file, start=start) - whole[round(start * RATE) :]).max() < 1e-4


def test_a_segment_past_the_end_and_a_wav_of_unknown_length(tmp_path):
    file = tmp_path / "a.wav"
    soundfile.write(file, tone(1.0), RATE)
    assert len(load_audio(file, start=0.5, end=1.4)) == 8_000  # Kaldi forgives half a second
    for start, end in ((0.5, 1.6), (1.0, 1.2), (2.0, 3.0)):
        message = rf"{file}: the segment from .* not inside the recording, which ends at 1.00 s"
        with pytest.raises(AudioError, match=message):
            load_audio(file, start=start, end=end)
    data = bytearray(file.read_bytes())
    place = data.index(b"data") + 4
    for size in (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000):  # as sox and sph2pipe write them into a pipe
        data[place : place + 4] = data[4:8] = size.to_bytes(4, "little")
        assert len(load_audio(io.BytesIO(bytes(data)))) == RATE


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.wav", None, "no such file"),
        ("empty.wav", b"", "empty (no bytes)"),
        ("text.wav", b"hello", "is not audio"),
        ("lfs.wav", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not audio"),
    ],
)
def test_files_without_audio(tmp_path, name, content, message):
    file = tmp_path / name if content is None else write(tmp_path / name, content)
    for function in (load_audio, audio_duration):
        with pytest.raises(AudioError) as caught:
            function(file)
        assert str(caught.value).startswith(f"{file}: {message}")


def test_pipes_run_once_a_recording_and_only_where_allowed(tmp_path):
    file = tmp_path / "a.wav"
    soundfile.write(file, tone(), RATE)
    parts = [utterance(f"spk-{n}", f"echo x >> {file}.runs; cat {file} |", n / 10, 0.8) for n in range(5)]
    with pytest.raises(AudioError, match=r"utterance spk-1: .*a.wav \|: is a shell command"):
        load_utterance(parts[1])
    allowed = [replace(part, allow_pipe=True) for part in parts]
    waves = [wave for _, wave in load_utterances(allowed, progress=None)]
    assert np.array_equal(waves[2], load_audio(file, start=0.2, end=0.8)) and len(waves) == 5
    assert Path(f"{file}.runs").read_text() == "x\n"
    failing = replace(parts[2], source="echo no such tape >&2; exit 3 |", allow_pipe=True)
    with pytest.raises(AudioError, match=r"failed with code 3: no such tape"):
        load_utterance(failing)


def test_unusable_audio_is_named_or_skipped(tmp_path):
    """By utterance and file; clipped speech is named and used in both cases."""
    waves = {"clipped": np.clip(9 * tone(), -1, 1), "good": tone()}
    waves |= {"nan": tone() * np.nan, "short": tone(0.01)}
    for name, wave in waves.items():
        sound_file(tmp_path / f"{name}.wav", wave, subtype="FLOAT")
    write(tmp_path / "broken.wav", b"no sound")
    mixed = [utterance(f"spk-{name}", tmp_path / f"{name}.wav") for name in ("broken", *waves, "zero")]
    bad: list[BadAudio] = []
    usable = list(load_utterances(mixed, on_error="skip", bad=bad, progress=None))
    assert [utterance.id for utterance, _ in usable] == ["spk-clipped", "spk-good"]
    assert np.array_equal(usable[1][1], load_audio(mixed[2].source))
    assert [entry.utterance for entry in bad if not entry.left_out] == ["spk-clipped"]
    assert [entry.utterance[4:] for entry in bad if entry.left_out] == ["broken", "nan", "short", "zero"]
    assert str(bad[1]).startswith(f"spk-clipped: {mixed[1].source}: clipped (76.2 % of the samples")
    with pytest.raises(AudioError, match=r"^21 utterances have unusable or damaged audio:\n") as caught:
        list(load_utterances(5 * mixed + mixed[:1], progress=None))
    assert " and 1 more\nRepair these files, or leave them out" in str(caught.value)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_speed_changes_length_and_pitch(factor):
    fast = change_speed(tone(2.0, hertz=1000), factor)
    assert fast.dtype == np.float32
    assert len(fast) == pytest.approx(32_000 / factor, abs=1)
    spectrum = np.abs(np.fft.rfft(fast[4000:20_000]))
    assert np.argmax(spectrum) == pytest.approx(1000 * factor, abs=1)  # 1 Hz a bin


CONTAINERS = {  # suffix → the format by its first bytes, and a codec
    **{"m4a": ("mp4", "aac"), "mp4": ("mp4", "aac"), "webm": ("webm", "libopus"), "wma": ("wma", "wmav2")},
    **{"aac": ("aac", "aac"), "mka": ("webm", "aac")},
}
STEREO = {"rate": 48_000, "layout": "stereo", "bit_rate": 128_000}
AMR = b"#!AMR\n" + 50 * (b"\x3c" + bytes(range(31)))  # a second in 50 frames of 12.2 kbit/s


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """3 s of a tone whose level changes, in each format; and a video without sound."""
    av = pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("containers")
    wave = tone(3.0, 48_000) * (0.5 + 0.5 * tone(3.0, 48_000, hertz=3, gain=1.0))
    stereo = np.stack([wave, 0.5 * wave])
    soundfile.write(folder / "a.wav", stereo.T, 48_000)
    sound = av.AudioFrame.from_ndarray(stereo, format="fltp", layout="stereo")
    sound.sample_rate = 48_000
    picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
    files = {f"a.{suffix}": (sound, codec, STEREO) for suffix, (_, codec) in CONTAINERS.items()}
    files["silent.mp4"] = (picture, "mpeg4", {"rate": 5, "width": 16, "height": 16})
    for name, (frame, codec, options) in files.items():
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, **options)
            container.mux([*stream.encode(frame), *stream.encode(None)])
    return folder


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two waves, of which a codec may have shifted one by up to 0.1 s."""
    size = min(len(a), len(b))
    spectrum = np.fft.rfft(a[:size], 2 * size) * np.conj(np.fft.rfft(b[:size], 2 * size))
    return np.fft.irfft(spectrum).max() / np.sqrt(np.square(a[:size]).sum() * np.square(b[:size]).sum())


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_containers(folder, suffix):
    file = folder / f"a.{suffix}"
    wave, original = load_audio(file), load_audio(folder / "a.wav")
    assert container_format(file) == CONTAINERS[suffix][0]
    assert wave.dtype == np.float32 and abs(len(wave) - 3 * RATE) < 0.1 * RATE
    assert similarity(wave, original) > 0.98
    assert audio_duration(file) == len(wave) / RATE
    assert np.array_equal(load_audio(io.BytesIO(file.read_bytes())), wave)
    assert np.array_equal(load_audio(file, start=1.0, end=2.0), wave[RATE : 2 * RATE])
    with pytest.raises(AudioError, match="not inside the recording"):
        load_audio(file, start=1.0, end=9.0)
    with pytest.raises(TooLong, match=r"is longer than 0\.0\d* minutes"):
        load_audio(file, max_seconds=2.0)


def test_amr_pictures_alone_and_what_to_install(folder, tmp_path, monkeypatch):
    file = write(tmp_path / "a.amr", AMR)
    assert len(load_audio(file)) == RATE
    with pytest.raises(AudioError, match=r"silent\.mp4: has no audio track$"):
        load_audio(folder / "silent.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"b\.amr: is amr audio, .*pip install -e '\.\[containers\]'"):
        load_audio(write(tmp_path / "b.amr", AMR))
