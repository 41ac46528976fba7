#!/usr/bin/env bash
# The last job: computes what the array left undone and writes the outputs of CONFIG.
#SBATCH --job-name=tiledseg-assemble
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
#SBATCH --output=%x-%j.log
set -euo pipefail

exec tiledseg run "$1" \
  --threads "$SLURM_CPUS_PER_TASK" \
  --set budget.memory="$((SLURM_MEM_PER_NODE * 8 / 10))MB"
