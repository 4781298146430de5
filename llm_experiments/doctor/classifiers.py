"""Checks of sequence classifiers as other tools will use them: is the head there, and which token does it read?"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int

from llm_experiments.doctor.finding import Finding
from llm_experiments.encoding import Ids
from llm_experiments.forward import backbone

HEADS = ("score", "classifier", "classification_head", "v_head", "value_head", "reward_head", "regression_layer")
# A float32 dot product against the same one in another order
SAME_SCORE = 1e-4


def check_weights(
    missing: Collection[str], mismatched: Collection[str], unexpected: Collection[str], *, classifier: bool
) -> Finding:
    """Every weight came from the files: what is newly initialised is noise that looks like a model.

    Args:
        missing, mismatched, unexpected: names of parameters, as transformers reports them after loading.
    """
    name = "weights"
    fresh = sorted({*missing, *mismatched})
    if heads := [key for key in fresh if is_head(key)]:
        cure = "load the folder that was saved with its head (of an adapter: modules_to_save=['score']), or train one"
        reason = "has another shape in the files" if heads[0] in mismatched else "is not in the files"
        return Finding(name, "problem", len(fresh), f"weights newly initialised: the head {heads[0]} {reason}", cure)
    if fresh:
        cure = "check that files and config belong together; a newly initialised weight is noise"
        return Finding(name, "problem", len(fresh), f"weights newly initialised: {_some(fresh)}", cure)
    if not classifier and (heads := [key for key in sorted(unexpected) if is_head(key)]):
        cure = "if this is a reward model, load it as one: --kind explicit"
        detail = f"weights in the files are not used: {_some(heads)} looks like a reward head"
        return Finding(name, "warning", len(heads), detail, cure)
    return Finding(name, "ok", 0, "weights newly initialised")


def check_outputs(model: Any, head: Any) -> Finding:
    """One output, not zero, all numbers finite."""
    labels, name = model.config.num_labels, "head"
    if labels != 1:
        cure = "a reward is one number: train with num_labels=1, or score a classifier's class some other way"
        return Finding(name, "problem", labels, "outputs, where a reward model has one", cure)
    size = float(head.weight.detach().float().norm()) if head is not None else float("nan")
    if size == 0 or (head is not None and not torch.isfinite(head.weight).all()):
        cure = "the save lost the head: look for it in the training run's own checkpoint"
        return Finding(name, "problem", size, "is the norm of the head's weights", cure)
    return Finding(name, "ok", size, "is the norm of the head's weights; one output")


def check_pad_token(tokenizer: Any, config: Any, ends: Collection[int]) -> Finding:
    """Plain classifiers take the reward from the last token whose id is not the config's pad id."""
    pad, name = config.get_text_config().pad_token_id, "padding"
    if pad is None:
        cure = "set config.pad_token_id to a token that never ends a response, and save"
        return Finding(name, "problem", "missing", "no pad token in the config: batches are refused", cure)
    if pad < 0:  # no token's id: nothing that is read here can be taken for padding
        return Finding(name, "ok", "by mask", "this model finds its last token by the mask, whatever pads")
    word = str(tokenizer.convert_ids_to_tokens(pad)) if pad < len(tokenizer) else str(pad)
    if pad in ends:
        cure = "set pad_token and config.pad_token_id to a token that never ends a response, and save both"
        return Finding(
            name, "problem", word, "pads and also ends responses, so the reward is read before the end", cure
        )
    if tokenizer.pad_token_id != pad:
        cure = "give tokenizer and config the same pad token, and save both"
        detail = f"pads according to the config, {tokenizer.pad_token} according to the tokenizer"
        return Finding(name, "problem", word, detail, cure)
    return Finding(name, "ok", word, "pads, and ends no response")


@torch.no_grad()
def check_pooled_token(model: Any, rows: Sequence[Ids], pad_id: int) -> Finding:
    """The reward is read at the last attended token: alone, padded on the right, padded on the left."""
    name = "pooled token"
    wrong = {}
    for side in ("alone", "right", "left"):
        batches = [[row] for row in rows] if side == "alone" else [list(rows)]
        try:
            off = [place for some in batches for place in pooled_offsets(model, **inputs(model, some, pad_id, side))]
        except ValueError as error:
            detail = f"padded batches are refused ({str(error).splitlines()[0]})"
            return Finding(name, "problem", "refused", detail, "set config.pad_token_id, and save")
        if missed := [place for place in off if place != 0]:
            wrong[side] = (len(missed), max(missed, key=abs))
    if not wrong:
        return Finding(name, "ok", "last", f"attended token, in {len(rows)} responses alone and padded on either side")
    said = [f"{side}: {count} of {len(rows)}" for side, (count, _) in wrong.items()]
    off = next(iter(wrong.values()))[1]
    cure = "give the model a pad token that is neither the end token nor missing (tokenizer and config), and save"
    if list(wrong) == ["left"]:
        cure = "pad on the right: this model loses its place when padded on the left"
    return Finding(
        name, "problem", off, f"tokens from the last one is where the reward is read ({'; '.join(said)})", cure
    )


def pooled_offsets(
    model: Any, input_ids: Int[torch.Tensor, "rows length"], attention_mask: Int[torch.Tensor, "rows length"]
) -> list[int]:
    """Where the reward was read, relative to each row's last attended token: 0 is right, -1 one token early.

    The head is watched while the model runs: it either scores every position, and the one that equals the reward was
    picked, or it sees only what was picked before.
    """
    head = head_of(model)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = head.register_forward_hook(lambda _, given, got: seen.append((given[0].detach(), got.detach())))
    try:
        rewards = model(input_ids=input_ids, attention_mask=attention_mask).logits
    finally:
        hook.remove()
    given, got = seen[-1]
    if given.ndim == 3:
        distance = (got - rewards[:, None]).abs().amax(-1) / rewards.abs().amax(-1).clamp(min=1)[:, None]
    else:  # pooled before the head
        hidden = backbone(model)(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        distance = (hidden - given[:, None]).abs().amax(-1)
    offsets = []
    for row, mask in zip(distance, attention_mask, strict=True):
        last = int(mask.nonzero().max())
        offsets.append(0 if row[last] <= SAME_SCORE else int(row.argmin()) - last)
    return offsets


def head_of(model: Any) -> Any:
    """The linear layer that a classifier's rewards come out of.

    Raises:
        ValueError: no layer of a known name gives as many numbers as there are labels.
    """
    for name, module in model.named_modules():
        if name.split(".")[-1] in HEADS and getattr(module, "out_features", None) == model.config.num_labels:
            return module
    for module in reversed(list(model.modules())):
        if isinstance(module, torch.nn.Linear) and module.out_features == model.config.num_labels:
            return module
    raise ValueError(f"{type(model).__name__} has no linear head that could be watched")


def inputs(model: Any, rows: Sequence[Ids], pad_id: int, side: str) -> dict[str, torch.Tensor]:
    """A padded batch where the model is."""
    ids, mask = padded(rows, pad_id, side)
    return {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}


def padded(
    rows: Sequence[Ids], pad_id: int, side: str
) -> tuple[Int[torch.Tensor, "rows length"], Int[torch.Tensor, "rows length"]]:
    """Rows as a rectangle, with its attention mask."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for number, row in enumerate(rows):
        place = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[number, place] = torch.tensor(row, dtype=torch.long)
        mask[number, place] = 1
    return ids, mask


@torch.no_grad()
def classifier_rewards(model: Any, rows: Sequence[Ids], pad_id: int) -> Float[torch.Tensor, " rows"]:
    """Every row by itself, float64."""
    return torch.cat([model(**inputs(model, [row], pad_id, "right")).logits[:, 0] for row in rows]).double().cpu()


def is_head(key: str) -> bool:
    return any(part in HEADS for part in key.split("."))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
