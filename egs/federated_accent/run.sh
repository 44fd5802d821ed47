#!/usr/bin/env bash
# Federated adaptation to an accent: 125 speakers, whose audio stays with them; IA³ vectors alone travel.
#
#   bash run.sh --corpus DIR/speechocean762                            all experiments; what is finished is not repeated
#   bash run.sh --corpus DIR/speechocean762 --only 'ia3;lora r 4'      some of them (local/experiments.py names them)
#   bash run.sh --corpus DIR/speechocean762 --size small               a little of it, to see that everything works
set -euo pipefail
. "$(dirname "$0")/path.sh" # relative paths on the line are meant from where the user stands
cd "$(dirname "$0")"; . ./cmd.sh; . stages.sh

rounds=30    # N: number of rounds of each experiment
only=""      # 'NAME;NAME': run these experiments only
speakers=125 # N: largest number of speakers on whom re-identification is measured
unset corpus_name prepare init_adapter init_name grid report_opts score_opts register_anyway decode_opts out_of_domain
. parse_options.sh

check_options() { python -c "import flwr" 2>/dev/null || fail "flwr is missing (in the clone:" \
  "$(python -c "from ia3_speech.cli import pip_install; print(pip_install('.[federated,methods]'))"))"; }
init_adapter="" init_name="" out_of_domain=none corpus_name=speechocean762
locate "$@"
lock "$exp"
if [ $stage -le 1 ]; then step "stage 1, prepare clients" $once "$data" "$corpus" -- local/experiments.py prepare "$corpus" "$data" --size "$size"; fi
[ $stop_stage -ge 2 ] || exit 0
for seed in $(seq "$seeds"); do
  local/experiments.py run "$data" "$exp" --base "$base" --rounds "$rounds" --seed "$seed" --only "$only" --size "$size"
done
[[ -f $exp/identify.json ]] || local/experiments.py identify "$data" "$exp" --base "$base" --speakers "$speakers" --size "$size"
local/experiments.py table "$exp"
