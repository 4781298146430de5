"""A stress test: reward models, pairs, and shifts that should not matter (or should): `rewardgap stress`.

    rewardgap stress --model runs/explicit runs/implicit --pairs test.jsonl --output runs/stress

A shift is one transformation (or a file of rewrites) at one strength on one side: `lowercase@0.5@responses`. Sides are
`responses` (both, by one rule), `prompt`, for sensitivity edits `chosen` or `rejected`, and `both` for a combined
shift. Its name is what its files are called. The run folder:

    config.json, inputs.json, provenance.json, done.json      as every run; done.json is written last
    originals.jsonl                          {id, subset, prompt, chosen, rejected}; messages are rendered to text
    texts/<shift>.jsonl                      {id, subset, side, fate, one_sided, prompt, chosen, rejected}, one per
                                             original
    scores/<model>/model.json                {name, source, kind, notes, cost: {original|shift: {responses, computed,
                                             reference}}}: how many, of how many the reward was not known, of how
                                             many the reference's log-probability was not known either; of original
                                             left_out too, {reason: pairs that the model cannot read}
    scores/<model>/original.jsonl            the columns of `rewardgap score` (id, subset, prompt_hash, scores_chosen,
                                             scores_rejected, results, n_tokens_*, kind, ...), and key_* (of the text)
    scores/<model>/<shift>.jsonl             the same and `fate`, edited_* where it is changed, no scores where rejected
    reliance/<model>/<original|shift>.jsonl  where the training pairs are known: rewards of the same pairs under rules
                                             that know nothing else: {id, bag_of_tokens_*, token_overlap_*,
                                             coefficient_* (of some pairs, if --train_pairs names them, else null)}
    summary.json                             everything below

Fates: "changed", "unchanged", "rejected: reason" (the gate's; or the model's: "rejected: too long"). Everything that is
compared is compared on changed pairs: unchanged ones differ by nothing, whatever the model.

summary.json. An interval is {value, low, high, n}, 95 %, n prompts; a number that cannot be known is null.

    models       [{name, source, kind, n_pairs, n_prompts, accuracy: interval, tie_rate, near_ties (ties of unequal
                 rewards), spread (root mean square of the original margins), verdict, stated (the verdict, and what a
                 robust model is robust to), meaning, reasons: [text], cost, subsets: [{subset, n_pairs, accuracy:
                 interval}] (if several), baselines: {longest, shortest, bag_of_tokens|null, token_overlap|null:
                 interval}, length: {rule, agreement: interval, where_wrong: interval|null}|null}]
    table        [{name (the shift's), model, transformation, family, purpose, strength, side, description,
                 n_pairs (that the model could score before), n_changed, n_unchanged, n_rejected,
                 rejected_reasons: {reason: n}, n_one_sided (changed pairs of which the edit changed one response
                 alone; null for sensitivity edits), accuracy_overall (after, of changed and unchanged pairs); then,
                 null if no pair is changed: n_prompts (of changed pairs), accuracy_before, accuracy_after, difference:
                 interval (after - before), p_value, p_holm (McNemar; for sensitivity edits the sign test of falls;
                 corrected over the model's edits of one purpose), flip_rate: interval, margin_shift: interval (in
                 spreads), drift (mean |change| of an edited response's reward, in spreads), rank_correlation (of the
                 margins, before and after), falls: interval|null (sensitivity: share of damaged responses whose reward
                 fell, ties 1/2), tokens_before, tokens_after (mean length of an edited response), length_correlation
                 (change of margin with change of length difference), baselines: {longest, shortest, bag_of_tokens,
                 token_overlap: {before, after}|null}, token_reliance: {overlap: r|null, coefficient: r|null,
                 n_coefficient}}]
    comparisons  [{model_a, model_b, name, transformation, strength, side, n_changed, difference: interval (of the
                 changes in accuracy, a - b), p_value, p_holm (sign test over prompts)}]
    grid         [{model, name, prompt_transformation, response_transformation, strength, n_changed, accuracy_before,
                 drop_prompt, drop_responses, drop_both: interval, interaction: interval (drop_both - the sum of the
                 two)}], on pairs that all three changed
    notes, rules [text]
    threshold    --fail_under, with failures: [text] where an accuracy is below it, or --fail_on names the verdict

A generative model is compared by its log-odds: P(Yes) of a sure judge is 1 in floating point, whatever it reads. The
tie tolerance is absolute (of log-odds: nats), because the noise of a forward pass is; a note says where more than 5 %
of the pairs tie.

A rerun with more models, transformations, strengths, sides or rewrites computes only those; anything else that differs
is another run. No text is scored twice by one model: an edit costs the texts that it changed.
"""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from llm_experiments.contents import contents
from llm_experiments.distributed import launched
from llm_experiments.inputs import CONTENTS, check_contents
from llm_experiments.pair_sources import source_stem
from llm_experiments.pairs import Pair, PairSet, load_pairs
from llm_experiments.settings import StressRequest
from llm_experiments.stress.folder import ORIGINAL, ORIGINALS, score_shifts, write_texts
from llm_experiments.stress.judges import Judge
from llm_experiments.stress.planning import plan
from llm_experiments.stress.reliance import rely
from llm_experiments.stress.scorers import Scorer
from llm_experiments.stress.shifts import Shift
from llm_experiments.stress.summary import kept_of, summarise_stress
from llm_experiments.stress.verdict import JUDGED, VERDICTS
from simulations.results import Row, UserError, finish_run, open_run, provenance, read_json, read_rows, write_json

# What a rerun may ask differently: more of it is more to compute, and the rest changes no number in a row.
GROWING = ("model", "transforms", "strength", "sides", "rewrites", "full", "train_pairs")
LATER = ("fail_under", "fail_on", "batch_size", "cache", "output")


def run_stress(request: StressRequest) -> Row:
    """Everything `rewardgap stress` does; returns the summary.

    Raises:
        UserError: whatever the user can set right, with nothing half-written left behind.
    """
    if launched() > 1:
        raise UserError("rewardgap stress runs in one process; start it without torchrun or accelerate launch")
    for name in request.fail_on:
        if name not in VERDICTS:
            raise UserError(f"--fail_on takes verdicts, any of {', '.join(VERDICTS)}, got {name!r}")
    output = request.output
    first = not (output / "config.json").exists()
    fixed = {name: value for name, value in asdict(request).items() if name not in (*GROWING, *LATER)}
    open_run(output, {"command": "stress", **fixed})
    try:
        return _run(request, output)
    except UserError:
        if first and not any((output / "scores").glob("*/*.jsonl")):
            shutil.rmtree(output, ignore_errors=True)
        raise


def stress_scorers(
    pairs: Sequence[Pair],
    shifts: Sequence[Shift],
    scorers: Mapping[str, Scorer | Callable[[], Scorer]],
    output: Path,
    **options: Any,
) -> Row:
    """The same with scorers in memory (a `FunctionScorer` is any function of prompt and response), by name; `options`
    go to `summarise_stress`. Writes texts, scores and summary.json, from which `figures.stress_page.write_stress` makes
    the page. Use a new folder for other pairs or scorers: of a function in memory two rewards are asked for again in a
    rerun, any other scorer is told by name alone.

    Args:
        scorers: or functions that make them, called only where something is left to score.

    Raises:
        UserError: the folder holds other texts, or the rewards of a function that has changed since.
    """
    texts = write_texts(output, pairs, shifts)
    for name, given in scorers.items():
        place = output / "scores" / name
        if isinstance(given, Scorer) and (place / f"{ORIGINAL}.jsonl").exists():
            given.recognise(pairs, read_rows(place / f"{ORIGINAL}.jsonl"), str(place))
        make = (lambda given=given: given) if isinstance(given, Scorer) else given
        score_shifts(place, pairs, texts, make)
    notes = [*options.pop("notes", ()), *_dropped(pairs)]
    return _summarise(output, shifts, list(scorers), notes=notes, **options)


def read_pairs(request: StressRequest, too_long: Callable[[Sequence[Pair]], set[str]] = lambda pairs: set()) -> PairSet:
    """The original pairs of all files, at most `--limit` of them: every file gives as many as the others, as far as it
    has them, and which ones depends on (seed, id) alone, so that a larger limit, which needs a folder of its own, takes
    those of a smaller one too. Those that are `too_long` (ids of a file's pairs) do not count, and are left out where
    there is a limit.

    Raises:
        UserError: a file cannot be read, an id occurs in two files, or every pair is too long.
    """
    files: list[list[Pair]] = []
    dropped: dict[str, tuple[str, ...]] = {}
    places: dict[str, str] = {}
    for place in request.pairs:
        some, found = [], load_pairs(place, bad_pairs=request.bad_pairs, split=request.split)
        for reason, ids in found.dropped.items():
            dropped[reason] = dropped.get(reason, ()) + ids
        for pair in found:
            if pair.id in places:
                raise UserError(f"{place}: id {pair.id!r} was already used in {places[pair.id]}; ids must be unique")
            places[pair.id] = place
            some.append(pair if pair.subset else replace(pair, subset=source_stem(place)))
        files.append(some)
    every = PairSet(" ".join(request.pairs), tuple(pair for some in files for pair in some), dropped)
    if not request.limit:
        return every
    for number, some in enumerate(files):
        long = too_long(some)
        files[number] = [pair for pair in some if pair.id not in long]
    if not any(files):
        raise UserError(
            f"{' '.join(request.pairs)}: every pair is longer than --max_length {request.max_length}, or than the "
            "model's positions; raise the limit, or use --over_length truncate_prompt"
        )
    chosen: set[str] = set()
    left = request.limit
    for number, some in enumerate(sorted(files, key=len)):
        share = min(len(some), -(-left // (len(files) - number)))
        drawn = sorted(some, key=lambda pair: blake2b(repr((request.seed, pair.id)).encode()).digest())
        chosen |= {pair.id for pair in drawn[:share]}
        left -= share
    return _limited(every, chosen, request.limit)


def _limited(pairs: PairSet, taken: set[str], limit: int) -> PairSet:
    kept = tuple(pair for pair in pairs if pair.id in taken)
    rest = tuple(pair.id for pair in pairs if pair.id not in taken)
    return replace(
        pairs, pairs=kept, dropped=pairs.dropped | ({f"over --limit {limit} or too long": rest} if rest else {})
    )


def _dropped(pairs: Sequence[Pair]) -> list[str]:
    """What was left out before any model read a pair."""
    if not isinstance(pairs, PairSet) or not pairs.dropped:
        return []
    return [kept_of(len(pairs), {reason: len(ids) for reason, ids in pairs.dropped.items()})]


def name_models(sources: Sequence[str]) -> dict[str, str]:
    """Sources by the name under which their scores are stored: the folder's, or the hub's with its owner.

    Raises:
        UserError: two have the same name.
    """
    models: dict[str, str] = {}
    for source in sources:
        path = Path(source)
        name = (path.parent.name if path.name == "model" else path.resolve().name) if path.exists() else source
        name = name.replace("/", "_")
        if models.setdefault(name, source) != source:
            raise UserError(f"--model {source}: another model is called {name!r} as well; rename one of the folders")
    return models


def _run(request: StressRequest, output: Path) -> Row:
    check_contents(output, request)
    known = read_json(output / CONTENTS)
    for field, hashes in contents(request).items():  # what has been added since
        known.setdefault(field, {}).update(hashes)
    judges = [Judge(request, name, source) for name, source in name_models(request.model).items()]
    if request.limit and (output / ORIGINALS).exists():  # a model that was added since takes the same pairs
        taken = {row["id"] for row in read_rows(output / ORIGINALS)}
        pairs = _limited(read_pairs(replace(request, limit=0)), taken, request.limit)
    else:
        pairs = read_pairs(request, lambda some: set().union(*(judge.too_long(some) for judge in judges)))
    if (prompts := len({repr(pair.prompt) for pair in pairs})) < JUDGED:
        print(f"{prompts} prompts: no edit can be judged, {JUDGED} are needed", file=sys.stderr)
    shifts, notes = plan(request, pairs)
    notes = [*_dropped(pairs), *notes]
    for place in request.train_pairs:  # read again after scoring; a mistake should not be found as late
        load_pairs(place, bad_pairs="drop", flag="--train_pairs")
    for judge in judges:
        judge.check_place(output / "scores" / judge.name)
    for note in notes:
        print(note, file=sys.stderr)
    (output / "done.json").unlink(missing_ok=True)
    write_json(output / CONTENTS, known)
    _record(output / "provenance.json", provenance(seed=request.seed, inputs=known))
    texts = write_texts(output, pairs, shifts)
    for judge in judges:
        place = output / "scores" / judge.name
        score_shifts(place, pairs, texts, judge.scorer, partial(judge.describe, place))
        rely(judge, output / "reliance" / judge.name, pairs, texts)
        judge.release()
    names = [judge.name for judge in judges]
    asked = {"fail_under": request.fail_under, "fail_on": request.fail_on, "notes": notes}
    summary = _summarise(output, shifts, names, **asked)
    finish_run(output)
    return summary


def _summarise(output: Path, shifts: Sequence[Shift], names: Sequence[str], **options: Any) -> Row:
    """Written, and as any reader will find it: what is undefined is null."""
    write_json(output / "summary.json", summarise_stress(output, shifts, names, **options))
    return read_json(output / "summary.json")


def _record(path: Path, now: Row) -> None:
    """Where the first run was computed stays; a rerun elsewhere, or by another version, is listed under `continued`."""
    if path.exists():
        first = read_json(path)
        later = {name: value for name, value in now.items() if name != "inputs"}
        runs = [first, *first.pop("continued", [])]
        if any(runs[-1].get(name) != value for name, value in later.items() if name != "created"):
            runs.append(later)
        now = first | {"inputs": now["inputs"]} | ({"continued": runs[1:]} if runs[1:] else {})
    write_json(path, now)
