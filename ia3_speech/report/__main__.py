"""Make a page to look at: `report.html`, one file, from a scored decode directory and what lies beside it.

    python -m ia3_speech.report data/test exp/medical/ia3_seed1/decode_greedy_test --out report.html

Found without being asked for: the baseline that the score was made against; beside DECODE_DIR adapter/ and
metrics.jsonl; one folder further up results.json, curve.json and trade_off.json (points.py has their
formats). Audio is linked where it lies; --embed-audio puts it into the page.
"""

import json
import logging
import sys
from pathlib import Path

from ia3_speech.atomic import write_text
from ia3_speech.cli import command
from ia3_speech.data.utterance_audio import BadAudio
from ia3_speech.inputs import Inputs
from ia3_speech.report import embedded, find, gather, linked, make_page

logger = logging.getLogger("ia3_speech.report")

LARGE = 100_000_000  # bytes, from which browsers take long to open a page


def main(
    data: Path,
    decode_dir: Path,
    baseline: Path | None = None,
    adapter: Path | None = None,
    training: Path | None = None,
    results: list[Path] | None = None,
    curve: Path | None = None,
    trade_off: Path | None = None,
    embed_audio: bool = False,
    allow_pipes: bool = False,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Make a page to look at from DECODE_DIR, which `python -m ia3_speech.score` has scored.

    Args:
        data: the data directory that was decoded
        decode_dir: its decode directory, scored
        baseline: the decode directory to compare with (default: what the score was made against)
        adapter: folder of the adapter whose vectors are drawn (default: beside DECODE_DIR)
        training: metrics.jsonl of its training (default: beside DECODE_DIR)
        results: results.json of recipes, any number (default: of the folder above)
        curve: points of a learning curve (default: curve.json in the folder above)
        trade_off: points of the adapter scaled from 0 to 1 (default: trade_off.json in the folder above)
        embed_audio: put the audio into the page, about 25 kB a second
        allow_pipes: with --embed-audio, run the shell commands that wav.scp holds
        out: the page (default: report.html in DECODE_DIR)
        force: write the page again if it was written from the same inputs
    """
    out = out or decode_dir / "report.html"
    places = find(
        decode_dir,
        baseline=baseline,
        adapter=adapter,
        training=training,
        results=results,
        curve=curve,
        trade_off=trade_off,
    )
    made = Inputs(
        {"data": data}
        | vars(places)
        | {
            "decode_dir": [decode_dir / "text", decode_dir / "score.json"],
            "adapter": sorted(places.adapter.glob("*.safetensors")) if places.adapter else None,
        },
        {"embed_audio": embed_audio},
    )
    if made.is_current(out, force):
        return
    contents = gather(data, places)
    if embed_audio:
        bad: list[BadAudio] = []
        players = embedded(contents.utterances, allow_pipes=allow_pipes, bad=bad)
        for fault in bad:
            logger.warning("%s", fault)
    else:
        players = linked(contents.utterances, out.absolute().parent)
    page = make_page(contents, players)
    write_text(out, page)
    made.record(out)
    size = out.stat().st_size
    if size > LARGE:
        logger.warning("%s: so many bytes take a browser long (leave out --embed-audio)", out)
    print(f"{out}: {len(contents.utterances)} utterances, {len(players)} players, {size / 1000:,.0f} kB")


def several(words: list[str], flag: str = "--results") -> list[str]:
    """`--results a b --out c` → `--results=["a", "b"] --out c`: words up to the next flag are its list."""
    before, after, taken = [], list(words), []
    while after and after[0].partition("=")[0] != flag:
        before.append(after.pop(0))
    if not after:
        return before
    name, equals, value = after.pop(0).partition("=")
    taken += [value] if equals else []
    while after and not after[0].startswith("--"):
        taken.append(after.pop(0))
    return [*before, f"{name}={json.dumps(taken)}", *after]


if __name__ == "__main__":
    command(main, several(sys.argv[1:]))
