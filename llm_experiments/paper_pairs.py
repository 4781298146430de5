"""The pairs that the recipes at the papers' scale train and test on, as files."""

from dataclasses import asdict
from pathlib import Path

from llm_experiments.pairs import Pair
from simulations.results import write_rows

LIN_HELD_OUT = 0.05  # of the prompts
LIN_TESTED = 1000  # pairs of a held-out part, as many as Unified-Feedback's validation parts have


def paper_pairs(study: str, data: Path, folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """The study's pairs as files below `folder`, made here or copied out of the public ones: training files by name
    (`train` where there is one), and test files.

    Raises:
        UserError: its data are not there.
    """
    if study == "lin2024":
        return _write(folder, *_lin_pairs(data))
    if study == "persona":
        sets = _persona_pairs(data)
    elif study == "hamiltonian":
        sets = _hamiltonian_pairs()
    else:
        sets = _real_pairs(study, data)
    return _write(folder, {"train": sets.pop("train")}, sets)


def _lin_pairs(data: Path) -> tuple[dict[str, list[Pair]], dict[str, list[Pair]]]:
    """Each set's training part, and of its held-out part LIN_TESTED pairs."""
    from llm_experiments.tasks.lin_sets import PAPER, read_part

    trains = {one.name: read_part(data, one, "train", LIN_HELD_OUT) for one in PAPER}
    tests = {f"{one.name}_held_out": read_part(data, one, "held-out", LIN_HELD_OUT)[:LIN_TESTED] for one in PAPER}
    return trains, tests


def _persona_pairs(data: Path) -> dict[str, list[Pair]]:
    """Subsets of the test files are the conditions: the published ones and their controls."""
    from llm_experiments.tasks.persona import (
        CONDITIONS,
        EVALUATED,
        answers_of,
        read_personas,
        sample_prompts,
        training_pairs,
    )

    train, test = sample_prompts(read_personas(data / "persona")[EVALUATED], "constant", 80, 40, 875)
    sets = {"train": training_pairs(train, 875)}
    for name, prompts in (("train", train), ("test", test)):
        sets[f"answers_{name}_prompts"] = [
            Pair(f"{name}/{number}/{condition}/{form}", condition, question.text + "\n", agree, disagree)
            for number, question in enumerate(prompts)
            for condition in CONDITIONS
            for form, (agree, disagree) in enumerate(answers_of(condition))
        ]
    return sets


def _hamiltonian_pairs() -> dict[str, list[Pair]]:
    from llm_experiments.tasks.hamiltonian import NEGATIVES, draw_graphs, pairs

    sets = {"train": pairs(draw_graphs(1000, 517), "random", 517)}
    graphs = draw_graphs(200, 982)
    return sets | {f"test_{kind}": pairs(graphs, kind, 982) for kind in NEGATIVES}


def _real_pairs(study: str, data: Path) -> dict[str, list[Pair]]:
    from llm_experiments.tasks import rewardmath_study, ultrafeedback_study
    from llm_experiments.tasks.real_pairs import read_pairs

    module = rewardmath_study if study == "rewardmath" else ultrafeedback_study
    train = read_pairs(data, module.TRAIN)[: 1000 if study == "rewardmath" else 2000]
    return {"train": train} | {test.name: read_pairs(data, test.file) for test in module.TESTS}


def _write(
    folder: Path, trains: dict[str, list[Pair]], tests: dict[str, list[Pair]]
) -> tuple[dict[str, Path], list[Path]]:
    paths = {name: folder / "pairs" / f"{name}.jsonl" for name in (*trains, *tests)}
    for name, pairs in (trains | tests).items():
        write_rows(paths[name], [asdict(pair) for pair in pairs])
    return {name: paths[name] for name in trains}, [paths[name] for name in tests]
