"""recipes/utils/parse_options.sh keeps Kaldi's rules: what it takes, what it refuses, and what it prints."""

import subprocess
from pathlib import Path

import pytest

PARSE = Path(__file__).parents[2] / "recipes/utils/parse_options.sh"

SCRIPT = f"""
set -euo pipefail
stage=1 max_epochs=8 use_lm=false text='a b'
help_message='usage: run.sh [--stage N]'
. {PARSE}
printf '%s\\n' "$stage" "$max_epochs" "$use_lm" "$text" "$#" "$@"
"""


def parse(*arguments: str, script: str = SCRIPT, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "-c", script, "run.sh", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("", "1 8 false a_b 0"),
        ("--stage 3 --max-epochs 2 --use-lm true data exp", "3 2 true a_b 2 data exp"),
        ("data --stage 3", "1 8 false a_b 3 data --stage 3"),  # options end at the first positional
    ],
)
def test_values_positionals_and_dashes(line, printed):
    assert parse(*line.split()).stdout.replace(" ", "_").split() == printed.split()


def test_values_are_never_evaluated():
    value = "$(touch /tmp/x) `id` \"quoted\" 'single' \\n *"
    assert parse("--text", value).stdout.split("\n")[3] == value
    assert parse("--text", "").stdout == "1\n8\nfalse\n\n0\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--stage=3",), "'--stage=3'"),
        (("--HOME", "/"), "invalid option --HOME"),
        (("--_po_rest", "x"), "invalid option --_po_rest"),
        (("--stage",), "option --stage has no value"),
        (("--use-lm", "yes"), "expected true or false"),
    ],
)
def test_refusals(arguments, message):
    done = parse(*arguments)
    assert (done.returncode, done.stdout) == (1, "") and message in done.stderr


def test_help_is_made_of_the_lines_that_explain_options(tmp_path):
    script = tmp_path / "run.sh"
    script.write_text(f"""
help_message='usage: run.sh'
train_opts="--epochs 2" # OPTS: options of train; see (README)
corpus=""      # DIR: where it is
stage=1        # N: start here
. {PARSE}
""")
    done = subprocess.run(["bash", script, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "usage: run.sh",
        "  --train-opts OPTS        options of train; see (README) [--epochs 2]",
        "  --corpus DIR             where it is",
        "  --stage N                start here [1]",
        "  --config FILE            shell file that sets any of these",
    ]


def test_config_is_weaker_than_the_line_and_looked_for_where_the_user_stood(tmp_path):
    (tmp_path / "my.conf").write_text("stage=5\nmax_epochs=6\nuse_lm=true\n")
    script = f"IA3_SPEECH_START_DIR={tmp_path}\n{SCRIPT}"
    done = parse("--stage", "7", "--config", "my.conf", "x", script=script, cwd=Path("/"))
    assert done.stdout == "7\n6\ntrue\na b\n1\nx\n"
    (tmp_path / "my.conf").write_text("use_lm=perhaps\n")
    done = parse("--config", "my.conf", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "run.sh: my.conf: use_lm must be true or false, not 'perhaps'\n"
