#!/bin/sh
# Everything that is to be known about an NVIDIA GPU, in one command and below ten minutes: the functional tests first,
# then engines x batch x precision, FastHMR's merging against the plain networks, whole frames for 1 to 10 people.
#   sh scripts/gpu_check.sh OUT          on the GPU (requirements/gpu.txt, export.txt, dev.txt)
#   sh scripts/gpu_check.sh --toy OUT    on a CPU at toy size: tries the command, says nothing about a GPU
# OUT/*.log: each step's output; OUT/bench.json: all figures, written after every network. No step's failure ends it; the
# last line is the summary, the exit code 1 where a step failed.
# Environment: NETWORKS (a choice that fits into the time), BATCHES, RUNS, PEOPLE, SECONDS_BENCH (400), PYTHON.
set -u
toy=0
[ "${1:-}" = --toy ] && { toy=1; shift; }
out=${1:?"usage: sh scripts/gpu_check.sh [--toy] OUT"}
python=${PYTHON:-python}
mkdir -p "$out"
if [ $toy = 1 ]; then
    device=cpu mark="not gpu and not slow" networks=${NETWORKS:-toy toy-again} batches=${BATCHES:-1 2}
    runs=${RUNS:-2} people=${PEOPLE:-1 2}
else
    device=cuda mark=gpu networks=${NETWORKS:-hmr2-s hmr2-s-fast hmr2-b hmr2-b-fast swin-t-s2 pose-vit-s}
    batches=${BATCHES:-1 8 16} runs=${RUNS:-20} people=${PEOPLE:-1 2 6 10}
fi
failed=
steps=0
step() { # name, seconds, command ...
    name=$1 seconds=$2
    shift 2
    steps=$((steps + 1))
    start=$(date +%s)
    if timeout -k 5 "$seconds" "$@" >"$out/$name.log" 2>&1; then said=ok; else said="FAILED ($?)" failed="$failed $name"; fi
    echo "$name: $said, $(($(date +%s) - start)) s"
    tail -n "${lines:-3}" "$out/$name.log" | sed 's/^/    /'
}
step doctor 120 "$python" -m bodycast doctor
step tests-driver 120 "$python" -m pytest -q -n0 tests/engines/test_cuda_device.py tests/engines/test_onnxruntime_cuda.py \
    tests/engines/test_tensorrt_engine.py -m "not slow"
step tests-device 120 "$python" -m pytest -q -n0 tests/engines/test_cuda_engines.py tests/engines/test_gpu_graphs.py \
    tests/engines/test_plans.py -m "$mark"
# shellcheck disable=SC2086 - one word a network, a batch, a number of people
lines=60 step bench "${SECONDS_BENCH:-400}" "$python" -m evaluation bench $networks --gpu --device $device \
    --batches $batches --runs "$runs" --people $people --json "$out/bench.json"
if [ -z "$failed" ]; then
    echo "gpu check on $device finished: $steps steps, none failed"
else
    echo "gpu check on $device finished: $steps steps, failed:$failed"
    exit 1
fi
