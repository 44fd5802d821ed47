"""recipes/utils/stages.py: words of a study reach its jobs as they are, and options are checked."""

import os
import sys

import pytest

from ia3_speech.common.errors import UserError


@pytest.fixture
def study(tmp_path, monkeypatch, utils):
    """A study in a folder whose name a shell would read."""
    monkeypatch.setenv("PATH", f"{utils}:{os.environ['PATH']}")
    import stages

    return stages.Study(__file__, "notes", stages.StudyOptions(work_dir=tmp_path / "a b$(c)'d"))


def test_words_are_no_shell_commands(study, tmp_path):
    words = ["$(touch X)", "`touch X`", "a b", "it's", 'say "no"', "&", "|", ";", "\\n", "ö*", ""]
    code = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(repr(sys.argv[2:]))"
    out = tmp_path / "words JOB"
    study.job("train", "x.log", [sys.executable, "-c", code, out, *words])
    assert out.read_text() == repr(words) and (study.exp / "log/x.log").is_file()
    study.job("decode", "x.JOB.log", ["echo", "JOB"], jobs=2)
    assert "\n2\n" in (study.exp / "log/x.2.log").read_text()
    with pytest.raises(UserError, match="failed"):
        study.job("score", "y.log", ["false"])
