#!/usr/bin/env bash
# Your own data: a folder of recordings and a CSV file that says what is said in each, or Kaldi data directories. Copy
# this folder, or use it as it is.
#
#   bash run.sh --corpus DIR                       adapt to it; README.md says how DIR looks
#   bash run.sh --corpus DIR --stop-stage 3        look at the data only, before anything is decoded or trained
#   bash run.sh --corpus DIR --size small          a little of it, to see that everything works
#   bash run.sh --corpus DIR --seeds 3             any option of recipes/adapt.sh; --help lists them
set -euo pipefail
. "$(dirname "$0")/path.sh" # relative paths on the line are meant from where the user stands
cd "$(dirname "$0")"; . ./cmd.sh; . adapt.sh; . study.sh

prepare=""
[[ $name != TEMPLATE ]] || name=mine

# Data: what the CSV file's column `split` says, or the directories train and test; without, a fifth of the speakers is
# test, or, of fewer than four speakers, a fifth of the sentences. A list of your terms: another script for --terms,
# called as egs/barista_orders/local/terms.py is.
# Long recordings of train and dev are cut by alignment with the base that is adapted.
# Method: IA³ vectors alone, chosen by the WER of dev; your variants of ia3_speech/conf/ia3.yaml go into conf/.
. parse_options.sh
locate "$@"
prepare=${prepare:-"local/prepare.py --base $base"}
adapt; study; finish; summary
