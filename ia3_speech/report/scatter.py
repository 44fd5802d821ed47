"""A picture of speakers before and after adaptation, a dot each.

    python -m ia3_speech.report.scatter exp/speechocean762

In: the experiment of recipes/speakers.sh, scored. Out: EXP/scatter_SYSTEM.svg of each of its systems, of the
seed whose dev WER is the median; below the line a speaker is better off.
"""

from itertools import groupby
from pathlib import Path

from ia3_speech.atomic import write_text
from ia3_speech.cli import command
from ia3_speech.experiments.by_speaker import Comparison, compare, is_speakers, parts
from ia3_speech.experiments.plan import read_plan
from ia3_speech.experiments.systems import System, find_systems, median_of, of_this_run
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

# The classes that report/charts.py draws with, as page.css has them in the light.
STYLE = """
text { font: 12px sans-serif; fill: #5b6776 } .head { font-size: 13px; fill: #1b2430 }
.grid { stroke: #dfe3e8 } .axis { stroke: #5b6776 }
.line { fill: none; stroke: #5b6776; stroke-dasharray: 3 4 }
.dot { stroke: white; fill-opacity: .8 } .system { fill: #1596ad } .third { fill: #8a5cd0 }
"""
HEAD = 24  # pixels over the field


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


def write_scatters(exp: Path, systems: list[System], test_set: str) -> None:
    """Write EXP/scatter_SYSTEM.svg of each system of adapted speakers."""
    base, *others = [one for one in systems if test_set in one.scores]
    adapted = [one for one in others if is_speakers(one)]
    alone = {one.name: one for one in (base, *others) if not is_speakers(one)}
    for _, group in groupby(adapted, key=lambda one: one.name):
        system = median_of(list(group))
        place = exp / f"scatter_{system.name}.svg"
        write_text(place, scatter(compare(system, alone.get(parts(system)[0], base), test_set)))
        print(place)


def main(exp: Path) -> None:
    """Write EXP/scatter_*.svg.

    Args:
        exp: folder of the experiment
    """
    plan, _, _ = read_plan(exp)
    write_scatters(exp, of_this_run(find_systems(exp), plan.kind, plan.made), plan.sets[0])


if __name__ == "__main__":
    command(main)
