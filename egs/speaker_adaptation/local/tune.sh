#!/usr/bin/env bash
# What conf/speakers.yaml and conf/from_adapter.yaml stand on: learning rates and epochs, tried on speakers whom nothing
# is tested on: those of speechocean762's published train speakers who are held out. Nothing of the test speakers is read.
#
#   bash local/tune.sh --corpus DIR                            from the base
#   bash local/tune.sh --corpus DIR --init-adapter mandarin    from the accent's adapter as well
#
# Options are those of run.sh; what is done is not done again. The table at the end has a line a pair, by name;
# put the values of the best into the two files.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
for rate in 2e-3 5e-3 1e-2 2e-2; do
  for epochs in 3 6 10; do
    bash "$here/../run.sh" "$@" --speakers train --adapt-opts "--learning-rate $rate --epochs $epochs" \
      --variant "rate${rate}_epochs$epochs" --stop-stage 7
  done
done
cd "$here/.."
. ./path.sh
python -m ia3_speech.experiments show exp/speechocean762_train --parts systems
