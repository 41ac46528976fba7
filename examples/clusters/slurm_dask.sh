#!/usr/bin/env bash
# The driver as a job: it submits the workers and assembles. sbatch slurm_dask.sh CONFIG CLUSTER.yaml
#SBATCH --job-name=tiledseg-driver
#SBATCH --cpus-per-task=1
#SBATCH --mem=8G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
#SBATCH --output=%x-%j.log
set -euo pipefail

exec tiledseg run "$1" --cluster "$2"
