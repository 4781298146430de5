"""The README.md of a saved reward model: what it is, its numbers, the data it saw, and how to load it without us.

The loading snippet reads the first stored probe, so whoever runs it sees the reward that training ended with.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_experiments.baselines import BASELINES
from llm_experiments.inputs import Source
from simulations.results import Row, write_text

REWARD = {
    "explicit": "a linear head on the transformer's hidden state",
    "implicit": "beta times the log-ratio of policy and reference, summed over the response's tokens (a DPO policy)",
    "generative": 'the probability of "Yes" after a question that quotes prompt and response',
}
_POOLING = {
    "last": "hidden[-1]",
    "mean": "hidden[start:].mean(0)",
    "end_of_turn": "hidden[start + (ids[0, start:] == {end}).nonzero()[-1, 0]]",
}
_LOG_PROBABILITY = """
def log_probability(model):
    logs = torch.log_softmax(model(ids).logits[0].double(), -1)
    return logs[range(start - 1, ids.shape[1] - 1), ids[0, start:]].sum()

"""


def write_card(
    folder: Path, manifest: Mapping[str, Any], metrics: Mapping[str, Row], inputs: Mapping[str, Source], *, dtype: str
) -> Path:
    """Write README.md into the folder of a saved model.

    Args:
        manifest: what is in its rewardgap.json.
        metrics, inputs: by source of pairs, the training pairs first.
    """
    kind, head = manifest["kind"], _front_matter(manifest)
    read = f", read at `{manifest['pooling']}`" if kind == "explicit" else ""
    parts = [
        head,
        f"# Reward model ({kind})",
        f"The reward of a response is {REWARD[kind]}{read}. Trained from `{manifest['base']}` on "
        f"`{manifest.get('pairs', '')}` with rewardgap, which measures what "
        "[Razin et al. (2025)](https://arxiv.org/abs/2507.07981) found of implicit and explicit reward models.",
        "## Numbers",
        _numbers(metrics),
        "Accuracy with its 95 % interval over prompts; a tie counts one half; the margin is in units of the rewards' "
        "spread. The first line is of the pairs that it was trained on. The last four columns are rules that read no "
        "prompt, which a reward model must beat: the longest response wins, the shortest one, a bag of tokens fitted "
        "to the training pairs, the overlap of tokens with the training responses.",
        "## Data",
        *(f"`{name}`\n\n```\n{source}\n```" for name, source in inputs.items()),
        "## Loading",
        "Without rewardgap; prints the reward of the first chosen response that it was trained on:",
        f"```python\n{snippet(folder, manifest, dtype)}```",
        "With it, for any text (also as one of TRL's `reward_funcs`):",
        "```python\nfrom llm_experiments.scoring import reward_function\n\n"
        f'reward = reward_function({str(folder)!r})\nprint(reward(prompts=["Is it?"], completions=[" Yes."]))\n```',
        *_warnings(manifest),
        "## Training",
        _settings({**manifest.get("training", {}), **manifest.get("encoding", {})}),
    ]
    write_text(folder / "README.md", "\n\n".join(parts) + "\n")
    return folder / "README.md"


def snippet(folder: Path, manifest: Mapping[str, Any], dtype: str) -> str:
    """Python that loads the model with transformers (and peft, for an adapter) and prints one reward."""
    kind, form = manifest["kind"], manifest["format"]
    loader = {"classifier": "AutoModelForSequenceClassification", "causal_lm": "AutoModelForCausalLM"}.get(form)
    loader = loader or ("AutoModel" if kind == "explicit" else "AutoModelForCausalLM")
    where = repr(manifest["base"]) if form == "adapter" else "folder"
    two_models = kind == "implicit" and manifest["reference"] != "none" and not _own_reference(manifest)
    head_file = kind == "explicit" and form != "classifier"
    lines = ["import json", "from pathlib import Path", "", "import torch"]
    lines += ["from peft import PeftModel"] if form == "adapter" else []
    lines += ["from safetensors.torch import load_file"] if head_file else []
    lines += [f"from transformers import {loader}", "", f"folder = {str(folder)!r}"]
    lines += [f"model = {loader}.from_pretrained({where}, dtype=torch.{dtype}).eval()"]
    lines += ["model = PeftModel.from_pretrained(model, folder).eval()"] if form == "adapter" else []
    lines += ['probe = json.loads(Path(folder, "rewardgap.json").read_text())["probes"][0]']
    lines += ['ids, start = torch.tensor([probe["ids"][0]]), probe["starts"][0]  # of the response', ""]
    text = "\n".join(lines)
    if kind == "implicit":
        text += _LOG_PROBABILITY
    text += "\nwith torch.no_grad():\n"
    return text + "".join(f"    {line}\n" for line in _reward(manifest, dtype, two_models))


def _reward(manifest: Mapping[str, Any], dtype: str, two_models: bool) -> Sequence[str]:
    """The last lines of the snippet."""
    kind, form = manifest["kind"], manifest["format"]
    if kind == "generative":
        return (f"print(float(model(ids).logits[0, -1].double().softmax(-1)[{manifest['answers'][0]}]))",)
    if kind == "explicit" and form == "classifier":
        return ("print(float(model(ids).logits[0, 0]))",)
    if kind == "explicit":
        return (
            "hidden = model(ids).last_hidden_state[0]",
            'head = load_file(f"{folder}/head.safetensors")["weight"][0]',
            f"state = {_POOLING[manifest['pooling']].format(end=manifest['end_token_id'])}",
            "print(float(state.float() @ head.float()))",
        )
    lines = ["ratio = log_probability(model)"]
    if two_models:
        place = manifest["reference"]
        lines += [f"reference = AutoModelForCausalLM.from_pretrained({place!r}, dtype=torch.{dtype}).eval()"]
        lines += ["ratio -= log_probability(reference)"]
    elif _own_reference(manifest):
        lines += ["with model.disable_adapter():", "    ratio -= log_probability(model)"]
    return (*lines, f"print(float({manifest['beta']} * ratio))")


def _own_reference(manifest: Mapping[str, Any]) -> bool:
    """Whether the policy without its adapter is the reference."""
    return manifest["format"] == "adapter" and manifest["reference"] == manifest["base"]


def _front_matter(manifest: Mapping[str, Any]) -> str:
    adapter = manifest["format"] == "adapter"
    tags = ["rewardgap", "reward-model", manifest["kind"]]
    lines = {
        "library_name": "peft" if adapter else "transformers",
        "base_model": manifest["base"],
        "tags": tags,
        "pipeline_tag": "text-classification" if manifest["kind"] == "explicit" else "text-generation",
    }
    return "---\n" + "\n".join(f"{name}: {json.dumps(value)}" for name, value in lines.items() if value) + "\n---"


def _numbers(metrics: Mapping[str, Row]) -> str:
    rules = [name.replace("_", " ") for name in BASELINES]
    heads = ["pairs", "n", "accuracy", "ties", "margin", "ECE", "Brier", *rules]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for name, row in metrics.items():
        parts = {name: row, **{f"{name}, {part or '(none)'}": one for part, one in row.get("subsets", {}).items()}}
        if "unshared" in row:
            parts[f"{name}, sharing nothing with training"] = row["unshared"]
        lines += [_line([part.replace("|", "\\|"), *_cells(one)]) for part, one in parts.items()]
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    limits = "" if math.isnan(row["low"]) else f" ({row['low']:.3f} to {row['high']:.3f})"
    numbers = [row["tie_rate"], row["normalised_margin"], row["ece"], row["brier"]]
    numbers += [(row["baselines"][name] or {}).get("accuracy") for name in BASELINES]
    return [
        str(row["n"]),
        f"{row['accuracy']:.3f}{limits}",
        *("unknown" if value is None else f"{value:.3f}" for value in numbers),
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _warnings(manifest: Mapping[str, Any]) -> Sequence[str]:
    if manifest["kind"] != "explicit" or manifest["pooling"] == "last":
        return ()
    return (
        f"The reward is read at `{manifest['pooling']}` and not at the last token: no "
        "`AutoModelForSequenceClassification` reads it so, and loading it as one would give other numbers.",
    )


def _settings(settings: Mapping[str, Any]) -> str:
    return "\n".join(f"* `{name}`: {value}" for name, value in settings.items())
