"""The real preference files: what they hold, and all three kinds trained and scored on human preferences."""

import json

import pytest

from llm_experiments.pairs import load_pairs
from llm_experiments.pretraining import pretrain, read_documents
from llm_experiments.scoring import run_scoring
from llm_experiments.settings import PretrainSettings, ScoreRequest, TrainRequest
from llm_experiments.training import run_training
from simulations.results import UserError, read_json, read_rows
from tests.conftest import real_file
from tests.lm import KINDS

pytestmark = [pytest.mark.data, pytest.mark.integration]

# pairs in, and what cannot be ranked
EMPTY, EQUAL, TIED = (
    "the chosen response is empty",
    "chosen and rejected are the same",
    "the scores of chosen and rejected are tied",
)
REWRITES = {
    f"razin2025/ultrafeedback_{how}_{part}.jsonl": (200, {EQUAL: 1} if part == "train" else {})
    for how in ("paraphrase", "french", "spanish")
    for part in ("train", "test")
}
FILES = {
    "hh_rlhf/harmless-base_test.jsonl.gz": (2312, {EMPTY: 4, "chosen and rejected have different prompts": 5}),
    "ultrafeedback/train_clean.jsonl.gz": (1000, {EQUAL: 4, EMPTY: 1, "the rejected response is empty": 1, TIED: 110}),
    "ultrafeedback/eval_clean.jsonl.gz": (200, {TIED: 24, EQUAL: 1}),
    "razin2025/ultrafeedback_test.jsonl": (200, {}),
    **REWRITES,
    "razin2025/rewardmath_train.jsonl": (2000, {}),
    "razin2025/rewardmath_test.jsonl": (200, {}),
    "razin2025/rewardbench_math_train.jsonl": (34, {}),
    "razin2025/rewardbench_math_test.jsonl": (200, {}),
    "razin2025/rewardbench_code_train.jsonl": (84, {}),
    "razin2025/rewardbench_code_test.jsonl": (200, {}),
    "llmbar/LLMBar_Natural_dataset.json": (100, {}),
    "llmbar/LLMBar_Adversarial_Neighbor_dataset.json": (134, {}),
    "llmbar/LLMBar_Adversarial_GPTInst_dataset.json": (92, {}),
    "llmbar/LLMBar_Adversarial_GPTOut_dataset.json": (47, {}),
    "llmbar/LLMBar_Adversarial_Manual_dataset.json": (46, {}),
    "xstest": (450, {"both models comply, or both refuse": 297, EQUAL: 3}),
    "gsm8k/example_model_solutions.jsonl.gz": (2638, {"both solutions are right, or both wrong": 1842, EQUAL: 3}),
}


@pytest.mark.parametrize("name", FILES)
def test_real_files_load_with_every_degenerate_pair_counted(name, real_data):
    count, dropped = FILES[name]
    file = real_data / name if (real_data / name).is_dir() else real_file(real_data, name)
    pairs = load_pairs(file, bad_pairs="drop")
    assert pairs.pairs_in == count
    assert {reason: len(ids) for reason, ids in pairs.dropped.items()} == dropped
    assert all(pair.prompt and pair.chosen != pair.rejected for pair in pairs)
    if dropped:
        with pytest.raises(UserError, match=r":(\d+| id \S+): .*--bad_pairs drop"):
            load_pairs(file)


@pytest.mark.parametrize(
    ("name", "share"), [("rewardbench_math", 0.945), ("rewardmath", 0.6375), ("rewardbench_code", 0.45)]
)
def test_chosen_is_chosen_the_shorter_text_wins_as_often_as_was_known(name, share, real_data):
    pairs = load_pairs(real_file(real_data, f"razin2025/{name}_test.jsonl"))
    lengths = [(len(pair.chosen), len(pair.rejected)) for pair in pairs]
    assert sum(0.5 * (a == b) + (a < b) for a, b in lengths) / len(pairs) == share


@pytest.fixture(scope="module")
def small_model(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained") / "lm"
    settings = PretrainSettings(hidden=32, layers=2, heads=2, vocab_size=1024, steps=20, block=64)
    text = read_documents([real_file(real_data, "text/wikitext2_valid.txt")])
    answers = ["Yes\nNo"] * 500  # hardly any in an encyclopedia, and a generative model needs them as tokens
    return pretrain(text[:2000] + answers, "mistral", folder, settings)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_scores_on_human_preferences(kind, small_model, real_data, tmp_path, capsys):
    """HH-RLHF: transcripts of several turns, the prompt implicit, four empty responses, five prompts that differ."""
    file = str(real_file(real_data, "hh_rlhf/harmless-base_test.jsonl.gz"))
    shared = {"bad_pairs": "drop", "max_length": 160}
    trained = run_training(
        TrainRequest(
            kind=kind, model=str(small_model), pairs=file, output=tmp_path / "run", max_steps=5, learning_rate=1e-3,
            **shared,
        )
    )  # fmt: skip
    printed = capsys.readouterr().err
    for line in ("of 2312 kept", "4 the chosen response is empty", "5 chosen and rejected have different prompts"):
        assert line in printed
    model = tmp_path / "run" / "model"
    scored = run_scoring(ScoreRequest(model=str(model), pairs=(file,), output=tmp_path / "scores", **shared))
    overlap = scored["harmless-base_test"].pop("overlap")  # the model knows its training pairs: these
    assert overlap["pair"] == overlap["any"] == scored["harmless-base_test"]["n"]
    assert scored == trained
    names = ("run", "scores")
    rows = [read_rows(tmp_path / name / "scores" / "harmless-base_test.jsonl") for name in names]
    assert rows[0] == [{key: value for key, value in row.items() if key != "shared"} for row in rows[1]]
    audits = [read_json(tmp_path / name / "provenance.json")["audits"]["harmless-base_test"] for name in names]
    assert scored["harmless-base_test"]["n"] == audits[0]["kept"] == len(rows[0]) > 300
    assert audits[0]["token_hash"] == audits[1]["token_hash"]
    assert json.loads((model / "rewardgap.json").read_text())["kind"] == kind
