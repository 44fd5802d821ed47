#!/usr/bin/env bash
# Without transcripts: what self-training and test-time adaptation gain beside the same with transcripts, on an accent, a
# telephone line and single speakers; against test-time adaptation of layer norms, and pseudo-labels without a filter.
#
#   bash run.sh --corpus DIR                 DIR/speechocean762 and DIR/minds14, as their recipes take them
#   bash run.sh --corpus DIR --minutes 20 --tests 150 --speakers 10    a part of them
#   bash run.sh --corpus DIR --size small    a little, to see that everything works
#
#   1 prepare   2 plan: how many hours it takes   3 train   4 decode   5 compare: exp/<corpus>/RESULTS.md
set -euo pipefail
. "$(dirname "$0")/path.sh" # relative paths on the line are meant from where the user stands
cd "$(dirname "$0")"; . ./cmd.sh; . stages.sh

minutes=0 # N: minutes of speech from each train set, evenly spaced; 0: all
tests=0 # N: utterances from each test set, evenly spaced; 0: all
speakers=0 # N: number of speakers in the condition speakers; 0: all 85
epochs=6 # N: largest number of training epochs
rounds=1 # N: largest number of rounds of self-training
conditions="accent telephone speakers" # 'A B': conditions to measure
unset prepare base init_adapter init_name grid nj small_opts precision decode_opts score_opts report_opts out_of_domain
unset register_anyway retrain allow_pipes # of recipes with one corpus
. parse_options.sh

check_options() {
  number epochs "$epochs" 1; number rounds "$rounds" 1; number tests "$tests" 0; number speakers "$speakers" 0
  number minutes "$minutes" 0
  local condition
  for condition in $conditions; do
    [[ " accent telephone speakers " == *" $condition "* ]] || fail "--conditions: there is no $condition (accent, telephone, speakers)"
  done
  [[ $seeds == 1 ]] || fail "--seeds: this measures one seed"
}
base=mini nj=1 out_of_domain="" init_adapter="" init_name="" allow_pipes=false corpus_name=${corpus_name:-real}
locate "$@"
lock "$exp"
[[ $size == full ]] || epochs=2

if [ $stage -le 1 ] && [ $stop_stage -ge 1 ]; then
  step "stage 1, prepare" $once "$data" "$corpus/speechocean762" "$corpus/minds14" local -- \
    local/prepare.py "$corpus" "$data" --minutes "$minutes" --tests "$tests" --speakers "$speakers" --size "$size"
fi
if [ $stage -le 2 ] && [ $stop_stage -ge 2 ]; then local/measure.py plan "$data" "$conditions" --epochs "$epochs"; fi
if [ $stage -le 3 ] && [ $stop_stage -ge 3 ]; then
  for condition in $conditions; do
    for system in with_transcripts self_train unfiltered; do
      step "stage 3, $condition: train $system" $train_cmd "$exp/log/train_${condition}_$system.log" \
        python local/measure.py train "$data/$condition" "$exp/$condition" $system --epochs "$epochs" --rounds "$rounds"
    done
  done
fi
if [ $stage -le 4 ] && [ $stop_stage -ge 4 ]; then
  for condition in $conditions; do
    step "stage 4, $condition: decode" $decode_cmd "$exp/log/decode_$condition.log" \
      python local/measure.py decode "$data/$condition" "$exp/$condition"
  done
fi
if [ $stage -le 5 ] && [ $stop_stage -ge 5 ]; then local/compare.py "$data" "$exp" "$conditions"; fi
