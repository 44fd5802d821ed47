"""What all recipes promise: --help, wrong options, no corpus, and that run.sh stays a page."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.parent.name for path in (ROOT / "egs").glob("*/run.sh"))
STUDIES = [name for name in RECIPES if (ROOT / "egs" / name / "local/study.py").is_file()]
PAGES = sorted((ROOT / "egs").glob("*/README.md"))
MADE_HERE = ("medical_dictation", "speaker_adaptation")  # their corpora are made on the spot
OPTIONS = {
    "librispeech": "--reader N ",
    "speaker_adaptation": "--k 'A B' ",
    "accent_times_domain": "--accent-corpus ",
    "routing": "--adapters ",
}
OF_OTHERS = ("accent_times_domain", "routing", "frontier")  # the recipes of their corpora run first


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_keeps_the_contract(recipe, run_recipe, tmp_path):
    is_study, work = recipe in STUDIES, ("--work-dir", str(tmp_path / "work"))
    done = run_recipe(recipe, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for option in ("--seeds ", "--size ", "--work-dir ", "--stop-stage ", "--config FILE "):
        assert option in done.stdout
    assert OPTIONS.get(recipe, "") in done.stdout
    kinds = {"accent_times_domain": "accent domain"} | dict.fromkeys(
        ("routing", "frontier"), "accent orders telephone notes"
    )
    corpus = [word for kind in kinds.get(recipe, "").split() for word in (f"--{kind}-corpus", "x")] or [
        "--corpus",
        "x",
    ]
    for options, message in ((("--corpsu", "x"), "--corpsu"), (("--seeds", "0"), "--seeds must be ")):
        done = run_recipe(recipe, *corpus, *options, *work)
        assert done.returncode in (1, 2) and message in done.stderr
    if recipe not in MADE_HERE:
        done = run_recipe(recipe, *work)
        assert done.returncode in (1, 2) and done.stderr.startswith("error: ") and "corpus" in done.stderr
        if recipe not in ("TEMPLATE", *OF_OTHERS):
            assert "https://" in done.stderr or "hub" in done.stderr
    assert not (tmp_path / "work").exists()
    assert len((ROOT / "egs" / recipe / "run.sh").read_text().splitlines()) <= (10 if is_study else 40)


@pytest.mark.parametrize(
    "page", sorted((ROOT / "egs").glob("*/README.md")), ids=lambda page: page.parent.name
)
def test_a_recipe_has_the_options_that_its_page_shows(page, run_recipe):
    """`--help` at the end of a line: the options are read, and nothing runs."""
    for block in re.findall(r"```bash\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for line in block.replace("\\\n", "").splitlines():
            words = shlex.split(line.replace(" … ", " "), comments=True)
            if words[:1] == ["bash"] and words[1].endswith("run.sh"):
                recipe = page.parent.name if words[1] == "run.sh" else words[1].split("/")[1]
                done = run_recipe(recipe, *words[2:], "--help")
                assert done.returncode == 0, f"{line}\n{done.stderr}"
