#!/bin/bash
# A whole run as one Slurm job on one node, through as many time limits as it takes; from the project's folder:
#   sbatch profiles/slurm/one_job.sh dvc repro
#   sbatch --time=8:00:00 --gpus=1 --cpus-per-task=8 profiles/slurm/one_job.sh snakemake --cores 8 --profile profiles/gpu
# Two minutes before the limit Slurm sends SIGUSR1 to this script; the stage that is running saves, and the job goes back into
# the queue. A run that fails by itself, and one that scancel has ended, do not. Options of sbatch take precedence over these:
#SBATCH --job-name=depthmask
#SBATCH --nodes=1 --ntasks=1
#SBATCH --time=1:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
REQUEUES_MAX=1000 # a stage that cannot save and needs more than the time limit would be started for ever

[ $# -gt 0 ] || set -- dvc repro
if [ -d .venv/bin ]; then PATH=$PWD/.venv/bin:$PATH; fi

stopped=
stop() {
  trap '' USR1 USR2 TERM # the script itself is in the group that it signals
  stopped=$1
  kill -s "$1" 0
}
for name in USR1 USR2 TERM; do
  # shellcheck disable=SC2064
  trap "stop $name" $name
done

# DVC does not handle these signals and would be gone at once, and Slurm would end its stage with this script. What is ignored
# here is ignored by all that DVC starts; stages handle the signals all the same
(
  trap '' USR1 USR2 TERM
  exec "$@"
) &
run=$!
wait "$run"
code=$?
while kill -0 "$run" 2>/dev/null; do # a signal has interrupted the waiting
  wait "$run"
  code=$?
done

if [ "$code" -ne 0 ] && [ "$stopped" = USR1 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
  if [ "${SLURM_RESTART_COUNT:-0}" -ge "$REQUEUES_MAX" ]; then
    echo "one_job.sh: not put back into the queue: it has been there $REQUEUES_MAX times (REQUEUES_MAX)" >&2
  else
    echo "one_job.sh: job $SLURM_JOB_ID goes back into the queue, to resume" >&2
    scontrol requeue "$SLURM_JOB_ID"
  fi
fi
exit "$code"
