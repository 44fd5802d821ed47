"""ia3-speech: the overview, the commands' own usage lines, and what is refused before torch is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ia3_speech import __version__
from ia3_speech.__main__ import COMMANDS, main

LOADED = """
import sys
from ia3_speech.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    print(ended.code, *(name for name in ("torch", "transformers") if name in sys.modules))
"""


def test_the_overview_is_the_same_however_it_is_asked_for(capsys):
    main([])
    overview = capsys.readouterr().out
    main(["--help"])
    assert capsys.readouterr().out == overview
    done = subprocess.run([sys.executable, "-m", "ia3_speech"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, overview, "")
    assert "example: ia3-speech transcribe --adapter speaker42 audio.wav" in overview
    assert all(f"\n  {name} " in overview for name in COMMANDS)


def test_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"ia3-speech {__version__}\n"


def test_an_unknown_command(capsys):
    for name, hint in (("decod", "do you mean decode?"), ("xyz", "ia3-speech --help lists them")):
        with pytest.raises(SystemExit) as ended:
            main([name])
        assert ended.value.code == 2
        assert capsys.readouterr().err == f"error: there is no command {name} ({hint})\n"


def run(*words: str) -> tuple[str, str, str]:
    """stdout's last line, all of stdout, and stderr."""
    done = subprocess.run([sys.executable, "-c", LOADED, *words], capture_output=True, text=True)
    return done.stdout.splitlines()[-1], done.stdout, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_the_command_as_it_was_called_and_loads_no_model(name):
    last, out, err = run(name, "--help")
    assert out.startswith(f"usage: ia3-speech {name}") and (last, err) == ("0", "")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("transcribe --adaptr x a.wav", 2, "unrecognized arguments: --adaptr"),
        ("transcribe --adapter nobody a.wav", 1, "nobody: no adapter has this name"),
        ("decode --adaptr=x data out", 2, "unrecognized arguments: --adaptr=x"),
        ("train --train a --dev b --out c --learning-rat 1", 2, "unrecognized arguments: --learning-rat"),
        ("train --train a --dev b --out c --init-adapter nobody", 1, "nobody: no adapter has this name"),
        ("train --train a --dev b --out c --config nothing", 2, "no file nothing (the package contains ia3)"),
        ("speakers --data a --out c --fold 2", 2, "unrecognized arguments: --fold"),
        ("speakers --data a --out c --init-adapter nobody", 1, "nobody: no adapter has this name"),
    ],
)  # fmt: skip
def test_what_is_mistyped_is_refused_before_torch_is_loaded(words, code, message):
    last, _, err = run(*words.split())
    assert last == str(code) and message in err.splitlines()[-1]


def test_an_unknown_adapter_is_refused_by_decode_before_torch_is_loaded(tmp_path):
    for name, line in (("wav.scp", f"a {tmp_path}/a.wav"), ("utt2spk", "a a"), ("spk2utt", "a a")):
        (tmp_path / name).write_text(f"{line}\n")
    (tmp_path / "a.wav").touch()
    last, _, err = run("decode", "--adapter", "nobody", str(tmp_path), str(tmp_path / "out"))
    assert last == "1" and "nobody: no adapter has this name" in err


def test_a_packaged_configuration_by_its_name(tmp_path):
    _, _, err = run("train", "--config", "ia3", "--epochs", "0", "--train", "a", "--dev", "b", "--out", "c")
    assert err.splitlines()[-1] == "error: epochs is 0, and has to be at least 1"


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("way", ["module", "command"])
def test_ctrl_c_during_imports_is_no_traceback(name, way, tmp_path):
    """These modules stand for any module that is being imported when the user presses the keys."""
    for module in ("numpy", "jsonargparse", "torch"):
        (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt")
    words = ["ia3_speech", name] if way == "command" else [f"ia3_speech.{name.replace('-', '_')}"]
    paths = f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}"
    done = subprocess.run(
        [sys.executable, "-m", *words, "--help"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
