#!/bin/bash
#SBATCH --job-name=rewardgap
#SBATCH --array=0-7
#SBATCH --cpus-per-task=1
#SBATCH --time=04:00:00
#SBATCH --requeue
# Eight workers on one study:  sbatch llm_experiments/configs/slurm_array.sh lin2024 --output runs/study/lin2024
# All of them run the same command and take the cells that are free, so their number is up to you: a worker that is
# killed leaves its cell to the others, and one that starts late joins in. The folder must be shared by the machines.
# At the papers' scale, a GPU each:  sbatch --gpus-per-task=1 ... lin2024 --scale paper --output runs/study/lin2024-paper
set -euo pipefail
export OMP_NUM_THREADS=1
echo "worker ${SLURM_ARRAY_TASK_ID} on $(hostname)"
exec rewardgap study "$@" --jobs 1
