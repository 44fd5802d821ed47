"""What all recipes promise: --help, wrong options, no corpus, and that run.sh stays a page."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.parent.name for path in (ROOT / "egs").glob("*/run.sh"))
MADE_HERE = ("medical_dictation", "speaker_adaptation")  # their corpora are made on the spot
OWN = {
    "librispeech": "--reader N ",
    "speaker_adaptation": "--k 'A B' ",
    "accent_times_domain": "--accent-corpus DIR ",
    "routing": "--adapters 'A B C D' ",
}
OF_OTHERS = ("accent_times_domain", "routing")  # the recipes of their corpora run first


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_keeps_the_contract(recipe, run_recipe, tmp_path):
    work = ("--work-dir", str(tmp_path / "work"))
    done = run_recipe(recipe, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for option in ("--seeds N ", "--size full|small ", "--work-dir DIR ", "--config FILE "):
        assert option in done.stdout
    assert OWN.get(recipe, "") in done.stdout
    for options, message in (
        (("--corpsu", "x"), "invalid option --corpsu (--help lists the options)\n"),
        (("--seeds", "0"), "error: --seeds must be a number from 1 on, not '0'\n"),
        (("--size", "medium"), "error: --size must be full or small, not 'medium'\n"),
    ):
        corpus = () if recipe in OF_OTHERS else ("--corpus", "x")
        done = run_recipe(recipe, *corpus, *options, *work)
        assert done.returncode == 1 and done.stderr.endswith(message)
    if recipe not in MADE_HERE:
        done = run_recipe(recipe, *work)
        assert done.returncode == 1 and done.stderr.startswith("error: ") and "-corpus DIR" in done.stderr
        if recipe not in ("TEMPLATE", *OF_OTHERS):
            assert "https://" in done.stderr or "hub" in done.stderr
    assert not (tmp_path / "work").exists()
    longest = 120 if recipe in (*OF_OTHERS, "without_transcripts") else 40
    assert len((ROOT / "egs" / recipe / "run.sh").read_text().splitlines()) <= longest
