"""What rung 1 claims: the registered predictions, and the observations beside them. Rows in, claims out."""

from collections.abc import Mapping, Sequence
from typing import Any

from simulations.interval_claims import interval_claim
from simulations.results import Claim, Row
from simulations.statistics import crossed_interval, mean_interval

FIT = 0.99  # "fits the training pairs"
GENERALISES = 0.95
CHANCE = (0.4, 0.6)

NAMES = {"mistral": "Mistral", "gemma2": "Gemma-2", "gemma": "Gemma"}
LABELS = {"statement": "label depends on the statement", "constant": "agreeing is always right"}
SPLITS = {
    "train": "training pairs",
    "seen_forms": "held-out prompts, words seen in training",
    "unseen_forms": "held-out prompts, unseen words of the same meaning",
}
# (label, kind, split, op, threshold): issue 2, "Must show"; written before any run, never moved
REGISTERED = (
    ("statement", "explicit", "train", ">=", FIT),
    ("statement", "implicit", "train", ">=", FIT),
    ("statement", "explicit", "seen_forms", ">=", GENERALISES),
    ("statement", "explicit", "unseen_forms", ">=", GENERALISES),
    ("statement", "implicit", "unseen_forms", "within", CHANCE),
    ("constant", "explicit", "seen_forms", ">=", GENERALISES),
    ("constant", "implicit", "seen_forms", ">=", GENERALISES),
    ("constant", "explicit", "unseen_forms", ">=", GENERALISES),
    ("constant", "implicit", "unseen_forms", "<=", CHANCE[1]),
)
# (condition, kind, split, words for it)
OBSERVED = (
    ("registered", "implicit", "seen_forms", "the in-distribution gap"),
    ("registered", "bag of tokens", "seen_forms", "a prompt-blind baseline"),
    ("registered", "bag of tokens", "unseen_forms", "a prompt-blind baseline"),
    ("mistral-tied", "explicit", "unseen_forms", "rows shared with the input embeddings"),
    ("mistral-tied", "implicit", "unseen_forms", "rows shared with the input embeddings"),
    ("gemma2-untied", "explicit", "unseen_forms", "another architecture"),
    ("gemma2-untied", "implicit", "unseen_forms", "another architecture"),
    ("gemma2-tied", "explicit", "unseen_forms", "another architecture, rows shared"),
    ("gemma2-tied", "implicit", "unseen_forms", "another architecture, rows shared"),
    ("predictable-answers", "implicit", "unseen_forms", "pretraining texts in which the statement predicts the answer"),
    ("head-only", "explicit", "train", "only the head trained"),
    ("head-only", "implicit", "train", "only the output layer trained"),
    ("head-only", "explicit", "unseen_forms", "only the head trained"),
    ("head-only", "implicit", "unseen_forms", "only the output layer trained"),
    ("terminator", "explicit", "unseen_forms", "the response ends with a token that both share"),
    ("terminator", "implicit", "unseen_forms", "the response ends with a token that both share"),
    ("48-pairs", "implicit", "seen_forms", "fewer training pairs"),
    ("48-pairs", "implicit", "unseen_forms", "fewer training pairs"),
    ("288-pairs", "implicit", "seen_forms", "more training pairs"),
    ("288-pairs", "implicit", "unseen_forms", "more training pairs"),
)


def language_claims(rows: Sequence[Row], alignment: Mapping[str, Row]) -> list[Claim]:
    """Claims of rung 1 from its rows and from how alike synonyms' output rows are in every language model."""
    claims = []
    for label, kind, split, op, value in REGISTERED:
        some = _where(rows, "registered", label, kind, split)  # never empty: a missing cell must not pass for none
        statement = f"{kind}, {SPLITS[split]} ({LABELS[label]})"
        claims.append(_claim("registered", some, statement, op, value))
    predicted = {("registered", label, kind, split) for label, kind, split, _, _ in REGISTERED}
    for condition, kind, split, remark in OBSERVED:
        for label in (label for label in LABELS if (condition, label, kind, split) not in predicted):
            some = _where(rows, condition, label, "implicit" if kind == "bag of tokens" else kind, split)
            if some:
                statement = f"{kind}, {SPLITS[split]} ({LABELS[label]}): {remark}"
                measure = "bag_of_tokens" if kind == "bag of tokens" else "accuracy"
                claims.append(_claim("observation", some, statement, measure=measure))
    return [*claims, *_alignment_claims(alignment)]


def _where(rows: Sequence[Row], condition: str, label: str, kind: str, split: str) -> list[Row]:
    wanted = {"cell": condition, "label": label, "kind": kind, "split": split}
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _claim(
    type_: Any, rows: Sequence[Row], statement: str, op: Any = "none", value: Any = None, *, measure: str = "accuracy"
) -> Claim:
    """One number per cluster, its mean and interval; clusters share splits and language models, hence crossed."""
    first = rows[0]
    interval = crossed_interval(
        [row[measure] for row in rows], [row["forms"] for row in rows], [row["seed"] for row in rows]
    )
    kind = first["kind"] if measure == "accuracy" else "bag-of-tokens"
    return interval_claim(
        f"rung1/{first['cell']}/{first['label']}/{kind}/{first['split']}",
        statement,
        interval,
        rung=1,
        type=type_,
        seeds=len({row["cluster"] for row in rows}),
        op=op,
        value=value,
        kind=first["kind"] if measure == "accuracy" else "",
        model=f"{NAMES[first['architecture']]}, {'tied' if first['tied'] else 'untied'}",
        split=first["split"],
    )


def _alignment_claims(alignment: Mapping[str, Row]) -> list[Claim]:
    """Whether the output layer knows synonyms: cosine of rows within a class minus between the classes."""
    models: dict[str, list[float]] = {}
    for name, row in alignment.items():
        models.setdefault(name.rsplit("-", 1)[0], []).append(row["within"] - row["between"])
    claims = []
    for name, gaps in models.items():
        architecture, tying, answers = name.split("-")
        interval = mean_interval(gaps)
        claims.append(
            interval_claim(
                f"rung1/alignment/{name}",
                "output rows of answer words, mean cosine within a class minus between classes"
                + (" (answers predictable in pretraining)" if answers == "predictable" else ""),
                interval,
                rung=1,
                unit="pretrained language models",
                model=f"{NAMES[architecture]}, {tying}",
            )
        )
    return claims


def language_notes(rows: Sequence[Row]) -> list[str]:
    """What the table cannot say in a line: what varies between clusters, and the in-distribution gap."""
    registered = [row for row in rows if row["cell"] == "registered"]
    clusters = {(row["seed"], row["forms"]) for row in registered}
    return [
        f"Rung 1: {len(clusters)} clusters = {len({forms for _, forms in clusters})} disjoint splits of the words x "
        f"{len({seed for seed, _ in clusters})} pretrained language models, each with a training seed of its own. All "
        "prompts of a cluster share their words' sign, so intervals are over clusters, never over prompts; of the "
        "intervals over clusters, over splits and over language models the widest is printed."
    ]
