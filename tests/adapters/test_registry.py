"""registry: names, look-up, who may replace what; adapters here are real files with tensors of no base."""

import json
import subprocess
import sys

import pytest
from corpus_files import names
from hypothesis import given
from hypothesis import strategies as st

from ia3_speech.adapters import registry
from ia3_speech.adapters.registry import check_name, register, resolve_adapter
from ia3_speech.common.errors import BadName, NameTaken, UnknownAdapter


def test_what_killed_writers_left_is_removed(adapter):
    """A speaker's adapter is biometric data: none of it may stay hidden for good."""
    register(adapter(1.0), "speaker42")
    for name in (".speaker42.abcd1_34/old", ".speaker43.abcd1_34/new"):
        (registry.adapters_dir() / name).mkdir(parents=True)
    register(adapter(1.0), "speaker42")
    assert names(registry.adapters_dir()) == [".lock", ".speaker43.abcd1_34", "speaker42"]
    (registry.adapters_dir() / ".speaker42.abcd1_34/new").mkdir(parents=True)
    registry.remove("speaker42")
    assert names(registry.adapters_dir()) == [".lock", ".speaker43.abcd1_34"]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("  ", "empty"),
        ("a/b", "holds /"),
        ("a/" * 5000, "longer than 64"),
        ("auto", "meaning of its own"),
        ("..", "dot"),
        ("-flag", "dash"),
        ("a\0b", "can't be printed"),
        ("x" * 65, "longer than 64"),
    ],
)
def test_names_that_are_refused(name, fault, adapter):
    with pytest.raises(BadName, match="can't be an adapter's name") as caught:
        register(adapter(), name)
    assert fault in str(caught.value)
    assert not registry.adapters_dir().exists()  # nothing was written
    with pytest.raises(UnknownAdapter):
        resolve_adapter(name)


@given(st.text(max_size=80))
def test_a_name_never_leads_out_of_the_store(name):
    try:
        good = check_name(name)
    except BadName as error:
        assert str(error).isprintable()
    else:
        assert (registry.adapters_dir() / good).parent == registry.adapters_dir()
        assert len(good) <= 64 and "/" not in good and good[0] != "."


def test_resolve_goes_path_then_store_then_experiments(adapter, tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    experiment = adapter(3.0, "work/exp/speaker42/adapter")
    assert resolve_adapter("speaker42").resolve() == experiment
    in_store = register(adapter(2.0), "speaker42")
    assert resolve_adapter("speaker42") == in_store
    (work / "speaker42").mkdir()  # a folder that is no adapter does not hide the name
    assert resolve_adapter("speaker42") == in_store
    by_path = adapter(1.0, "work/speaker42")
    assert resolve_adapter("speaker42").resolve() == by_path
    assert resolve_adapter(by_path) == by_path
    assert resolve_adapter("exp/speaker42").resolve() == experiment  # an experiment stands for its adapter
    adapter(folder="work/exp/speaker43/adapter")
    nearest = r"\(nearest names: speaker43 \(in \./exp\), speaker42\)"
    with pytest.raises(UnknownAdapter, match=nearest):
        resolve_adapter("speaker4")


def test_somebodys_corrections_are_no_training_data(adapter):
    folder, data = adapter(), registry.home() / "corrections" / "anna/data"
    data.mkdir(parents=True)
    (data / "utt2spk").write_text("a a\n")
    (folder.parent / "link").symlink_to(data)
    for path in (data, folder.parent / "link"):
        record = {"schema": 1, "base": "mini", "training": {"data": str(path)}}
        (folder / "ia3_speech.json").write_text(json.dumps(record))
        assert registry.training_data(registry.register(folder, "a", force=True)) is None


def test_other_contents_need_force(adapter):
    path = register(adapter(1.0), "a")
    with pytest.raises(NameTaken):
        register(adapter(2.0), "a")
    register(adapter(2.0), "a", force=True)
    assert registry.file_contents(path) == registry.file_contents(adapter(2.0))
    again = (path / "store.json").stat()
    register(adapter(2.0), "a"), register(adapter(2.0), "a", force=True)  # the same contents: nothing changes
    assert (path / "store.json").stat().st_mtime_ns == again.st_mtime_ns
    (path / "ia3_speech.json").unlink()  # damaged
    assert registry.registered_names() == []
    with pytest.raises(NameTaken):
        register(adapter(2.0), "a")
    register(adapter(2.0), "a", force=True)
    assert registry.registered_names() == ["a"]


def test_an_earlier_adapter_is_kept_under_a_number(adapter):
    register(adapter(1.0), "a", search_files={"lm.json": b"{}"})
    for value in (2.0, 2.0, 3.0):
        register(adapter(value), "a", keep=True)
    assert registry.registered_names() == ["a", "a@1", "a@2"]
    kept = [registry.file_contents(resolve_adapter(name)) for name in ("a", "a@2", "a@1")]
    wanted = [registry.file_contents(adapter(value)) for value in (3.0, 2.0, 1.0)]
    assert kept == [*wanted[:2], wanted[2] | {"lm.json": b"{}"}]


WRITER = """
import sys
from ia3_speech.adapters import registry
from ia3_speech.common.cli import UserError
source, rounds = sys.argv[1], int(sys.argv[2])
for n in range(rounds):
    registry.register(source, "a", force=True)
    try:
        registry.resolve_adapter("a") if n % 2 else registry.remove("a")
    except UserError:
        pass  # another process was faster
registry.register(source, "a", force=True)
"""


def test_processes_that_write_one_name_leave_one_of_their_adapters_whole(adapter):
    sources = [adapter(float(n), f"source{n}") for n in range(2)]
    wanted = [registry.file_contents(source) for source in sources]
    commands = [[sys.executable, "-c", WRITER, str(source), "8"] for source in sources]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    seen = 0
    while any(process.poll() is None for process in processes):
        if registry.adapters_dir().is_dir():
            with registry.locked():
                if registry.is_adapter(registry.adapters_dir() / "a"):
                    assert registry.file_contents(registry.adapters_dir() / "a") in wanted
                    seen += 1
    assert [process.communicate()[1] for process in processes] == ["", ""]
    assert seen and registry.file_contents(registry.adapters_dir() / "a") in wanted
    assert names(registry.adapters_dir()) == [".lock", "a"]
