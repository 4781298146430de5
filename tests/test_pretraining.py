"""Small models made from text: deterministic, resumable, loadable by plain transformers."""

import copy
import gzip
import logging
from dataclasses import replace
from pathlib import Path

import lm
import pytest
import torch

from llm_experiments import pretraining
from llm_experiments.pretraining import ARCHITECTURES, PretrainSettings, build_config, pretrain, read_documents
from simulations.results import UserError

TINY = PretrainSettings(hidden=16, layers=1, heads=2, vocab_size=300, block=16, steps=6, batch_size=4, max_positions=64)
DOCUMENTS = [f"the {colour} cat sat on the {place}" for colour in ("red", "grey", "black") for place in ("mat", "sofa")]


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_paragraphs_are_documents_and_gzip_is_read(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n\n  \nthree\n", encoding="utf-8")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"vier\r\n"))
    assert read_documents([tmp_path / "a.txt", tmp_path / "b.txt.gz"]) == ["one\ntwo", "three", "vier"]


def test_bad_text_is_one_line_that_names_the_file(tmp_path):
    (tmp_path / "empty.txt").write_text(" \n\n", encoding="utf-8")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for name, words in {"empty.txt": "no text", "missing.txt": "no such file", "binary.txt": "not UTF-8"}.items():
        with pytest.raises(UserError, match=words) as error:
            read_documents([tmp_path / name])
        assert name in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no text"):
        pretrain([], "mistral", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_an_unknown_family_is_refused():
    with pytest.raises(UserError, match="gemma, gemma2, mistral"):
        pretrain(DOCUMENTS, "llama9", Path("nowhere"))


def test_batches_resume_in_the_middle_of_an_epoch():
    rows = [[i] * (2 + i % 7) for i in range(50)]
    settings = replace(TINY, batch_size=4)

    def take(start, count):
        batches = pretraining._batches(rows, settings, start)
        return [next(batches) for _ in range(count)]

    whole = take(0, 30)
    assert take(17, 13) == whole[17:]
    first_epoch = [row[0] for batch in whole[:12] for row in batch]
    assert len(set(first_epoch)) == len(first_epoch) == 48
    assert max(len({len(row) for row in batch}) for batch in whole) < 4  # batches hold rows of similar length


@pytest.mark.integration
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tied", [True, False])
def test_config_keeps_its_tying(architecture, tied):
    from transformers import AutoModelForCausalLM

    config = build_config(architecture, vocab_size=50, hidden=16, layers=2, heads=2, tied=tied)
    model = AutoModelForCausalLM.from_config(config)
    assert config.model_type == architecture
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["bpe", "word"])
def test_a_model_made_twice_is_the_same_and_loads_with_plain_transformers(tmp_path, kind):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings = replace(TINY, tokenizer=kind)
    first, second = (pretrain(DOCUMENTS, "mistral", tmp_path / name, settings, progress=False) for name in "ab")
    other = pretrain(DOCUMENTS, "mistral", tmp_path / "c", replace(settings, seed=1), progress=False)
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(other))
    assert len({path.stat().st_mode for path in first.iterdir()}) == 1

    tokenizer = AutoTokenizer.from_pretrained(first)
    ids = tokenizer("the red cat")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the red cat"
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 4
    assert torch.isfinite(AutoModelForCausalLM.from_pretrained(first)(torch.tensor([ids])).logits).all()


@pytest.mark.integration
def test_a_killed_pretraining_ends_with_the_same_weights(tmp_path, monkeypatch, capsys):
    settings = replace(TINY, checkpoint_every=2)
    whole = pretrain(DOCUMENTS, "gemma2", tmp_path / "whole", settings, progress=False)

    loss, calls = pretraining._loss, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return loss(*arguments)

    monkeypatch.setattr(pretraining, "_loss", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(DOCUMENTS, "gemma2", tmp_path / "killed", settings, progress=False)
    assert not (tmp_path / "killed" / "done.json").exists()
    pretrain(DOCUMENTS, "gemma2", tmp_path / "killed", settings, progress=False)
    assert len(calls) == 6 + 2  # continued from step 4, not from the start
    assert same(weights(whole), weights(tmp_path / "killed"))

    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        pretrain(DOCUMENTS, "gemma2", tmp_path / "damaged", settings, progress=False)
    (state,) = (tmp_path / "damaged" / "checkpoint").iterdir()
    state.write_bytes(state.read_bytes()[:-1])
    pretrain(DOCUMENTS, "gemma2", tmp_path / "damaged", settings, progress=False)
    assert f"{state}: is damaged" in capsys.readouterr().err
    assert same(weights(whole), weights(tmp_path / "damaged"))
    calls[:] = [1] * 8

    pretrain(DOCUMENTS, "gemma2", tmp_path / "killed", settings, progress=False)
    assert len(calls) == 8  # finished: nothing is computed again
    with pytest.raises(UserError, match="steps"):
        pretrain(DOCUMENTS, "gemma2", tmp_path / "killed", replace(settings, steps=9), progress=False)


def test_documents_longer_than_a_model_reads_are_cut_without_a_warning(caplog, monkeypatch):
    tokenizer = copy.deepcopy(lm.tokenizer())
    tokenizer.model_max_length = 2
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    rows = pretraining._rows(["yes no yes no yes no"], tokenizer, 4)
    assert len(rows) > 1
    assert not caplog.records
