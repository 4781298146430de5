"""UltraFeedback, its real GPT-4.1 rewrites and other domains (Razin et al. 2025, section 5.2), made small.

Not as published: a sample of 150 of the pairs per cluster, pairs of at most 384 tokens, small language models made
here, training prompts that occur in a test set left out, beta 0.1 and a learning rate for small models.

Expected, written before the first run: the signs of the paper's three gaps between explicit and implicit models.

Found: explicit minus implicit is +0.055 [+0.007, +0.102] in distribution, +0.108 [+0.075, +0.142] on the rewrites and
-0.029 [-0.092, +0.035] in other domains: the first two hold, the third is undecided. Over the 58 prompts that fit, not
over clusters, the first is +0.055 [-0.066, +0.176]: other prompts could undo it. Without what length explains it is
+0.017 [-0.029, +0.063], and a rule that counts the tokens shared with the training responses (0.615) is ahead of both
kinds there (0.572, 0.517). What advantage the implicit models have in other domains, where the longer response wins in
0.32 of the pairs, is length: without what length explains, explicit models are ahead by 0.088 [0.055, 0.121]. The gap
where token overlap with training is lowest minus that where it is highest is 0.00 [-0.08, 0.08]. Explicit models fit
0.78 of their training pairs, implicit ones 0.98.

The six clusters are two language models crossed with three samples. Over the samples, language models averaged, the
same gaps are [0.005, 0.104], [0.076, 0.140], [-0.170, 0.112] and, without length in other domains, [0.021, 0.154].
"""

from pathlib import Path

from llm_experiments.cells import Plan
from llm_experiments.tasks.real_claims import PUBLISHED, real_claims, real_notes
from llm_experiments.tasks.real_pairs import Arm, TestSet, compute_cell, make_base, plan_of, read_prompts
from simulations.results import Claim, read_json, write_rows

__all__ = ["claims", "compute_cell", "make_base", "plan"]

TRAIN = "ultrafeedback/train_clean.jsonl.gz"
TESTS = (
    TestSet("ultrafeedback", "razin2025/ultrafeedback_test.jsonl", "in-distribution", "ultrafeedback"),
    TestSet("paraphrase", "razin2025/ultrafeedback_paraphrase_test.jsonl", "token-level shift", "ultrafeedback"),
    TestSet("french", "razin2025/ultrafeedback_french_test.jsonl", "token-level shift", "ultrafeedback"),
    TestSet("spanish", "razin2025/ultrafeedback_spanish_test.jsonl", "token-level shift", "ultrafeedback"),
    TestSet("rewardbench-math", "razin2025/rewardbench_math_test.jsonl", "domain shift"),
    TestSet("rewardbench-code", "razin2025/rewardbench_code_test.jsonl", "domain shift"),
    TestSet("rewardmath", "razin2025/rewardmath_test.jsonl", "domain shift"),
)
ARMS = (Arm("published", TRAIN, TESTS),)


def plan(data: Path, *, quick: bool = False) -> Plan:
    return plan_of(ARMS, TESTS, quick=quick)


def claims(folder: Path, plan: Plan) -> tuple[list[Claim], list[str]]:
    rows, prompts = plan.gather(folder), read_prompts(folder, plan)
    write_rows(folder / "prompts.jsonl", prompts)
    overlaps = {name: read_json(folder / name / "overlap.json") for name in list(plan.cells)[:1]}
    return real_claims("ultrafeedback", rows, prompts, PUBLISHED), real_notes("ultrafeedback", rows, overlaps)
