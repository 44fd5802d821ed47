#!/usr/bin/env bash
# Source this: stage 7 of adapt.sh, the language model and the hot words.

# shellcheck disable=SC2154,SC2086  # adapt.sh has the options; several of them hold more than one word

# language_model: of train's texts, mixed with the base's own, if it has one, with that of --lm-texts, and with --lm. Test sets
# are never read for it. The weights of the mixture are chosen on dev, by perplexity.
language_model() {
  local mix=${lm/#own/}
  if [[ -n $lm_texts ]]; then
    $once "$exp/lm_texts" local "$data/train" -- $lm_texts "$exp/lm_texts" --train "$data/train"
    mix+=" $exp/lm_texts"
  fi
  $decode_cmd "$exp/log/lm.log" python -m ia3_speech.lm "$data/train" ${mix:+--mix $mix} --base "$base" \
    --dev "$data/dev" --out "$exp/lm.arpa.gz" --summary "$exp/lm.json"
}

# choose_search_weights SYSTEM: of the language model and of a word, by the WER on dev.
choose_search_weights() {
  local try
  try=$([[ $size == full ]] || echo "--lm-weights 0.35 0.8 --word-scores 0 1.5") # four pairs in place of thirty
  $decode_cmd "$exp/log/tune_lm_$1.log" python -m ia3_speech.tune_lm "$data/dev" --lm "$exp/lm.arpa.gz" --base "$base" \
    --precision "$precision" $try $([[ $1 == base ]] || echo "--adapter $exp/$1/adapter") $pipes --out "$exp/$1/lm_search.yaml"
}

# learn_hotwords: the terms that train's texts hold, or those of --hotwords, in the forms in which the adapter hears them on dev.
learn_hotwords() {
  local list=$hotwords dev=$exp/$selected/decode_greedy_dev
  if [[ $hotwords == own ]]; then
    list=$exp/terms_train
    $once "$list.tsv" local ${terms:+"${terms%% *}"} "$data/train" -- $(list_terms train "$list.tsv")
    $once "$list" "$list.tsv" -- bash -c "cut -f 1 $list.tsv >$list" # without the categories
  fi
  $once "$exp/$selected/hotwords.txt" "$list" "$data/dev" "$dev/text" -- \
    python -m ia3_speech.hotwords learn "$data/dev" "$dev" --terms "$list" --out "$exp/$selected/hotwords.txt"
}
