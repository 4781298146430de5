"""Folders of models, spoilt in every way: each command reads them, or ends in one line that names the folder."""

import json
import shutil
from pathlib import Path

import peft
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_experiments.models import load_reward_model
from llm_experiments.saving import save_reward_model
from tests.fuzzing import hunt, obeys, revalued, scratch, spoilt
from tests.lm import language_model, random_pairs, tokenizer
from tests.patients import classifier, write

pytestmark = pytest.mark.integration

CHAT = "{{ bos_token }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
# flags of score, with which every kind of folder is sound
KIND = {
    "policy": ["--kind=implicit", "--reference=none"],
    "classifier": ["--kind=explicit"],
    "ours": [],
    "adapter": ["--kind=implicit"],
}
WEIGHTS = 600  # bytes of a safetensors file that are worth spoiling: its header


@pytest.fixture(scope="session")
def sound(tmp_path_factory) -> Path:
    """A folder of each kind of KIND, and two pairs."""
    folder = tmp_path_factory.mktemp("sound")
    tokens = tokenizer()
    write(folder / "policy", language_model("mistral"), tokens, chat_template=CHAT)
    write(folder / "classifier", classifier(), tokens)
    ours = load_reward_model(language_model("gemma2"), "explicit", pooling="mean")
    save_reward_model(ours, tokens, folder / "ours", random_pairs(2))
    over = peft.get_peft_model(language_model("mistral"), peft.LoraConfig(r=2, task_type="CAUSAL_LM"))
    over.peft_config["default"].base_model_name_or_path = str(folder / "policy")
    write(folder / "adapter", over, tokens)
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    lines = [{"prompt": "Is it?", "chosen": " It is.", "rejected": " It is not."}] * 2
    (folder / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def files(folder: Path) -> list[tuple[str, str]]:
    """(kind of folder, name) of everything that could be spoilt."""
    return sorted((kind, path.name) for kind in KIND for path in (folder / kind).iterdir())


def run(command: str, sound: Path, kind: str, folder: Path) -> str:
    """The command on a copy of the sound folder, whose files in `folder` replace its own."""
    model, output = folder / "model", folder / "run"
    shutil.copytree(sound / kind, model)
    for path in folder.glob("*.new"):
        shutil.move(path, model / path.stem)
    words = [command, f"--model={model}", *KIND[kind]]
    if command != "doctor":
        words += [f"--output={output}", f"--pairs={sound / 'pairs.jsonl'}"]
    if command == "train":
        words = [word for word in words if not word.startswith("--reference")] + ["--max_steps=1", "--kind=implicit"]
    return obeys([*words, "--examples=2"] if command == "doctor" else words, model, output=output)


COMMANDS = st.sampled_from(["score", "score", "doctor", "train"])


def test_the_folders_are_sound_before_they_are_spoilt(sound):
    for kind in KIND:
        with scratch() as folder:
            assert run("score", sound, kind, folder) == ""
        with scratch() as folder:
            assert run("doctor", sound, kind, folder) == ""


@hunt(14)
@given(data=st.data(), command=COMMANDS)
def test_spoilt_files(sound, data, command):
    kind, name = data.draw(st.sampled_from(files(sound)))
    head = WEIGHTS if name.endswith(".safetensors") else 0
    new = data.draw(spoilt((sound / kind / name).read_bytes(), head))
    with scratch() as folder:
        (folder / f"{name}.new").write_bytes(new)
        run(command, sound, kind, folder)


# what a config may say: sizes stay small, or a test would measure this machine's memory
SIZES = st.sampled_from([-1, 0, 1, 3, 16, 10**6, 0.5, -0.5, 1e308, float("nan"), "", "a", "x" * 99, None, True])
PARTS = st.dictionaries(st.sampled_from(["a", "rope_type", "0"]), SIZES, max_size=2)
SAID = SIZES | st.lists(SIZES, max_size=2) | PARTS


@hunt(18)
@given(data=st.data(), command=COMMANDS)
def test_any_value_in_place_of_any_setting(sound, data, command):
    kind, name = data.draw(st.sampled_from([one for one in files(sound) if one[1].endswith(".json")]))
    value = json.loads((sound / kind / name).read_text())
    value = data.draw(revalued(value, SAID))
    with scratch() as folder:
        (folder / f"{name}.new").write_text(json.dumps(value))
        run(command, sound, kind, folder)
