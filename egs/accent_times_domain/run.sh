#!/usr/bin/env bash
# Does the adapter of an accent add up with the adapter of a domain? Measured for every sum beside its parts.
#
#   bash run.sh                          two accents × medical dictation, spoken by espeak-ng; nothing is downloaded
#   bash run.sh --size small             a little of it, to see that everything works
#   bash run.sh --sentences FILE         trains the accents on the lines of a text file
#   bash run.sh --accent-corpus DIR/speechocean762 --domain-corpus DIR/speech-to-intent-benchmark
#                                        real people: the adapters of these two recipes, which are run first
set -euo pipefail
export IA3_SPEECH_START_DIR=${IA3_SPEECH_START_DIR:-$PWD} # relative paths on the line are meant from here
cd "$(dirname "$0")"
. ./path.sh
. ./cmd.sh

accent_corpus="" domain_corpus="" sentences="" base=mini seeds=3 size=full small_opts="--epochs 2"
train_opts="" precision=auto decode_opts="" out_of_domain=shipped stage=1 stop_stage=8 work_dir=""
# shellcheck disable=SC2034  # parse_options.sh prints it
help_message=$(<local/help.txt)
# shellcheck source=../../recipes/utils/parse_options.sh
. parse_options.sh

. local/place.sh # checks the options; paths

# Data and adapters (stages 1 to 5). By espeak-ng: everyday sentences in an accent that the base never heard, dictation
# in accents that it has heard, and both together; one adapter a set and a seed. Real people: what the two recipes leave.
if [[ -z $accent_corpus$domain_corpus ]]; then . local/espeak.sh; else . local/real.sh; fi

# Sums (stages 6 to 8): each test set is decoded with the base, with each adapter alone and with their combinations,
# seed by seed, and every system is compared with the base and with both parts.
. local/combine.sh
