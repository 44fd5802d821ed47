#!/usr/bin/env bash
# Spoken keywords in noise, or a bank's intents: a classifier's head alone, IA³, LoRA and full fine-tuning.
#
#   bash run.sh --corpus DIR --speech-train DIR --speech-test 'DIR DIR' --noises DIR      README.md says which
#   bash run.sh --corpus DIR --task intents       MInDS-14's 14 intents; --size small: few clips, one epoch
set -euo pipefail
. "$(dirname "$0")/path.sh" # relative paths on the line are meant from where the user stands
cd "$(dirname "$0")"; . ./cmd.sh; . stages.sh

task=keywords   # TASK: keywords or intents
speech_train="" # 'DIR DIR': other speech to train on, in files named READER-…
speech_test=""  # 'DIR DIR': other speech to test on, by other readers
noises=""       # DIR: recordings of noise, one per place
clips=0         # N: clips of each class in train, half as many in dev and test; 0: all
hop=1.0         # SECONDS: step from one window of the background speech to the next
methods="head ia3_plus lora full" # NAMES: which of these methods to compare
rates=3         # N: number of learning rates to choose from on dev; 1: none is chosen
seeds=3         # of each method at its best rate
epochs=4        # N: epochs of each training
unset corpus_name prepare init_adapter init_name grid report_opts score_opts register_anyway decode_opts out_of_domain nj small_opts precision retrain allow_pipes
. parse_options.sh
check_options() {
  [[ $task =~ ^(keywords|intents)$ ]] || fail "--task must be keywords or intents, not '$task'"
  [[ $task != keywords || (-n $speech_train && -n $speech_test && -n $noises) ]] || fail "give --speech-train, --speech-test, --noises"
}
init_adapter="" init_name="" nj=1 allow_pipes=false out_of_domain=none corpus_name=$task
locate "$@"; lock "$exp"
folders() { for path in $1; do from_start "$path"; done | xargs; }
mix=(--speech-train "$(folders "$speech_train")" --speech-test "$(folders "$speech_test")" --noises "$(from_start "$noises")" --clips "$clips" --hop "$hop")
[[ $size == full ]] || { epochs=1 rates=1; }
if [[ $stage -le 1 && $task == keywords ]]; then
  step "stage 1, prepare keywords" $once "$data" "$corpus" $(folders "$speech_train $speech_test $noises") local/prepare.py -- local/prepare.py "$corpus" "$data" "${mix[@]}" --size "$size"
elif [[ $stage -le 1 ]]; then
  step "stage 1, divide $task" $once "$data" "$corpus" -- bash -c 'rm -rf "$1"; mkdir -p "$1" && cp -rL "$0/test" "$1" &&
    python -m ia3_speech.datadir split "$0/train" "$1/train" "$1/dev" --by recording' "$corpus" "$data"
fi
[ $stop_stage -ge 2 ] || exit 0
local/compare.py train "$data" "$exp" --base "$base" --methods "$methods" --seeds "$seeds" --epochs "$epochs" --rates "$rates" --label $([[ $task == keywords ]] && echo label || echo intent)
[[ " $methods " != *" ia3_plus "* ]] || python -m ia3_speech.adapters register --keep "$(local/compare.py best "$exp" ia3_plus)" "$corpus_name"
local/compare.py table "$data" "$exp" --hop "$hop"
