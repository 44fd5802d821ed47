#!/usr/bin/env bash
# Federated adaptation to an accent: 125 speakers, whose audio stays with them; IA³ vectors alone travel.
#
#   bash run.sh --corpus DIR/speechocean762                            all experiments; what is finished is not repeated
#   bash run.sh --corpus DIR/speechocean762 --only 'ia3;lora r 4'      some of them; --help lists the options
. "$(dirname "$0")/../../recipes/start_study.sh"
