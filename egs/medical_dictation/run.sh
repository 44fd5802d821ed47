#!/usr/bin/env bash
# Medical dictation: from an untouched base to a recogniser that knows drugs, diagnoses and procedures, and then to
# one physician's own. Everything is made on the spot; nothing is downloaded.
#
#   bash run.sh                                    dictation spoken by espeak-ng, made here
#   bash run.sh --size small                       a little of it, to see that everything works (3 minutes)
#   bash run.sh --corpus DIR                       your Kaldi directories DIR/{train,test} and perhaps DIR/dev;
#                                                  nothing synthetic is added, and nobody is adapted to
#   bash run.sh --seeds 5 --stage 5                any option of recipes/adapt.sh and study.sh; --help lists them
set -euo pipefail
. "$(dirname "$0")/path.sh" # relative paths on the line are meant from where the user stands
cd "$(dirname "$0")"; . ./cmd.sh; . adapt.sh; . study.sh

# Data: a grammar of findings, drugs, procedures and plans, read by voices that the base never heard; train, dev and
# test differ in sentences and speakers. The terms are fixed before anything is decoded.
corpus=espeak prepare=local/prepare.py terms=local/terms.py

# Method: IA³ vectors alone (ia3_speech/conf/ia3_plus.yaml), chosen by dev WER; the test set is decoded once with the base
# and once with the adapter, which is then registered as `medical`; then both with a language model, of train's texts and
# of lists of diagnoses and drugs.
name=medical lm_texts=local/lm_texts.py lm_sets=test

. parse_options.sh
[[ $corpus != espeak || $size != full ]] || train_opts="--epochs 4 $train_opts" # of the eight of ia3_plus.yaml: this is to show the way, in minutes
locate "$@"
adapt; study; finish

# Then what a user of dictation does: adapt to one physician, speaker42, from 15 of their sentences (stage 10).
if [[ -d $data/speaker42 && $stop_stage -ge 10 ]]; then . local/speaker42.sh; fi
summary
