"""What all recipes promise: --help, wrong options, no corpus, and that run.sh stays a page."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.parent.name for path in (ROOT / "egs").glob("*/run.sh"))
STUDIES = [name for name in RECIPES if (ROOT / "egs" / name / "local/study.py").is_file()]
MADE_HERE = ("medical_dictation", "speaker_adaptation")  # their corpora are made on the spot
OPTIONS = {
    "librispeech": "--reader N ",
    "speaker_adaptation": "--k 'A B' ",
    "accent_times_domain": "--accent-corpus ",
    "routing": "--adapters ",
}
OF_OTHERS = ("accent_times_domain", "routing")  # the recipes of their corpora run first
CORPORA = {
    "routing": ("accent", "orders", "telephone", "notes"),
    "accent_times_domain": ("accent", "domain"),
}


def shown_options(recipe: str) -> dict[str, list[str]]:
    """The options in the lines of a recipe's page: recipe → all of its lines."""
    options: dict[str, list[str]] = {recipe: []}
    page = (ROOT / "egs" / recipe / "README.md").read_text("utf-8")
    for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL):
        for line in block.replace("\\\n", "").splitlines():
            words = shlex.split(line.replace(" … ", " "), comments=True)
            if words[:1] == ["bash"] and words[1].endswith("run.sh"):
                name = recipe if words[1] == "run.sh" else words[1].split("/")[1]
                options.setdefault(name, []).extend(words[2:])
    return options


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_keeps_the_contract(recipe, run_recipe, tmp_path):
    """`--help` at the end: the options that its page shows are read, and nothing runs."""
    for name, words in shown_options(recipe).items():
        done = run_recipe(name, *words, "--help")
        assert (done.returncode, done.stderr) == (0, ""), words
        for option in ("--seeds ", "--size ", "--work-dir ", "--stop-stage ", "--config FILE "):
            assert option in done.stdout
        assert OPTIONS.get(name, "") in done.stdout
    corpora = [f"--{kind}-corpus" for kind in CORPORA.get(recipe, ())] or ["--corpus"]
    work = ("--work-dir", str(tmp_path / "work"))
    done = run_recipe(recipe, *(word for corpus in corpora for word in (corpus, "x")), "--seeds", "0", *work)
    assert done.returncode in (1, 2) and "--seeds must be " in done.stderr
    if recipe not in MADE_HERE:
        done = run_recipe(recipe, *work)
        assert done.returncode in (1, 2) and done.stderr.startswith("error: ") and "corpus" in done.stderr
        if recipe not in ("TEMPLATE", *OF_OTHERS):
            assert "https://" in done.stderr or "hub" in done.stderr
    assert not (tmp_path / "work").exists()
    lines = (ROOT / "egs" / recipe / "run.sh").read_text().splitlines()
    assert len(lines) <= (10 if recipe in STUDIES else 40)
