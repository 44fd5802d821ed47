#!/usr/bin/env bash
# Source this: how jobs are started. `run` starts them on this machine, `slurm` as jobs of Slurm (docs/clusters.md); a site's
# own queue.pl or slurm.pl is called as Kaldi calls it, `$cmd [--mem 4G] [--gpu 1] JOB=1:n exp/log/x.JOB.log command …`:
#
#   export train_cmd="slurm --mem 8G --gpu 1"
#   export decode_cmd="slurm --mem 4G"           # with --nj 8 a set is decoded in eight such jobs
#   export score_cmd="run"                       # where decode_cmd asks for a GPU

# One training at a time on one machine; it uses all the cores.
# Several seeds side by side, a thread each, are a quarter faster on a CPU in float32, and not in bf16:
#
#   export OMP_NUM_THREADS=1 train_cmd="run --max-jobs-run 2"
export train_cmd=${train_cmd:-"run --max-jobs-run 1"}
export decode_cmd=${decode_cmd:-"run --max-jobs-run 1"}
export score_cmd=${score_cmd:-$decode_cmd}
