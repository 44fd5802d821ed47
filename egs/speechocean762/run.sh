#!/usr/bin/env bash
# Accent: from an untouched base to a recogniser for English spoken by people whose first language is Mandarin.
# Real recordings of 250 adults and children, published as OpenSLR 101.
#
#   bash run.sh --download DIR                     fetch the corpus from its publisher (520 MB) into DIR, and adapt
#   bash run.sh --corpus DIR/speechocean762        the corpus is at hand; README.md has its layout
#   bash run.sh --corpus DIR … --size small        a little of it, to see that everything works
#   bash run.sh --corpus DIR … --seeds 3           any option of recipes/adapt.sh; --help lists them
set -euo pipefail
. "$(dirname "$0")/path.sh" # relative paths on the line are meant from where the user stands
cd "$(dirname "$0")"; . ./cmd.sh; . adapt.sh; . study.sh

download="" # DIR: first download the corpus into DIR (from a mirror, if the environment variable OPENSLR holds its URL)

# Data: the published train speakers, a share of whom, adults and children, become dev. The published test speakers
# are two sets: the adults are the headline; children are hard for reasons besides the accent.
corpus_name=speechocean762 test_sets="test_adults test_children"
prepare=local/speechocean762.py

# Method: one adapter for the accent, IA³ vectors alone (conf/accent.yaml), at most six epochs, chosen by
# the WER of dev; each test set is decoded once with the base and once with the adapter.
name=mandarin system=ia3_plus train_config=conf/accent.yaml

. parse_options.sh
fetch 101/speechocean762.tar.gz speechocean762
locate "$@"
adapt; study; finish; summary
