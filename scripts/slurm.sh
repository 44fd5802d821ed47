#!/usr/bin/env bash
# A Slurm of one node on this machine, for as long as a command runs in it, which may start Slurm's own:
#
#   apt-get install slurm-wlm munge
#   bash scripts/slurm.sh sbatch --wait a.sh
#
# As root. The node pretends to have eight processors and 64 GB, so that as many jobs run at once.
set -euo pipefail
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
"$@"
