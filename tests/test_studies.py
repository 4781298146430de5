"""Recipes at the papers' scale resolve, and train one step with a small model; plans say what would run."""

import gzip
import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import lm
import pytest

import rewardgap
from llm_experiments.locks import locked
from llm_experiments.named_datasets import HUB_SETS
from llm_experiments.paper_pairs import paper_pairs
from llm_experiments.recipes import RECIPES, Recipe, run_recipes
from llm_experiments.training import run_training
from simulations.results import read_json, read_rows

EVERY = [recipe for recipes in RECIPES.values() for recipe in recipes]


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory) -> Path:
    """Every file that a recipe reads, in its published shape, with a few made-up rows."""
    from llm_experiments.tasks import rewardmath_study, ultrafeedback_study

    root = tmp_path_factory.mktemp("data")
    (root / "persona").mkdir()
    for name in ("agreeableness", "openness"):
        rows = [{"question": f"Would you say {n}?", "answer_matching_behavior": " Yes"} for n in range(130)]
        (root / "persona" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tests = (*ultrafeedback_study.TESTS, *rewardmath_study.TESTS)
    for file in {ultrafeedback_study.TRAIN, rewardmath_study.TRAIN, *(test.file for test in tests)}:
        rows = [{"prompt": f"{file} {n}?", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(4)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).write_bytes(gzip.compress(text.encode()) if file.endswith(".gz") else text.encode())
    (root / "hub").mkdir()
    for name in HUB_SETS:
        rows = [
            {"chosen": f"\n\nHuman: {n}?\n\nAssistant: {name}", "rejected": f"\n\nHuman: {n}?\n\nAssistant: no"}
            for n in range(99)
        ]
        (root / "hub" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    lm.language_model("mistral", max_position_embeddings=2048).save_pretrained(folder)
    lm.tokenizer().save_pretrained(folder)
    return str(folder)


def one_step(recipe: Recipe, data: Path, tiny: str, folder: Path) -> None:
    trains, tests = paper_pairs(recipe.study, data, folder)
    few = folder / "few.jsonl"
    few.write_text("".join(json.dumps(row) + "\n" for row in read_rows(tests[0])[:3]))
    request = recipe.request(trains[recipe.trained_on], [few], folder, model=tiny)
    small = replace(request, max_steps=1, per_device_train_batch_size=2, gradient_accumulation_steps=1)
    metrics = run_training(small)
    assert metrics["few"]["n"] == 3
    config = read_json(request.output / "config.json")
    lin, implicit = recipe.study == "lin2024", recipe.kind == "implicit"
    assert (config["learning_rate"], config["kind"]) == (5e-6 if lin and not implicit else 1e-6, recipe.kind)
    assert config["beta"] == ((0.03 if lin else 0.01) if implicit else 0)
    assert config["num_train_epochs"] == (recipe.epochs if not lin else 2 if implicit else 1)


def kinds_of_work() -> list[Recipe]:
    """One recipe per study, kind, change and training file: models differ in size alone."""
    return list({(recipe.study, recipe.kind, recipe.ablation, recipe.trained_on): recipe for recipe in EVERY}.values())


@pytest.mark.integration
@pytest.mark.parametrize("recipe", [RECIPES["persona"][1], RECIPES["ablations"][0]], ids=lambda recipe: recipe.name)
def test_a_recipe_trains_one_step_with_a_small_model(recipe, toy_data, tiny, tmp_path):
    one_step(recipe, toy_data, tiny, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", kinds_of_work(), ids=lambda recipe: f"{recipe.study}-{recipe.name}")
def test_every_recipe_trains_one_step_with_a_small_model(recipe, toy_data, tiny, tmp_path):
    one_step(recipe, toy_data, tiny, tmp_path)


def test_recipes_have_names_of_their_own_and_published_settings():
    for recipes in RECIPES.values():
        assert len({recipe.name for recipe in recipes}) == len(recipes)
    for recipe in EVERY:
        assert recipe.batch * recipe.accumulation * recipe.devices == 32
        assert recipe.gpu_hours > 0


@pytest.mark.parametrize("recipe", [RECIPES["persona"][0], RECIPES["ultrafeedback"][5], RECIPES["lin2024"][0]])
def test_a_step_has_the_published_batch_on_any_number_of_devices(recipe, tmp_path):
    for processes in {1, recipe.devices}:
        request = recipe.request(tmp_path, [], tmp_path, processes=processes)
        assert request.per_device_train_batch_size * request.gradient_accumulation_steps * processes == 32


def test_processes_that_cannot_make_the_published_batch_are_refused_before_anything_is_written(
    toy_data, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("WORLD_SIZE", "3")
    arguments = ["study", "persona", "--scale", "paper", "--data", str(toy_data), "--output", str(tmp_path / "run")]
    assert rewardgap.main(arguments) == 2
    error = capsys.readouterr().err
    assert "3 processes cannot share its 4 passes of 8 pairs a step evenly; start one of 1, 2, 4\n" in error
    assert not (tmp_path / "run").exists()


def test_a_model_that_the_hub_keeps_back_is_told_before_anything_is_written(toy_data, tmp_path, capsys):
    """HF_HUB_OFFLINE=1, as in all tests."""
    arguments = ["study", "persona", "--scale", "paper", "--data", str(toy_data), "--output", str(tmp_path / "run")]
    assert rewardgap.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: EleutherAI/pythia-1b: no tokenizer could be loaded (")
    assert "); HF_HUB_OFFLINE=1 forbids to ask the hub: " in error
    assert "`hf download EleutherAI/pythia-1b`" in error
    assert "hf auth login" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("study", "name", "gigabytes", "gpus"),
    [
        ("ultrafeedback", "Llama-3.1-8B-Instruct-explicit", 2 * 4 * 8.03, 1),
        ("ultrafeedback", "Llama-3.1-8B-Instruct-implicit", 2 * 5 * 8.03, 2),
        ("ablations", "Llama-3.2-1B-Instruct-implicit-no-reference", 4 * 4 * 1.24, 1),
        ("ablations", "Llama-3.2-1B-Instruct-explicit-frozen-backbone", 4 * 1.24, 1),
        # the backbone, a copy of the output layer with gradient and moments, the reference
        ("ablations", "Llama-3.2-1B-Instruct-implicit-frozen-backbone", 4 * (1.24 + 4 * 0.26 + 1.24), 1),
    ],
)
def test_memory_is_that_of_what_is_trained_and_of_a_reference_where_there_is_one(study, name, gigabytes, gpus):
    recipe = next(recipe for recipe in RECIPES[study] if recipe.name == name)
    assert recipe.gigabytes == pytest.approx(gigabytes)
    assert recipe.gpus == gpus


def test_training_cost_grows_with_tokens_parameters_and_reference():
    explicit, implicit = RECIPES["ultrafeedback"][:2]
    assert implicit.gpu_hours == pytest.approx(explicit.gpu_hours * (6 * 5 + 2) / (6 * 5))
    assert replace(explicit, pairs=4000).gpu_hours == pytest.approx(2 * explicit.gpu_hours)
    frozen = next(recipe for recipe in RECIPES["ablations"] if recipe.name.endswith("explicit-frozen-backbone"))
    assert frozen.gpu_hours == pytest.approx(explicit.gpu_hours / 3)  # forward passes alone
    # two sequences a pair, six operations per parameter and token
    assert explicit.gpu_hours == pytest.approx(6 * 5 * 2 * 2000 * 430 * 1.24e9 / (0.4 * 19.5e12) / 3600)


def test_pairs_of_the_recipes_hold_no_tested_prompt_in_training(toy_data, tmp_path):
    trains, tests = paper_pairs("persona", toy_data, tmp_path)
    trained = {row["prompt"] for row in read_rows(trains["train"])}
    tested = next(path for path in tests if "test_prompts" in path.name)
    assert not {row["prompt"] for row in read_rows(tested)} & trained
    assert len(trained) == 80
    assert {row["subset"] for row in read_rows(tested)} >= {"published", "prefix_swap", "prefix_free"}


def test_recipes_that_another_process_trains_are_left_to_it(monkeypatch, tmp_path):
    first, *others = (recipe.name for recipe in RECIPES["ultrafeedback"])
    other_process = ExitStack()
    other_process.enter_context(locked(tmp_path / first))
    trained = []

    def train(request):
        trained.append(request.output.name)
        if request.output.name == others[-1]:
            other_process.close()
        return {"test": {"n": 3}}

    monkeypatch.setattr("llm_experiments.training.run_training", train)
    monkeypatch.setattr("llm_experiments.weights.load_tokenizer", lambda model: None)
    monkeypatch.setattr("llm_experiments.recipes.paper_pairs", lambda *_: ({"train": tmp_path}, []))
    assert list(run_recipes("ultrafeedback", tmp_path, tmp_path)) == [first, *others]
    assert trained == [*others, first]


def test_no_prompt_is_on_both_sides_in_any_of_lins_sets(toy_data, tmp_path):
    """The six toy sets share all their prompts."""
    trains, tests = paper_pairs("lin2024", toy_data, tmp_path)
    assert set(trains) == set(HUB_SETS) == {recipe.trained_on for recipe in RECIPES["lin2024"]}
    trained, tested = (
        {row["prompt"] for path in paths for row in read_rows(path)} for paths in (trains.values(), tests)
    )
    assert not trained & tested
    assert len(trained | tested) == 99


def test_plans_print_what_would_run(toy_data, capsys):
    assert rewardgap.main(["study", "persona", "--plan", "--data", str(toy_data)]) == 0
    cells, worker = capsys.readouterr().out.split("\n\n")
    head, *names = cells.splitlines()
    bases = sum(name.startswith("models/") for name in names)
    assert "mistral-terminator/0" in names
    assert head == f"{bases} language models, {len(names) - bases} cells"
    assert worker.splitlines()[1].startswith("rewardgap study persona --scale small --data ")
    assert rewardgap.main(["study", "ultrafeedback", "--scale", "paper", "--plan"]) == 0
    out = capsys.readouterr().out
    assert "Llama-3.1-8B-Instruct-implicit" in out
    assert "GPU hours" in out
    assert "over all devices together" in out
    assert "Gated: meta-llama/Llama-3.2-1B-Instruct, " in out


def test_mistakes_are_one_line(tmp_path, capsys):
    for arguments, word in (
        (["study", "nonsense"], "persona"),
        (["study", "repiar"], "did you mean repair?"),
        (["study", "persona", "--scale", "paper", "--quick"], "--scale paper has no quick form"),
        (["study", "language", "--scale", "paper"], "no recipe"),
        (["study", "persona", "--data", str(tmp_path)], "make data"),
    ):
        assert rewardgap.main(arguments) == 2
        error = capsys.readouterr().err
        assert word in error
        assert error.count("\n") == 1


def test_the_longest_of_a_micro_batch_lose_their_last_token_and_nothing_else_does():
    from llm_experiments.tasks.persona_study import drop_last_tokens

    pairs = lm.random_pairs(21, seed=3)
    made = drop_last_tokens(pairs, seed=1)
    lost = 0
    for before, after in zip(pairs, made, strict=True):
        assert before.prompt_ids == after.prompt_ids
        for side in ("chosen_ids", "rejected_ids"):
            one, other = getattr(before, side), getattr(after, side)
            assert other in (one, one[:-1])
            lost += one != other
    assert lost >= 3  # one sequence at least of each of three micro-batches
    longest = max(len(pair.sequence("explicit", side)[0]) for pair in pairs for side in ("chosen", "rejected"))
    assert all(len(pair.sequence("explicit", side)[0]) < longest for pair in made for side in ("chosen", "rejected"))
    alike = lm.random_pairs(8, jitter=False)
    assert drop_last_tokens(alike, seed=0) == alike
