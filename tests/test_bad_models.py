"""Broken models, tokenizers and configs: each ends in its own line, exit 2, nothing half-written."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch

from llm_experiments.models import load_reward_model, load_tokenizer, quiet_transformers
from llm_experiments.saving import save_reward_model
from rewardgap import main
from simulations.results import UserError
from tests.lm import language_model, random_pairs, tokenizer

pytestmark = pytest.mark.integration
LINES = [{"prompt": f"Is {n} it?", "chosen": " It is.", "rejected": " It is not."} for n in range(3)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """lm: a language model; gemma: another; model: an explicit reward model made of lm."""
    folder = tmp_path_factory.mktemp("sound")
    for name, architecture in (("lm", "mistral"), ("gemma", "gemma")):
        with quiet_transformers():
            language_model(architecture).save_pretrained(folder / name)
        tokenizer().save_pretrained(folder / name)
    model = load_reward_model(language_model("mistral"), "explicit")
    save_reward_model(model, copy.deepcopy(tokenizer()), folder / "model", random_pairs(2))
    return folder


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps({k: v for k, v in (json.loads(path.read_text()) | changes).items() if v is not ...}))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def template(folder: Path, text: str) -> None:
    one = copy.deepcopy(tokenizer())
    one.chat_template = text
    one.save_pretrained(folder)


def without_words(folder: Path) -> None:
    from llm_experiments.pretraining import train_tokenizer
    from llm_experiments.settings import PretrainSettings

    train_tokenizer(["It is not."], PretrainSettings(vocab_size=264)).save_pretrained(folder)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.weight": torch.zeros(3)}, folder / "pytorch_model.bin")


def more_words(folder: Path) -> None:
    one = copy.deepcopy(tokenizer())
    one.add_tokens([f" it<{n}>" for n in range(60)] + [" it"])
    one.save_pretrained(folder)


def other_size(folder: Path) -> None:
    model = language_model("mistral")
    model.resize_token_embeddings(310)
    with quiet_transformers():
        model.save_pretrained(folder / "reference")
    tokenizer().save_pretrained(folder / "reference")


EXPLICIT = {"kind": "explicit"}
MANIFEST, HEAD = "rewardgap.json", "head.safetensors"


def no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


# name: (which sound folder, what is done to it, flags of score, what the line must say and no row of other words may)
BROKEN = {
    "no config": ("lm", lambda f: (f / "config.json").unlink(), {}, ["config.json", "is missing"]),
    "a config that is no JSON": (
        "lm",
        lambda f: (f / "config.json").write_text("{"),
        {},
        ["config.json", "not a valid JSON", "download"],
    ),
    "a config of another shape": (
        "lm",
        lambda f: (f / "config.json").write_text("[1]"),
        {},
        ["config.json", "`model_type`", "correct it"],
    ),
    "an unknown family": (
        "lm",
        lambda f: edit(f / "config.json", model_type="gtp"),
        {},
        ["config.json", "`gtp`", "correct it"],
    ),
    "no family": (
        "lm",
        lambda f: edit(f / "config.json", model_type=..., architectures=...),
        {},
        ["config.json", "`model_type`", "correct it"],
    ),
    "sizes that do not fit": (
        "lm",
        lambda f: edit(f / "config.json", hidden_size=48),
        {},
        ["lm_head.weight", "(300, 48)", "config.json"],
    ),
    "heads that do not divide": (
        "lm",
        lambda f: edit(f / "config.json", num_attention_heads=5),
        {},
        ["o_proj.weight", "(32, 80)", "config.json"],
    ),
    "a size of no kind": (
        "lm",
        lambda f: edit(f / "config.json", hidden_size="wide"),
        {},
        ["config.json", "'hidden_size'", "'wide'"],
    ),
    "no weights": ("lm", lambda f: (f / "model.safetensors").unlink(), {}, ["no weights", "model.safetensors"]),
    "truncated weights": ("lm", lambda f: truncate(f / "model.safetensors"), {}, ["/model.safetensors", "is damaged"]),
    "empty weights": (
        "lm",
        lambda f: (f / "model.safetensors").write_bytes(b""),
        {},
        ["/model.safetensors", "is damaged"],
    ),
    "weights that are text": (
        "lm",
        lambda f: (f / "model.safetensors").write_text("weights" * 9),
        {},
        ["/model.safetensors", "is damaged"],
    ),
    "pickled weights": ("lm", pickled, {}, ["pickled", "pytorch_model.bin", "save them as safetensors"]),
    "no tokenizer": (
        "lm",
        no_tokenizer,
        {},
        ["no tokenizer", "there is no tokenizer.json", "download"],
    ),
    "a broken tokenizer": (
        "lm",
        lambda f: (f / "tokenizer.json").write_text("{}"),
        {},
        ["no tokenizer", "'added_tokens'", "download"],
    ),
    "a tokenizer that is no JSON": (
        "lm",
        lambda f: (f / "tokenizer.json").write_text("{"),
        {},
        ["no tokenizer", "property name", "download"],
    ),
    "a tokenizer of more words": ("lm", more_words, {}, ["gives token 3", "knows 300", "own tokenizer"]),
    "no end token": (
        "lm",
        lambda f: edit(f / "tokenizer_config.json", eos_token=None),
        {},
        ["no end-of-sequence token", "--terminator"],
    ),
    "a template that refuses": (
        "lm",
        lambda f: template(f, "{{ raise_exception('no') }}"),
        {},
        ["(no)", "--template none"],
    ),
    "a template that is no template": (
        "lm",
        lambda f: template(f, "{% for"),
        {},
        ["unexpected 'end of template'", "--template none"],
    ),
    "a template that says nothing": (
        "lm",
        lambda f: template(f, "hello"),
        {},
        ["does not write the words", "--template none"],
    ),
    "no Yes": ("lm", without_words, {"kind": "generative"}, ['"Yes"', "single token", "kind"]),
    "float16 for Gemma": ("gemma", lambda f: None, {"dtype": "float16"}, ["float16", "--dtype"]),
    "no such device": ("lm", lambda f: None, {"device": "cuda:77"}, ["--device", "cuda:77"]),
    "a device of no name": ("lm", lambda f: None, {"device": "toaster"}, ["--device", "toaster"]),
    "too few positions": (
        "lm",
        lambda f: edit(f / "config.json", max_position_embeddings=6),
        {},
        ["6 positions", "--max_length 6"],
    ),
    "a reference of another size": (
        "lm",
        other_size,
        {"reference": "{folder}/reference"},
        ["310 tokens", "policy 300", "--reference"],
    ),
    "a reference that is missing": (
        "lm",
        lambda f: None,
        {"reference": "{folder}/nowhere"},
        ["nowhere", "no such folder", "give --reference"],
    ),
    "another kind than it is": ("model", lambda f: None, {"kind": "implicit"}, ["of kind explicit", "--kind explicit"]),
    "a manifest that is no JSON": (
        "model",
        lambda f: (f / MANIFEST).write_text("{"),
        EXPLICIT,
        [MANIFEST, "not valid JSON"],
    ),
    "a manifest of another shape": (
        "model",
        lambda f: (f / MANIFEST).write_text("[]"),
        EXPLICIT,
        [MANIFEST, "which kind"],
    ),
    "a manifest without a kind": (
        "model",
        lambda f: edit(f / MANIFEST, kind=...),
        EXPLICIT,
        [MANIFEST, "which kind"],
    ),
    "no head": ("model", lambda f: (f / HEAD).unlink(), EXPLICIT, [HEAD, "No such file"]),
    "a truncated head": (
        "model",
        lambda f: truncate(f / HEAD),
        EXPLICIT,
        [HEAD, "deserializing"],
    ),
    "weights that are not numbers": ("nan", lambda f: None, {}, ["logits are not finite", "--dtype float32"]),
}


def broken(sound: Path, folder: Path, name: str) -> dict[str, str]:
    """The model of that name in `folder`; the flags that go with it."""
    start, break_it, flags, _ = BROKEN[name]
    if start == "nan":
        not_a_number(folder)
    else:
        shutil.copytree(sound / start, folder)
    break_it(folder)
    flags = {"kind": "implicit"} | flags
    if flags["kind"] == "implicit":  # other kinds have none, and say so before they look at the model
        flags = {"reference": "none"} | flags
    return {flag: value.format(folder=folder) for flag, value in flags.items()}


def run(command: str, capsys, **flags: object) -> tuple[int, str, str]:
    """Exit code, stdout and the last line of stderr; nothing that a command says is a traceback."""
    capsys.readouterr()
    code = main([command, *(str(word) for flag, value in flags.items() for word in (f"--{flag}", value))])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, (said.err.strip().splitlines() or [""])[-1]


@pytest.mark.parametrize("name", BROKEN)
def test_score(sound, tmp_path, capsys, name):
    flags = broken(sound, tmp_path / "M", name)
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    places = {"model": tmp_path / "M", "pairs": pairs, "output": tmp_path / "run"}
    code, out, line = run("score", capsys, **places, **flags)
    assert (code, out, line[:7]) == (2, "", "error: ")
    line = line.replace(str(tmp_path), "")  # where pytest has put the name of the row, which is no cause
    words = BROKEN[name][-1]
    assert all(word in line for word in words), line
    for other, (*_, theirs) in BROKEN.items():
        assert theirs == words or not all(word in line for word in theirs), f"{line} also reads like {other}"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", BROKEN)
def test_doctor(sound, tmp_path, capsys, name):
    """Either it cannot be read at all (2), or what is wrong with it is found (3)."""
    flags = broken(sound, tmp_path / "M", name)
    code, out, line = run("doctor", capsys, model=tmp_path / "M", examples=2, **flags)
    assert code in (2, 3)
    assert ("PROBLEM" in out) == (code == 3)
    assert line.startswith("error: ") == (code == 2)


def not_a_number(folder: Path) -> None:
    model = language_model("mistral")
    model.lm_head.weight.data[:] = torch.nan
    with quiet_transformers():
        model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)


EVIL = """
from pathlib import Path
Path(__file__).with_name("was_run").touch()
Path({mark!r}).touch()
from transformers import LlamaConfig as EvilConfig, LlamaModel as Evil, LlamaForCausalLM as EvilLM
from transformers import PreTrainedTokenizerFast as EvilTokenizer
"""


@pytest.mark.parametrize("command", ["train", "score", "doctor"])
@pytest.mark.parametrize("part", ["model", "tokenizer"])
def test_code_that_a_folder_brings_is_neither_run_nor_asked_about(sound, tmp_path, capsys, monkeypatch, command, part):
    """Unless told otherwise transformers asks on the terminal, and here every question is answered with yes."""
    asked = []
    monkeypatch.setattr("builtins.input", lambda *_: asked.append(1) or "y")
    folder, mark = tmp_path / "M", tmp_path / "was_run"
    shutil.copytree(sound / "lm", folder)
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    edit(folder / "config.json", model_type="evil")
    if part == "model":
        names = {"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.Evil", "AutoModelForCausalLM": "evil.EvilLM"}
        edit(folder / "config.json", auto_map=names)
    else:
        names = {"AutoTokenizer": [None, "evil.EvilTokenizer"]}
        edit(folder / "tokenizer_config.json", tokenizer_class="EvilTokenizer", auto_map=names)
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    flags = {"model": folder, "kind": "implicit", "pairs": pairs, "reference": "none"}
    if command != "doctor":
        flags["output"] = tmp_path / "run"
    code, out, line = run(command, capsys, **flags)
    assert (code, out, asked) == (2, "", [])
    assert not mark.exists()
    assert part == "tokenizer" or "code of its own" in line
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_that_brings_code_is_refused(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("builtins.input", lambda *_: asked.append(1) or "y")
    tokenizer().save_pretrained(tmp_path)
    (tmp_path / "evil.py").write_text(EVIL.format(mark=str(tmp_path / "mark")))
    names = {"AutoTokenizer": [None, "evil.EvilTokenizer"]}
    edit(tmp_path / "tokenizer_config.json", tokenizer_class="EvilTokenizer", auto_map=names)
    with pytest.raises(UserError, match="code of its own"):
        load_tokenizer(tmp_path)
    assert not asked
    assert not (tmp_path / "mark").exists()
