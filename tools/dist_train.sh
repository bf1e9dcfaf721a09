#!/usr/bin/env bash
# Train with several processes: tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# NNODES, NODE_RANK, MASTER_ADDR and PORT choose the machines. With RESTARTS=3 processes that fail are
# started again up to three times; such a run goes on from the last checkpoint (--resume).
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: $0 CONFIG GPUS [options of tools/train.py]" >&2
  exit 2
fi
address="${MASTER_ADDR:-127.0.0.1}" port="${PORT:-29500}" nodes="${NNODES:-1}"
meeting=(--node-rank="${NODE_RANK:-0}" --master-addr="$address" --master-port="$port")
if [ "${RESTARTS:-0}" != 0 ]; then
  meeting=(--rdzv-backend=c10d --rdzv-endpoint="$address:$port" --rdzv-id="${RUN_ID:-train}")
  [ "$nodes" != 1 ] || meeting+=(--local-addr="$address")
  # A store that outlives restarts would return addresses of processes that have ended.
  export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
fi
# Seconds that processes have to save after SIGTERM, before they are killed.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-60}"
exec "${PYTHON:-python}" -m torch.distributed.run \
  --nnodes="$nodes" "${meeting[@]}" --max-restarts="${RESTARTS:-0}" --nproc-per-node="$2" \
  "$(dirname "$0")/train.py" "$1" --launcher pytorch "${@:3}"
