"""Tables for people: on the terminal, and in the marked blocks of a Markdown page.

A block looks like this; what stands between the two lines is replaced, and the path is relative to the page:

    <!-- results exp/espeak systems provenance only ia3 ia3_rate* -->
    <!-- end of results -->

After the path come the parts wanted (of systems, speakers, terms, labels, forgetting, confidences, curve,
training, tuning, provenance; none: all but training and tuning), and perhaps `only` and the systems or
folders, as patterns. A block whose folder is not there, or holds none of these, stays as it is. A path to a
Markdown file (exp/espeak/RESULTS.md) stands for its contents.
"""

import re
from pathlib import Path

from ia3_speech.atomic import write_text
from ia3_speech.cli import UserError
from ia3_speech.experiments.markdown import PARTS, STANDARD, markdown
from ia3_speech.experiments.systems import System, find_systems, load_json

BLOCK = re.compile(r"(<!-- results (\S+?)((?: [^>]*?)?) -->\n)(.*?)(<!-- end of results -->)", re.DOTALL)
EARLIER_PARTS = {"origin": "provenance"}


def show(exp: Path, parts: str = " ".join(STANDARD), only: str = "") -> None:
    """Print tables.

    Args:
        exp: folder of the experiment
        parts: which ones, with spaces between them
        only: patterns of the systems or folders wanted
    """
    print(markdown(find_systems(exp, only.split()), parts.split()), end="")


def fill(file: Path) -> None:
    """Write the numbers into the marked blocks of a Markdown file.

    Args:
        file: the Markdown file
    """
    text, count = BLOCK.subn(lambda found: filled_block(file, found), file.read_text(encoding="utf-8"))
    if not count:
        raise UserError(f"{file}: no block to fill (<!-- results exp/CORPUS --> … <!-- end of results -->)")
    write_text(file, text)
    print(f"{file}: {count} blocks looked at")


def filled_block(file: Path, found: re.Match) -> str:
    """A block with its numbers."""
    head, path, words, _, end = found.groups()
    wanted, _, only = words.partition(" only ")
    parts = [EARLIER_PARTS.get(part, part) for part in wanted.split()]
    if unknown := set(parts) - set(PARTS):
        raise UserError(f"{file}: a block asks for {min(unknown)!r} (there are: {', '.join(PARTS)})")
    exp = file.parent / path
    if exp.is_file():
        return head + exp.read_text(encoding="utf-8") + end
    if not exp.is_dir():
        print(f"{exp}: not there, its block stays as it is")
        return found[0]
    systems = of_last_run(exp, find_systems(exp, only.split()))
    if only and len(systems) == 1:
        print(f"{exp}: has nothing of {only}, its block stays as it is")
        return found[0]
    return head + markdown(systems, parts or STANDARD) + end


def of_last_run(exp: Path, systems: list[System]) -> list[System]:
    """Without the seeds that EXP/results.json, of the last run, left out of a system that it has."""
    place = exp / "results.json"
    seeds: dict[str, set[int | None]] = {}
    for one in load_json(place).get("systems", []) if place.is_file() else []:
        seeds.setdefault(one["name"], set()).add(one["seed"])
    return [one for one in systems if one.name not in seeds or one.seed in seeds[one.name]]
