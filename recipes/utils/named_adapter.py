#!/usr/bin/env python3
"""What --init-adapter of a recipe names: the sum with its paths from the root, then each file of its weights.

    named_adapter.py accent:0.5+exp/mine

A path is meant from where the user stood (IA3_SPEECH_START_DIR), or else from the recipe's folder. A line for
the sum, as `--adapter` takes it, then a line for each file: a name may come to stand for another adapter
later, so the files are what a key is made of.
"""

import os
from dataclasses import replace
from pathlib import Path

from ia3_speech.adapters.expressions import Term, format_terms, parse_terms
from ia3_speech.adapters.weights import WEIGHTS
from ia3_speech.cli import UserError, command


def main(adapter: str) -> None:
    """Print the sum, and the files of its weights.

    Args:
        adapter: a name, a path, or a sum of them
    """
    recipe, start = Path.cwd(), Path(os.environ.get("IA3_SPEECH_START_DIR", "."))
    try:
        os.chdir(start)
        parts = parse_terms(adapter)
        if Path.cwd() != recipe:
            parts = [from_root(part) for part in parts]
            adapter = format_terms(parts)
    except UserError:
        os.chdir(recipe)
        parts = parse_terms(adapter)
    files = [part.folder / name for part in parts for name in WEIGHTS]
    print(adapter, *[file for file in files if file.is_file()], sep="\n")


def from_root(part: Term) -> Term:
    """A registered name as it is; a relative path made absolute."""
    if part.folder.is_absolute():
        return part
    return replace(part, name=str(part.folder.resolve()), folder=part.folder.resolve())


if __name__ == "__main__":
    command(main)
