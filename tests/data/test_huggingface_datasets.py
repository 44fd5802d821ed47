"""Hugging Face datasets, made here on the spot, become data directories."""

import io
import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
from corpus_files import contents

from ia3_speech.common.errors import AudioError, DataError
from ia3_speech.data.audio import load_audio
from ia3_speech.data.huggingface import convert_dataset
from ia3_speech.data.kaldi.directory import read_data_directory

RATE = 16_000


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """What `datasets` converts stays in the test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    datasets.disable_progress_bars()


def tone(seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)


def sound(seconds: float = 1.0, rate: int = RATE, wave=None, format: str = "WAV") -> bytes:
    stream = io.BytesIO()
    wave, subtype = tone(seconds, rate) if wave is None else wave, "FLOAT" if format == "WAV" else None
    soundfile.write(stream, wave, rate, format=format, subtype=subtype)
    return stream.getvalue()


def parquet(folder: Path, columns: dict, **features) -> Path:
    """A dataset folder with one parquet file; `audio` holds bytes, or pairs of path and bytes."""
    cells = [cell if isinstance(cell, tuple) else (None, cell) for cell in columns["audio"]]
    columns = columns | {"audio": [{"path": path, "bytes": data} for path, data in cells]}
    rows = datasets.Dataset.from_dict(columns)
    rows = rows.cast_column("audio", datasets.Audio(decode=False))
    for column, feature in features.items():
        rows = rows.cast_column(column, feature)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / "data/train-00000-of-00001.parquet")
    return folder


def test_a_parquet_folder_to_the_byte(tmp_path):
    """Bytes in any format and rate, ids from file names, classes by name, labels as one word."""
    corpus = parquet(
        tmp_path / "corpus",
        {
            "audio": [("b/7.flac", sound(0.5, 44_100, format="FLAC")), ("clip 1.wav", sound(1.0, 8_000)),
                      ("clip 1.wav", sound(0.25))],
            "sentence": ["Hello  there,\u200b\tyou", "", "Ça va"],
            "speaker_id": [7, 12, 12],
            "gender": ["Male", "female_feminine", "female_feminine"],
            "accent": ["Scottish  English", "Irish", None],
            "age": [0, 1, 1],
        },
        age=datasets.ClassLabel(names=["twenties", "fifties"]),
    )  # fmt: skip
    data = convert_dataset(str(corpus), tmp_path / "data")
    audio = tmp_path / "data/audio"
    assert contents(tmp_path / "data") == {
        "wav.scp": f"12-clip_1 {audio}/12/12-clip_1.wav\n12-clip_1_2 {audio}/12/12-clip_1_2.wav\n"
        f"7-7 {audio}/7/7-7.wav\n",
        "text": "12-clip_1\n12-clip_1_2 Ça va\n7-7 Hello there, you\n",
        "utt2spk": "12-clip_1 12\n12-clip_1_2 12\n7-7 7\n",
        "spk2utt": "12 12-clip_1 12-clip_1_2\n7 7-7\n",
        "utt2dur": "12-clip_1 1\n12-clip_1_2 0.25\n7-7 0.5\n",
        "spk2gender": "12 f\n7 m\n",
        "utt2accent": "12-clip_1 Irish\n7-7 Scottish_English\n",
        "utt2age": "12-clip_1 fifties\n12-clip_1_2 fifties\n7-7 twenties\n",
    }
    assert read_data_directory(tmp_path / "data").utterances == data.utterances
    info = soundfile.info(audio / "7/7-7.wav")
    assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_16")
    assert np.abs(load_audio(audio / "12/12-clip_1.wav")[2000:14000] - tone()[2000:14000]).max() < 1e-3


def test_an_audiofolder(tmp_path, run_command):
    """Files and metadata.csv, as the guide of `datasets` lays them out; torchcodec is not needed."""
    for split, names in (("train", ["a", "b"]), ("test", ["c"])):
        folder = tmp_path / "corpus" / split
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.wav").write_bytes(sound())
        rows = "".join(f"{name}.wav,text of {name},spk{name}\n" for name in names)
        (folder / "metadata.csv").write_text("file_name,transcription,speaker\n" + rows)
    corpus = str(tmp_path / "corpus")
    for out, split in ((tmp_path / "data", None), (tmp_path / "data", "dev"), (corpus, "train")):
        with pytest.raises(DataError, match=r"split|exists already"):
            convert_dataset(corpus, out, split=split)
    converted = run_command("datadir", "from-dataset", corpus, tmp_path / "data", "--split", "train")
    assert converted.out == f"{tmp_path / 'data'}: 2 utterances, 2 speakers, 0.0 minutes\n"
    assert contents(tmp_path / "data")["text"] == "spka-a text of a\nspkb-b text of b\n"
    assert (tmp_path / "data/audio/spka/spka-a.wav").is_file()


def test_a_manifest_of_nemo_with_parts_of_files(tmp_path):
    """As load_dataset reads JSON lines: paths, not audio; the part of the file belongs to the text."""
    corpus, long = tmp_path / "corpus", tmp_path / "long.wav"
    corpus.mkdir()
    soundfile.write(long, np.concatenate([np.zeros(RATE), tone(1.5)]), RATE)
    rows = [{"audio_filepath": str(long), "offset": 1.0, "duration": 0.5, "text": "a tone"},
            {"audio_filepath": str(long), "offset": 1.5, "duration": None, "text": "the rest"}]  # fmt: skip
    (corpus / "manifest.json").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    first, second = convert_dataset(str(corpus), tmp_path / "data").utterances
    assert (first.text, first.duration, second.text, second.duration) == ("a tone", 0.5, "the rest", 1.0)
    assert abs(load_audio(first.source)).max() == pytest.approx(0.3, abs=0.01)
    rows[0] |= {"offset": 3.0}
    (corpus / "manifest.json").write_text(json.dumps(rows[0]))
    with pytest.raises(AudioError, match=r"long\.wav"):
        convert_dataset(str(corpus), tmp_path / "more")
    (corpus / "manifest.json").write_text(json.dumps(rows[0] | {"offset": "0:01"}))
    with pytest.raises(AudioError, match="row 1, offset"):
        convert_dataset(str(corpus), tmp_path / "more")


def test_bad_audio_is_named_or_left_out_on_request(tmp_path, caplog):
    """By its new id, its file or row, and the reason; all of it at once."""
    mixed = parquet(tmp_path / "corpus", {
        "audio": [sound(), ("b.wav", b"no sound"), ("lost.wav", b""), sound(0.01),
                  sound(wave=tone() * np.nan), sound(wave=np.clip(9 * tone(), -1, 1)), sound()],
        "text": ["one", "two", "three", "four", "five", "six", None],
        "speaker": ["Anna B.", "b/c", "../../etc", "日本", "-", "Anna-B", "x"],
        "id": ["1", "2", "3", "4", "5", "6", "7"],
    })  # fmt: skip
    with pytest.raises(AudioError) as caught:
        convert_dataset(str(mixed), tmp_path / "data")
    first, *lines, _ = str(caught.value).splitlines()
    assert first == "5 utterances have no transcript or unusable audio:"
    starts = ["b_c-2: b.wav: is not audio", "etc-3: lost.wav: empty", "speaker-4: row 4: too short (0.010 s"]
    starts += ["speaker_2-5: row 5: 16,000 samples are NaN", "x-7: row 7: no transcript in column text"]
    assert all(line.startswith(f"  {start}") for line, start in zip(lines, starts, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus"]
    data = convert_dataset(str(mixed), tmp_path / "data", on_error="skip")
    assert [(u.id, u.speaker) for u in data] == [("Anna_B-1", "Anna_B"), ("Anna_B_2-6", "Anna_B_2")]
    assert "6 utterances have no transcript or bad audio:" in caplog.text
    assert "  Anna_B_2-6: row 6: clipped (76.2 % of the samples" in caplog.text
    assert len(list((tmp_path / "data").rglob("*.wav"))) == 2
