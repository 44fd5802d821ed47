#!/usr/bin/env bash
# Who speaks? Each person's adapter is chosen by their voice: how often rightly, and what that gains.
#
#   bash run.sh --corpus DIR/speechocean762 --noises DIR/noises
#   bash run.sh … --size small           a little of it, to see that everything works; --help lists the options
. "$(dirname "$0")/../../recipes/start_study.sh"
