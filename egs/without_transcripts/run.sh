#!/usr/bin/env bash
# Without transcripts: what self-training and test-time adaptation gain beside the same with transcripts, on an accent, a
# telephone line and single speakers; against test-time adaptation of layer norms, and pseudo-labels without a filter.
#
#   bash run.sh --corpus DIR             DIR/speechocean762 and DIR/minds14; --help lists the options
. "$(dirname "$0")/../../recipes/start_study.sh"
