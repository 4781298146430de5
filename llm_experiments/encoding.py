"""From pairs to token ids, once and in one place, for every kind of reward model.

Explicit and implicit models read prompt + response; generative ones read the same response ids between their own
prompt and question. The boundary between prompt and response is found in token space, a tokenizer that has a BOS
token gets exactly one, and what cannot be ranked or is too long is decided here, for all kinds alike.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from llm_experiments.audit import Audit, repeats
from llm_experiments.pairs import Pair, PairSet, Text
from llm_experiments.rendering import has_template, render_pair, response_tail
from llm_experiments.settings import EncodingSettings
from simulations.results import UserError
from theory.rewards import Kind

Ids = tuple[int, ...]
Side = Literal["chosen", "rejected"]


@dataclass(frozen=True)
class EncodedPair:
    """Token ids of one pair. A response's ids are the same for every kind."""

    id: str
    subset: str
    prompt_ids: Ids
    chosen_ids: Ids
    rejected_ids: Ids
    verify_prefix_ids: Ids = ()
    verify_suffix_ids: Ids = ()

    def sequence(self, kind: Kind, side: Side) -> tuple[Ids, int]:
        """What the model reads and where the response starts in it."""
        response = self.chosen_ids if side == "chosen" else self.rejected_ids
        if kind == "generative":
            return self.verify_prefix_ids + response + self.verify_suffix_ids, len(self.verify_prefix_ids)
        return self.prompt_ids + response, len(self.prompt_ids)

    @property
    def longest(self) -> int:
        """Tokens of the longest encoding of either response under any kind."""
        around = max(len(self.prompt_ids), len(self.verify_prefix_ids) + len(self.verify_suffix_ids))
        return around + max(len(self.chosen_ids), len(self.rejected_ids))

    def swapped(self) -> "EncodedPair":
        return EncodedPair(
            self.id,
            self.subset,
            self.prompt_ids,
            self.rejected_ids,
            self.chosen_ids,
            self.verify_prefix_ids,
            self.verify_suffix_ids,
        )


def encode_pairs(
    pairs: PairSet | Sequence[Pair], tokenizer: Any, settings: EncodingSettings | None = None
) -> tuple[list[EncodedPair], Audit]:
    """The pairs as token ids, in order, and the audit of what happened to them.

    Raises:
        UserError: no pair is left, a pair is too long under `over_length="error"`, a response or a prompt has no
            token under `bad_pairs="error"`, or the tokenizer has no end token to ensure.
    """
    settings = settings or EncodingSettings()
    template = settings.template == "auto" and has_template(tokenizer)
    ending = _Ending.of(tokenizer, settings.terminator, template=template)
    dropped = {reason: list(ids) for reason, ids in pairs.dropped.items()} if isinstance(pairs, PairSet) else {}
    notes: Counter[str] = Counter()
    rendered = [render_pair(pair, tokenizer, template=template) for pair in pairs]
    notes.update(texts.adapted for texts in rendered if texts.adapted)
    texts = [text for r in rendered for text in (r.prompt, r.chosen, r.rejected, r.verify_prefix, r.verify_suffix)]
    ids = _tokenise(tokenizer, texts)
    if _opens_with_a_blank(tokenizer):
        ids[4::5] = _continue(tokenizer, texts[4::5])
    leads = _leads(tokenizer, template=template)
    kept: list[EncodedPair] = []
    for number, (pair, text) in enumerate(zip(pairs, rendered, strict=True)):
        prompt, chosen, rejected, prefix, suffix = ids[5 * number : 5 * number + 5]
        prompt, responses, note = _split(
            tokenizer, prompt, (chosen, rejected), (text.prompt, text.chosen, text.rejected)
        )
        if note:
            notes[note] += 1
        chosen, rejected = (ending.apply(response) for response in responses)
        encoded = EncodedPair(
            pair.id, pair.subset, _one_bos(tokenizer, prompt), chosen, rejected, _one_bos(tokenizer, prefix), suffix
        )
        problem = _unrankable(encoded, ending)
        if problem and settings.bad_pairs == "error":
            raise UserError(f"pair {pair.id!r}: {problem}; leave such pairs out with --bad_pairs drop")
        if not problem and 0 < settings.max_length < encoded.longest:
            encoded, problem = _shorten(encoded, settings, *leads)
            if not problem:
                notes["prompt truncated"] += 1
        if problem:
            dropped.setdefault(problem, []).append(pair.id)
        else:
            kept.append(encoded)
    if not kept:
        reasons = ", ".join(f"{len(names)} {reason}" for reason, names in dropped.items())
        place = f"{pairs.source}: " if isinstance(pairs, PairSet) else ""
        raise UserError(f"{place}no pair is left after encoding ({reasons}); raise --max_length or check the file")
    notes.update(repeats(kept))
    audit = Audit.of(kept, dropped=dropped, notes=notes, tokenizer=tokenizer, template=template, end_ids=ending.ids)
    if isinstance(pairs, PairSet):
        audit = replace(audit, shared_prompts=_shared_prompts(pairs, {pair.id for pair in kept}))
    return kept, audit


def _shared_prompts(pairs: PairSet, kept: set[str]) -> tuple[int, float] | None:
    """Of the kept pairs whose prompt is the shared beginning of their texts: how many, and its mean characters."""
    lengths = [len(pair.prompt) for pair in pairs if pair.id in pairs.shared_prompts and pair.id in kept]
    return (len(lengths), sum(lengths) / len(lengths)) if lengths else None


def encode_responses(
    prompts: Sequence[Text], responses: Sequence[Text], tokenizer: Any, settings: EncodingSettings | None = None
) -> list[EncodedPair]:
    """Prompts with one response each, which stands on both sides of its pair; tokens as `encode_pairs` gives them.

    Nothing is dropped or cut, also an empty response is kept: every response gets its reward.
    """
    settings = settings or EncodingSettings()
    template = settings.template == "auto" and has_template(tokenizer)
    ending = _Ending.of(tokenizer, settings.terminator, template=template)
    encoded = []
    for number, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        text = render_pair(Pair(str(number), "", prompt, response, response), tokenizer, template=template)
        before, whole, prefix = _tokenise(tokenizer, [text.prompt, text.chosen, text.verify_prefix])
        (suffix,) = _continue(tokenizer, [text.verify_suffix])
        before, (after, _), _ = _split(tokenizer, before, (whole, whole), (text.prompt, text.chosen, text.chosen))
        ids, prompt_ids = ending.apply(after), _one_bos(tokenizer, before)
        if not prompt_ids:
            raise UserError(f"prompt {number} has no tokens (and the tokenizer no BOS token)")
        encoded.append(EncodedPair(str(number), "", prompt_ids, ids, ids, _one_bos(tokenizer, prefix), suffix))
    return encoded


def end_token(tokenizer: Any, settings: EncodingSettings) -> int:
    """Id of the token that ends a turn, or -1 where the tokenizer has none."""
    template = settings.template == "auto" and has_template(tokenizer)
    return (_Ending.of(tokenizer, "as_is", template=template).ids or (-1,))[-1]


@dataclass(frozen=True)
class _Ending:
    """How responses end: `tail` is everything the template writes after one, `ids` the end token kept of it."""

    policy: str
    tail: Ids
    ids: Ids

    @classmethod
    def of(cls, tokenizer: Any, policy: str, *, template: bool) -> "_Ending":
        eos = tokenizer.eos_token_id
        tail: Ids = ()
        if template:
            tail = _continue(tokenizer, [response_tail(tokenizer)])[0]
            special = set(tokenizer.all_special_ids) | {
                number for number, token in tokenizer.added_tokens_decoder.items() if token.special
            }
            # Gemma writes "<end_of_turn>\n", Qwen "<|im_end|>\n": the end is the token, not the line break after it
            for position, number in enumerate(tail):
                if number in special:
                    return cls(policy, tail, tail[: position + 1])
        if eos is None and policy == "ensure":
            raise UserError("the tokenizer has no end-of-sequence token to ensure; use --terminator as_is or strip")
        return cls(policy, tail, () if eos is None else (eos,))

    def apply(self, response: Ids) -> Ids:
        if self.policy == "as_is":
            return response
        if self.tail and response[-len(self.tail) :] == self.tail:
            response = response[: -len(self.tail)]
        while self.ids and response[-len(self.ids) :] == self.ids:
            response = response[: -len(self.ids)]
        return response + self.ids if self.policy == "ensure" else response


def _tokenise(tokenizer: Any, texts: list[str]) -> list[Ids]:
    if not texts:
        return []
    # no `verbose`: the warning about a model's maximal length is answered by max_length
    ids = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    return [tuple(row) for row in ids]


def _continue(tokenizer: Any, texts: list[str]) -> list[Ids]:
    """Ids of texts that do not stand at the beginning, where SentencePiece tokenizers (Llama, Mistral) add a blank."""
    alone = _tokenise(tokenizer, texts)
    if not _opens_with_a_blank(tokenizer):
        return alone
    for number, text in enumerate(texts):
        for anchor in ("\n", ".", "a", "~"):  # the first that does not melt into the text
            opening, whole = _tokenise(tokenizer, [anchor, anchor + text])
            if whole[: len(opening)] == opening:
                alone[number] = whole[len(opening) :]
                break
    return alone


def _opens_with_a_blank(tokenizer: Any) -> bool:
    alone, after = _tokenise(tokenizer, ["x", "\nx"])
    return after[-len(alone) :] != alone


def _split(
    tokenizer: Any, prompt: Ids, wholes: tuple[Ids, Ids], texts: tuple[str, str, str]
) -> tuple[Ids, tuple[Ids, Ids], str]:
    """Prompt ids, both responses' ids, and how the boundary had to be found if the prompt's ids do not open both."""
    if all(whole[: len(prompt)] == prompt for whole in wholes):
        return prompt, (wholes[0][len(prompt) :], wholes[1][len(prompt) :]), ""
    before, *after = texts
    if all(text.startswith(before) for text in after):
        # a token would straddle the boundary: tokenise the responses on their own
        first, second = _continue(tokenizer, [text[len(before) :] for text in after])
        return prompt, (first, second), "responses tokenised apart (a token straddled the boundary)"
    boundary = _common([prompt, *wholes])
    split = (wholes[0][boundary:], wholes[1][boundary:])
    return prompt[:boundary], split, "boundary at the common prefix (the template rewrites the prompt)"


def _common(sequences: list[Ids]) -> int:
    """Length of the longest common prefix."""
    if not sequences:
        return 0
    low, high = min(sequences), max(sequences)
    for position, (left, right) in enumerate(zip(low, high, strict=False)):
        if left != right:
            return position
    return min(len(low), len(high))


def _one_bos(tokenizer: Any, ids: Ids) -> Ids:
    bos = tokenizer.bos_token_id
    if bos is None:
        return ids
    start = 0
    while start < len(ids) and ids[start] == bos:
        start += 1
    return (bos, *ids[start:])


def _unrankable(pair: EncodedPair, ending: _Ending) -> str:
    for side, ids in (("chosen", pair.chosen_ids), ("rejected", pair.rejected_ids)):
        if not ids or ids == ending.ids:
            return f"the {side} response has no tokens"
    if pair.chosen_ids == pair.rejected_ids:
        return "chosen and rejected have the same tokens"
    if not pair.prompt_ids:
        # the first response token would have nothing to be predicted from
        return "the prompt has no tokens (and the tokenizer no BOS token)"
    return ""


def _leads(tokenizer: Any, *, template: bool) -> tuple[int, int]:
    """How many tokens open every prompt and every verification prompt: BOS and what the template writes first."""
    probes = [render_pair(Pair("", "", word, "a", "b"), tokenizer, template=template) for word in ("some", "Other")]
    prompts = [_one_bos(tokenizer, ids) for ids in _tokenise(tokenizer, [probe.prompt for probe in probes])]
    questions = [_one_bos(tokenizer, ids) for ids in _tokenise(tokenizer, [probe.verify_prefix for probe in probes])]
    return _common(prompts), _common(questions)


def _shorten(pair: EncodedPair, settings: EncodingSettings, lead: int, verify_lead: int) -> tuple[EncodedPair, str]:
    """Cut the prompt from the left, behind what every prompt begins with; never the response or its end."""
    limit = settings.max_length
    if settings.over_length == "error":
        raise UserError(
            f"pair {pair.id!r}: {pair.longest} tokens, more than --max_length {limit}; raise it, or use --over_length "
            "drop or truncate_prompt"
        )
    if settings.over_length == "drop":
        return pair, "too long"
    response = max(len(pair.chosen_ids), len(pair.rejected_ids))
    prompt = _cut(pair.prompt_ids, lead, limit - response)
    prefix = _cut(pair.verify_prefix_ids, verify_lead, limit - response - len(pair.verify_suffix_ids))
    if prompt is None or prefix is None:
        return pair, "too long without its prompt"
    return (
        EncodedPair(pair.id, pair.subset, prompt, pair.chosen_ids, pair.rejected_ids, prefix, pair.verify_suffix_ids),
        "",
    )


def _cut(ids: Ids, lead: int, room: int) -> Ids | None:
    if len(ids) <= room:
        return ids
    lead = min(lead, len(ids) - 1)
    if room <= lead:
        return None
    return ids[:lead] + ids[len(ids) - (room - lead) :]
