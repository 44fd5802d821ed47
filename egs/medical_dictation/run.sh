#!/usr/bin/env bash
# Medical dictation: from an untouched base to a recogniser that knows drugs, diagnoses and procedures, and then to
# one physician's own. Everything is made on the spot; nothing is downloaded.
#
#   bash run.sh                                    dictation spoken by espeak-ng, made here
#   bash run.sh --size small                       a little of it, to see that everything works (3 minutes)
#   bash run.sh --corpus DIR                       your Kaldi directories DIR/{train,test} and perhaps DIR/dev;
#                                                  nothing synthetic is added, and nobody is adapted to
#   bash run.sh --seeds 5 --stage 5                any option of recipes/adapt.sh; --help lists them
set -euo pipefail
export IA3_SPEECH_START_DIR=${IA3_SPEECH_START_DIR:-$PWD} # relative paths on the line are meant from here
cd "$(dirname "$0")"
. ./path.sh

corpus=espeak
keep_unknown=true
. parse_options.sh

# Data: a grammar of findings, drugs, procedures and plans, read by voices that the base never heard; train, dev and
# test differ in sentences and speakers. The terms are fixed before anything is decoded. Then what a user of dictation
# does: adapt to one physician, speaker42, from 15 of their sentences. A corpus of yours has no speaker42.
if [[ $corpus == espeak ]]; then
  prepare=local/prepare.py speaker="--last local/speaker42.sh"
else
  prepare="python -m ia3_speech.data.corpora.kaldi" speaker=""
fi

# Method: IA³ vectors alone (ia3_speech/conf/ia3.yaml), chosen by dev WER; the test set is decoded once with the base
# and once with the adapter, which is then registered as `medical`; then both with a language model, of train's texts and
# of lists of diagnoses and drugs.
method="--name medical --lm-texts local/lm_texts.py"

# shellcheck disable=SC2086
adapt.sh --corpus "$corpus" --prepare "$prepare" --terms local/terms.py $method $speaker -- "$@"
