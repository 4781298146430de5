"""Checks of policies and references: the answer tokens, and whether the two models belong together."""

from collections.abc import Sequence
from typing import Any

import torch

from llm_experiments.batches import collate_rows
from llm_experiments.doctor.finding import Finding, Status
from llm_experiments.doctor.numbers import response_log_probabilities, spans
from llm_experiments.encoding import EncodedPair, encode_pairs
from llm_experiments.models import RewardModel, answer_tokens
from llm_experiments.pairs import Pair
from llm_experiments.rendering import ANSWER_CHECK
from llm_experiments.settings import EncodingSettings
from simulations.results import UserError

SPELLINGS = {"Yes": ("Yes", " Yes", "yes", " yes", "YES"), "No": ("No", " No", "no", " no", "NO")}
START = 1e-5
FAR = 1.0  # nats per token; training moves a policy by a tenth of that, another model is further away


def check_answers(tokenizer: Any, *, wanted: bool) -> Finding:
    """Yes and No are one token each, and stay so behind the verification question, in a chat or in plain text."""
    name, gravity = "answers", "problem" if wanted else "warning"
    cure = "choose another --kind, or a tokenizer that has them"
    try:
        yes, no = answer_tokens(tokenizer)
        asked = Pair("answers", "", ANSWER_CHECK + "\n", "Yes", "No")
        (reply,), audit = encode_pairs([asked], tokenizer, EncodingSettings(terminator="strip", max_length=0))
    except UserError as error:
        return Finding(name, gravity, "missing", str(error), cure)
    melted = any("straddled" in note for note in audit.notes)
    for word, number, ids in (("Yes", yes, reply.chosen_ids), ("No", no, reply.rejected_ids)):
        if melted or ids != (number,):
            detail = f"after the question the tokenizer does not write {word} as the token it gives {word} elsewhere"
            return Finding(name, gravity, word, detail, cure)
    return Finding(name, "ok", f"{yes}, {no}", "are the ids of Yes and No, one token each")


@torch.no_grad()
def check_answer_mass(model: RewardModel, tokenizer: Any, pairs: Sequence[EncodedPair], *, wanted: bool) -> Finding:
    """Which spellings of Yes and No the model would say; the reward reads one of each, `model.answers`."""
    name = "answer mass"
    rows = [(*pair.sequence("generative", "chosen"), len(pair.chosen_ids)) for pair in pairs]
    batch = {key: value.to(model.device) for key, value in collate_rows(rows).items()}
    mass = torch.softmax(model(**batch), -1).mean(0)
    ids = {word: _single(tokenizer, word) for words in SPELLINGS.values() for word in words}
    found = {word: float(mass[number]) for word, number in ids.items() if number is not None}
    said = ", ".join(f"{word!r} {value:.2g}" for word, value in found.items())
    used = float(mass[list(model.answers)].sum())
    for number, words in zip(model.answers, SPELLINGS.values(), strict=True):
        others = [word for word in words if word in found and ids[word] != number]
        best = max(others, key=found.__getitem__, default="")
        if best and found[best] > max(0.01, 2 * float(mass[number])):
            status: Status = "warning" if wanted else "ok"
            cure = f"train it before its P(Yes) means anything: untrained, it would say {best!r}" if wanted else ""
            return Finding(name, status, used, f"is P(Yes) + P(No), less than on {best!r} alone ({said})", cure)
    return Finding(name, "ok", used, f"is P(Yes) + P(No) before any training ({said})")


def check_reference_tokens(tokenizer: Any, other: Any) -> Finding:
    """Policy and reference read the same ids as the same words."""
    mine, theirs, name = tokenizer.get_vocab(), other.get_vocab(), "reference tokens"
    if mine == theirs:
        return Finding(name, "ok", len(mine), "tokens, the same in policy and reference")
    moved = [word for word, number in mine.items() if theirs.get(word) != number]
    foreign = [word for word in theirs if word not in mine]
    example = (moved or foreign)[0]
    detail = f"tokens of the reference's tokenizer are others (such as {example!r}): log-ratios of unequal events"
    cure = "give the model that the policy was trained from, or --reference none"
    return Finding(name, "problem", len({*moved, *foreign}), detail, cure)


def check_vocabularies(policy_rows: int, reference_rows: int) -> Finding:
    """Output layers of one size: a log-ratio compares distributions over the same tokens."""
    name = "reference size"
    if policy_rows == reference_rows:
        return Finding(name, "ok", policy_rows, "output rows in policy and reference")
    detail = f"output rows, the policy has {policy_rows}"
    cure = "give the model that the policy was trained from (resized alike), or --reference none"
    return Finding(name, "problem", reference_rows, detail, cure)


@torch.no_grad()
def check_distance(policy: Any, reference: Any, pairs: Sequence[EncodedPair]) -> Finding:
    """How far a trained policy is from its reference, token by token: zero says that it is its own reference, more
    than a nat that the reference is another model's."""
    rows, name = spans(pairs), "reference"
    mine, theirs = (response_log_probabilities(model, rows, 0, "right") for model in (policy, reference))
    ratio = float((mine - theirs).abs().mean())
    detail = "nats per response token between policy and reference"
    if ratio == 0:
        cure = "give the model that the policy was trained from as --reference: against itself every pair ties"
        return Finding(name, "problem", ratio, f"{detail}: they are the same model", cure)
    if ratio > FAR:
        cure = "is it the model that the policy was trained from? a wrong reference ranks at chance"
        return Finding(name, "warning", ratio, f"{detail}: far for a policy trained from it", cure)
    return Finding(name, "ok", ratio, detail)


@torch.no_grad()
def check_start(model: RewardModel, pairs: Sequence[EncodedPair]) -> Finding:
    """In training mode a policy equals itself as reference: what differs is noise (dropout) that training would add to
    every reward."""
    name, worst = "start", 0.0
    for pair in pairs:
        row = collate_rows([(*pair.sequence("implicit", "chosen"), len(pair.chosen_ids))])
        batch = {key: value.to(model.device) for key, value in row.items()}
        still = float(model.eval()(**batch))
        worst = max(worst, abs(float(model.train()(**batch)) - still) / max(1.0, len(pair.chosen_ids) ** 0.5))
    model.eval()
    detail = "nats of implicit reward before the first step, in training mode"
    if worst <= START:
        return Finding(name, "ok", worst, detail)
    return Finding(name, "problem", worst, detail, "switch off every dropout in the config: rewards start as noise")


def _single(tokenizer: Any, word: str) -> int | None:
    """The word's id; None where it is not one token."""
    ids = tokenizer(word, add_special_tokens=False)["input_ids"]
    return ids[0] if len(ids) == 1 and ids[0] != tokenizer.unk_token_id else None
