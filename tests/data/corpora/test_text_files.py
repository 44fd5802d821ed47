"""Recordings beside a text file for each, as L2-ARCTIC and VCTK are published; both ways to import them."""

import pytest
from corpus_files import noise

from ia3_speech.common.errors import DataError
from ia3_speech.data.corpora.csv_folder import prepare
from ia3_speech.data.huggingface import convert_dataset
from ia3_speech.data.kaldi.directory import read_data_directory

pytestmark = pytest.mark.usefixtures("enough_speech")

LAYOUTS = {
    "L2-ARCTIC": ("{speaker}/wav/{n}.wav", "{speaker}/transcript/{n}.txt"),
    "VCTK": ("wav48/{speaker}/{n}_mic1.flac", "txt/{speaker}/{n}.txt"),
    "nobody is named": ("wav/{speaker}{n}.wav", "transcript/{speaker}{n}.txt"),
}
SPEAKERS = ("ABA", "SKA", "TNI", "YBAA", "ZHAA")


def corpus(folder, layout: str):
    for number, speaker in enumerate(SPEAKERS):
        for n in range(2):
            audio, text = (folder / path.format(speaker=speaker, n=f"a{n}") for path in LAYOUTS[layout])
            noise(audio, 1.0)
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text(f"sentence {'abcdefghij'[2 * number + n]}\r\n")
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout(tmp_path, layout):
    folder = corpus(tmp_path / "corpus", layout)
    prepare(folder, tmp_path / "out")
    sets = [read_data_directory(tmp_path / "out" / name) for name in ("train", "dev", "test")]
    data = convert_dataset(str(folder), tmp_path / "data")
    texts = {f"sentence {letter}" for letter in "abcdefghij"}
    assert {item.text for item in data} == {item.text for part in sets for item in part} == texts
    named = layout != "nobody is named"
    for part in (*sets, data):
        assert all((item.speaker in SPEAKERS) == named for item in part)
    speakers = [{item.speaker for item in part} for part in sets]
    assert sum(map(len, speakers)) == (5 if named else 10)
    with pytest.raises(DataError, match="leave out `split`"):
        convert_dataset(str(folder), tmp_path / "data2", split="train")
