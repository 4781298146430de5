"""A reference is asked once: what is stored is what it said, by weights and tokens, through kills and damage."""

import fcntl
from threading import Thread

import numpy as np
import pytest
import torch

from llm_experiments.adapters import add_lora
from llm_experiments.batches import collate_pairs
from llm_experiments.models import load_reward_model
from llm_experiments.reference_cache import ReferenceCache, cache_folder, row_keys, weights_hash
from llm_experiments.scoring import score_pairs
from llm_experiments.settings import StartSettings
from llm_experiments.training import reference_log_probabilities
from simulations.results import UserError
from tests.lm import language_model, random_pairs

pytestmark = pytest.mark.integration

PAIRS = random_pairs(6)


class OnCuda(torch.Tensor):
    """A tensor that says so."""

    device = torch.device("cuda")


class Asked:
    """Counts the forward passes of a model's reference."""

    def __init__(self, model):
        self.count, inner = 0, model._ask_reference

        def ask(batch):
            self.count += 1
            return inner(batch)

        model._ask_reference = ask


def implicit(folder, seed=0):
    model = load_reward_model(language_model(seed=seed), "implicit", device="cpu")
    model.remember(folder)
    return model, Asked(model)


def files(folder):
    return sorted((folder / "reference").glob("*.txt"))


def test_what_was_asked_in_training_is_known_in_any_other_batch_and_run(tmp_path):
    model, asked = implicit(tmp_path)
    first = reference_log_probabilities(model, PAIRS, 2)
    assert asked.count == 3
    other, again = implicit(tmp_path)
    rows = score_pairs(other, PAIRS, batch_size=5)
    assert again.count == 0
    stored = np.array(
        [[row["reference_log_probability_chosen"], row["reference_log_probability_rejected"]] for row in rows]
    )
    assert np.array_equal(stored, first)
    plain, _ = implicit(None)
    assert np.allclose(reference_log_probabilities(plain, PAIRS, 2), first, atol=1e-5)


def test_another_reference_another_response_and_another_boundary_are_not_known(tmp_path):
    model, _ = implicit(tmp_path)
    reference_log_probabilities(model, PAIRS, 8)
    other, asked = implicit(tmp_path, seed=1)
    assert not np.allclose(reference_log_probabilities(other, PAIRS, 8), reference_log_probabilities(model, PAIRS, 8))
    assert asked.count == 1
    assert len(files(tmp_path)) == 2
    batch = collate_pairs(PAIRS, "implicit")
    keys = row_keys(batch["input_ids"], batch["attention_mask"], batch["response_mask"])
    assert len(set(keys)) == len(keys)
    padded = {name: torch.nn.functional.pad(tensor, (3, 2)) for name, tensor in batch.items()}
    assert row_keys(padded["input_ids"], padded["attention_mask"], padded["response_mask"]) == keys
    moved = batch["response_mask"].roll(1, 1)
    assert not set(row_keys(batch["input_ids"], batch["attention_mask"], moved)) & set(keys)


def test_without_its_adapter_a_policy_is_its_base(tmp_path):
    base = language_model()
    model = load_reward_model(base, "implicit", reference="none", device="cpu")
    before = weights_hash(model.policy)
    add_lora(model, StartSettings(use_peft=True), adapter_reference=True)
    assert weights_hash(model.reference) == before == weights_hash(base)


def test_a_buffer_that_is_saved_is_part_of_a_reference_and_so_is_the_kind_of_device():
    base = language_model()
    before = weights_hash(base)
    base.model.register_buffer("scale", torch.tensor(1.0))
    one = weights_hash(base)
    base.model.scale.fill_(2.0)
    assert len({before, one, weights_hash(base)}) == 3
    base.model.register_buffer("passing", torch.tensor(1.0), persistent=False)
    kept = weights_hash(base)
    base.model.passing.fill_(2.0)
    assert weights_hash(base) == kept
    batch = collate_pairs(PAIRS, "implicit")
    rows = [batch[name] for name in ("input_ids", "attention_mask", "response_mask")]
    assert not set(row_keys(*rows)) & set(row_keys(rows[0].as_subclass(OnCuda), *rows[1:]))


def test_damage_is_named_and_computed_again(tmp_path, capsys):
    model, _ = implicit(tmp_path)
    first = reference_log_probabilities(model, PAIRS, 2)
    (path,) = files(tmp_path)
    content = bytearray(path.read_bytes())
    lines = content.split(b"\n")
    content[len(lines[0]) + 40] ^= 1  # a bit of the second value
    path.write_bytes(content[:-30])  # and the last line is cut short
    again, asked = implicit(tmp_path)
    assert f"{path}: damaged in line 2, 12" in capsys.readouterr().err
    assert np.array_equal(reference_log_probabilities(again, PAIRS, 2), first)
    assert asked.count == 2
    whole, asked = implicit(tmp_path)  # what was appended after the torn line is read
    assert np.array_equal(reference_log_probabilities(whole, PAIRS, 2), first)
    assert asked.count == 0
    path.write_bytes(b"\xff\x00 not a cache\n" * 3)
    assert len(ReferenceCache(tmp_path, whole.reference)) == 0


@pytest.mark.parametrize("cut", [1, 90, 400])
def test_a_run_that_was_killed_while_it_wrote_goes_on_with_the_same_numbers(tmp_path, cut):
    model, _ = implicit(tmp_path)
    first = reference_log_probabilities(model, PAIRS, 2)
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    again, _ = implicit(tmp_path)
    assert np.array_equal(reference_log_probabilities(again, PAIRS, 2), first)


def says(cache, batch, value):
    """What `cache` knows of `batch` where the reference would say `value` of every row."""
    return cache.values(batch, lambda rows: torch.full((len(rows["input_ids"]),), value)).tolist()


def test_of_runs_that_ask_at_the_same_time_the_first_to_write_decides_for_all(tmp_path, capsys):
    reference, small, large = language_model(), collate_pairs(PAIRS[:2], "implicit"), collate_pairs(PAIRS, "implicit")
    one, other = ReferenceCache(tmp_path, reference), ReferenceCache(tmp_path, reference)
    assert says(one, small, 1.0) == [1.0] * 4
    first = [1.0, 1.0, *[2.0] * 4] * 2  # chosen rows, then rejected ones
    assert says(other, large, 2.0) == first
    with other.path.open("ab") as file:
        file.write(b"a torn li")
    assert says(one, large, 3.0) == first
    assert f"{one.path}: damaged in line 13;" in capsys.readouterr().err
    more = collate_pairs(random_pairs(2, seed=5), "implicit")
    assert says(other, more, 4.0) == says(one, more, 5.0) == [4.0] * 4
    again = ReferenceCache(tmp_path, reference)
    assert says(again, large, 6.0) + says(again, more, 6.0) == first + [4.0] * 4
    assert len(one.path.read_bytes().splitlines()) == 12 + 1 + 4  # nothing twice


def test_a_run_waits_while_another_one_writes(tmp_path):
    reference, batch = language_model(), collate_pairs(PAIRS, "implicit")
    ReferenceCache(tmp_path / "elsewhere", reference).add({"another": 0.0})
    one, other = ReferenceCache(tmp_path, reference), ReferenceCache(tmp_path, reference)
    one.add({"another": 0.0})
    whole = ReferenceCache(tmp_path / "elsewhere", reference)
    says(whole, batch, 1.0)
    found = []
    thread = Thread(target=lambda: found.extend(says(other, batch, 2.0)))
    with one.path.open("ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        thread.start()
        thread.join(0.2)
        file.write(whole.path.read_bytes())
    thread.join()
    assert found == [1.0] * 12


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "reference").write_text("in the way")
    model, _ = implicit(tmp_path)
    with pytest.raises(UserError, match=r"reference/.*cannot be written .*--cache none"):
        reference_log_probabilities(model, PAIRS, 2)


def test_where_caches_lie(monkeypatch, tmp_path):
    monkeypatch.delenv("REWARDGAP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "rewardgap"
    monkeypatch.setenv("REWARDGAP_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    assert cache_folder("none") is None
    monkeypatch.setenv("REWARDGAP_CACHE", "none")
    assert cache_folder() is None
    assert cache_folder(str(tmp_path)) == tmp_path
