"""Files and folders appear whole or not at all."""

import subprocess
import sys

import pytest
from corpus_files import names

from ia3_speech.common.atomic import remove_leftovers, replacing, write_json, write_text


def test_texts_to_the_byte(tmp_path):
    write_text(tmp_path / "deep" / "a", "é\r\nb\n")
    assert (tmp_path / "deep" / "a").read_bytes() == b"\xc3\xa9\r\nb\n"
    write_json(tmp_path / "b.json", {"z": 1, "a": ["é"]})
    assert (tmp_path / "b.json").read_text() == '{\n  "z": 1,\n  "a": [\n    "é"\n  ]\n}\n'
    assert names(tmp_path) == ["b.json", "deep"]


def test_after_an_error_the_old_file_or_folder_is_unchanged(tmp_path):
    write_text(tmp_path / "file", "old")
    write_text(tmp_path / "folder/old", "old")
    for name in ("file/half", "folder/half"):
        path = (tmp_path / name).parent
        with pytest.raises(RuntimeError), replacing(path) as new:
            new.mkdir()
            (new / "half").write_text("half")
            raise RuntimeError
    assert (tmp_path / "file").read_text() == "old" == (tmp_path / "folder/old").read_text()
    assert names(tmp_path) == ["file", "folder"]


KILLED = """
import os, signal, sys
from pathlib import Path
from ia3_speech.common import atomic

rename, left = Path.rename, int(sys.argv[2])

def counted(self, target):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)

Path.rename = counted
with atomic.replacing(sys.argv[1]) as new:
    new.mkdir()
    (new / "a").write_text("new")
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_leaves_the_old_folder(tmp_path, renames):
    """While the new folder is written, before it is moved in, and after the old folder was moved away."""
    write_text(tmp_path / "data" / "a", "old")
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "data", str(renames)])
    assert done.returncode == -9
    assert (tmp_path / "data").exists() == (renames < 2)
    remove_leftovers(tmp_path / "data")
    assert (tmp_path / "data/a").read_text() == "old"
    assert names(tmp_path) == ["data"]


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(tmp_path):
    for name in (".adapter.abcd1_34/new", ".adapter.backups_/mine", ".adaptor.abcd1_34/new"):
        write_text(tmp_path / name, "")
    remove_leftovers(tmp_path / "adapter")
    assert names(tmp_path) == [".adapter.backups_", ".adaptor.abcd1_34"]
    long = 60 * "a"  # may be the folder of a longer name
    write_text(tmp_path / f".{long}.abcd1_34/old/mine", "the only copy")
    remove_leftovers(tmp_path / f"{long}bc")
    assert (tmp_path / f".{long}.abcd1_34/old/mine").read_text() == "the only copy"
