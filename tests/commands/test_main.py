"""ia3-speech: the overview, the commands' usage lines, and errors before torch is loaded."""

import subprocess
import sys

from ia3_speech.__main__ import COMMANDS

LOADED = """
import sys
from ia3_speech.__main__ import main
for line in sys.argv[1].split(" ; "):
    try:
        main(line.split())
    except SystemExit as ended:
        print("ENDED", ended.code, *(name for name in ("torch", "transformers") if name in sys.modules))
        print("ENDED", file=sys.stderr)
"""


def run(lines: list[str]) -> tuple[list[str], list[str]]:
    """What each command line prints, with its exit code and the packages loaded then; and its messages."""
    words = [sys.executable, "-c", LOADED, " ; ".join(lines)]
    done = subprocess.run(words, capture_output=True, text=True)
    return done.stdout.splitlines(), done.stderr.split("ENDED\n")[:-1]


def test_help_names_the_command_as_it_was_called_and_loads_no_model():
    out, err = run([f"{name} --help" for name in COMMANDS])
    usages = [line for line in out if line.startswith("usage: ")]
    assert [line.split()[2] for line in usages] == [*COMMANDS] and set(err) == {""}
    assert [line for line in out if line.startswith("ENDED")] == ["ENDED 0"] * len(COMMANDS)


REFUSED = [
    ("transcribe --adaptr x a.wav", 2, "unrecognized arguments: --adaptr"),
    ("decode --adapter nobody {data} {data}/out", 1, "nobody: no adapter has this name"),
    ("train --train a --dev b --out c --config nothing", 2, "no file nothing"),
    ("train --train a --dev b --out c --config ia3_plus --epochs 0", 1, "--epochs is 0"),
    ("train --train {data}/no --dev b --out {data}/exp", 1, "/no: no such folder"),
]


def test_what_is_mistyped_is_refused_before_torch_is_loaded(tmp_path):
    for name, line in (("wav.scp", f"a {tmp_path}/a.wav"), ("utt2spk", "a a"), ("spk2utt", "a a")):
        (tmp_path / name).write_text(f"{line}\n")
    (tmp_path / "a.wav").touch()
    out, err = run([line.format(data=tmp_path) for line, _, _ in REFUSED])
    assert out == [f"ENDED {code}" for _, code, _ in REFUSED]
    assert not (tmp_path / "exp").exists()
    for (line, _, message), printed in zip(REFUSED, err, strict=True):
        assert message in printed, line
