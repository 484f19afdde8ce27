#!/bin/bash
# charter on a Ray cluster of all nodes of a SLURM job: sbatch slurm.sh cluster.yaml /shared/runs/aligned
# The same command goes on with a run that was cut off, also on other nodes.
#SBATCH --job-name=charter
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail
spec=$1 run=$2 port=6379

# This script runs on the first node. It is the head, and `executor.address: auto` finds it there.
head=$(hostname --ip-address | cut --delimiter=' ' --fields=1)
trap 'ray stop --force' EXIT
ray start --head --node-ip-address="$head" --port="$port" --num-cpus="$SLURM_CPUS_PER_TASK" --disable-usage-stats

others=$((SLURM_JOB_NUM_NODES - 1))
if [ "$others" -gt 0 ]; then
  srun --nodes="$others" --ntasks-per-node=1 --exclude="$(hostname)" \
    ray start --address="$head:$port" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
fi

# Nothing waits for the nodes here: charter does, for executor.wait_s.
charter run "$spec" --out "$run" --quiet
