#!/usr/bin/env bash
# May adapters be left on? Four of them, and a gate that chooses by the audio, on speech of four kinds and of none of them.
#
#   bash run.sh --accent-corpus DIR --orders-corpus DIR --telephone-corpus DIR --notes-corpus DIR --general 'DIR DIR'
#   bash run.sh … --size small           a little of it, to see that everything works; --help lists the options
. "$(dirname "$0")/../../recipes/start_study.sh"
