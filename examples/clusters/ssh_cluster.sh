#!/usr/bin/env bash
# Segments CONFIG on several machines: a scheduler here, a worker on every HOST through ssh.
#   ssh_cluster.sh CONFIG THREADS HOST...
# CONFIG says in budget.memory how much a worker may take.
# Set ADDRESS to the name or IP under which the hosts reach this machine, TILEDSEG_BIN to the
# folder of dask and tiledseg on the hosts.
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,3s/^# *//p' "$0" >&2
  exit 2
fi
config=$1 threads=$2
shift 2
address=${ADDRESS:-$(hostname -f)}
bin=${TILEDSEG_BIN:-$(dirname "$(command -v dask)")}
scheduler="tcp://$address:${PORT:=8786}"
export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=1 DASK_LOGGING__DISTRIBUTED=warning
dask scheduler --host "$address" --port "$PORT" --no-dashboard &
scheduler_job=$!
trap 'kill "$scheduler_job"; wait' EXIT # the workers leave when their scheduler does
printf -v worker 'cd %q && DASK_LOGGING__DISTRIBUTED=warning exec %q worker %q' "$PWD" "$bin/dask" "$scheduler"
for host in "$@"; do
  ssh -n -o BatchMode=yes "$host" \
    "$worker --nthreads 1 --memory-limit 0 --no-dashboard --death-timeout 60" &
done

tiledseg run "$config" --scheduler "$scheduler" --threads "$threads"
