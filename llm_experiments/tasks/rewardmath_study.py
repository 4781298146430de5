"""RewardMATH (Razin et al. 2025, section 5.2), made small, with the published split and with one that does not leak.

The published split is by pair: 99 % of its test pairs have their prompt and the identical chosen response among the
training pairs. The second arm leaves out the training pairs whose prompt is tested. A cluster trains on 150 of the 2000
pairs, so that in the first arm some tested prompts are trained on and some are not: their accuracies stand side by
side. Of UltraFeedback the originals are tested; at the papers' scale its rewrites are as well.

Found, with three clusters, which decide little: implicit models rank 0.956 of the pairs right whose prompt they were
trained on and 0.820 of the others, explicit ones 0.865 and 0.821. These are other prompts, and whether implicit models
gain more is undecided (by 0.09 [-0.06, 0.24]); from the leak-free arm to the published split they gain 0.04 [-0.02,
0.09], explicit ones 0.05 [-0.09, 0.18]. Without the leak a bag of tokens that reads no prompt is ahead of both (0.878;
implicit 0.827, explicit 0.791). On RewardBench's mathematics, where the shorter response wins in 0.94 of the pairs,
implicit models are ahead by 0.33 [0.02, 0.65]; without what length explains by 0.07 [-0.10, 0.23].
"""

from dataclasses import replace
from pathlib import Path

from llm_experiments.cells import Plan
from llm_experiments.tasks.real_claims import real_claims, real_notes
from llm_experiments.tasks.real_pairs import Arm, TestSet, compute_cell, make_base, plan_of, read_prompts
from llm_experiments.tasks.ultrafeedback_study import TESTS as ULTRAFEEDBACK
from simulations.results import Claim, read_json, write_rows

__all__ = ["claims", "compute_cell", "make_base", "plan"]

TRAIN = "razin2025/rewardmath_train.jsonl"
TESTS = (
    TestSet("rewardmath", "razin2025/rewardmath_test.jsonl", "in-distribution"),
    TestSet("rewardbench-math", "razin2025/rewardbench_math_test.jsonl", "token-level shift"),
    TestSet("rewardbench-code", "razin2025/rewardbench_code_test.jsonl", "domain shift"),
    *(replace(test, category="domain shift") for test in ULTRAFEEDBACK[:4]),
)
SMALL = TESTS[:4]
ARMS = (
    Arm("published-split", TRAIN, SMALL, architectures=("mistral",), leak_free=False),
    Arm("leak-free", TRAIN, SMALL, architectures=("mistral",)),
)


def plan(data: Path, *, quick: bool = False) -> Plan:
    return plan_of(ARMS, TESTS, quick=quick)


def claims(folder: Path, plan: Plan) -> tuple[list[Claim], list[str]]:
    rows, prompts = plan.gather(folder), read_prompts(folder, plan)
    write_rows(folder / "prompts.jsonl", prompts)
    overlaps = {name: read_json(folder / name / "overlap.json") for name in plan.cells if name.endswith("mistral-0")}
    return real_claims("rewardmath", rows, prompts), real_notes("rewardmath", rows, overlaps)
