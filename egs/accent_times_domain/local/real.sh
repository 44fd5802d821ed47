#!/usr/bin/env bash
# Source this in run.sh: real people. The accent adapter of speechocean762 and the domain adapter of barista_orders are
# what these recipes train; they are run here first, which costs nothing where they are done. Their sets, and what
# they decoded and scored with the base and with their own adapter, are linked.

# shellcheck disable=SC2154,SC2034  # run.sh and place.sh set the options; combine.sh uses what is set here
test_sets="test_adults test_children test_orders" other_sets=${out_of_domain:+out_of_domain}
alone="accent domain"
accent_recipe=speechocean762 domain_recipe=barista_orders

# Where a parent's data or exp lies: parent KIND RECIPE
parent() { echo "${work_dir:-../$2}/$1/$2$suffix"; }
adapter_of() { local recipe=$1_recipe; echo "$(parent exp "${!recipe}")/ia3_seedJOB/adapter"; }
accent_of() { echo "$accent_recipe"; }
training_of() { echo "$(parent data "$accent_recipe")/train $(parent data "$domain_recipe")/train"; }

if [[ $stage -le 5 ]]; then
  for kind in accent domain; do
    corpus=${kind}_corpus recipe=${kind}_recipe
    echo "stages 1 to 5, the recipe ${!recipe}"
    bash "../${!recipe}/run.sh" --corpus "${!corpus}" --seeds "$seeds" --base "$base" \
      --size "$size" --small-opts "$small_opts" ${own_train_opts:+--train-opts "$own_train_opts"} \
      --precision $precision ${decode_opts:+--decode-opts "$decode_opts"} ${work_dir:+--work-dir "$work_dir"} --out-of-domain "$out_of_domain" \
      --stop-stage "$([[ $stop_stage -le 5 ]] && echo "$stop_stage" || echo 6)" # the rest is theirs
  done
fi

# link FROM TO: TO, which is a link or not there yet, shows FROM.
link() { mkdir -p "$(dirname "$2")"; ln -sfn "$(realpath "$1")" "$2"; }

if [[ $stop_stage -ge 6 ]]; then
  for set in $test_sets $other_sets; do
    if [[ $set == test_orders ]]; then kind=domain their=test; else kind=accent their=$set; fi
    recipe=${kind}_recipe
    their_data=$(parent data "${!recipe}")/$their their_exp=$(parent exp "${!recipe}")
    [[ -d $their_data && -f $their_exp/base/decode_greedy_$their/score.json ]] ||
      fail "$their_exp: the recipe ${!recipe} has not run there (leave --stage out)"
    link "$their_data" "$data/$set"
    [[ ! -f $their_exp/terms_$their ]] || link "$their_exp/terms_$their" "$exp/terms_$set"
    link "$their_exp/base/decode_greedy_$their" "$exp/base/decode_greedy_$set"
    for ((seed = 1; seed <= seeds; seed++)); do
      link "$their_exp/ia3_seed$seed/decode_greedy_$their" "$exp/${kind}_seed$seed/decode_greedy_$set"
      for record in inputs.json .done; do # how it was trained
        [[ ! -f $their_exp/ia3_seed$seed/$record ]] || link "$their_exp/ia3_seed$seed/$record" "$exp/${kind}_seed$seed/$record"
      done
    done
  done
fi
