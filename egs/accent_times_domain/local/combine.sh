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

if [ $stage -le 6 ] && [ $stop_stage -ge 6 ]; then
  for set in $test_sets $other_sets; do
    product=$(product_of "$set")
    echo "stage 6, multiply for $set (log: $exp/log/product_${set}_seed*.log)"
    $decode_cmd JOB=1:"$seeds" "$exp/log/product_${set}_seedJOB.log" \
      python -m ia3_speech.inputs "$product" "$(adapter_of accent "$set")" "$(adapter_of domain "$set")" -- \
      local/product.sh "$(adapter_of accent "$set")" "$(adapter_of domain "$set")" "$product"
    for system in $systems; do
      folder=$exp/$system adapter=$(given_as "$system" "$set") jobs=1
      [[ $system == base ]] || { folder+=_seedJOB; jobs=$seeds; }
      [[ ! -L ${folder//JOB/1}/decode_greedy_$set ]] || continue
      if [[ $system == product ]] && compgen -G "${product//JOB/*}/refused" >/dev/null; then
        rm -rf "$exp"/product_seed*/"decode_greedy_$set" # of other adapters, whose product there was
        continue
      fi
      echo "stage 6, decode $set with $system (log: $exp/log/decode_${set}_${system}_seed*.log)"
      $decode_cmd JOB=1:"$jobs" "$exp/log/decode_${set}_${system}_seedJOB.log" python -m ia3_speech.decode \
        --base "$base" --search greedy ${adapter:+--adapter "$adapter"} --precision $precision $decode_opts "$data/$set" "$folder/decode_greedy_$set"
    done
  done
fi

if [ $stage -le 7 ] && [ $stop_stage -ge 7 ]; then
  for set in $test_sets $other_sets; do
    training=$([[ $set == out_of_domain* ]] || training_of "$set")
    echo "stage 7, score $set against the base (log: $exp/log/score_$set.log)"
    $decode_cmd "$exp/log/score_$set.log" local/score.py "$exp" "$data/$set" ${training:+--training $training}
  done
fi

if [ $stage -le 8 ] && [ $stop_stage -ge 8 ]; then
  echo "stage 8, compare with the base and with both parts in $exp/RESULTS.md"
  python -m ia3_speech.inputs "$exp/RESULTS.md" "$exp"/*/decode_greedy_*/score.json local/compare.py -- \
    local/compare.py "$exp" "$data" "$test_sets $other_sets" --seeds "$seeds"
fi
