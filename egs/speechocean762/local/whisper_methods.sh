#!/usr/bin/env bash
# IA³ and other methods on thirty minutes of the accent, with a Whisper base; after stage 2 of run.sh.
#   bash local/whisper_methods.sh DATA EXP [BASE]      DATA: run.sh's data/speechocean762
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../../recipes/path.sh"
published=$1 exp=$2 base=${3:-openai/whisper-base} data=$2/data
mkdir -p "$data"
for part in train:30 dev:6 test_adults:14; do
  [ -d "$data/${part%:*}" ] || subset.py "$published/${part%:*}" "$data/${part%:*}" --minutes "${part#*:}"
done
decode_both() { # SYSTEM OPTION…
  for set in "$data/test_adults" "$published/out_of_domain"; do
    out=$exp/$1/decode_greedy_${set##*/}
    options=(--corpus whisper_methods --system "${1%_seed1}")
    [ "$1" = base ] ||
      options+=(--system-seed 1 --baseline "$exp/base/decode_greedy_${set##*/}" --training "$data/train")
    ia3-speech decode --base "$base" --search greedy --guard off --precision auto "${@:2}" "$set" "$out"
    ia3-speech score "$set" "$out" "${options[@]}" >/dev/null
  done
}
decode_both base
for method in ia3_both:whisper ia3_encoder:whisper lora_r8_encoder:"$here/../conf/whisper_lora_encoder.yaml" \
  lora_r8_both:"$here/../conf/whisper_lora_both.yaml" full_encoder:"$here/../conf/whisper_full_encoder.yaml"; do
  out=$exp/${method%%:*}_seed1 function=() placements=()
  [[ $method != ia3_encoder:* ]] || placements=(--placements key value ffn ffn_output attention_output)
  [[ $method != full_* ]] || function=(--method "$here/../../compare_methods/local/methods.py:full")
  ia3-speech train "${function[@]}" --config "${method#*:}" "${placements[@]}" --base "$base" --train "$data/train" \
    --dev "$data/dev" --replay shipped --epochs 1 --seed 1 --out "$out"
  decode_both "${method%%:*}_seed1" --adapter "$out/adapter" "${function[@]}"
done
ia3-speech results collect "$exp"
ia3-speech results show "$exp" --parts "systems forgetting training provenance"
