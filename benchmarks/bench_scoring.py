"""Scoring real transcripts beside the usual loop: Anthropic's HH test pairs, a Gemma classifier of width 256, 4 layers.

    REWARDGAP_DATA=DIR python benchmarks/bench_scoring.py      writes benchmarks/results/scoring.json

The loop takes pairs as they come, pads each batch to its longest transcript and calls transformers' own sequence
classifier. Ours sorts by length and computes what both transcripts begin with once. Both are given the same token ids
and 16 transcripts at a time, and their rewards are compared. Weights are random: they cost what trained ones cost.
"""

import os
import time
from pathlib import Path
from typing import Any

from measure import alone, save

PAIRS, BATCH, VOCABULARY, LONGEST = 128, 16, 8192, 1024


def prepare() -> tuple[Any, list[Any]]:
    import torch
    from transformers import AutoModelForSequenceClassification

    from llm_experiments.encoding import encode_pairs
    from llm_experiments.pairs import load_pairs
    from llm_experiments.pretraining import build_config, train_tokenizer
    from llm_experiments.settings import EncodingSettings, PretrainSettings

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    folder = Path(os.environ["REWARDGAP_DATA"]) / "hh_rlhf"
    pairs = load_pairs(str(next(folder.glob("harmless-base_test.jsonl*"))), bad_pairs="drop")
    some = list(pairs)[:PAIRS]
    texts = [str(text) for pair in some for text in (pair.prompt, pair.chosen, pair.rejected)]
    tokenizer = train_tokenizer(texts, PretrainSettings(vocab_size=VOCABULARY))
    encoded, _ = encode_pairs(some, tokenizer, EncodingSettings(max_length=LONGEST, bad_pairs="drop"))
    config = build_config("gemma", vocab_size=len(tokenizer), hidden=256, layers=4, heads=4, max_positions=2048)
    config.num_labels = 1
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config).eval(), encoded


def loop() -> dict[str, Any]:
    import torch

    classifier, pairs = prepare()
    sequences = [pair.sequence("explicit", side)[0] for pair in pairs for side in ("chosen", "rejected")]
    batches = [sequences[at : at + BATCH] for at in range(0, len(sequences), BATCH)]
    padded = [torch.nn.utils.rnn.pad_sequence([torch.tensor(s) for s in b], batch_first=True) for b in batches]

    def run() -> list[float]:
        with torch.no_grad():
            return [
                reward
                for ids in padded
                for reward in classifier(input_ids=ids, attention_mask=(ids != 0).long()).logits[:, 0].tolist()
            ]

    return timed(run, len(pairs)) | {
        "tokens": sum(map(len, sequences)),
        "tokens_computed": sum(ids.numel() for ids in padded),
    }


def ours(shared: bool) -> dict[str, Any]:
    from llm_experiments.models import RewardModel
    from llm_experiments.scoring import score_pairs

    classifier, pairs = prepare()
    model = RewardModel("explicit", classifier.base_model, head=classifier.score)
    model.shared.on = shared

    def run() -> list[float]:
        rows = score_pairs(model, pairs, batch_size=BATCH)
        return [row[f"scores_{side}"] for row in rows for side in ("chosen", "rejected")]

    return timed(run, len(pairs))


def timed(run: Any, pairs: int) -> dict[str, Any]:
    """The faster of two runs."""
    found = []
    for _ in range(2):
        wall, processor = time.perf_counter(), time.process_time()
        rewards = run()
        found.append((time.perf_counter() - wall, time.process_time() - processor))
    wall, processor = min(found)[0], min(seconds for _, seconds in found)
    return {"pairs_per_second": pairs / wall, "pairs_per_processor_second": pairs / processor, "rewards": rewards}


def main() -> None:
    if not os.environ.get("REWARDGAP_DATA"):
        print("bench_scoring.py: not measured: REWARDGAP_DATA is not set")
        return
    plain, sorted_alone, both = alone(loop), alone(ours, False), alone(ours, True)
    rewards = plain.pop("rewards")
    difference = max(
        abs(a - b) for other in (sorted_alone, both) for a, b in zip(rewards, other.pop("rewards"), strict=True)
    )
    rows = {
        "pairs": PAIRS,
        "transcripts_at_a_time": BATCH,
        "plain_loop": plain,
        "ours_without_shared_prompts": sorted_alone,
        "ours": both,
        "times_faster": both["pairs_per_second"] / plain["pairs_per_second"],
        "times_faster_in_processor_seconds": both["pairs_per_processor_second"] / plain["pairs_per_processor_second"],
        "largest_difference_of_rewards": difference,
        "spread_of_rewards": max(rewards) - min(rewards),
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
    }
    save("scoring", "score_pairs with a loop over padded batches", rows, ("torch", "transformers"))


if __name__ == "__main__":
    main()
