#!/usr/bin/env bash
# Does the adapter of an accent add up with the adapter of a domain? Measured for every sum beside its parts, on real people.
#
#   bash run.sh --accent-corpus DIR/speechocean762 --domain-corpus DIR/speech-to-intent-benchmark
#   bash run.sh … --size small           a little of it, to see that everything works
#
#   1-6  the recipes of the accent and of the domain, which train the adapters, and decode and score their own test sets
#   7    decode and score each test set, and out-of-domain speech, with either adapter and with their sums
#   8    compare every system with the base and with both parts: results.json and RESULTS.md in exp/real
set -euo pipefail
. "$(dirname "$0")/path.sh" # relative paths on the line are meant from where the user stands
cd "$(dirname "$0")"; . ./cmd.sh; . stages.sh

accent_corpus="" # DIR: speechocean762, as its recipe takes it
domain_corpus="" # DIR: the coffee orders, as the recipe barista_orders takes them
train_opts=""    # OPTS: further options of train
seeds=3          # of each kind; seed s is added to seed s
unset corpus corpus_name prepare init_adapter init_name grid score_opts report_opts allow_pipes # the two recipes have these
. parse_options.sh

check_options() {
  [[ -n $accent_corpus && -n $domain_corpus ]] || fail "give --accent-corpus DIR (speechocean762, which its recipe" \
    "describes) and --domain-corpus DIR (the coffee orders of the recipe barista_orders)"
}
corpus=real corpus_name=real init_adapter="" init_name="" allow_pipes=false
locate "$@"
lock "$exp"
suffix=$([[ $size == full ]] || echo _small) sets="test_adults test_children test_orders ${out_of_domain:+out_of_domain}"

# place KIND RECIPE: where its data or exp lies.
place() { echo "${work_dir:-../$2}/$1/$2$suffix"; }

# recipe NAME CORPUS: its stages as far as the scores of its adapters; what it has done is not done again.
recipe() {
  echo "stages $stage to 6 of the recipe $1"
  bash "../$1/run.sh" --corpus "$(from_start "$2")" --seeds "$seeds" --base "$base" --size "$size" --small-opts "$small_opts" \
    --train-opts "$train_opts" --precision "$precision" --decode-opts "$decode_opts" --work-dir "$work_dir" \
    --nj "$nj" --retrain "$retrain" --out-of-domain "${out_of_domain:-none}" --stage "$stage" --stop-stage $((stop_stage < 6 ? stop_stage : 6))
}

# own RECIPE KIND SET AS: a test set of a recipe, its terms, and what the base and its own adapters made of it, shown as SET's.
own() {
  local recipe_exp seed
  link() { mkdir -p "$(dirname "$2")"; ln -sfn "$(realpath "$1")" "$2"; }
  recipe_exp=$(place exp "$1")
  [[ -f $recipe_exp/base/decode_greedy_$3/score.json ]] || fail "$recipe_exp: the recipe $1 has not run there (leave --stage out)"
  link "$(place data "$1")/$3" "$data/$4"
  [[ ! -f $recipe_exp/terms_$3 ]] || link "$recipe_exp/terms_$3" "$exp/terms_$4"
  link "$recipe_exp/base/decode_greedy_$3" "$exp/base/decode_greedy_$4"
  for seed in $(seq "$seeds"); do
    link "$recipe_exp/ia3_plus_seed$seed/decode_greedy_$3" "$exp/$2_seed$seed/decode_greedy_$4"
    link "$recipe_exp/ia3_plus_seed$seed/inputs.json" "$exp/$2_seed$seed/inputs.json" # how it was trained
  done
}

# combined SYSTEM SEED SET: decode a test set with an adapter or with a sum, and score it against the base.
combined() {
  local accent domain init_name=$1_seed$2 init_adapter terms="" score_opts=""
  [[ ! -L $exp/$init_name/decode_greedy_$3 ]] || return 0 # decoded and scored by the recipe that the adapter is of
  accent=$(place exp speechocean762)/ia3_plus_seed$2/adapter domain=$(place exp barista_orders)/ia3_plus_seed$2/adapter
  case $1 in
    accent) init_adapter=$accent ;;
    domain) init_adapter=$domain ;;
    sum) init_adapter=$accent+$domain ;;
    half) init_adapter=$accent:0.5+$domain:0.5 ;;
  esac
  case $3 in
    test_orders) terms=slots score_opts="--cluster utterance" ;;&
    test_*) score_opts+=" --training $(place data speechocean762)/train $(place data barista_orders)/train" ;;
  esac
  decode_and_score 7 "$init_name" greedy "$3"
}

if [ $stage -le 6 ]; then
  recipe speechocean762 "$accent_corpus"
  recipe barista_orders "$domain_corpus"
fi

if [ $stage -le 7 ] && [ $stop_stage -ge 7 ]; then
  for set in test_adults test_children ${out_of_domain:+out_of_domain}; do own speechocean762 accent $set $set; done
  own barista_orders domain test test_orders
  for set in $sets; do
    for system in accent domain sum half; do
      for seed in $(seq "$seeds"); do combined $system "$seed" $set; done
    done
  done
fi

if [ $stage -le 8 ] && [ $stop_stage -ge 8 ]; then
  shown=$(python -m ia3_speech.results select "$(place exp speechocean762)" ia3_plus --seeds "$seeds")
  step "stage 8, compare" $once "$exp/RESULTS.md" "$exp"/*/decode_greedy_*/score.json local/compare.py -- \
    local/compare.py "$exp" "$data" "$sets" --seeds "$seeds" --shown "${shown##*seed}"
  echo "The tables are in $exp/RESULTS.md."
fi
