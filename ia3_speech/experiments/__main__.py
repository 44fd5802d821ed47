"""Results of an experiment's folder: tables for people, JSON for programs.

python -m ia3_speech.experiments collect exp/medical          # results.json, RESULTS.md
python -m ia3_speech.experiments select exp/medical           # the folder that a recipe shows
python -m ia3_speech.experiments disabled exp/medical         # with the adapter off it is the base
python -m ia3_speech.experiments remaining exp/medical        # how long what is left will take
python -m ia3_speech.experiments show exp/medical --parts tuning
python -m ia3_speech.experiments fill RESULTS.md              # the numbers of a page's marked blocks
"""

from ia3_speech.cli import command
from ia3_speech.experiments.collect import collect, disabled, select
from ia3_speech.experiments.pages import fill, show
from ia3_speech.experiments.remaining import remaining

if __name__ == "__main__":
    command({run.__name__: run for run in (collect, select, disabled, remaining, show, fill)})
