"""A reference is run as its own config says, whatever the policy's says."""

import pytest
import torch

from llm_experiments.batches import collate_pairs
from llm_experiments.models import load_reward_model
from simulations.results import UserError
from tests.lm import language_model, random_pairs

pytestmark = pytest.mark.integration


def policy_and_reference(folder, architecture, of_policy, of_reference):
    """The folders of two models of one family that differ in weights and in these fields of their configs."""
    for seed, (name, changes) in enumerate({"policy": of_policy, "reference": of_reference}.items()):
        language_model(architecture, seed=seed, **changes).save_pretrained(folder / name)
    return str(folder / "policy"), str(folder / "reference")


@pytest.mark.parametrize(
    ("architecture", "field", "values"),
    [
        ("gemma2", "final_logit_softcapping", (None, 5.0)),
        ("gemma2", "final_logit_softcapping", (5.0, None)),
        ("mistral", "sliding_window", (None, 8)),
        ("mistral", "sliding_window", (8, None)),
    ],
)
def test_a_reference_says_what_it_says_as_a_policy(tmp_path, architecture, field, values):
    policy, reference = policy_and_reference(tmp_path, architecture, *({field: value} for value in values))
    pairs = random_pairs(3, prompt=50, response=12)  # whose prompts are shared, and longer than the window
    batch = collate_pairs(pairs, "implicit")
    both = load_reward_model(policy, "implicit", reference=reference, device="cpu")
    alone = load_reward_model(reference, "implicit", reference="none", device="cpu")
    with torch.no_grad():
        both(**batch)
        assert torch.allclose(both.reference_log_probabilities(batch), alone(**batch), atol=1e-5)


def test_a_reference_whose_logits_are_none_is_refused(tmp_path):
    policy, reference = policy_and_reference(tmp_path, "mistral", {}, {})
    broken = language_model("mistral")
    with torch.no_grad():
        broken.get_output_embeddings().weight[7] = torch.nan
    broken.save_pretrained(reference)
    with pytest.raises(UserError, match="reference: its logits are not finite"):
        load_reward_model(policy, "implicit", reference=reference, device="cpu")
