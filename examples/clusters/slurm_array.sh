#!/usr/bin/env bash
# One job of an array: computes its share of the tiles of CONFIG. Submit with slurm_array_submit.sh.
#SBATCH --job-name=tiledseg
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
#SBATCH --output=%x-%A_%a.log
set -euo pipefail

# exec: tiledseg itself gets the signal that SLURM sends before the walltime ends.
exec tiledseg run "$1" \
  --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" \
  --threads "$SLURM_CPUS_PER_TASK" \
  --set budget.memory="$((SLURM_MEM_PER_NODE * 8 / 10))MB"
