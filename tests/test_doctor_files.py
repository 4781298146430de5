"""The doctor on files: what was not saved, what does not fit, and pairs of one's own."""

import json

import pytest
import torch

from llm_experiments.models import quiet_transformers
from tests.lm import language_model, tokenizer
from tests.patients import classifier, findings, write

pytestmark = pytest.mark.integration


def test_a_head_that_is_not_in_the_files(tmp_path):
    """What remains when only the backbone of a reward model was saved."""
    folder = write(tmp_path, language_model("mistral"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["MistralForSequenceClassification"], "num_labels": 1, "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config))
    found = findings(folder)["weights"]
    assert found.status == "problem"
    assert "score.weight" in found.detail


def test_a_head_of_another_shape(tmp_path):
    folder = write(tmp_path, classifier(num_labels=3))
    config = json.loads((folder / "config.json").read_text())
    config["id2label"], config["label2id"] = {"0": "LABEL_0"}, {"LABEL_0": 0}
    (folder / "config.json").write_text(json.dumps(config))
    found = findings(folder)["weights"]
    assert found.status == "problem"
    assert "shape" in found.detail


def test_a_layer_that_is_not_in_the_files(tmp_path):
    folder = write(tmp_path, language_model("mistral"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    found = findings(folder)["weights"]
    assert found.status == "problem"
    assert "layers.2" in found.detail


def test_a_reward_head_that_a_language_model_does_not_load(tmp_path):
    model = language_model("mistral")
    model.v_head = torch.nn.Linear(32, 1)
    found = findings(write(tmp_path, model))["weights"]
    assert found.status == "warning"
    assert "v_head.weight" in found.detail
    assert "--kind explicit" in found.cure


def test_more_than_one_output_and_a_head_of_zeros(tmp_path):
    assert findings(write(tmp_path / "three", classifier(num_labels=3)))["head"].measured == 3
    model = classifier()
    model.score.weight.data.zero_()
    found = findings(write(tmp_path / "zero", model))
    assert found["head"].status == "problem"
    assert (found["ties"].status, found["ties"].measured) == ("problem", 3)


def test_ids_without_embeddings_end_the_examination(tmp_path):
    model = language_model("mistral")
    model.resize_token_embeddings(250)
    found = findings(write(tmp_path, model))
    assert found["vocabulary"].status == "problem"
    assert found["the rest"].measured == "skipped"
    assert "batch invariance" not in found


def test_texts_that_are_too_long_end_the_examination(tmp_path):
    found = findings(write(tmp_path, language_model("mistral", max_position_embeddings=50)))
    assert found["length"].status == "problem"
    assert "--max_length 50" in found["length"].cure


@pytest.mark.parametrize("kept", [True, False])
def test_the_head_of_an_adapter(tmp_path, kept):
    """Trained with peft over a plain language model: sound where the head was saved with it."""
    import peft
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForSequenceClassification

    write(tmp_path / "base", language_model("mistral", pad_token_id=0))
    with quiet_transformers():
        base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=1)
    settings = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj"], modules_to_save=["score"])
    peft.get_peft_model(base, settings).save_pretrained(tmp_path / "adapter")
    tokenizer().save_pretrained(tmp_path / "adapter")
    if not kept:
        path = tmp_path / "adapter" / "adapter_model.safetensors"
        save_file({name: weight for name, weight in load_file(path).items() if "score" not in name}, path)
    assert findings(tmp_path / "adapter")["weights"].status == ("ok" if kept else "problem")
