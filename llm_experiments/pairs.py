"""Preference pairs: one prompt, a chosen and a rejected response, from every shape they are published in.

Known shapes: TRL's (text or messages, prompt explicit or shared by both), Anthropic's transcripts ("\\n\\nHuman: ...
\\n\\nAssistant: ..."), RewardBench 1 and 2, RM-Bench, LLMBar, instruction files, and answers labelled one by one
(GSM8K's solutions, a folder of XSTest's completions). A fault of structure always stops, also a prompt under a name
that nobody reads; a pair that cannot be ranked (an empty response, two equal ones, differing prompts, a null, tied
scores) stops too, unless `bad_pairs="drop"`, which counts it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from llm_experiments import labelled_answers, named_datasets
from llm_experiments.pair_sources import Record, json_type, read_records, source_stem
from llm_experiments.prompt_columns import named_like_a_prompt, rename, with_words
from simulations.results import UserError

BadPairs = Literal["error", "drop"]
Message = dict[str, str]
Text = str | tuple[Message, ...]

ASSISTANT_TURN = "\n\nAssistant:"
_DIFFICULTY = {-1: "hard", 0: "normal", 1: "easy"}  # RM-Bench: is the chosen response the more ornate one?


@dataclass(frozen=True)
class Pair:
    """A prompt and two responses, each a text or a tuple of messages {"role", "content"}."""

    id: str
    subset: str
    prompt: Text
    chosen: Text
    rejected: Text


@dataclass(frozen=True)
class PairSet(Sequence[Pair]):
    """The pairs of one source in its order, and what was left out: reason -> ids. `shared_prompts` are the ids of pairs
    whose prompt is what their two texts begin with."""

    source: str
    pairs: tuple[Pair, ...]
    dropped: dict[str, tuple[str, ...]] = field(default_factory=dict)
    shared_prompts: frozenset[str] = frozenset()

    def __getitem__(self, index: Any) -> Any:
        return self.pairs[index]

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def pairs_in(self) -> int:
        return len(self.pairs) + sum(map(len, self.dropped.values()))


class _Degenerate(NamedTuple):
    """Why a pair cannot be ranked: `reason` is what the audit counts, `field` where the fault is."""

    reason: str
    field: str
    cure: str = "correct the line"


def load_pairs(
    source: str | Path,
    *,
    bad_pairs: BadPairs = "error",
    split: str = "train",
    config: str | None = None,
    flag: str = "--pairs",
) -> PairSet:
    """The pairs in a file, a `datasets` folder or a hub data set; `flag` is what named it.

    Raises:
        UserError: the source cannot be read, a record has no known shape, an id occurs twice, or (with
            `bad_pairs="error"`) a pair cannot be ranked. The message names file, line, field and cure.
    """
    if bad_pairs not in ("error", "drop"):
        raise UserError(f"--bad_pairs must be error or drop, got {bad_pairs!r}")
    stem, pairs, places, dropped, shared = source_stem(source), [], {}, {}, set()
    for record in read_records(source, split=split, config=config, flag=flag):
        for pair, problem in _pairs_of(record, stem):
            if pair.id in places:
                raise UserError(
                    f'{record.place}: "id": {pair.id!r} was already used at {places[pair.id]}; ids must be unique '
                    "(leave the field out to have them numbered)"
                )
            places[pair.id] = record.place
            problem = problem if problem in _NULL.values() else _degenerate(pair) or problem
            if problem is None:
                pairs.append(pair)
                if isinstance(given := record.row.get("chosen"), str) and given != pair.chosen:
                    shared.add(pair.id)
            elif bad_pairs == "drop":
                dropped.setdefault(problem.reason, []).append(pair.id)
            else:
                raise UserError(
                    f'{record.place}: "{problem.field}": {problem.reason}; {problem.cure}, or leave such pairs '
                    "out with --bad_pairs drop"
                )
    if not pairs:
        counts = ", ".join(f"{len(ids)} {reason}" for reason, ids in dropped.items())
        raise UserError(f"{source}: no pair is left ({counts}); check the file")
    return PairSet(
        str(source), tuple(pairs), {reason: tuple(ids) for reason, ids in dropped.items()}, frozenset(shared)
    )


def _pairs_of(record: Record, stem: str) -> Iterator[tuple[Pair, _Degenerate | None]]:
    row, place = record.row, record.place
    name, subset = _identifier(record, stem), _label(row, "subset", place)
    if "output_1" in row or "output_2" in row:
        yield _llmbar(row, place, name, subset), None
        return
    for known, pairs_of, label in (*labelled_answers.SHAPES, *named_datasets.SHAPES):
        if known(row):
            for two in pairs_of(row, place):
                answers = (_text(two.chosen, "chosen", place), _text(two.rejected, "rejected", place))
                prompt, chosen, rejected, problem = _separate(two.prompt, *answers, place)
                tied = _Degenerate(two.problem, label) if two.problem else None
                yield (
                    Pair("/".join(filter(None, (name, two.name))), two.subset, prompt, chosen, rejected),
                    tied or problem,
                )
            return
    for key in ("chosen", "rejected"):
        if key not in row:
            raise UserError(
                f'{place}: "{key}" is missing (found {", ".join(map(repr, row)) or "nothing"}); '
                + (_ONE_MODEL if "completion" in row else _NEEDED)
            )
    for key in ("chosen", "rejected"):
        if row[key] is None:
            yield Pair(name, subset, "", "", ""), _NULL[key]
            return
    if all(_is_list_of_texts(row[key]) for key in ("chosen", "rejected")):
        yield from _many(row, place, name, subset)
        return
    chosen, rejected = (_text(row[key], key, place) for key in ("chosen", "rejected"))
    prompt = _prompt(row, place)
    if prompt is None:
        prompt, chosen, rejected, problem = _without_prompt(row, chosen, rejected, place)
    else:
        prompt, chosen, rejected, problem = _separate(prompt, chosen, rejected, place)
    yield Pair(name, subset, prompt, chosen, rejected), problem or _tied(row)


_NEEDED = 'a pair needs "chosen" and "rejected", each a text or a list of messages'
_NULL = {key: _Degenerate(f"the {key} response is null", key) for key in ("chosen", "rejected")}
_NULL["prompt"] = _Degenerate("the prompt is null", "prompt")
_ONE_MODEL = "one model's completions make no pairs; give the folder that holds two models' (*_completions_*.csv)"


def _identifier(record: Record, stem: str) -> str:
    name = record.row.get("id")
    if name is None or name == "" or "conv_A" in record.row:  # Unified-Feedback's are of prompts, and repeat
        return f"{stem}/{record.number}"
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise UserError(f'{record.place}: "id": expected text or a whole number, found {json_type(name)}')
    return str(name)


def _label(row: dict[str, Any], key: str, place: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f'{place}: "{key}": expected text, found {json_type(value)}')
    return value


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(item, str) for item in value)


def _text(value: Any, key: str, place: str) -> Text:
    """A text, or messages checked one by one."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):  # a single message, as in LLaMA-Factory's files
        value = [value]
    if not isinstance(value, list | tuple):
        raise UserError(f'{place}: "{key}": expected a text or a list of messages, found {json_type(value)}')
    messages = []
    for number, message in enumerate(value, start=1):
        if not isinstance(message, dict):
            raise UserError(f'{place}: "{key}": message {number} should be an object, found {json_type(message)}')
        if "role" not in message and "from" in message:  # ShareGPT's names
            speaker = message["from"]
            role = _SHAREGPT.get(speaker, speaker) if isinstance(speaker, str) else speaker
            message = {"role": role, "content": message.get("value")}
        for part in ("role", "content"):
            if not isinstance(message.get(part), str):
                raise UserError(
                    f'{place}: "{key}": message {number} needs "{part}" as text, found {json_type(message.get(part))}'
                )
        messages.append({"role": message["role"], "content": message["content"]})
    return tuple(messages)


_SHAREGPT = {"human": "user", "gpt": "assistant"}


def _prompt(row: dict[str, Any], place: str) -> Text | None:
    if row.get("prompt") is not None:
        return _text(row["prompt"], "prompt", place)
    if isinstance(row.get("conversations"), list):
        return _text(row["conversations"], "conversations", place)
    if "instruction" in row:
        parts = [_label(row, key, place) for key in ("instruction", "input")]
        return "\n".join(part for part in parts if part)
    return None


def _without_prompt(
    row: dict[str, Any], chosen: Text, rejected: Text, place: str
) -> tuple[Text, Text, Text, _Degenerate | None]:
    """Transcripts and messages say where their prompt ends. Elsewhere it may be a column under another name, and what
    two texts happen to begin with must not pass for it."""
    if not (isinstance(chosen, str) and isinstance(rejected, str)):
        if not any(len(messages) > 1 for messages in (chosen, rejected)):
            _refuse_other_names(row, "", place)
            if "prompt" in row:
                return "", chosen, rejected, _NULL["prompt"]
        return _separate(None, chosen, rejected, place)
    found = _separate_texts(chosen, rejected)
    if ASSISTANT_TURN in chosen and ASSISTANT_TURN in rejected:
        return found
    _refuse_other_names(row, str(found[0]), place)
    if "prompt" in row:
        return "", chosen, rejected, _NULL["prompt"]
    if found[3] is not None and (columns := with_words(row)):
        return *found[:3], found[3]._replace(cure=rename(columns))
    return found


def _refuse_other_names(row: dict[str, Any], found: str, place: str) -> None:
    if columns := named_like_a_prompt(row, found):
        raise UserError(f'{place}: "prompt" is missing, and would not be read from another column; {rename(columns)}')


def _separate(
    prompt: Text | None, chosen: Text, rejected: Text, place: str
) -> tuple[Text, Text, Text, _Degenerate | None]:
    """The prompt and the two responses without it. The prompt may be a field, the shared beginning, or both."""
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise UserError(f'{place}: "rejected": chosen and rejected must both be texts or both be lists of messages')
    if isinstance(chosen, tuple):
        return _separate_messages(prompt, chosen, rejected, place)  # type: ignore[arg-type]
    if prompt is not None:
        return prompt, chosen, rejected, None
    return _separate_texts(chosen, rejected)  # type: ignore[arg-type]


def _separate_messages(
    prompt: Text | None, chosen: tuple[Message, ...], rejected: tuple[Message, ...], place: str
) -> tuple[Text, Text, Text, _Degenerate | None]:
    """Messages end with one assistant turn each; what stands before it is the prompt, and must be the same in both."""
    for key, messages in (("chosen", chosen), ("rejected", rejected)):
        if messages and messages[-1]["role"] != "assistant":
            raise UserError(
                f'{place}: "{key}": the last message must be the assistant\'s, found role {messages[-1]["role"]!r}'
            )
    if not chosen or not rejected:
        key = "rejected" if chosen else "chosen"
        return prompt or "", chosen, rejected, _Degenerate(f"the {key} response is empty", key)
    before, other = chosen[:-1], rejected[:-1]
    problem = None if before == other else _DIFFERING
    if prompt is None:
        if not before and problem is None:
            raise UserError(f'{place}: "prompt" is missing, and "chosen" holds nothing before the response')
        prompt = before
    elif before:
        # UltraFeedback: the prompt is given twice, as a text and as the first message
        stated = ({"role": "user", "content": prompt},) if isinstance(prompt, str) else prompt
        prompt = before if before[: len(stated)] == stated else (*stated, *before)
    return prompt, chosen[-1:], rejected[-1:], problem


_DIFFERING = _Degenerate("chosen and rejected have different prompts", "rejected")
_NO_PROMPT = _Degenerate("there is no prompt, and chosen and rejected share no beginning", "prompt")


def _separate_texts(chosen: str, rejected: str) -> tuple[Text, Text, Text, _Degenerate | None]:
    """A transcript splits after its last assistant turn's name; other texts at the last blank they share."""
    cut, other = chosen.rfind(ASSISTANT_TURN), rejected.rfind(ASSISTANT_TURN)
    if cut >= 0 and other >= 0:
        cut, other = cut + len(ASSISTANT_TURN), other + len(ASSISTANT_TURN)
        problem = None if chosen[:cut] == rejected[:other] else _DIFFERING
        return chosen[:cut], chosen[cut:], rejected[other:], problem
    shared = 0
    for left, right in zip(chosen, rejected, strict=False):
        if left != right:
            break
        shared += 1
    if chosen == rejected:
        return "", chosen, rejected, None  # found to be equal later
    # back to a blank that opens both responses, so that no word is cut in two
    while shared > 0 and not (chosen[shared : shared + 1].isspace() and rejected[shared : shared + 1].isspace()):
        shared -= 1
    return chosen[:shared], chosen[shared:], rejected[shared:], _NO_PROMPT if shared == 0 else None


def _many(row: dict[str, Any], place: str, name: str, subset: str) -> Iterator[tuple[Pair, _Degenerate | None]]:
    """Several responses a side (RewardBench 2, RM-Bench): every chosen one against every rejected one."""
    prompt = _prompt(row, place)
    if prompt is None:
        _refuse_other_names(row, "", place)
        if "prompt" in row:
            yield Pair(name, subset, "", "", ""), _NULL["prompt"]
            return
        raise UserError(f'{place}: "prompt" is missing; lists of responses need one')
    styles = "domain" in row and len(row["chosen"]) == len(row["rejected"]) == 3
    subset = subset or _label(row, "domain", place)
    single = len(row["chosen"]) == len(row["rejected"]) == 1
    for i, chosen in enumerate(row["chosen"]):
        for j, rejected in enumerate(row["rejected"]):
            part = f"{subset}/{_DIFFICULTY[(i > j) - (i < j)]}" if styles else subset
            yield Pair(name if single else f"{name}/{i}-{j}", part, prompt, chosen, rejected), None


def _llmbar(row: dict[str, Any], place: str, name: str, subset: str) -> Pair:
    for key in ("input", "output_1", "output_2"):
        if not isinstance(row.get(key), str):
            raise UserError(f'{place}: "{key}": expected text, found {json_type(row.get(key))}')
    if row.get("label") not in (1, 2) or isinstance(row["label"], bool):
        raise UserError(f'{place}: "label": expected 1 or 2 (the better output), found {row.get("label")!r}')
    first, second = row["output_1"], row["output_2"]
    chosen, rejected = (first, second) if row["label"] == 1 else (second, first)
    return Pair(name, subset, row["input"], chosen, rejected)


def _tied(row: dict[str, Any]) -> _Degenerate | None:
    for holder in (row, row.get("metadata")):
        score = holder.get("score_chosen") if isinstance(holder, dict) else None
        if isinstance(score, int | float) and score == holder.get("score_rejected"):
            return _Degenerate("the scores of chosen and rejected are tied", "score_rejected")
    return None


def _degenerate(pair: Pair) -> _Degenerate | None:
    chosen, rejected = plain_text(pair.chosen), plain_text(pair.rejected)
    for key, text in (("chosen", chosen), ("rejected", rejected)):
        if not text.strip():
            return _Degenerate(f"the {key} response is empty", key)
    if chosen == rejected:
        return _Degenerate("chosen and rejected are the same", "rejected")
    return None


def plain_text(text: Text) -> str:
    """The words alone; messages are joined by empty lines."""
    return text if isinstance(text, str) else "\n\n".join(message["content"] for message in text)
