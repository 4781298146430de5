"""What the Hamiltonian study claims: verifying on three kinds of negatives, generating, and Theorem 1's bound."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from simulations.interval_claims import interval_claim
from simulations.results import Claim, Row
from simulations.statistics import Interval, mean_interval

VERIFIES = 0.95  # implicit models on the published kind of negatives; issue "Razin et al. 2025", written before any run
PUBLISHED = {"accuracy": "0.993", "success": "0"}
WORDS = {
    "random": "an order drawn at random (published)",
    "one_swap": "the cycle with two vertices exchanged",
    "near_cycle": "all steps but one along edges",
}
ARMS = {"published": "", "near-cycle": ", trained on near-cycles"}


def hamiltonian_claims(rows: Sequence[Row], generation: Sequence[Row]) -> list[Claim]:
    claims = []
    for cell in ARMS:
        for kind in ("explicit", "implicit"):
            for negatives, words in WORDS.items():
                some = [
                    row for row in rows
                    if (row["cell"], row["kind"], row["split"], row["negatives"]) == (cell, kind, "test", negatives)
                ]  # fmt: skip
                if some:
                    registered = (cell, kind, negatives) == ("published", "implicit", "random")
                    interval = mean_interval([row["accuracy"] for row in some])
                    claims.append(
                        _claim(
                            f"{cell}/verify/{negatives}/{kind}",
                            f"{kind}, test graphs: cycle against {words}{ARMS[cell]}",
                            interval,
                            kind,
                            type="registered" if registered else "observation",
                            op=">=" if registered else "none",
                            value=VERIFIES if registered else None,
                            published=PUBLISHED["accuracy"] if registered else "",
                        )
                    )
        claims += _generation_claims(cell, [row for row in generation if row["cell"] == cell])
    return sorted(claims, key=lambda claim: claim.type != "registered")


def _generation_claims(cell: str, rows: Sequence[Row]) -> list[Claim]:
    claims = []
    for policy in ("reference", "implicit"):
        some = [row for row in rows if row["policy"] == policy]
        if not some:
            continue
        measures = {
            "format": ("samples that are orders of all vertices", [row["orders"] / row["samples"] for row in some]),
            "success": ("samples that are cycles", [row["cycles"] / row["samples"] for row in some]),
            "exact": (
                "probability of a correct sample, all cycles enumerated (mean over graphs)",
                [float(np.mean(np.exp(row["log_probability_correct"]))) for row in some],
            ),
        }
        for name, (words, values) in measures.items():
            claims.append(
                _claim(
                    f"{cell}/generate/{name}/{policy}",
                    f"{policy} policy: {words}{ARMS[cell]}",
                    mean_interval(values),
                    "implicit",
                    published=PUBLISHED["success"]
                    if (name, policy, cell) == ("success", "implicit", "published")
                    else "",
                )
            )
    return claims


def hamiltonian_notes(rows: Sequence[Row], generation: Sequence[Row], bases: dict[str, Row], beta: float) -> list[str]:
    """Chance, upper limits, what the control can do, and what Theorem 1 says at the margin that was reached."""
    notes = []
    for cell in ARMS:
        mine = [row for row in generation if row["cell"] == cell]
        if not mine:
            continue
        for policy in ("reference", "implicit"):
            some = [row for row in mine if row["policy"] == policy]
            samples, orders, cycles = (sum(row[key] for row in some) for key in ("samples", "orders", "cycles"))
            limit = f"; at most {1 - 0.05 ** (1 / samples):.1e} at 95 %" if cycles == 0 else ""
            share = orders / samples
            unable = "cannot generate the format; " if share < 0.5 else ""
            notes.append(
                f"Hamiltonian, {cell}, {policy}: {unable}{orders} of {samples} samples are orders of all vertices, "
                f"{cycles} are cycles{limit} (an order drawn at random: {mine[0]['chance']:.1e})."
            )
        notes.append(_bound(cell, rows, mine, beta))
    known = ", ".join(f"{name} {row['mass_on_neighbours']:.3f}" for name, row in bases.items())
    notes.append(f"Hamiltonian: in walks, the probability that lies on the last vertex's neighbours is {known}.")
    control = bases["cycles"]
    notes.append(
        f"Hamiltonian, positive control (the same model pretrained on cycles): {control['cycles']} of "
        f"{control['samples']} samples are cycles, {control['orders']} orders of all vertices."
    )
    return notes


def _bound(cell: str, rows: Sequence[Row], generation: Sequence[Row], beta: float) -> str:
    """ln of Theorem 1's bound exp(margin / beta) * pi_ref(correct), and the largest margin over *all* responses that
    the policy can have (the converse: odds of a correct sample >= exp(margin / beta) * the reference's)."""
    test = [
        row
        for row in rows
        if (row["cell"], row["kind"], row["split"], row["negatives"]) == (cell, "implicit", "test", "random")
    ]
    least, median = (float(np.mean([row[key] for row in test])) / beta for key in ("least_margin", "median_margin"))
    before, after = (
        np.concatenate([row["log_probability_correct"] for row in generation if row["policy"] == policy])
        for policy in ("reference", "implicit")
    )
    limit = float(np.median(_log_odds(after) - _log_odds(before)))
    reference = float(np.median(before))
    bound = least + reference
    says = "says nothing (it exceeds 1)" if bound >= 0 else f"is e^{bound:.1f}"
    return (
        f"Hamiltonian, {cell}: on random negatives the margin over beta is {least:.1f} nats at least, {median:.1f} in "
        f"the median; with ln pi_ref(correct) = {reference:.1f} (median) Theorem 1's bound at the least margin {says}. "
        f"The policy's ln pi(correct) is {float(np.median(after)):.1f}; by the theorem's converse no margin above "
        f"{limit:.1f} nats over beta can hold over all responses of the median graph."
    )


def _log_odds(logs: np.ndarray) -> np.ndarray:
    return logs - np.log1p(-np.exp(np.minimum(logs, -1e-12)))


def _claim(id: str, statement: str, interval: Interval, kind: str, **options: Any) -> Claim:
    values: dict[str, Any] = {"kind": kind, "model": "Mistral, pretrained here", **options}
    return interval_claim(f"hamiltonian/{id}", statement, interval, rung=2, **values)
