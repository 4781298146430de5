#!/bin/bash
#SBATCH --job-name=rewardgap
#SBATCH --array=0-7
#SBATCH --cpus-per-task=1
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
# Eight workers on one study:  sbatch llm_experiments/configs/slurm_array.sh lin2024 --output runs/study/lin2024
# All of them run the same command and take the cells that are free, so their number is up to you: a worker that is
# killed leaves its cell to the others, and one that starts late joins in. The folder must be shared by the machines.
#
# --time ends a worker, not the study: submit the same line again, and it goes on. A small study's finished cells are
# kept (the longest one must fit into --time); a recipe at the papers' scale continues from its newest checkpoint, one
# every ten minutes and one when Slurm says TERM, two minutes before the end. What a recipe takes in all:
#   rewardgap study ultrafeedback --scale paper --plan     GPU hours, gigabytes, GPUs
# At the papers' scale, where the plan says one GPU per recipe, each worker has one:
#   sbatch --time=24:00:00 --gres=gpu:1 --mem=64G ... ultrafeedback --scale paper --output runs/study/ultrafeedback-paper
# Where it says more, one job computes one recipe after the other on all of its GPUs (in fsdp2.yaml, mixed_precision:
# no computes as published):
#   sbatch --time=24:00:00 --gres=gpu:4 --mem=256G --wrap "accelerate launch --config_file
#     llm_experiments/configs/fsdp2.yaml --num_processes 4 -m rewardgap study ultrafeedback --scale paper ..."
set -euo pipefail
export OMP_NUM_THREADS=1
echo "worker ${SLURM_ARRAY_TASK_ID} on $(hostname)"
exec rewardgap study "$@" --jobs 1
