"""Decoding, what is wrong with audio, and speed."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ia3_speech.data.audio import (
    SAMPLE_RATE,
    AudioError,
    audio_duration,
    change_speed,
    find_problem,
    load_audio,
    resample,
)
from ia3_speech.data.utterance import BadAudio, Utterance, load_utterance, load_utterances

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
RATE = SAMPLE_RATE


def tone(seconds=1.0, rate=RATE, hertz=300.0, gain=0.3):
    return (gain * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds):
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE))).astype(np.float32)


def utterance(name, source, start=None, end=None):
    return Utterance(name, "spk", name, str(source), start, end)


def test_half_an_mp3_is_not_the_whole_of_it(tmp_path):
    """Its header still promises all: what was said then has more words than what is heard."""
    file = tmp_path / "a.mp3"
    soundfile.write(file, tone(6.0), RATE)
    assert abs(len(load_audio(file)) - 6 * RATE) < RATE / 2
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(
        AudioError, match=r"a\.mp3: ends [23]\.\d\d s before its header says it does, at [56]\.\d\d s"
    ):
        load_audio(file)
    with pytest.raises(AudioError, match="before its header says"):
        load_audio(file, start=2.0, end=5.0)


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [("wav", "PCM_16"), ("aiff", "PCM_16"), ("aifc", "ULAW"), ("au", "PCM_16"), ("w64", "PCM_16"),
     ("rf64", "PCM_16"), ("nist", "PCM_16")],
)  # fmt: skip
def test_half_a_file_is_not_the_whole_of_it(tmp_path, suffix, subtype):
    form = {"aifc": "AIFF"}.get(suffix, suffix.upper())
    file = tmp_path / f"a.{suffix}"
    soundfile.write(file, tone(6.0), RATE, format=form, subtype=subtype)
    assert len(load_audio(file)) == 6 * RATE
    half = file.read_bytes()[: file.stat().st_size // 2]
    for source in (write(file, half), io.BytesIO(half)):
        with pytest.raises(
            AudioError, match=r": ends [23]\.\d\d s before its header says it does, at [23]\."
        ):
            load_audio(source)
    assert len(load_audio(file, start=1.0, end=2.0)) == RATE


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_half_an_ogg_file_is_named(tmp_path, subtype, caplog):
    """A stream that was recorded up to some moment ends so as well, hence a warning alone."""
    file, other = tmp_path / "a.ogg", tmp_path / "b.ogg"
    for path in (file, other):
        soundfile.write(path, noise(6.0), RATE, format="OGG", subtype=subtype)
    whole = file.read_bytes()
    last_page = whole.rindex(b"OggS")
    assert len(load_audio(file)) == 6 * RATE and not caplog.messages
    load_audio(write(tmp_path / "chained.ogg", whole + other.read_bytes()))
    assert not caplog.messages
    for end in (len(whole) // 2, last_page, last_page + 20, len(whole) - 9):
        load_audio(write(file, whole[:end]))
        load_audio(io.BytesIO(whole[:end]))
        named, stream = caplog.messages
        assert re.match(rf"{file}: the Ogg stream has no end, .* after [1-6]\.\d\d s may be missing", named)
        assert stream.startswith("(audio from a stream): the Ogg stream")
        caplog.clear()
    load_audio(file, start=0.5, end=1.0)
    assert not caplog.messages


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_rate_and_channel_count(tmp_path, rate, channels):
    file = tmp_path / "a.wav"
    soundfile.write(file, np.stack([tone(rate=rate)] * channels, axis=1), rate)
    wave = load_audio(file)
    assert wave.dtype == np.float32 and wave.ndim == 1 and wave.flags.c_contiguous
    assert abs(len(wave) - RATE) <= 1
    middle = slice(2000, 14000)  # away from the resampler's edges
    assert np.abs(wave[middle] - tone()[middle]).max() < 1e-3


@pytest.mark.parametrize(
    ("suffix", "subtype", "error"),
    [(".wav", "PCM_16", 1e-4), (".wav", "FLOAT", 0), (".flac", "PCM_24", 1e-6), (".ogg", "VORBIS", 0.1),
     (".ogg", "OPUS", 0.1), (".mp3", "MPEG_LAYER_III", 0.1), (".aiff", "PCM_16", 1e-4),
     (".w64", "PCM_16", 1e-4)],
)  # fmt: skip
def test_formats_and_segments(tmp_path, suffix, subtype, error):
    """A segment is what the whole file has at that place, in lossy formats too."""
    file = tmp_path / f"a{suffix}"
    soundfile.write(file, tone(3.0), RATE, subtype=subtype)
    whole = load_audio(file)
    assert np.abs(whole[1000:40000] - tone(3.0)[1000:40000]).max() <= error
    part = load_audio(file, start=0.5, end=1.25)
    assert len(part) == 12_000
    assert np.abs(part[2000:] - whole[10_000:20_000]).max() < 2e-3
    assert audio_duration(file) == pytest.approx(3.0, abs=0.05)


def test_a_jump_into_an_mp3(tmp_path):
    """A tone packs tightly: frames lean on many earlier ones, which a decoder that just jumped lacks."""
    file = tmp_path / "a.mp3"
    soundfile.write(file, tone(6.0), RATE, subtype="MPEG_LAYER_III")
    whole = load_audio(file)
    for start in (0.3, 1.7, 3.003):
        first = round(start * RATE)
        assert np.abs(load_audio(file, start=start) - whole[first:]).max() < 1e-4


def test_channels_are_averaged():
    stream = io.BytesIO()
    soundfile.write(
        stream, np.stack([tone(gain=0.4), tone(gain=0.2)], axis=1), RATE, format="WAV", subtype="FLOAT"
    )
    stream.seek(0)
    assert np.abs(load_audio(stream) - tone(gain=0.3)).max() < 1e-6


def test_a_segment_past_the_end(tmp_path):
    file = tmp_path / "a.wav"
    soundfile.write(file, tone(1.0), RATE)
    assert len(load_audio(file, start=0.5, end=1.4)) == 8_000  # Kaldi forgives half a second
    for start, end in ((0.5, 1.6), (1.0, 1.2), (2.0, 3.0)):
        with pytest.raises(
            AudioError, match=rf"{file}: the segment from .* not inside the recording, which ends at 1.00 s"
        ):
            load_audio(file, start=start, end=end)


def write(file: Path, data: bytes) -> Path:
    file.write_bytes(data)
    return file


def test_what_is_no_audio(tmp_path):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    expected = {
        tmp_path / "none.wav": "no such file (correct wav.scp, or copy the audio there)",
        write(tmp_path / "empty.wav", b""): "empty (no bytes)",
        write(tmp_path / "text.wav", b"hello"): "is not audio that libsndfile reads: Format not recognised "
        "(convert it to wav, flac, ogg or mp3)",
        write(
            tmp_path / "lfs.wav", pointer
        ): 'is a Git LFS pointer, not audio (run "git lfs pull" in its repository)',
        tmp_path / "feats.ark:12": "is an entry of a Kaldi archive (write audio files: wav-copy, or ESPnet's "
        "format_wav_scp.py)",
        tmp_path: "is a folder, not an audio file",
        tmp_path / ("x" * 5000): "no such file (correct wav.scp, or copy the audio there)",
    }
    for file, message in expected.items():
        for function in (load_audio, audio_duration):
            with pytest.raises(AudioError) as caught:
                function(file)
            assert str(caught.value) == f"{file}: {message}"


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"RIFF\x24\0\0\0WAVEfmt ", b"fLaC", b"OggS\0", b"ID3", b"\xff\xfb"]),
)
def test_any_bytes_are_audio_or_an_audio_error(data, magic):
    try:
        wave = load_audio(io.BytesIO(magic + data))
        assert wave.ndim == 1
    except AudioError as error:
        assert str(error).startswith("(audio from a stream): ")


def test_a_wav_of_unknown_length(tmp_path):
    """sox and sph2pipe write such headers into a pipe."""
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    place = data.index(b"data") + 4
    for size in (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000):
        data[place : place + 4] = data[4:8] = size.to_bytes(4, "little")
        assert len(load_audio(io.BytesIO(bytes(data)))) == RATE


def test_pipes_only_where_allowed(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    piped = utterance("spk-1", f"cat {tmp_path}/a.wav |", 0.25, 0.5)
    with pytest.raises(
        AudioError, match=r"utterance spk-1: cat .*/a.wav \|: is a shell command \(pass --allow-pipes"
    ):
        load_utterance(piped)
    assert np.array_equal(
        load_utterance(piped, allow_pipes=True), load_audio(tmp_path / "a.wav", start=0.25, end=0.5)
    )
    failing = utterance("spk-2", "echo no such tape >&2; exit 3 |")
    with pytest.raises(AudioError, match=r"failed with code 3: no such tape"):
        load_utterance(failing, allow_pipes=True)


def test_the_pipe_of_a_recording_runs_once(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    source = f"echo x >> {tmp_path}/runs; cat {tmp_path}/a.wav |"
    parts = [utterance(f"spk-{n}", source, n / 10, n / 10 + 0.1) for n in range(5)]
    assert len(list(load_utterances(parts, allow_pipes=True, progress=False))) == 5
    assert (tmp_path / "runs").read_text() == "x\n"


@pytest.mark.parametrize(
    ("wave", "kind", "reason", "fatal"),
    [
        (np.zeros(0), "empty", "empty (no samples)", True),
        (np.zeros(160), "short", "too short (0.010 s, 0.025 s are needed)", True),
        (np.append(tone(), [np.nan, np.inf]), "nan", "2 samples are NaN or infinite", True),
        (
            np.clip(10 * tone(), -1, 1),
            "clipped",
            "clipped (78.8 % of the samples are flat at full scale)",
            False,
        ),
        (np.full(RATE, 5e-5), "silent", "silent (is the microphone or the right channel recorded?)", False),
        (
            0.01 * np.random.default_rng(0).standard_normal(RATE),
            "noise",
            "noise of a constant level, without speech",
            False,
        ),
    ],
)
def test_problems(wave, kind, reason, fatal):
    found = find_problem(wave.astype(np.float32), 400)
    assert (found.kind, found.reason, found.fatal) == (kind, reason, fatal)


def test_the_base_says_what_is_too_short():
    assert find_problem(np.zeros(400, np.float32), 400) is None
    assert find_problem(np.zeros(400, np.float32), 820).kind == "short"


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data beside the repository")
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_clipping_of_real_speech(rate):
    """Speech at its peak is not clipped; cut off at a quarter of its peak it is, resampled or not."""
    file = sorted((SHARED / "librispeech_237").rglob("*.flac"))[0]
    wave = resample(load_audio(file), RATE, rate)
    wave /= np.abs(wave).max()
    assert find_problem(resample(wave, rate, RATE)) is None
    assert find_problem(resample(np.clip(4 * wave, -1, 1), rate, RATE)).kind == "clipped"


@pytest.fixture
def mixed(tmp_path):
    """Good, clipped, NaN, short, unreadable, missing."""
    waves = {
        "clipped": np.clip(9 * tone(), -1, 1),
        "good": tone(),
        "nan": tone() * np.nan,
        "short": tone(0.01),
    }
    for name, wave in waves.items():
        soundfile.write(tmp_path / f"{name}.wav", wave, RATE, subtype="FLOAT")
    write(tmp_path / "broken.wav", b"no sound")
    return [utterance(f"spk-{name}", tmp_path / f"{name}.wav") for name in ("broken", *waves, "zero")]


def test_skip_keeps_what_can_be_used(mixed):
    bad: list[BadAudio] = []
    usable = [u.id for u, _ in load_utterances(mixed, on_error="skip", bad=bad, progress=False)]
    assert usable == ["spk-clipped", "spk-good"]
    assert [(entry.utterance, entry.left_out) for entry in bad] == [
        ("spk-broken", True),
        ("spk-clipped", False),
        ("spk-nan", True),
        ("spk-short", True),
        ("spk-zero", True),
    ]
    assert (
        str(bad[-1])
        == f"spk-zero: {mixed[-1].source}: no such file (correct wav.scp, or copy the audio there)"
    )


def test_fail_names_each_utterance_and_file(mixed):
    bad: list[BadAudio] = []
    with pytest.raises(AudioError) as caught:
        list(load_utterances(mixed, bad=bad, progress=False))
    lines = str(caught.value).splitlines()
    assert lines[0] == "4 utterances have unusable or damaged audio:"
    assert lines[2] == f"  spk-nan: {mixed[3].source}: 16000 samples are NaN or infinite"
    assert len(bad) == 5 and len(lines) == 6
    share = "76.2 % of the samples are flat at full scale"
    assert str(bad[1]) == f"spk-clipped: {mixed[1].source}: clipped ({share})"
    assert lines[-1].startswith("Repair these files, or leave them out: for good by deleting their lines")


def test_clipped_speech_is_named_and_stops_nothing(mixed):
    bad: list[BadAudio] = []
    usable = [u.id for u, _ in load_utterances(mixed[1:3], bad=bad, progress=False)]
    assert usable == ["spk-clipped", "spk-good"]
    assert [(entry.utterance, entry.left_out) for entry in bad] == [("spk-clipped", False)]


def test_fail_names_twenty_and_counts_the_rest(tmp_path):
    missing = [utterance(f"spk-{n:02}", tmp_path / f"{n}.wav") for n in range(25)]
    with pytest.raises(AudioError) as caught:
        list(load_utterances(missing, progress=False))
    lines = str(caught.value).splitlines()
    assert len(lines) == 23 and lines[-2] == "  … and 5 more"


def test_good_audio_raises_nothing(mixed):
    (pair,) = load_utterances([mixed[2]], progress=False)
    assert pair[0].id == "spk-good" and np.array_equal(pair[1], load_audio(mixed[2].source))


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_speed_changes_length_and_pitch(factor):
    fast = change_speed(tone(2.0, hertz=1000), factor)
    assert fast.dtype == np.float32
    assert len(fast) == pytest.approx(32_000 / factor, abs=1)
    spectrum = np.abs(np.fft.rfft(fast[4000:20_000]))
    assert np.argmax(spectrum) == pytest.approx(1000 * factor, abs=1)  # 1 Hz a bin


def test_speed_one_is_the_wave_itself():
    assert np.array_equal(change_speed(tone(), 1.0), tone())
    with pytest.raises(ValueError, match="positive"):
        change_speed(tone(), 0)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data beside the repository")
def test_a_real_recording():
    file = SHARED / "librispeech_237/LibriSpeech/test-clean/237/134500/237-134500-0000.flac"
    wave = load_audio(file)
    assert find_problem(wave) is None
    assert len(wave) / RATE == audio_duration(file)
