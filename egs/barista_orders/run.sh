#!/usr/bin/env bash
# Domain: coffee orders, spoken by more than fifty people of the crowd (Picovoice's speech-to-intent benchmark).
#
#   git clone https://github.com/Picovoice/speech-to-intent-benchmark       the corpus, 619 orders
#   bash run.sh --corpus speech-to-intent-benchmark                         adapt to it
#   bash run.sh --corpus DIR --size small                                   a little of it, to see that all works
#   bash run.sh --corpus DIR --seeds 5                                      any option of recipes/adapt.sh
set -euo pipefail
. "$(dirname "$0")/path.sh" # relative paths on the line are meant from where the user stands
cd "$(dirname "$0")"; . ./cmd.sh; . adapt.sh; . study.sh

# Data: no transcripts are published, only what was ordered. The publisher's grammar has a few hundred sentences
# for an order; the one that is nearest to what the base hears is taken (or that of transcripts.tsv, if it is
# there). No sentence is on both sides; the speakers are unknown and may be. The terms are the slots.
corpus_name=barista_orders prepare="" terms=local/terms.py

# Method: IA³ vectors alone (ia3_speech/conf/ia3_plus.yaml), chosen by dev WER. Nobody knows who speaks, so the intervals
# are drawn over utterances. At the end: how often narrowing alone finds the sentence of transcripts.tsv.
name=barista score_opts="--cluster utterance"

. parse_options.sh
locate "$@"
prepare=${prepare:-"local/prepare.py --base $base"} # the base listens
adapt; study; finish

# How far to trust the texts that are found without transcripts.tsv: where that is there, it is compared with them (stage 10).
if [[ $stop_stage -ge 10 && ! -f $data/heard ]]; then
  step "stage 10, compare the texts that narrowing finds with transcripts.tsv" \
    $once "$exp/agreement" "$data/test" local "$exp/base/decode_greedy_test/text" -- \
    local/grammar.py "$data/test" "$exp/base/decode_greedy_test" "$exp/agreement"
fi
summary
