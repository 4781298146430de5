"""The doctor on every family with a tokenizer in its habits: silent on sound ones, and right where a defect is the
family's own: soft caps, scales, padding, masks, precision."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from llm_experiments.doctor import numbers
from llm_experiments.doctor.probes import PROBES
from llm_experiments.encoding import encode_pairs
from llm_experiments.models import load_reward_model
from llm_experiments.saving import save_reward_model
from rewardgap import main
from tests.lm import FAMILIES, KINDS, language_model
from tests.patients import classifier, disturbed, findings, probe_rows, unsound, with_its_tokenizer, write

pytestmark = pytest.mark.integration

# Plain classifiers count padding on the left as positions, which only learnt ones notice; other tools pad there
LEFT = ["batch invariance"]
WITHOUT_CLASSIFIER = ("cohere", "granite")  # transformers has none for these
PLAIN = {
    "weights", "dtype", "attention", "vocabulary", "beginning", "end", "template", "words", "length",
    "batch invariance", "finite numbers",
}  # fmt: skip
OF_KIND = {
    "explicit": {"head", "padding", "pooled token", "resolution", "ties"},
    "implicit": {"log-probabilities", "reference tokens", "reference size", "reference"},
    "generative": {"log-probabilities", "answers", "answer mass"},
}


def padded_apart(name, **changes):
    """A family's model and tokenizer, where padding is a token that ends no response."""
    model, tokens = with_its_tokenizer(name, **changes)
    if tokens.pad_token is None:
        tokens.pad_token = "<|padding|>" if "<|padding|>" in tokens.get_vocab() else tokens.unk_token
    model.config.pad_token_id = tokens.pad_token_id
    return model, tokens


@pytest.mark.parametrize("name", FAMILIES)
def test_sound_language_models_pass_in_silence(tmp_path, name):
    for tied in (True, False):
        found = findings(write(tmp_path / str(tied), *with_its_tokenizer(name, tied=tied)), examples=2)
        assert not unsound(found)
        assert found.keys() == PLAIN | {"log-probabilities", "answers", "answer mass", "start"}


@pytest.mark.parametrize(
    ("name", "kind"), [(name, "explicit") for name in FAMILIES] + [("gemma2", kind) for kind in KINDS[1:]]
)
def test_sound_reward_models_of_ours_pass_in_silence(tmp_path, name, kind):
    start, tokens = with_its_tokenizer(name)
    base = write(tmp_path / "base", start, tokens)
    probes = encode_pairs(PROBES, tokens)[0]
    model = load_reward_model(disturbed(model=start), kind, tokenizer=tokens)
    save_reward_model(model, tokens, tmp_path / "model", probes, reference=str(base))
    found = findings(tmp_path / "model")
    assert [one.name for one in unsound(found)] == (LEFT if (name, kind) == ("gpt2", "explicit") else [])
    assert found.keys() >= PLAIN | OF_KIND[kind] - {"padding"}


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in WITHOUT_CLASSIFIER])
def test_classifiers_of_others_are_sound_until_padding_ends_responses(tmp_path, name):
    base, tokens = padded_apart(name)
    found = findings(write(tmp_path / "sound", classifier(base=base, pad_token_id=tokens.pad_token_id), tokens))
    assert [one.name for one in unsound(found)] == (LEFT if name == "gpt2" else [])
    assert found["pooled token"].measured == "last"
    end = found["end"].measured
    ids = tokens.convert_tokens_to_ids(end)
    found = findings(write(tmp_path / "early", classifier(base=base, pad_token_id=ids), tokens, pad_token=end))
    assert {name for name, one in found.items() if one.status == "problem"} == {"padding", "pooled token"}
    assert found["pooled token"].measured == -1
    assert all(one.cure for one in found.values() if one.status != "ok")


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt_neox"])
def test_an_output_layer_that_is_not_in_the_files(tmp_path, name):
    model, tokens = with_its_tokenizer(name, tied=False)
    write(tmp_path, model, tokens)
    path = tmp_path / "model.safetensors"
    layers = ("lm_head.weight", "embed_out.weight")
    save_file({key: part for key, part in load_file(path).items() if key not in layers}, path, {"format": "pt"})
    found = findings(tmp_path)["weights"]
    assert (found.status, found.measured) == ("problem", 1)
    assert any(layer in found.detail for layer in layers)


# name: what its logits go through that the config does not say
LOGITS = {
    "gemma2": lambda logits: 30 * torch.atanh((logits / 30).clamp(-0.999999, 0.999999)),
    "gemma3": lambda logits: 20 * torch.atanh((logits / 20).clamp(-0.999999, 0.999999)),
    "mistral_windowed": lambda logits: 30 * torch.tanh(logits / 30),
    "qwen3": lambda logits: 1.5 * logits,
    "gpt_neox": lambda logits: 30 * torch.tanh(logits / 30),
    "cohere": lambda logits: logits / 1.5,
    "granite": lambda logits: logits / 2,
}


@pytest.mark.parametrize("name", LOGITS)
def test_logits_that_the_config_does_not_explain(name):
    model, _ = with_its_tokenizer(name, tied=False, vocab_size=300)
    assert numbers.check_logits(model, probe_rows()).status == "ok"
    inner = model.forward

    def otherwise(*args, **options):
        output = inner(*args, **options)
        output.logits = LOGITS[name](output.logits)
        return output

    model.forward = otherwise
    assert numbers.check_logits(model, probe_rows()).status == "problem"


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_an_attention_that_leaves_the_cap_out(name):
    config = with_its_tokenizer(name, attn_logit_softcapping=50.0)[0].config
    for back_end, status in (("eager", "ok"), ("sdpa", "problem")):
        config._attn_implementation = back_end
        assert numbers.check_attention(config).status == status


@pytest.mark.parametrize("name", ["gemma2", "mistral_windowed", "qwen2", "gpt_neox", "gpt2"])
def test_masks_that_are_forgotten_show_on_the_left(name):
    model, _ = with_its_tokenizer(name, vocab_size=300)
    assert numbers.check_batch_invariance(model, probe_rows(), 0, classifier=False).status == "ok"
    inner = model.base_model.forward
    model.base_model.forward = lambda *args, attention_mask=None, **options: inner(*args, **options)
    found = numbers.check_batch_invariance(model, probe_rows(), 0, classifier=False)
    assert (found.status, "on the right" in found.cure) == ("warning", True)


def test_positions_that_count_padding_show_on_the_left():
    """Rotary families see no difference: only distances enter. Learnt positions do."""
    model, _ = with_its_tokenizer("gpt2", vocab_size=300)
    inner = model.base_model.forward
    model.base_model.forward = lambda *args, position_ids=None, **options: inner(*args, **options)
    found = numbers.check_batch_invariance(model, probe_rows(), 0, classifier=False)
    assert (found.status, "positions" in found.cure) == ("warning", True)


@pytest.mark.parametrize("name", ["gemma2", "llama", "qwen3", "gpt_neox"])
def test_rewards_closer_than_the_steps_of_the_precision_they_are_stored_in(tmp_path, name):
    """All responses end in one token, to which the layers add next to nothing here: large rewards, small margins."""
    base, tokens = padded_apart(name)
    model = classifier(base=base, pad_token_id=tokens.pad_token_id)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "layers." in key and "norm" not in key:
                weight.mul_(0.02)
        model.score.weight.mul_(50)
    found = findings(write(tmp_path / "float32", model, tokens))
    assert found["resolution"].status == found["ties"].status == "ok", found
    found = findings(write(tmp_path / "bfloat16", model.to(torch.bfloat16), tokens))
    assert found["resolution"].status == "warning"
    assert "bfloat16" in found["resolution"].detail
    assert "--dtype float32" in found["resolution"].cure


@pytest.mark.parametrize(("name", "status"), [("llama", "warning"), ("gpt_neox", "warning"), ("gemma3", "problem")])
def test_bfloat16_files_in_float16(tmp_path, name, status):
    model, tokens = with_its_tokenizer(name)
    found = findings(write(tmp_path, model.to(torch.bfloat16), tokens), dtype="float16")["dtype"]
    assert found.status == status


def test_the_command_prints_a_table_and_exits_with_3_where_there_is_a_problem(tmp_path, capsys):
    write(tmp_path / "good", classifier())
    assert main(["doctor", "--model", str(tmp_path / "good"), "--examples", "2"]) == 0
    said = capsys.readouterr().out
    assert "sound" in said.splitlines()[-1]
    write(tmp_path / "bad", classifier(pad_token_id=2), pad_token="<eos>")
    assert main(["doctor", "--model", str(tmp_path / "bad"), "--json"]) == 3
    rows = json.loads(capsys.readouterr().out)["findings"]
    assert {row["name"] for row in rows if row["status"] == "problem"} == {"padding", "pooled token"}
    assert all(row["cure"] for row in rows if row["status"] != "ok")


def test_pairs_of_ones_own(tmp_path):
    folder = write(tmp_path / "lm", language_model("mistral"))
    lines = [{"prompt": "Is it?", "chosen": " It is.<eos> So.", "rejected": " It is not."}] * 2
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = findings(folder, pairs=str(tmp_path / "pairs.jsonl"))
    assert (found["words"].status, found["words"].measured) == ("warning", 2)
