#!/usr/bin/env bash
# Does the adapter of an accent add up with the adapter of a domain? Every sum is measured beside its parts, on real people.
#
#   bash run.sh --accent-corpus DIR/speechocean762 --domain-corpus DIR/speech-to-intent-benchmark
#   bash run.sh … --size small           a little of it, to see that everything works; --help lists the options
. "$(dirname "$0")/../../recipes/start_study.sh"
