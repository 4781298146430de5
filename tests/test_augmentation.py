"""Edited copies of training pairs, and the regulariser that draws a pair and its copy together."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from llm_experiments.augmentation import Consistency, augment, edits
from llm_experiments.encoding import encode_pairs
from llm_experiments.models import load_reward_model
from llm_experiments.pairs import Pair
from llm_experiments.scoring import score_pairs
from llm_experiments.settings import AugmentSettings, EncodingSettings, TrainRequest, TrainSettings
from llm_experiments.tasks import repair_study
from llm_experiments.tasks.language import Language
from llm_experiments.training import run_training, train_reward_model
from simulations.results import UserError, read_json, read_rows
from tests.lm import KINDS, language_model, random_pairs, tokenizer

PAIRS = [
    Pair(
        f"p/{n}", "", f"Tell me about number {n}.", f"The number {n} is really nice, you know.", f"I do not care, {n}."
    )
    for n in range(6)
]
ENCODING = EncodingSettings()


def augmented(pairs, *, seed=0, encoding=ENCODING, **settings):
    encoded, _ = encode_pairs(pairs, tokenizer(), encoding)
    shifts = edits(AugmentSettings(**settings), pairs, seed=seed)
    return augment(pairs, encoded, shifts, tokenizer(), encoding)


def by_id(found):
    return {pair.id: pair for pair in found.pairs}


def test_copies_are_a_function_of_the_seed_and_the_pair_whatever_the_order():
    names = {"augment": ("typos", "lowercase")}
    found = augmented(PAIRS, **names)
    assert len(found.pairs) > 9
    assert by_id(augmented(PAIRS[::-1], **names)) == by_id(found)
    assert by_id(augmented(PAIRS[:2], **names)).items() <= by_id(found).items()
    assert by_id(augmented(PAIRS, seed=1, **names)) != by_id(found)


def test_a_copy_and_its_original_are_partners_and_nothing_asked_for_is_nothing_done():
    found = augmented(PAIRS, augment=("extra_spaces", "lowercase"), augment_strength=1.0)
    assert len(found.pairs) == 3 * len(PAIRS)
    for number, partner in enumerate(found.partners):
        original, copy = sorted((number, partner))
        assert original < len(PAIRS) <= copy
        assert found.pairs[copy].id.startswith(f"{found.pairs[original].id} (")
    encoded, _ = encode_pairs(PAIRS, tokenizer(), ENCODING)
    alone = augmented(PAIRS)
    assert (alone.pairs, alone.partners) == (encoded, tuple(range(len(PAIRS))))
    assert found.consistency(0.0) is None


def test_copies_that_are_too_long_or_tell_nothing_apart_are_left_out():
    short = [Pair("short", "", "Say.", "Yes, do.", "No, do not."), *PAIRS]
    longest = max(pair.longest for pair in augmented(short, augment=("filler_sentences",), augment_strength=1.0).pairs)
    encoding = replace(ENCODING, max_length=longest - 1)
    found = augmented(short, augment=("filler_sentences",), augment_strength=1.0, encoding=encoding)
    assert "left out: too long" in found.notes[-1]
    same = [replace(PAIRS[0], id="same", chosen="Yes it is", rejected="yes it is"), *PAIRS]
    assert (
        "1 rejected: both responses the same" in augmented(same, augment=("lowercase",), augment_strength=1.0).notes[0]
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"augment": ("shuffled_words",)}, "--augment: 'shuffled_words' damages a text"),
        ({"augment": ("synonym",)}, "--augment: 'synonym' is no transformation; did you mean synonyms"),
        ({"consistency": 1.0}, "--consistency .* ask for some with --augment"),
        ({"augment": ("code_comments_removed",)}, "changes none of the 6 training pairs"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(settings, words):
    with pytest.raises(UserError, match=words) as caught:
        augmented(PAIRS, **settings)
    assert "\n" not in str(caught.value)


def margins(model, pairs):
    return np.array([row["scores_chosen"] - row["scores_rejected"] for row in score_pairs(model, pairs, batch_size=8)])


@pytest.mark.integration
@pytest.mark.parametrize("kind", KINDS)
def test_the_regulariser_is_the_mean_squared_difference_of_margins(kind):
    """What it adds to the loss at a learning rate of 0, after steps that take the model away from its reference."""
    pairs, partners = random_pairs(6), (1, 0, 2, 5, 5, 0)
    settings = TrainSettings(learning_rate=0.0, max_steps=1, per_device_train_batch_size=6, logging_steps=1)

    def loss(consistency):
        model = load_reward_model(language_model(), kind, tokenizer=tokenizer())
        train_reward_model(model, pairs, replace(settings, learning_rate=3e-3, max_steps=4))
        rows = train_reward_model(model, pairs, settings, consistency=consistency)
        return rows[0]["loss"], margins(model, pairs)

    (plain, found), (with_it, _) = loss(None), loss(Consistency(0.5, partners))
    expected = 0.5 * np.square(found - found[list(partners)]).mean()
    assert expected > 1e-6
    assert with_it - plain == pytest.approx(expected, rel=2e-3, abs=2e-5)


@pytest.mark.integration
def test_a_resumed_run_with_copies_and_regulariser_is_the_run_that_never_stopped(tmp_path):
    found = augmented(PAIRS, augment=("lowercase",))
    settings = TrainSettings(learning_rate=1e-3, max_steps=5, save_steps=1, per_device_train_batch_size=4)

    def weights(stop_at=0, checkpoints=None):
        model = load_reward_model(language_model(), "implicit", tokenizer=tokenizer())

        def log(row):
            if row["step"] == stop_at:
                raise KeyboardInterrupt

        options = {"on_log": log, "checkpoints": checkpoints, "consistency": found.consistency(1.0)}
        train_reward_model(model, found.pairs, replace(settings, logging_steps=1), **options)
        return torch.cat([weight.detach().flatten() for weight in model.parameters()])

    whole = weights()
    with pytest.raises(KeyboardInterrupt):
        weights(stop_at=3, checkpoints=tmp_path)
    assert any(tmp_path.iterdir())
    assert torch.equal(weights(checkpoints=tmp_path), whole)


@pytest.mark.integration
def test_a_run_with_copies_says_what_it_trained_on(tmp_path, capsys):
    language_model().save_pretrained(tmp_path / "lm")
    tokenizer().save_pretrained(tmp_path / "lm")
    lines = [{"id": p.id, "prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in PAIRS]
    rewrites = [{**line, "chosen": "Quite a nice one.", "rejected": "Leave me alone."} for line in lines[:2]]
    for name, rows in (("pairs", lines), ("rewrites", rewrites)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def train(name, **options):
        where = {"model": str(tmp_path / "lm"), "pairs": str(tmp_path / "pairs.jsonl"), "output": tmp_path / name}
        metrics = run_training(TrainRequest(kind="explicit", max_steps=2, learning_rate=1e-3, **where, **options))
        assert metrics["pairs"]["n"] == len(PAIRS)
        return read_rows(tmp_path / name / "pairs.jsonl"), (
            tmp_path / name / "model" / "model.safetensors"
        ).read_bytes()

    plain, weights = train("plain")
    again, unchanged = train("zero", augment=(), consistency=0.0)
    assert (again, unchanged) == (plain, weights)
    files = {"augment_rewrites": (str(tmp_path / "rewrites.jsonl"),)}
    more, moved = train("more", augment=("lowercase",), augment_strength=1.0, consistency=1.0, **files)
    assert len(more) == 6 + 6 + 2
    assert moved != weights
    assert "augmentation: rewrites" in capsys.readouterr().err
    assert len(read_json(tmp_path / "more" / "provenance.json")["augmentation"]) == 2
    assert read_json(tmp_path / "more" / "inputs.json")["augment_rewrites"].keys() == set(files["augment_rewrites"])


def test_each_arm_of_the_study_shows_the_words_that_its_name_says():
    cells = repair_study.plan().cells
    for number in (0, 5):
        for arm in repair_study.ARMS:
            cell = cells[f"{arm}/{number}"]
            language = Language(**cell["language"])
            split = language.split(cell["forms"], cell["seed"])
            seen = {*split.seen_agree, *split.seen_disagree}
            evaluated = {*split.unseen_agree, *split.unseen_disagree}
            shown, shifts = set(), repair_study.synonym_shifts(cell)
            for pair in language.pairs(split, "statement", 96, cell["cluster"])["train"]:
                for shift in shifts:
                    copy = shift.change(pair).pair
                    assert all(
                        getattr(copy, side).split()[-1][:2] == getattr(pair, side).split()[-1][:2]
                        and getattr(copy, side).split()[-1] != getattr(pair, side).split()[-1]
                        for side in ("chosen", "rejected")
                    )
                    shown |= {copy.chosen.split()[-1], copy.rejected.split()[-1]}
            if arm in ("none", "seen", "evaluated"):
                assert shown == {"none": set(), "seen": seen, "evaluated": evaluated}[arm]
            else:
                assert len(shown) == (8 if arm == "many" else 2) * language.words
                assert not shown & (seen | evaluated)


def test_claims_of_the_study_can_fail():
    def holds(third):
        rows = [
            {"cell": arm, "kind": kind, "split": split, "cluster": n, "forms": n, "seed": n % 4}
            | {"accuracy": 0.99 if kind == "explicit" or split == "train" else accuracy + n / 100}
            for arm, accuracy in {**dict.fromkeys(repair_study.ARMS, 0.5), "third": third, "evaluated": 0.9}.items()
            for kind in repair_study.ARMS[arm][1]
            for split in ("train", "unseen_forms")
            for n in range(6)
        ]
        claims, notes = repair_study.repair_claims(rows)
        return {claim.id: claim.holds for claim in claims if claim.type == "registered"}, notes

    expected, notes = holds(0.5)
    assert set(expected.values()) == {True}
    assert len(expected) == len(repair_study.EXPECTED)
    refuted, raised = holds(0.9)
    assert refuted == {**expected, "repair/third/implicit/change": False}
    assert sum("raises the" in note for note in notes) == 1
    assert sum("raises the" in note for note in raised) == 2


@pytest.mark.integration
def test_a_tiny_cell_of_the_study_runs(tmp_path):
    from llm_experiments.cells import run_cells

    tiny = repair_study.plan(quick=True)
    cells = {name: dict(tiny.cells[f"{name}/0"]) for name in ("none", "third-consistency")}
    (name, base), *_ = tiny.bases.items()
    base = {**base, "documents": 500, "settings": base["settings"] | {"steps": 20, "hidden": 16, "layers": 1}}
    run_cells(repair_study.make_base, {tmp_path / "models" / name: base}, workers=1)
    for arm, cell in cells.items():
        cell["training"] = cell["training"] | {"max_steps": 3}
        run_cells(repair_study.compute_cell, {tmp_path / arm / "0": cell}, workers=1)
    rows = {arm: read_rows(tmp_path / arm / "0" / "rows.jsonl") for arm in cells}
    assert len(rows["none"]) == len(rows["third-consistency"]) == 6
    assert [row["loss"] for row in rows["none"]] != [row["loss"] for row in rows["third-consistency"]]
