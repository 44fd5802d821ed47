"""What every command shares: flags, errors, exit codes."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from ia3_speech.cli import command, pip_install
from ia3_speech.errors import UserError


@dataclass
class Options:
    """Options.

    Attributes:
        train_head: also the head
        rate: learning rate
    """

    train_head: bool = False
    rate: float = 0.1


def run(data: Path, check_audio: bool = False, first: int | None = None, several: list[Path] | None = None):
    """Run it.

    Args:
        data: a folder
        check_audio: decode everything
        several: files
    """
    print(data, check_audio, first, *several or ["no files"])
    return 3 if first == 3 else None


def outcome(function, *argv):
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as caught:
        command(function, list(argv))
    return caught.value.code


def many(*files: str, adapter: str | None = None, deep: bool = False):
    """Take many.

    Args:
        files: sound files
        adapter: a name
        deep: all of it
    """
    print(files, adapter, deep)


@pytest.mark.parametrize(
    ("function", "words", "printed"),
    [
        (run, "data", "data False None no files"),
        (run, "data --check_audio", "data True None no files"),
        (run, "data --check-audio --no-check-audio", "data False None no files"),
        (run, "data --first -2 --several a", "data False -2 a"),
        (run, "--several a b --check-audio data", "data True None a b"),
        (run, "data --first=3", "data False 3 no files"),
        (many, "", "() None False"),
        (many, "a --adapter x b --deep c", "('a', 'b', 'c') x True"),
        (many, "--adapter=x - [1] null 1", "('-', '[1]', 'null', '1') x False"),
        (many, "--deep --adapter=a_b -- --my_file.wav --adapter", "('--my_file.wav', '--adapter') a_b True"),
    ],
)
def test_flags_and_words_before_between_and_after_them(function, words, printed, capsys):
    assert outcome(function, *words.split()) == (3 if " 3 " in printed else 0)  # as the function returns it
    assert capsys.readouterr().out == printed + "\n"


def test_whispers_names_of_flags_are_told(capsys):
    def transcribe(*files: str, base: str = "mini", format: str = "text"):
        """Of the flags that `transcribe` has."""

    for theirs, ours in (("--model", "--base"), ("--output_format", "--format")):
        assert outcome(transcribe, theirs, "x") == 2
        assert f"(Whisper's {theirs.replace('_', '-')} is {ours} here; --help" in capsys.readouterr().err


def several_kinds(
    source: str,
    first: int = 1,
    keep_it: bool = False,
    kind: Literal["a", "b"] | None = None,
    most: float | None = None,
    several: list[float] | None = None,
    pairs: dict[str, str] | None = None,
    *,
    log_file: str,
):
    raise AssertionError("called with a bad value")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--log-file=x", "the following arguments are required: source"),
        (
            "--several 1 2 --log-file source --keep-it",
            "the following arguments are required: source (--log-file took source; --help lists the options)",
        ),
        ("source --first=1", "the following arguments are required: --log-file"),
        ("--log-file=x source --first x", "--first: invalid 'whole number' value: 'x'"),
        ("--log-file=x source --keep-it 5", "unrecognized arguments: 5"),
        ("--log-file=x source --keep-it=perhaps", "--keep-it: ignored explicit argument 'perhaps'"),
        ("--log-file=x source --kind c", "--kind: invalid choice: 'c' (choose from 'a', 'b')"),
        ("--log-file=x source --most x", "--most: invalid 'number' value: 'x'"),
        ("--log-file=x source --most", "--most: expected one argument"),
        ("--log-file=x source --several x", "--several: invalid 'number' value: 'x'"),
        ("--log-file=x source --pairs x", "--pairs: invalid 'pairs such as {\"a\": \"b\"}' value: 'x'"),
        ("--log_file=x source --a_b.wav", "unrecognized arguments: --a_b.wav"),
        (
            "--log-file=x source --frst=1",
            "unrecognized arguments: --frst=1 (did you mean --first? --help lists the options)",
        ),
    ],
)
def test_bad_words_are_named_in_one_line_without_pythons_types(words, message, capsys):
    message = message.replace("'a', 'b'", "a, b") if sys.version_info >= (3, 12) else message
    message = message if "--help" in message else f"{message} (--help lists the options)"
    for function, first in ((several_kinds, []), ({"run": several_kinds, "other": run}, ["run"])):
        assert outcome(function, *first, *words.split()) == 2
        assert capsys.readouterr().err == f"error: {message}\n"


def test_errors_of_the_user(capsys):
    def wrong(file_name: str = ""):
        raise UserError(
            "data/text:3: no (leave out `file_name`, or give `file_name=a b`; `other_name` is kept)"
        )

    def denied():
        (Path("/") / "no such folder" / "x").read_text()

    commands = {"wrong": wrong, "denied": denied}
    assert outcome(commands, "wrong") == 1
    expected = "no (leave out --file-name, or give --file-name a b; `other_name` is kept)"
    assert capsys.readouterr().err == f"error: data/text:3: {expected}\n"
    assert outcome(commands, "denied") == 1
    assert capsys.readouterr().err == "error: /no such folder/x: No such file or directory\n"
    with pytest.raises(KeyError):  # our own mistakes keep their traceback
        command(lambda: {}["x"], [])


def add(options: Options):
    print(options.train_head, options.rate)


def test_one_dataclass_is_the_flags_and_the_file(tmp_path, capsys):
    """A flag goes before the file, the file before the default."""
    (tmp_path / "options.yaml").write_text("train-head: true\nrate: 0.5\n")  # or train_head
    file = str(tmp_path / "options.yaml")
    for argv, printed in (
        ([], "False 0.1"),
        (["--config", file], "True 0.5"),
        (["--config", file, "--rate=2"], "True 2.0"),
        (["--rate", "2", "--config", file], "True 2.0"),
        (["--rate", "2", f"--config={file}", "--no-train-head"], "False 2.0"),
    ):
        assert outcome(add, *argv) == 0
        assert capsys.readouterr().out == printed + "\n"
    for text, message in (
        ("rat: 0.5\n", "options.yaml: unknown option rat"),
        ("- a\n", "options.yaml: holds no options, such as `epochs: 8`"),
        ("rate: high\n", "error: --rate: invalid 'number' value: 'high'"),
        ("train_head: 3\n", "error: --train-head: ignored explicit argument '3'"),
        ("rate: 'x\n", "options.yaml: while scanning a quoted scalar"),
    ):
        (tmp_path / "options.yaml").write_text(text)
        assert outcome(add, "--config", file) == 2
        assert message in capsys.readouterr().err
    assert outcome(add, "--config", "nothing") == 2
    assert "--config: no file nothing (the package contains ia3_plus" in capsys.readouterr().err


@dataclass
class Texts:
    """Texts

    Attributes:
        adapter: whose
        precision: or none
        names: of several
        labels: such as speaker
    """

    adapter: str = ""
    precision: str = "auto"
    names: list[str] = field(default_factory=list)
    labels: dict[str, Any] = field(default_factory=dict)


def show(texts: Texts):
    print(texts.adapter, texts.precision, *texts.names, texts.labels)


def test_texts_of_a_file_are_as_they_are_written(tmp_path, capsys):
    """YAML 1.1 takes 0024 for 20, and no for false."""
    (tmp_path / "texts.yaml").write_text(
        "adapter: 0024\nprecision: no\nnames: [on, 1:30, 1e3]\nlabels: {a: 0024, b: 4}"
    )
    assert outcome(show, "--config", str(tmp_path / "texts.yaml")) == 0
    assert capsys.readouterr().out == "0024 no on 1:30 1e3 {'a': '0024', 'b': 4}\n"


def test_help_shows_flags_as_people_type_them(capsys):
    def help_of(function, *words) -> str:
        assert outcome(function, *words, "--help") == 0
        return capsys.readouterr().out

    out = help_of({"run": run, "many": many}, "run")
    assert "[--check-audio]" in out and "\n  --check-audio " in out and "decode everything" in out
    assert "check_audio" not in out and "--no-check-audio" not in out and "--config" not in out
    assert "[FILE ...]" in help_of(many)
    assert "\n  --kind {a,b}\n  --most MOST\n" in help_of(several_kinds)
    out = help_of(add)
    assert out.startswith(f"usage: python -m {__name__} [-h] [--config FILE]")
    assert __doc__ in out and "also the head" in out and "learning rate (default: 0.1)" in out
    assert "Take many." in help_of({"run": run, "many": many})


@pytest.mark.parametrize(("has_pip", "start"), [(True, "python -m pip install "), (False, "uv pip install ")])
def test_what_is_missing_is_installed_as_this_environment_can(monkeypatch, has_pip, start):
    monkeypatch.delenv("IA3_SPEECH_PYTHON", raising=False)
    monkeypatch.setitem(sys.modules, "pip", sys if has_pip else None)
    assert pip_install(".[vad]") == f"{start}-e '.[vad]'"
    assert pip_install("openpyxl") == f"{start}openpyxl"


def test_a_reader_that_leaves_is_no_error():
    """`… | head -1`."""
    function = "def f():\n    [print('x' * 99) for _ in range(99999)]"
    script = f"from ia3_speech.cli import command\n{function}\ncommand(f, [])"
    shell = f'{sys.executable} -c "{script}" | head -1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.stderr, done.stdout.split()[-1]) == ("", "0")


@dataclass(frozen=True)
class Cooking:
    """Cooking

    Args:
        heat: how hot
        salt: with salt
    """

    heat: float = 1.5
    salt: bool = False


def test_a_dataclass_beside_other_parameters_is_a_group_of_flags(capsys):
    def dish(name: str, cooking: Cooking, plates: int = 2) -> tuple:
        """Cook.

        Args:
            name: of the dish
            plates: how many
        """
        print(name, cooking, plates)

    assert outcome(dish, "soup", "--salt", "--heat", "3", "--plates=4") == 0
    assert capsys.readouterr().out == "soup Cooking(heat=3.0, salt=True) 4\n"
    assert outcome(dish, "--help") == 0
    shown = capsys.readouterr().out
    assert "\nCooking:\n  --heat HEAT" in shown and "--plates PLATES" in shown
