#!/usr/bin/env python3
"""What adaptation did to each speaker: numbers for results.py's part `speakers`, scatter pictures, curves.

    exp_speakers.py exp/speechocean762 --main-start mandarin

In: an exp folder of recipes/speakers.sh: base, perhaps an adapter to start from, from_START_kN_seedS. Out:
EXP/scatter_SYSTEM.svg, a dot a speaker, before and after; where there are several N, EXP/curve.json of the
main start and EXP/curve_from_START.json of the other, each beside its start, which `report` draws
(report/curve_files.py has the format).

A system is compared with the base, and with what it started from. Changes are pooled over all words; their
intervals come from a bootstrap over speakers, on the draws that score.py takes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from exp_folder import System, find_systems, median_of, of_this_run

from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import command
from ia3_speech.report.charts import (
    HEIGHT,
    LEFT,
    WIDTH,
    Axis,
    Point,
    Series,
    draw_axes,
    draw_series,
    rate_axis,
)
from ia3_speech.report.markup import Markup, element
from ia3_speech.report.svg import round_ticks, svg_picture
from ia3_speech.scoring.significance import Interval, bootstrap_sums, percentile_interval, ratio

NAME = re.compile(r"from_(?P<start>.+)_k(?P<k>\d+)(?P<variant>_.+)?")

# The classes that report/charts.py draws with, as page.css has them in the light.
STYLE = """
text { font: 12px sans-serif; fill: #5b6776 } .head { font-size: 13px; fill: #1b2430 }
.grid { stroke: #dfe3e8 } .axis { stroke: #5b6776 }
.line { fill: none; stroke: #5b6776; stroke-dasharray: 3 4 }
.dot { stroke: white; fill-opacity: .8 } .system { fill: #1596ad } .third { fill: #8a5cd0 }
"""
HEAD = 24  # pixels over the field


@dataclass(frozen=True)
class Comparison:
    """One system beside another, speaker by speaker; the arrays are (speakers,), errors and words."""

    system: System
    against: System
    speakers: list[str]
    words: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def relative(self) -> float | None:
        """The change of the pooled WER by the WER before; None where nothing was wrong."""
        return float(self.after.sum() / self.before.sum()) - 1 if self.before.sum() else None

    @property
    def relative_ci(self) -> Interval:
        """Its 95 % interval over draws of speakers; None of a single one."""
        if len(self.speakers) < 2:
            return None
        drawn = bootstrap_sums({"before": self.before, "after": self.after})
        return percentile_interval(ratio(drawn["after"] - drawn["before"], drawn["before"]))

    @property
    def changes(self) -> np.ndarray:
        """Each speaker's WER after less that before, as a fraction."""
        return (self.after - self.before) / self.words


def parts(system: System) -> tuple[str, int, str]:
    """START, N and the variant of a system's name."""
    found = NAME.fullmatch(system.name)
    return (found["start"], int(found["k"]), found["variant"] or "") if found else ("", 0, "")


def comparisons(systems: Sequence[System], set_name: str) -> list[Comparison]:
    """Every system of adapted speakers against the base, and against its start where that is another one."""
    named = {system.name: system for system in systems}
    found = []
    for system in systems:
        if not is_speakers(system):
            continue
        for against in dict.fromkeys(("base", parts(system)[0])):
            if against in named:
                found.append(compare(system, named[against], set_name))
    return found


def is_speakers(system: System) -> bool:
    """Whether it is many adapters, one a speaker and fold."""
    return "not_improved" in system.train


def compare(system: System, against: System, set_name: str) -> Comparison:
    """Both by speaker; those without a word can't be counted."""
    before, after = (one.scores[set_name]["by_label"]["speaker"] for one in (against, system))
    speakers = [speaker for speaker, rates in after.items() if rates["words"] and speaker in before]
    counted = [[after[s]["words"] for s in speakers]]
    counted += [[side[s]["errors"] for s in speakers] for side in (before, after)]
    return Comparison(system, against, speakers, *(np.array(column) for column in counted))


def scatter(one: Comparison) -> str:
    """The picture, SVG: below the line a speaker is better off."""
    before, after = one.before / one.words, one.after / one.words
    better, worse = int((one.changes < 0).sum()), int((one.changes > 0).sum())
    names = (one.against.name, one.system.name)
    x, y = (rate_axis(f"WER of {name}, %", [*before, *after], floor=0.0) for name in names)
    x = Axis(x.title, x.low, x.high, [(tick, f"{100 * tick:g}") for tick in round_ticks(x.low, x.high, 10)])
    line = Series("", [Point(0.0, 0.0, ""), Point(x.high, x.high, "")], "guide", dots=False)
    dots = [
        Point(b, a, f"{speaker}: {100 * b:.1f} % before, {100 * a:.1f} % after, {words} words")
        for speaker, b, a, words in zip(one.speakers, before, after, one.words, strict=True)
    ]
    series = [
        line,
        Series("", [dot for dot in dots if dot.y <= dot.x], "system", line=False),
        Series("", [dot for dot in dots if dot.y > dot.x], "third", line=False),
    ]
    says = f"{len(dots)} speakers: {better} better (below the line), {len(dots) - better - worse} equal, "
    says += f"{worse} worse"
    title = f"{one.system.name}, a dot a speaker"
    drawn: list[Markup] = [
        element("style", STYLE),
        element("rect", x=0, y=-HEAD, width="100%", height="100%", fill="white"),
        element("text", says, x=LEFT, y=-6, class_="head"),
        *draw_axes(x, y),
        *(draw_series(part, x, y) for part in series),
    ]
    box = {
        "viewBox": f"0 {-HEAD} {WIDTH} {HEIGHT + HEAD}",
        "width": 1.5 * WIDTH,
        "height": 1.5 * (HEIGHT + HEAD),
    }
    return f"{svg_picture(f'{title}. {says}', drawn, xmlns='http://www.w3.org/2000/svg', **box)}\n"


def curve(base: System, adapted: Sequence[System], set_name: str) -> dict[str, Any]:
    """The learning curve of systems that started alike; `base` is what they started from."""
    points = [
        {"utterances": utterances(system), "seed": system.seed, **rate_of(system, set_name)}
        for system in adapted
    ]
    return {"base": rate_of(base, set_name), "points": sorted(points, key=lambda p: p["utterances"])}


def utterances(system: System) -> float:
    """How many its adapters learnt from or were judged by: N, or the median of what there was."""
    return system.train.get("utterances", parts(system)[1])


def rate_of(system: System, set_name: str) -> dict[str, float | None]:
    score = system.scores[set_name]
    low, high = score["wer_ci"] or (None, None)
    return {"wer": score["wer"], "lo": low, "hi": high}


def main(
    exp: Path,
    main_start: str = "base",
    variant: str = "",
    test_set: str = "test",
    made: str = "",
    instead_of: str = "",
) -> None:
    """Write EXP/scatter_*.svg, and EXP/curve*.json where there are several N.

    Args:
        exp: folder of one corpus
        main_start: the start whose curve is curve.json
        variant: of the systems in the curves
        test_set: what they were tested on
        made: as for `results.py collect`
        instead_of: as for `results.py collect`
    """
    systems = of_this_run(find_systems(exp), instead_of, made)
    base, *others = [one for one in systems if test_set in one.scores]
    adapted = [one for one in others if is_speakers(one)]
    alone = {one.name: one for one in (base, *others) if not is_speakers(one)}
    for _, group in groupby(adapted, key=lambda one: one.name):
        system = median_of(list(group))
        place = exp / f"scatter_{system.name}.svg"
        write_text(place, scatter(compare(system, alone.get(parts(system)[0], base), test_set)))
        print(place)
    for outdated in exp.glob("curve*.json"):
        outdated.unlink()
    for start in dict.fromkeys(parts(one)[0] for one in adapted):
        own = [one for one in adapted if parts(one)[::2] == (start, variant and f"_{variant}")]
        if len({parts(one)[1] for one in own}) > 1:
            place = exp / ("curve.json" if start == main_start else f"curve_from_{start}.json")
            write_json(place, curve(alone.get(start, base), own, test_set))
            print(place)


if __name__ == "__main__":
    command(main)
