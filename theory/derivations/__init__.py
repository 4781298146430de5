"""Every proposition, step by step: `derive("implicit_one_step").check()`.

One function per proposition returns its `Derivation`; the order here is the order of the papers.
"""

from difflib import get_close_matches

from theory.derivations.beta import beta_squared
from theory.derivations.boundary import non_zero_start, one_seen_token, tied_rows, weight_decay
from theory.derivations.contradictions import non_separable
from theory.derivations.convergence import logarithmic_rate
from theory.derivations.derivation import Check, Derivation, Step, StepResult, Witnesses
from theory.derivations.explicit_step import explicit_one_step
from theory.derivations.generative import generative_bradley_terry_one_step, generative_cross_entropy_one_step
from theory.derivations.implicit_step import implicit_one_step
from theory.derivations.multi_token import shared_prefix, shared_terminator
from theory.derivations.overlap_coefficient import token_overlap_coefficient
from theory.derivations.overlap_range import token_overlap_range
from theory.derivations.preference import bradley_terry_gradient, log_partition
from theory.derivations.shared_prompts import shared_prompts
from theory.derivations.single_token import single_token_theorem
from theory.derivations.soft_cap import soft_capped_one_step
from theory.derivations.verifying import verifying_needs_some_generating, verifying_without_generating

__all__ = ["PROPOSITIONS", "Check", "Derivation", "Step", "StepResult", "Witnesses", "derive", "propositions"]

PROPOSITIONS = {
    proposition.__name__: proposition
    for proposition in (
        bradley_terry_gradient,
        log_partition,
        explicit_one_step,
        implicit_one_step,
        soft_capped_one_step,
        generative_cross_entropy_one_step,
        generative_bradley_terry_one_step,
        token_overlap_coefficient,
        token_overlap_range,
        beta_squared,
        verifying_without_generating,
        verifying_needs_some_generating,
        single_token_theorem,
        non_zero_start,
        one_seen_token,
        tied_rows,
        weight_decay,
        non_separable,
        shared_prompts,
        logarithmic_rate,
        shared_terminator,
        shared_prefix,
    )
}


def derive(name: str) -> Derivation:
    """The derivation of that name.

    Raises:
        ValueError: there is none; the message lists near misses, or all names.
    """
    if name not in PROPOSITIONS:
        near = get_close_matches(name, PROPOSITIONS, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(PROPOSITIONS)}"
        raise ValueError(f"no proposition is called {name!r}; {hint}")
    return PROPOSITIONS[name]()


def propositions() -> list[tuple[str, str]]:
    """(name, title) of every proposition, in the order of the papers."""
    return [(name, proposition().title) for name, proposition in PROPOSITIONS.items()]
