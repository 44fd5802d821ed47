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
# Method: IA³ vectors alone, chosen by the WER of dev; your variants of ia3_speech/conf/ia3_plus.yaml go into conf/.
. parse_options.sh
# data/ and exp/ are where you start this, or, if that is in the clone or in DIR, beside DIR; those of a copy of this folder, in it.
if [[ -z $work_dir && -n $corpus && $PWD == "$IA3_SPEECH_ROOT/egs/TEMPLATE" ]]; then
  work_dir=$IA3_SPEECH_START_DIR folder=$(realpath -m "$(from_start "$corpus")")
  [[ $work_dir/ != @("$IA3_SPEECH_ROOT"|"$folder")/* && $folder/ != "$work_dir"/data/* ]] || work_dir=${folder%/*}/ia3_speech_results
  echo "data/ and exp/ are in $work_dir"
fi
locate "$@"
prepare=${prepare:-"local/prepare.py --base $base"}
adapt; study; finish; summary
