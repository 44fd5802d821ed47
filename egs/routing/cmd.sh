#!/usr/bin/env bash
# How jobs are started here; put your site's queue.pl or slurm.pl in front of this line (see recipes/cmd.sh).
. "$(dirname "${BASH_SOURCE[0]}")/../../recipes/cmd.sh"
