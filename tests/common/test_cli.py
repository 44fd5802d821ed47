"""What every command shares: flags, errors, exit codes."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError


@dataclass(frozen=True)
class Options:
    """Training

    Attributes:
        train_head: also the head
        rate: learning rate
        adapter: its name
        names: several of them
        labels: such as speaker
    """

    train_head: bool = False
    rate: float = 0.1
    adapter: str = ""
    names: list[str] = field(default_factory=list)
    labels: dict[str, Any] = field(default_factory=dict)


def run(
    data: Path,
    check_audio: bool = False,
    first: int | None = None,
    several: list[float] | None = None,
    kind: Literal["a", "b"] = "a",
    *,
    log_file: str,
    pairs: dict[str, str] | None = None,
):
    """Run it.

    Args:
        data: a folder
        check_audio: decode everything
        several: numbers
    """
    print(data, check_audio, first, several, kind, log_file, pairs)
    return first


def many(*files: str, adapter: str | None = None, deep: bool = False):
    """Take many.

    Args:
        files: sound files
        adapter: a name
        deep: all of it
    """
    print(files, adapter, deep)


def options(options: Options):
    print(*vars(options).values())


def beside(name: str, options: Options, plates: int = 2) -> tuple:
    print(name, options.rate, options.train_head, plates)


def outcome(function, *argv) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as caught:
        command(function, list(argv))
    return caught.value.code


@pytest.mark.parametrize(
    ("function", "words", "printed"),
    [
        (run, "data --log-file=x", "data False None None a x None"),
        (run, "data --log-file x --check-audio --no_check_audio", "data False None None a x None"),
        (run, "--several 1 2 --kind b --log-file x data", "data False None [1.0, 2.0] b x None"),
        (run, "--log-file=a_b data --pairs={\"a\":\"b\"}", "data False None None a a_b {'a': 'b'}"),
        (many, "--deep --adapter=a_b -- --my_file.wav --adapter", "('--my_file.wav', '--adapter') a_b True"),
        (beside, "soup --train-head --rate 3 --plates=4", "soup 3.0 True 4"),
    ],
)  # fmt: skip
def test_flags_and_words_before_between_and_after_them(function, words, printed, capsys):
    assert not outcome(function, *words.split())
    assert capsys.readouterr().out == printed + "\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--several 1 2 --log-file data --check-audio", "--log-file took data"),
        ("--log-file=x data --first x", "invalid 'whole number' value: 'x'"),
        ("--log_file=x data --a_b.wav", "unrecognized arguments: --a_b.wav"),
        ("--log-file=x data --frst=1", "--frst=1 (did you mean --first? "),
    ],
)
def test_bad_words_are_named_in_one_line_without_pythons_types(words, message, capsys):
    for function, first in ((run, []), ({"run": run, "other": many}, ["run"])):
        assert outcome(function, *first, *words.split()) == 2
        line = capsys.readouterr().err
        assert line.startswith("error: ") and line.endswith("--help lists the options)\n") and message in line


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
    with pytest.raises(KeyError):  # defects of the program keep their traceback
        command(lambda: {}["x"], [])


def test_a_flag_overrides_the_file_and_the_file_the_default(tmp_path, capsys):
    (tmp_path / "options.yaml").write_text("train-head: true\nrate: 0.5\n")  # or train_head
    file = str(tmp_path / "options.yaml")
    for argv, printed in (
        (["--config", file], "True 0.5"),
        (["--rate", "2", "--config", file], "True 2.0"),
        (["--rate", "2", f"--config={file}", "--no-train-head"], "False 2.0"),
    ):
        assert outcome(options, *argv) == 0
        assert capsys.readouterr().out == f"{printed}  [] {{}}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [("rat: 0.5\n", "option rat"), ("rate: high\n", "--rate"), ("rate: 'x\n", "options.yaml: ")],
)
def test_wrong_files_of_options(tmp_path, capsys, text, message):
    (tmp_path / "options.yaml").write_text(text)
    assert outcome(options, "--config", str(tmp_path / "options.yaml")) == 2
    assert message in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error():
    """`… | head -1`."""
    function = "def f():\n    [print('x' * 99) for _ in range(99999)]"
    script = f"from ia3_speech.common.cli import command\n{function}\ncommand(f, [])"
    shell = f'{sys.executable} -c "{script}" | head -1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.stderr, done.stdout.split()[-1]) == ("", "0")
