#!/bin/bash
# Two machines by hand: the same command line on both, and on each its own number.
#
#     machine a$ examples/workers/two_machines.sh 0
#     machine b$ examples/workers/two_machines.sh 1
#
# WORKERS names both machines, as each reaches the other; RUN is a folder of a disk that they share,
# and DATA is the same on both. A worker that comes first waits. When one is lost, the other ends with
# exit code 75, and this starts it again: both go on from the last checkpoint. Where a whole machine was
# lost, call this there again. The ports are open to
# whoever reaches the machines, who can run what they like: use a network that you trust.
set -u
index=${1:?which worker is this: 0 or 1?}
WORKERS=${WORKERS:-'"192.168.0.1:23456", "192.168.0.2:23456"'}
RUN=${RUN:-/shared/runs/source}
DATA=${DATA:-tfds:mnist}

export TF_CONFIG="{\"cluster\": {\"worker\": [$WORKERS]}, \"task\": {\"type\": \"worker\", \"index\": $index}}"
for start in 1 2 3 4 5; do
    python -m kt_transfer.pretrain --data "$DATA" --out "$RUN" --resume
    code=$?
    # Done; a mistake, which another start would repeat; stopped by a person.
    case $code in 0 | 2 | 130 | 143) exit "$code" ;; esac
    echo "start $start of 5 ended with $code" >&2
done
exit "$code"
