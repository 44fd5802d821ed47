"""What every command shares: flags, errors, exit codes."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ia3_speech.cli import UserError, command, dashes_to_underscores, spell_out, switches


@dataclass
class Options:
    """Options.

    Attributes:
        train_head: also the head
        rate: learning rate
    """

    train_head: bool = False
    rate: float = 0.1


def run(data: Path, check_audio: bool = False, first: int | None = None, options: Options = Options()):  # noqa: B008
    """Run it.

    Args:
        data: a folder
        check_audio: decode everything
    """
    print(data, check_audio, first, options.train_head, options.rate)
    return 3 if first == 3 else None


def outcome(function, *argv):
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as caught:
        command(function, list(argv))
    return caught.value.code


@pytest.mark.parametrize(
    ("argv", "printed"),
    [
        (["data"], "data False None False 0.1"),
        (["--check-audio", "data"], "data True None False 0.1"),
        (["data", "--check_audio"], "data True None False 0.1"),
        (["data", "--check-audio=false"], "data False None False 0.1"),
        (["--check-audio", "true", "data"], "data True None False 0.1"),
        (["data", "--first=2", "--options.train-head"], "data False 2 True 0.1"),
        (["--options.rate", "1e-2", "data"], "data False None False 0.01"),
    ],
)
def test_flags(argv, printed, capsys):
    assert outcome(run, *argv) == 0
    assert capsys.readouterr().out == printed + "\n"


def test_the_exit_code_is_what_the_function_returns():
    assert outcome(run, "data", "--first", "3") == 3


def test_bad_flags_are_code_2(capsys):
    assert outcome(run, "data", "--nonsense") == 2
    assert outcome(run, "data", "--first", "x") == 2
    assert outcome(run) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_errors_of_the_user(capsys):
    def wrong():
        raise UserError("data/text:3: no (do this)")

    def denied():
        (Path("/") / "no such folder" / "x").read_text()

    assert outcome({"wrong": wrong, "denied": denied}, "wrong") == 1
    assert capsys.readouterr().err == "error: data/text:3: no (do this)\n"
    assert outcome({"wrong": wrong, "denied": denied}, "denied") == 1
    assert capsys.readouterr().err == "error: /no such folder/x: No such file or directory\n"


def test_our_own_mistakes_keep_their_traceback():
    def broken():
        raise KeyError("x")

    with pytest.raises(KeyError):
        command(broken, [])


def test_words():
    assert dashes_to_underscores("--max-steps=a-b") == "--max_steps=a-b"
    assert dashes_to_underscores("data-set") == "data-set"
    assert set(switches({"a": run, "b": Options})) == {
        "--check_audio",
        "--options.train_head",
        "--train_head",
    }
    assert spell_out(["--on", "x", "--on", "TRUE", "--on"], {"--on"}) == [
        "--on=true",
        "x",
        "--on",
        "TRUE",
        "--on=true",
    ]


def test_a_reader_that_leaves_is_no_error():
    """`… | head -1`."""
    function = "def f():\n    [print('x' * 99) for _ in range(99999)]"
    script = f"from ia3_speech.cli import command\n{function}\ncommand(f, [])"
    shell = f'{sys.executable} -c "{script}" | head -1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.stderr, done.stdout.split()[-1]) == ("", "0")
