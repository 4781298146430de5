"""Rewards of pairs, and what is read off them: one row per pair, everything else derived from rows."""

import sys
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from llm_experiments.baselines import TokenRules
from llm_experiments.batches import Line, collate_pairs, collate_rows, pair_lines, plan_batches
from llm_experiments.comparison import Comparison, check_runs, compare_runs, scores_of
from llm_experiments.distributed import gather, share
from llm_experiments.encoding import EncodedPair, encode_responses
from llm_experiments.evaluation import TIE_TOLERANCE, summarise
from llm_experiments.evaluation import pair_rewards as pair_rewards
from llm_experiments.foreign import pooling_note
from llm_experiments.inputs import CONTENTS, Source, part_of, read_inputs, run_in_folder, with_overlap
from llm_experiments.models import RewardModel, kind_of, load_reward_model, load_tokenizer, model_folder, read_manifest
from llm_experiments.out_of_memory import in_pieces
from llm_experiments.pair_sources import source_name
from llm_experiments.reference_cache import cache_folder
from llm_experiments.settings import EncodingSettings, ScoreRequest, check_kind
from llm_experiments.splits import pair_hash
from llm_experiments.training_pairs import training_pairs
from simulations.progress import progress_bar
from simulations.results import (
    Row,
    UserError,
    finish_run,
    provenance,
    read_json,
    read_rows,
    write_json,
    write_rows,
)
from theory.rewards import KINDS, Kind, generative_log_odds


@torch.no_grad()
def score_pairs(
    model: RewardModel,
    pairs: Sequence[EncodedPair],
    *,
    batch_size: int = 16,
    tie_tolerance: float = TIE_TOLERANCE,
    progress: bool = False,
) -> list[Row]:
    """One row per pair, in order, with RewardBench's names: id, subset, scores_chosen, scores_rejected, results
    (1, 0.5 for a tie, 0), and prompt_hash, n_tokens_chosen, n_tokens_rejected, kind. Implicit rows add the
    log-probability sums behind the scores (nats) and, beside each score, per_token: itself over the response's length;
    generative ones add the log-odds.

    Args:
        batch_size: responses per forward pass; of similar length, and without effect on any score.

    Raises:
        UserError: a reward is not finite; the message names the pair.
    """
    values = row_values(model, pair_lines(pairs, model.kind), batch_size, paired=True, progress=progress)
    scored = []
    for number, pair in enumerate(pairs):
        chosen, rejected = (float(values["scores"][2 * number + side]) for side in (0, 1))
        if not np.isfinite([chosen, rejected]).all():
            raise UserError(f"pair {pair.id!r}: its reward is not a finite number; try --dtype float32")
        margin = chosen - rejected
        row = {
            "id": pair.id,
            "subset": pair.subset,
            "prompt_hash": prompt_hash(pair.prompt_ids),
            "scores_chosen": chosen,
            "scores_rejected": rejected,
            "results": 0.5 if abs(margin) <= tie_tolerance else float(margin > 0),
            "n_tokens_chosen": len(pair.chosen_ids),
            "n_tokens_rejected": len(pair.rejected_ids),
            "kind": model.kind,
        }
        for name, column in values.items():
            if name != "scores":
                row |= {f"{name}_chosen": column[2 * number], f"{name}_rejected": column[2 * number + 1]}
        if model.kind == "implicit":
            row["per_token_chosen"] = chosen / max(1, len(pair.chosen_ids))
            row["per_token_rejected"] = rejected / max(1, len(pair.rejected_ids))
        scored.append(row)
    return scored


def score_source(
    model: RewardModel,
    source: Source,
    rules: TokenRules | None,
    *,
    batch_size: int = 16,
    tie_tolerance: float = TIE_TOLERANCE,
) -> list[Row]:
    """`score_pairs` on a source, each row with its `model_free_rows`."""
    rows = score_pairs(model, source.pairs, batch_size=batch_size, tie_tolerance=tie_tolerance, progress=True)
    return [row | free for row, free in zip(rows, model_free_rows(source, rules), strict=True)]


def model_free_rows(source: Source, rules: TokenRules | None) -> list[Row]:
    """What a row says that has nothing to do with the model: lengths, prompt_hash (of the tokens), pair_hash (of the
    texts), the baselines' rewards where the training pairs are known, and `shared`, what the pair has in common with
    one of them."""
    rewards = rules.rewards(source.pairs) if rules else {}
    rows = []
    for number, (pair, text) in enumerate(zip(source.pairs, source.texts, strict=True)):
        row = {
            "prompt_hash": prompt_hash(pair.prompt_ids),
            "pair_hash": pair_hash(text),
            "n_tokens_chosen": len(pair.chosen_ids),
            "n_tokens_rejected": len(pair.rejected_ids),
        }
        for name, found in rewards.items():
            row |= {f"{name}_chosen": float(found.chosen[number]), f"{name}_rejected": float(found.rejected[number])}
        if source.overlap is not None:
            row["shared"] = list(source.overlap.shared.get(pair.id, ()))
        rows.append(row)
    return rows


def prompt_hash(ids: Sequence[int]) -> str:
    """Equal for pairs of one prompt, which are not independent of one another."""
    return blake2b(repr(tuple(ids)).encode(), digest_size=8).hexdigest()


def check_lengths(model: RewardModel, pairs: Sequence[EncodedPair]) -> None:
    """Raises UserError where a sequence is longer than the model's positions, or has a token it does not know."""
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    longest = max(pairs, key=lambda pair: pair.longest)
    if limit and longest.longest > limit:
        raise UserError(
            f"pair {longest.id!r} has {longest.longest} tokens, the model {limit} positions; use --max_length {limit}"
        )
    highest = max(max(max(ids) for ids in (p.prompt_ids, p.chosen_ids, p.rejected_ids) if ids) for p in pairs)
    if highest >= config.vocab_size:
        raise UserError(
            f"the tokenizer gives token {highest}, the model knows {config.vocab_size}; take the model's own tokenizer"
        )


@torch.no_grad()
def row_values(
    model: RewardModel, rows: Sequence[Line], batch_size: int, *, paired: bool = False, progress: bool = False
) -> dict[str, np.ndarray]:
    """Rewards (`scores`), and what belongs to them by kind, of rows of (token ids, start of the response, its length),
    each (rows,), in order."""
    model.eval()
    if not rows:
        return {"scores": np.empty(0)}

    def columns(chunk: list[int]) -> dict[str, np.ndarray]:
        batch = {name: tensor.to(model.device) for name, tensor in collate_rows([rows[i] for i in chunk]).items()}
        return {name: part.double().cpu().numpy() for name, part in _read(model, batch).items()}

    found: list[tuple[list[int], dict[str, np.ndarray]]] = []
    batches = share(plan_batches(rows, batch_size, paired=paired))
    for chunk in progress_bar(batches, desc="scoring", unit="batch", show=progress):
        found += in_pieces(columns, chunk)
    values: dict[str, np.ndarray] = {}
    for chunk, parts in chain.from_iterable(gather(found)):
        for name, part in parts.items():
            values.setdefault(name, np.empty(len(rows)))[chunk] = part
    return values


def _read(model: RewardModel, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    output = model(**batch)
    if model.kind == "explicit":
        return {"scores": output}
    if model.kind == "generative":
        odds = generative_log_odds(output, model.answers[0])
        return {"scores": model.rewards(output, None), "log_odds": odds}
    reference = model.reference_log_probabilities(batch)
    columns = {"scores": model.rewards(output, reference), "log_probability": output}
    return columns if reference is None else columns | {"reference_log_probability": reference}


def reward_function(
    source: str,
    kind: Kind | Literal["auto"] = "auto",
    *,
    batch_size: int = 16,
    encoding: EncodingSettings | None = None,
    **options: Any,
) -> Callable[..., list[float]]:
    """A reward model as a function of prompts and completions, as TRL's trainers take in `reward_funcs`.

    `f(prompts=..., completions=...)` gives one reward per completion, in order and independent of the others. Prompts
    and completions are texts (standard format) or lists of messages (conversational); columns of the data set that
    TRL passes along are not looked at. Every completion is ended as responses were in training (TRL's come without
    end token, finished or not).

    Args:
        source, kind, options: as `load_reward_model` takes them.
        encoding: the one that the model was trained with unless given; lengths are not limited.

    Raises:
        UserError: as `load_reward_model`; later, where a reward is not finite.
    """
    place = model_folder(source)
    chosen_kind = kind_of(place) if kind == "auto" else kind
    if chosen_kind is None:
        raise UserError(f"{place}: does not say which kind it is; give one of {', '.join(KINDS)}")
    tokenizer = load_tokenizer(place)
    model = load_reward_model(place, chosen_kind, tokenizer=tokenizer, trained=True, **options)
    settings = encoding or EncodingSettings(**read_manifest(place).get("encoding", {}))

    def reward(prompts: Sequence[Any] = (), completions: Sequence[Any] = (), **_: Any) -> list[float]:
        texts = [[one if isinstance(one, str) else tuple(one) for one in many] for many in (prompts, completions)]
        pairs = encode_responses(*texts, tokenizer, settings)
        # a response stands on both sides of its pair; one side is read
        rows = [(*pair.sequence(model.kind, "chosen"), len(pair.chosen_ids)) for pair in pairs]
        rewards = row_values(model, rows, batch_size)["scores"]
        if not np.isfinite(rewards).all():
            raise UserError(f"{place}: a reward is not a finite number; try dtype='float32'")
        return rewards.tolist()

    reward.__name__ = f"{chosen_kind}_reward"  # what TRL calls it in its logs
    return reward


def check_pooling(model: RewardModel, pairs: Sequence[EncodedPair]) -> None:
    """Add a note where the plain classifier of a model that others saved reads its reward at another token."""
    if model.classifier is None:
        return
    some = list(pairs[:4])
    batch = collate_pairs(some, "explicit")
    with torch.no_grad():
        rewards = model(**{name: tensor.to(model.device) for name, tensor in batch.items()})
    sequences = [pair.sequence("explicit", side)[0] for side in ("chosen", "rejected") for pair in some]
    if note := pooling_note(model.classifier, rewards, sequences):
        model.notes.append(note)


def run_scoring(request: ScoreRequest) -> dict[str, Row]:
    """Everything `rewardgap score` does; returns the metrics by source of pairs. Finished sources are not repeated.

    Raises:
        UserError: whatever the user can set right, with nothing half-written left behind.
    """
    check_runs(request.output, request.against, [source_name(place) for place in request.pairs])
    return run_in_folder("score", request, _score)


def run_comparison(request: ScoreRequest) -> list[Comparison]:
    """The finished run against those in `request.against`; empty where there are none."""
    if not request.against:
        return []
    sources = [source_name(place) for place in request.pairs]
    return compare_runs(request.output, request.against, sources, tie_tolerance=request.tie_tolerance)


def _score(request: ScoreRequest, output: Path) -> dict[str, Row]:
    source = model_folder(request.model)
    kind = request.kind if request.kind != "auto" else kind_of(source)
    if kind is None:
        raise UserError(f"{source}: does not say which kind it is; give --kind, one of {', '.join(KINDS)}")
    check_kind(request, kind)
    tokenizer = load_tokenizer(source)
    inputs = read_inputs(request.pairs, tokenizer, part_of(request, EncodingSettings), request.split)
    training = training_pairs(request.train_pairs, read_manifest(source), tokenizer, part_of(request, EncodingSettings))
    if training is not None:
        inputs = with_overlap(inputs, training.texts)
    model = load_reward_model(
        source,
        kind,
        tokenizer=tokenizer,
        reference=request.reference,
        beta=request.beta,
        dtype=request.dtype,
        device=request.device,
        trained=True,
    )
    model.remember(cache_folder(request.cache))
    for given in inputs.values():
        check_lengths(model, given.pairs)
    check_pooling(model, next(iter(inputs.values())).pairs)
    for note in model.notes:
        print(note, file=sys.stderr)
    places = {name: scores_of(output, name) for name in inputs}
    stored = {name: _stored_rows(place) for name, place in places.items() if place.exists()}
    audits = {name: given.to_row() for name, given in inputs.items()}
    known = None if training is None else training.audit.to_row()
    write_json(
        output / "provenance.json",
        provenance(
            audits=audits,
            training_pairs=known,
            inputs=read_json(output / CONTENTS),
            beta=model.beta,
            notes=model.notes,
        ),
    )
    metrics, rules = {}, None if training is None else TokenRules.of(training.pairs)
    for name, given in inputs.items():
        rows = stored.get(name)
        if rows is None:
            rows = score_source(model, given, rules, batch_size=request.batch_size, tie_tolerance=request.tie_tolerance)
            write_rows(places[name], rows)
        metrics[name] = summarise(rows, tie_tolerance=request.tie_tolerance)
    write_json(output / "metrics.json", metrics)
    finish_run(output)
    return metrics


def _stored_rows(place: Path) -> list[Row]:
    """Score rows of an earlier attempt; raises UserError where the file holds none."""
    rows = read_rows(place)
    if not rows:
        raise UserError(f"{place}: holds no score rows; delete it and run again")
    return rows
