#!/usr/bin/env bash
# What the defaults of ia3_speech/conf/ia3.yaml stand on. Some hours of training; what is done is not done again, and
# after a kill it goes on where it was. First, and before each system, it prints how long the rest will take.
#
#   bash local/sweep.sh rates --corpus DIR        learning rates, one seed, by dev alone: no test set is decoded
#   bash local/sweep.sh placements --corpus DIR   key and value with ffn, with ffn_output, both or neither, and with
#                                                 attention_output as well; three seeds
#   bash local/sweep.sh more --corpus DIR         twice the epochs, three seeds; conv, the head too, one seed
#   bash local/sweep.sh seeds --corpus DIR        the default with five seeds, through all stages of the recipe
#
# In this order: what the first finds goes into ia3.yaml, which is what the next starts from. They write the
# blocks of RESULTS.md too. Other options: --rates '1e-3 1e-2', --seeds (of the rates, where one leaves a choice open),
# --opts (further options of train for all of them, such as '--precision bf16'), and --size, --base, --work-dir,
# --small-opts as run.sh has them.
set -euo pipefail
export IA3_SPEECH_START_DIR=$PWD
cd "$(dirname "$0")"
. ../path.sh
cd ..

part=${1-}
[[ $# -eq 0 ]] || shift
corpus=espeak size=full base=mini work_dir="" small_opts="" opts="" rates="1e-3 2e-3 5e-3 1e-2 2e-2 5e-2" seeds=1
help_message="Usage: bash local/sweep.sh rates|placements|more|seeds [--corpus DIR] [options, see the head of the file]"
# shellcheck source=../../../recipes/utils/parse_options.sh
. parse_options.sh

# A line a system: name, seeds, last stage, options of train.
plan=()
case $part in
  rates) for rate in $rates; do plan+=("ia3_rate$rate $seeds 5 --learning-rate $rate"); done ;;
  placements)
    plan+=("ia3_kv 3 8 --placements [key,value]")
    plan+=("ia3_kv_ffn 3 8 --placements [key,value,ffn]")
    plan+=("ia3_kv_ffn_output 3 8 --placements [key,value,ffn_output]")
    plan+=("ia3_kv_both 3 8 --placements [key,value,ffn,ffn_output]")
    plan+=("ia3_kv_ffn_attention 3 8 --placements [key,value,ffn,attention_output]")
    plan+=("ia3_kv_both_attention 3 8 --placements [key,value,ffn,ffn_output,attention_output]") ;;
  more)
    plan+=("ia3_long 3 8 --epochs 16 --patience 16")
    plan+=("ia3_conv 1 8 --placements [key,value,ffn,ffn_output,attention_output,conv]")
    plan+=("ia3_head 1 8 --train-head true") ;;
  seeds) plan+=("ia3 5 100") ;;
  *) echo "$help_message" >&2; exit 1 ;;
esac

[[ -z $work_dir || $work_dir == /* ]] || work_dir=$IA3_SPEECH_START_DIR/$work_dir
exp=${work_dir:-.}/exp/$(basename "$corpus")$([[ $size == full ]] || echo _small)

trainings_left() {
  local line system seeds seed left=0
  for line in "${plan[@]}"; do
    read -r system seeds _ <<<"$line"
    for ((seed = 1; seed <= seeds; seed++)); do
      [[ -f $exp/${system}_seed$seed/train.json ]] || left=$((left + 1))
    done
  done
  echo "$left"
}

for line in "${plan[@]}"; do
  python -m ia3_speech.experiments remaining "$exp" --trainings "$(trainings_left)"
  read -r system seeds last_stage own <<<"$line"
  bash run.sh --corpus "$corpus" --size "$size" --base "$base" ${work_dir:+--work-dir "$work_dir"} \
    ${small_opts:+--small-opts "$small_opts"} $([[ $part == seeds ]] || echo --lm none) --system "$system" --seeds "$seeds" --stop-stage "$last_stage" \
    --train-opts "$own $opts"
done
if [[ -z $work_dir && $size == full ]]; then python -m ia3_speech.experiments fill RESULTS.md; fi
