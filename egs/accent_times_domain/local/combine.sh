#!/usr/bin/env bash
# Source this in run.sh: decode the test sets with the base, each adapter alone and their combinations; score; compare.
# What is a link has been decoded and scored by another recipe.

# shellcheck disable=SC2154  # run.sh, place.sh and espeak.sh or real.sh
systems="base $alone sum half product"

# given_as SYSTEM SET: what decode takes for --adapter; JOB stands for the seed.
given_as() {
  case $1 in
    base) ;;
    sum) echo "$(adapter_of accent "$2")+$(adapter_of domain "$2")" ;;
    half) echo "$(adapter_of accent "$2"):0.5+$(adapter_of domain "$2"):0.5" ;;
    product) echo "$(product_of "$2")/adapter" ;;
    *) adapter_of "$1" "$2" ;;
  esac
}
product_of() { echo "$exp/product_seedJOB/of_$(accent_of "$1")"; }

# folder_of SYSTEM SET: where it is decoded into
folder_of() { echo "$exp/$1$([[ $1 == base ]] || echo _seedJOB)/decode_greedy_$2"; }

# made_from SYSTEM SET: a key of the adapters, by what seed 1 was trained from (all seeds learn from the same)
made_from() {
  local part inputs=("$base_key" "system=$1")
  for part in $([[ $1 == base ]] || { [[ " $alone " == *" $1 "* ]] && echo "$1" || echo accent domain; }); do
    part=$(adapter_of "$part" "$2")
    part=$(dirname "${part//JOB/1}")/.key
    [[ -f $part ]] || fail "$part: there is no adapter yet (start with --stage 5)"
    inputs+=("$part")
  done
  key.py "${inputs[@]}"
}

is_refused() { local of; of=$(product_of "$1"); compgen -G "${of//JOB/*}/refused" >/dev/null; }

# ---- 6: the products, then every system on every set
if [[ $stage -le 6 && $stop_stage -ge 6 ]]; then
  for set in $test_sets; do
    every 6 "multiply for $set" "$decode_cmd" "$exp/log/product_${set}_seedJOB.log" "$(product_of "$set")" "$seeds" \
      "$(made_from product "$set")" \
      local/product.sh "$(adapter_of accent "$set")" "$(adapter_of domain "$set")" "$(product_of "$set")"
    for system in $systems; do
      folder=$(folder_of "$system" "$set") adapter=$(given_as "$system" "$set")
      [[ ! -L ${folder//JOB/1} ]] || continue
      if [[ $system == product ]] && is_refused "$set"; then
        rm -rf "$exp"/product_seed*/"decode_greedy_$set" # of other adapters, whose product there was
        continue
      fi
      # shellcheck disable=SC2086
      every 6 "decode $set with $system" "$decode_cmd" "$exp/log/decode_${set}_${system}_seedJOB.log" "$folder" \
        "$([[ $system == base ]] && echo 1 || echo "$seeds")" \
        "$(key.py "$(made_from "$system" "$set")" "$data/$set" "opts=$decode_opts")" \
        python -m ia3_speech.decode --base "$base" ${adapter:+--adapter "$adapter"} $decode_opts "$data/$set" "$folder"
    done
  done
fi

# ---- 7: each against the base
inputs=("sets=$test_sets" ./local/score.py "$exp"/*/decode_greedy_*/.done)
for set in $test_sets; do inputs+=("$data/$set" "$exp/terms_$set"); done
if begin 7 "score (log: $exp/log/score.log)" "$exp/.done/score" "${inputs[@]}"; then
  local/score.py "$exp" "$data" "$test_sets" >"$exp/log/score.log"
  finish
fi

# ---- 8: each beside the base and beside both parts
if begin 8 "compare in $exp/RESULTS.md" "$exp/.done/compare" "$exp"/*/decode_greedy_*/score.json "seeds=$seeds" \
  ./local/compare.py; then
  local/compare.py "$exp" "$data" "$test_sets" --seeds "$seeds" --command "$IA3_SPEECH_COMMAND"
  finish
fi
