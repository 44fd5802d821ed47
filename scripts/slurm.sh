#!/usr/bin/env bash
# A Slurm of one node on this machine, for as long as a command runs in it; without one, the check that a recipe gives
# the same numbers as jobs of Slurm (recipes/utils/slurm) as it does as processes (recipes/utils/run):
#
#   apt-get install slurm-wlm munge
#   bash scripts/slurm.sh                        egs/speaker_adaptation's twelve voices, both ways, in eight jobs
#   bash scripts/slurm.sh sbatch --wait a.sh     any command, with Slurm's own in it
#
# As root. The node pretends to have eight processors and 64 GB, so that as many jobs run at once.
set -euo pipefail
root=$(CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PATH=$PATH:/usr/sbin

for program in munged slurmctld slurmd srun; do
  command -v $program >/dev/null || { echo "error: no $program (apt-get install slurm-wlm munge)" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'kill $(cat "$work"/*.pid 2>/dev/null) 2>/dev/null || true; sleep 1; rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -m 711 "$work/munge"
mkdir "$work/state" "$work/spool"
head -c 1024 /dev/urandom >"$work/munge/key"
chmod 600 "$work/munge/key"

cat >"$work/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$((20000 + RANDOM % 10000))
SlurmdPort=$((30000 + RANDOM % 2000))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
CredType=cred/munge
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
CONF
echo "CgroupPlugin=disabled" >"$work/cgroup.conf"
export SLURM_CONF=$work/slurm.conf

munged --socket "$work/munge/socket" --key-file "$work/munge/key" --seed-file "$work/munge/seed" \
  --pid-file "$work/munged.pid" --log-file "$work/munge/log"
slurmctld
slurmd
for _ in $(seq 30); do [[ $(sinfo -h -o %T 2>/dev/null) == idle ]] && break; sleep 1; done
sinfo -o '%P %N %T %c' || { tail "$work"/*.log >&2; exit 1; }
if [[ $# -gt 0 ]]; then "$@"; exit; fi

export IA3_SPEECH_HOME=$work/home
for way in run slurm; do
  export train_cmd="$way --mem 2G --num-threads 1" decode_cmd="$way --mem 2G --num-threads 1"
  bash "$root/egs/speaker_adaptation/run.sh" --nj 8 --k 4 --folds 2 --adapt-opts "--epochs 1" \
    --out-of-domain none --work-dir "$work/$way"
  cat "$work/$way"/exp/*/*/decode_greedy_test/{text,hyp.ctm} >"$work/$way.texts"
done
cmp "$work/run.texts" "$work/slurm.texts"
echo "$(grep -c 'WEXITSTATUS 0' "$work/slurmctld.log") jobs of Slurm, whose texts and times of words are those of run, byte for byte"
