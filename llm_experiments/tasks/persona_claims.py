"""What rung 2 claims: the registered predictions, and the controls beside them. Rows in, claims and notes out."""

from collections.abc import Mapping, Sequence
from typing import Any

from llm_experiments.tasks.language_claims import NAMES
from simulations.interval_claims import interval_claim
from simulations.results import Claim, Row
from simulations.statistics import mean_interval

# Razin et al. (2025), Persona, paraphrased answers on test prompts, terminator in the response
PUBLISHED = {"explicit": "1.00", "implicit": "0.02"}
# Published strings without the terminator, both architectures; issue 2, "Must show"; written before any run
REGISTERED: dict[str, tuple[Any, float]] = {"explicit": (">=", 0.95), "implicit": ("<=", 0.1)}
REGISTERED_ARMS = ("mistral", "gemma")
BRIEF = ("published", "shared_prefix")

CONDITIONS = {
    "seen": "training answers",
    "published": "the published paraphrase",
    "prefix_swap": "its words, the two prefixes swapped",
    "same_prefix": "its words in the training prefixes",
    "shared_prefix": "its words, one prefix for both answers",
    "swapped_training_prefix": "training words, training prefixes swapped",
    "prefix_free": "its words without a prefix",
}
ARMS = {
    "mistral": "no terminator",
    "gemma": "no terminator",
    "mistral-terminator": "terminator in the response, as published",
    "statement-label": "half the prompts have No as matching answer",
    "without-evaluation-words": "evaluation words left out of pretraining",
    "verifying": "pretrained on verification prompts as well",
}


def persona_claims(rows: Sequence[Row]) -> list[Claim]:
    """Claims of rung 2, all on test prompts: every control where nothing else departs, elsewhere the training answers,
    the published paraphrase and the shared prefix."""
    cells: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        if row["prompts"] == "test" and (row["cell"] == "mistral" or row["condition"] in BRIEF):
            cells.setdefault((row["cell"], row["condition"], row["split"], row["kind"]), []).append(row)
    claims = [_claim(some) for some in cells.values()]
    return sorted(claims, key=lambda claim: claim.type != "registered")


def _claim(rows: Sequence[Row]) -> Claim:
    first = rows[0]
    interval = mean_interval([row["accuracy"] for row in rows])
    arm, kind, split = first["cell"], first["kind"], first["split"]
    condition = "seen" if (first["condition"], split) == ("published", "seen_forms") else first["condition"]
    registered = condition == "published" and arm in REGISTERED_ARMS
    op, value = REGISTERED[kind] if registered else ("none", None)
    return interval_claim(
        f"rung2/{arm}/{condition}/{kind}",
        f"{kind}, {CONDITIONS[condition]} ({ARMS[arm]})",
        interval,
        rung=2,
        seeds=len({row["seed"] for row in rows}),
        op=op,
        value=value,
        kind=kind,
        model=f"{NAMES[first['architecture']]}, pretrained here",
        split=split,
        published=PUBLISHED[kind] if condition == "published" and arm == "mistral-terminator" else "",
    )


def separator_claims(separators: Mapping[str, Sequence[Row]]) -> list[Claim]:
    """Footnote 3: how the paraphrases lie to the max-margin separator of the untrained hidden states of the training
    answers; one number per cluster. Its published values are not known."""
    claims = []
    for arm, found in separators.items():
        for prompts in ("train", "test"):
            values = [row[prompts]["positive"] for row in found if row["status"] == "separable"]
            if values:
                claims.append(
                    interval_claim(
                        f"rung2/{arm}/separator/{prompts}",
                        f"untrained: paraphrases on the max-margin separator's right side, {prompts} prompts "
                        f"({ARMS[arm]})",
                        mean_interval(values),
                        rung=2,
                        model="pretrained here",
                        split="unseen_forms",
                    )
                )
    return claims


def persona_notes(rows: Sequence[Row], texts: Mapping[str, Row]) -> list[str]:
    """How the pretraining texts are made, how often they hold every evaluation word, and which tokens are shared."""
    some = next(row for row in rows if row["split"] == "train")
    notes = [
        f"Rung 2: every cluster draws {some['n']} training prompts and its test prompts anew from the real "
        "agreeableness questions, and has a training seed of its own; the language model is shared. It was pretrained "
        "on the other personas' questions with synthetic answers: every prefix with every word, at random, mostly "
        "followed by sentences that depend on whether the word agrees."
    ]
    for name, row in texts.items():
        counts = ", ".join(f"{word} {n}" for word, n in row["words"].items())
        known = ", ".join(f"{word} {share:.2f}" for word, share in row["meaning_known"].items())
        notes.append(
            f"Rung 2, {name}: {row['texts']} texts; answers by word: {counts}. The model prefers the remark that fits "
            f"the word over the one that does not, share of prompts: {known}."
        )
    shared = next(iter(texts.values()))["shared_tokens"]
    parts = [
        f"{pair}: " + (", ".join(f"{i} {token!r}" for i, token in tokens.items()) or "none")
        for pair, tokens in shared.items()
    ]
    notes.append(f"Rung 2, token ids that evaluation and training answers share: {'; '.join(parts)}.")
    return notes
