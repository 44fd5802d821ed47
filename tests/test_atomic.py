"""Files and folders appear whole or not at all."""

import pytest

from ia3_speech.atomic import replacing, write_json, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_texts_to_the_byte(tmp_path):
    write_text(tmp_path / "deep" / "a", "é\r\nb\n")
    assert (tmp_path / "deep" / "a").read_bytes() == b"\xc3\xa9\r\nb\n"
    write_json(tmp_path / "b.json", {"z": 1, "a": ["é"]})
    assert (tmp_path / "b.json").read_text() == '{\n  "z": 1,\n  "a": [\n    "é"\n  ]\n}\n'
    assert names(tmp_path) == ["b.json", "deep"]


def test_a_folder_replaces_a_folder(tmp_path):
    for content in ("old", "new"):
        with replacing(tmp_path / "data") as new:
            new.mkdir()
            (new / content).write_text(content)
    assert names(tmp_path) == ["data"]
    assert names(tmp_path / "data") == ["new"]


def test_after_an_error_the_old_one_stands(tmp_path):
    write_text(tmp_path / "file", "old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "file") as new:
        new.write_text("half")
        raise RuntimeError
    with replacing(tmp_path / "data") as new:
        new.mkdir()
    with pytest.raises(RuntimeError), replacing(tmp_path / "data") as new:
        new.mkdir()
        (new / "half").write_text("half")
        raise RuntimeError
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path / "data") == []
    assert names(tmp_path) == ["data", "file"]


def test_nothing_written_leaves_the_old_one(tmp_path):
    write_text(tmp_path / "data" / "a", "a")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "data"):
        pass
    assert names(tmp_path / "data") == ["a"]


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "exp").symlink_to(tmp_path / "scratch")
    with replacing(tmp_path / "exp") as new:
        new.mkdir()
        (new / "a").write_text("a")
    assert (tmp_path / "exp").is_symlink()
    assert names(tmp_path / "scratch") == ["a"]
