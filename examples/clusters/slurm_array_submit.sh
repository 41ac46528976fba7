#!/usr/bin/env bash
# Submits an array of JOBS jobs that share the tiles of CONFIG, and a last job that assembles.
#   slurm_array_submit.sh CONFIG JOBS [options of sbatch for all jobs, like --mem=8G --partition=cpu]
set -euo pipefail
if [ $# -lt 2 ]; then
  sed -n '2,3s/^# *//p' "$0" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
config=$1 jobs=$2
shift 2

array=$(sbatch --parsable "$@" --array="1-$jobs" "$here/slurm_array.sh" "$config")
array=${array%%;*} # on a federation the cluster's name follows
last=$(sbatch --parsable "$@" --dependency="afterany:$array" "$here/slurm_assemble.sh" "$config")
echo "array ${array}, then ${last%%;*}; watch them with: squeue --me"
