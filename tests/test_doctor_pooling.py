"""The doctor on the token that a reward is read at."""

import copy

import pytest
import torch

from llm_experiments.doctor import classifiers
from tests.lm import tokenizer
from tests.patients import classifier, probe_rows

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def ids():
    return [row[0] for row in probe_rows()]


def test_padding_that_ends_responses_makes_the_reward_one_token_early(ids):
    found = classifiers.check_pooled_token(classifier(pad_token_id=2), ids, 2)
    assert (found.status, found.measured) == ("problem", -1)
    assert "alone: 6 of 6" in found.detail
    assert classifiers.check_pad_token(tokenizer(), classifier(pad_token_id=2).config, {2}).status == "problem"


def test_padding_that_the_config_does_not_know_is_read_as_a_response(ids):
    """The tokenizer pads with <unk>, the config believes in <pad>."""
    found = classifiers.check_pooled_token(classifier(), ids, 3)
    assert found.status == "problem"
    assert found.measured > 0
    assert "right: 5 of 6" in found.detail
    assert "alone" not in found.detail
    other = copy.deepcopy(tokenizer())
    other.pad_token = "<unk>"
    assert classifiers.check_pad_token(other, classifier().config, {2}).status == "problem"


def test_no_padding_at_all(ids):
    model = classifier(pad_token_id=None)
    assert classifiers.check_pooled_token(model, ids, 0).measured == "refused"
    assert classifiers.check_pad_token(tokenizer(), model.config, {2}).measured == "missing"


def test_a_classifier_that_pools_before_its_head_is_watched_as_well(ids):
    class Early(torch.nn.Module):
        """Reads the token before the last one, as hand-written heads do."""

        def __init__(self, shift):
            super().__init__()
            self.inner, self.shift = classifier(), shift
            self.config, self.base_model, self.device = self.inner.config, self.inner.base_model, torch.device("cpu")

        def forward(self, input_ids, attention_mask):
            from transformers.modeling_outputs import SequenceClassifierOutput

            hidden = self.base_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            last = (attention_mask * torch.arange(attention_mask.shape[1])).argmax(-1) - self.shift
            return SequenceClassifierOutput(logits=self.inner.score(hidden[torch.arange(len(hidden)), last]))

    assert classifiers.check_pooled_token(Early(0), ids, 0).status == "ok"
    assert classifiers.check_pooled_token(Early(2), ids, 0).measured == -2
