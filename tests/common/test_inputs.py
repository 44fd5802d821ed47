"""ia3_speech.common.inputs and once.py: outputs belong to inputs by content, and commands say it."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from ia3_speech.common.errors import UserError
from ia3_speech.common.inputs import Inputs, digest_of, read_inputs, tables_of


def data_directory(folder: Path, audio: bytes = b"sound") -> Path:
    data = folder / "data/train"
    data.mkdir(parents=True, exist_ok=True)
    (folder / "data/a 1.wav").write_bytes(audio)
    (data / "wav.scp").write_text("a a 1.wav\nb cat x.wav |\n")
    (data / "text").write_text("a hello\nb world\n")
    return data


def test_files_and_folders_count_by_their_contents(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.yaml").write_text("x: 1\n")
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")
    (tmp_path / "b/.hidden").write_text("y")
    (tmp_path / "b/inputs.json").write_text("{}")
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")
    (tmp_path / "b/x.yaml").write_text("x: 2\n")
    assert digest_of(tmp_path / "a") != digest_of(tmp_path / "b")
    assert digest_of(None) == digest_of(tmp_path / "none") == "absent"


def test_a_data_directory_counts_with_its_audio_wherever_it_lies(tmp_path):
    one, two = data_directory(tmp_path / "one"), data_directory(tmp_path / "two")
    first = digest_of(one)
    assert digest_of(two) == first
    os.utime(tmp_path / "two/data/a 1.wav", (0, 0))
    (two / ".backup").mkdir()
    (two / ".backup/text").write_text("a hullo\n")
    data_directory(tmp_path / "two", audio=b"noise")
    assert digest_of(two) != first  # another recording of equal length
    assert digest_of(tables_of(two)) == digest_of(tables_of(one))
    data_directory(tmp_path / "two")
    (two / "utt2accent").write_text("a scottish\n")
    assert digest_of(two) != first


def inputs_of(place: Path, **options) -> Inputs:
    return Inputs({"data": place}, options)


def test_an_output_is_current_for_its_inputs_alone(tmp_path, capsys):
    data, out = data_directory(tmp_path), tmp_path / "out"
    assert not inputs_of(data, rate=1).is_current(out)
    out.mkdir()
    inputs_of(data, rate=1).record(out)
    record = read_inputs(out)
    assert [*record] == ["schema", "inputs", "options", "command", "commit", "dirty", "seconds", "finished"]
    assert inputs_of(data, rate=1).is_current(out)
    assert not inputs_of(data, rate=1).is_current(tmp_path / "other")
    assert capsys.readouterr().out == f"{out}: up to date\n"
    assert not inputs_of(data, rate=2).is_current(out)
    assert capsys.readouterr().err == f"{out}: was made from other inputs (changed: rate) and is made again\n"
    assert not inputs_of(data, rate=1).is_current(out)  # a kill while it is replaced leaves no record
    inputs_of(data, rate=1).record(out)
    data_directory(tmp_path, audio=b"dnuos")
    assert not inputs_of(data, rate=1).is_current(out)
    assert "(changed: data)" in capsys.readouterr().err


def test_what_was_trained_is_not_replaced_unasked(tmp_path, capsys):
    data, out = data_directory(tmp_path), tmp_path / "out"
    assert not inputs_of(data, rate=2).is_current(out, resume=True)  # it leaves nothing
    assert not inputs_of(data, rate=1).is_current(out, resume=True)
    assert not inputs_of(data, rate=1).is_current(out, resume=True)  # killed: the same run goes on
    (out / "checkpoint").write_text("steps")
    with pytest.raises(UserError, match=r"out: holds a run from other inputs \(rate\): choose another `out`"):
        inputs_of(data, rate=2).is_current(out, resume=True)
    assert (out / "checkpoint").is_file()
    inputs_of(data, rate=1).record(out)
    assert inputs_of(data, rate=1).is_current(out, resume=True)
    assert capsys.readouterr().out == f"{out}: up to date\n"
    assert not inputs_of(data, rate=2).is_current(out, force=True, resume=True)
    assert capsys.readouterr().err == f"{out}: is deleted (--force)\n"
    assert not (out / "checkpoint").exists()


def test_training_writes_to_no_folder_of_others_and_force_deletes_none(tmp_path):
    data = data_directory(tmp_path)
    with pytest.raises(UserError, match="which this run reads"):
        inputs_of(data).is_current(tmp_path, force=True, resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.yaml").write_text("of another program")
    for force in (True, False):
        with pytest.raises(UserError, match="not a training's folder"):
            inputs_of(data).is_current(tmp_path / "other", force=force, resume=True)
    assert data.is_dir() and (tmp_path / "other/config.yaml").is_file()
    out = tmp_path / "out"
    (out / "log").mkdir(parents=True)  # where Kaldi's run.pl writes
    assert not inputs_of(data).is_current(out, force=True, resume=True) and (out / "log").is_dir()
    with FileLock(out / ".lock"), pytest.raises(UserError, match="another run is writing to it"):
        inputs_of(data).is_current(out, force=True, resume=True)
    assert (out / "inputs.json").is_file()


ONCE = Path(__file__).parents[2] / "recipes/utils/once.py"
COMMAND = ("--", "bash", "-c", "cat input >>log; [[ $(<input) != bad ]] || exit 7; cp input out")


def test_a_command_is_run_once_for_its_inputs(run_command, tmp_path, monkeypatch):
    def run(*words):
        return run_command(ONCE, *words)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").write_text("x\n")
    assert run("out", "input", *COMMAND).code == 0
    assert run("out", "input", *COMMAND).out == "out: up to date\n"
    (tmp_path / "input").write_text("y\n")
    assert "(changed: input)" in run("out", "input", *COMMAND).err
    assert (tmp_path / "log").read_text() == "x\ny\n"
    edited = "cp input edited; echo new >input"  # while it runs: that is not what it has read
    assert run("edited", "input", "--", "bash", "-c", edited).code == 0
    assert "(changed: input)" in run("edited", "input", "--", "bash", "-c", edited).err
    (tmp_path / "input").write_text("bad\n")  # a command that fails leaves no record
    assert run("out", "input", *COMMAND).code == run("out", "input", *COMMAND).code == 7
