"""The single-token theorem (Razin et al. 2025, theorem 2): unseen words are frozen, an explicit model is not."""

import numpy as np
import sympy as sp

from theory import single_token
from theory.derivations.algebra import evaluate
from theory.derivations.convergence import LATE, SOUDRY, draw_separable, gradient_step
from theory.derivations.derivation import Derivation, Witnesses, algebra, cited, numeric
from theory.derivations.flow import logistic_flow
from theory.derivations.shared_steps import RAZIN, loss_step, partition
from theory.derivations.symbols import D, U, a, b, beta, c, delta, eta, h, i, j, m, margin_after, n, over_coordinates, z
from theory.derivations.words import Pairs, World, draw_world, margins_after, with_random_start
from theory.separation import separate

R = sp.IndexedBase("R")
losing, y_plus, y_minus, prompt = (sp.IndexedBase(name) for name in ("g", "y^+", "y^-", "h"))

partition_step = algebra(
    "One token is one softmax, and both responses are read off the same one: the hidden state belongs to the prompt "
    "alone. The log-partition cancels in the difference of log-probabilities:",
    sp.Add(z[a] - sp.log(partition), sp.Mul(-1, z[b] - sp.log(partition), evaluate=False), evaluate=False),
    z[a] - z[b],
)
margin = beta * over_coordinates((U[a, j] - R[a, j] - U[b, j] + R[b, j]) * h[j])
margin_step = algebra(
    "With logits U h of the policy and R h of the reference, the margin of a over b is linear in the rows of U:",
    beta * (over_coordinates(U[a, j] * h[j]) - over_coordinates(U[b, j] * h[j]))
    - beta * (over_coordinates(R[a, j] * h[j]) - over_coordinates(R[b, j] * h[j])),
    margin,
)
row_step = algebra(
    "so its gradient in the row of word c is",
    sp.Derivative(beta * over_coordinates((U[a, i] - R[a, i] - U[b, i] + R[b, i]) * h[i], i), U[c, j]),
    beta * (delta(a, c) - delta(b, c)) * h[j],
)


def pull(word: sp.Symbol) -> sp.Expr:
    """What one step on the mean loss of m pairs adds to entry j of row `word`; nothing, if it is in none of them."""
    pulls = sp.Sum(losing[n] * (delta(y_plus[n], word) - delta(y_minus[n], word)) * prompt[n, j], (n, 1, m))
    return eta * beta * pulls / m


unseen = {delta(y[n], word): 0 for y in (y_plus, y_minus) for word in (a, b)}
frozen_step = algebra(
    "The loss of m pairs (h_n; y⁺_n, y⁻_n) moves each row by η β times the mean over pairs of g_n (1 where its word is "
    "chosen, -1 where it is rejected) h_n. If a and b are in none of the pairs, the margin after a step is the margin "
    "before it, whatever the other rows and g do; by induction so it is after every step:",
    margin.xreplace({U[word, j]: U[word, j] + pull(word) for word in (a, b)}),
    margin,
    given=unseen,
)


def single_token_theorem() -> Derivation:
    return Derivation(
        name="single_token_theorem",
        title="One-token responses: unseen pairs are frozen for an implicit model, not for an explicit one",
        statement=(
            "Train on pairs of one-token responses. (a) For a pair of words that occur in no training pair, the "
            "implicit margin is at every step what it was at the start: 0 if the policy starts at the reference, so "
            "the accuracy is one half, every pair being a tie. (b) If the training pairs are separable, the explicit "
            "head converges in direction to the hard-margin separator û of the differences d = h(x, y⁺) - h(x, y⁻); "
            "so from some step on it ranks every pair of a finite set as û does, unless û ties it. In the closed form "
            "U is the output layer at the start."
        ),
        assumptions=(
            "hidden states are fixed: the output layer U or the head u is trained, nothing else",
            "every response is one token, and nothing follows it (no terminator)",
            "gradient descent on the Bradley-Terry loss, no weight decay; rows of U share no parameters",
            "for (b): some head ranks all training pairs right; step size below the smoothness threshold",
        ),
        steps=(
            partition_step,
            margin_step,
            row_step,
            loss_step,
            algebra(
                "If the policy starts at the reference the margin is zero there:",
                margin,
                0,
                given={U[a, j]: R[a, j], U[b, j]: R[b, j]},
            ),
            gradient_step,
            cited(
                "Gradient descent on a logistic regression with separable data converges in direction to the L2 "
                "hard-margin separator from any start, for almost all data at the rate 1 / ln t; a finite set of signs "
                "then freezes (b)",
                SOUDRY,
            ),
            frozen_step,
        ),
        result=(margin_after, margin),
        witnesses=Witnesses(
            draw=_any_start,
            algebra=lambda world: margin_values(world, world.evaluated),
            closed_form=unseen_margin,
            experiment=margins_after,
            closed_form_name="theory.single_token.unseen_margin",
            experiment_text=(
                "margins of unseen pairs after gradient descent by autograd, log-softmax and all, from the reference "
                "and from elsewhere"
            ),
        ),
        measurements=(
            numeric(
                "(b) Largest distance from the hard-margin separator, over its length, of the growth of a trained head "
                "per unit of ln t between t = e^100 and e^200, on ten populations from random starts",
                _distance_of_growth,
                1e-6,
            ),
        ),
        limits=(
            "A pair with one seen word moves (one_seen_token); so do rows that share parameters (tied_rows) and rows "
            "under weight decay (weight_decay). A start away from the reference freezes its own margins "
            "(non_zero_start).",
            "(a) Adam without decay leaves a row without a gradient where it is as well; (b) it ends elsewhere.",
            "Individual unseen rewards do move, through the log-partition; differences at one prompt do not.",
            "With several tokens, or a terminator, positions are shared and the accuracy is not one half "
            "(shared_terminator, shared_prefix).",
            "(b) says nothing for pairs that the separator itself ties or ranks wrong, and convergence is logarithmic.",
        ),
        references=(f"{RAZIN}, theorem 2", SOUDRY),
    )


def margin_values(world: World, pairs: Pairs, expression: sp.Expr = margin, **extra: float) -> np.ndarray:
    """The proven margin (before training, or another expression in the same letters) of every pair."""
    start = {beta: world.beta, D: pairs.prompts.shape[1], U: world.rows, R: world.reference, eta: world.step_size}
    start |= {sp.Symbol(name, positive=True): value for name, value in extra.items()}
    rows = zip(pairs.prompts, pairs.chosen, pairs.rejected, strict=True)
    return np.array([evaluate(expression, {**start, h: x, a: int(y) + 1, b: int(w) + 1}) for x, y, w in rows])


def unseen_margin(world: World) -> np.ndarray:
    pairs = world.evaluated
    return single_token.unseen_margin(
        world.rows,
        world.reference,
        pairs.prompts,
        pairs.chosen,
        pairs.rejected,
        beta=world.beta,
        steps=world.steps,
        step_size=world.step_size,
        weight_decay=world.weight_decay,
    )


def _distance_of_growth(rng: np.random.Generator) -> float:
    """The head is w ln t plus a rest that settles, w the separator of margin one."""
    worst = 0.0
    for _ in range(10):
        differences = draw_separable(rng)
        separator = separate(differences)
        heads = logistic_flow(differences, np.array([LATE / 2, LATE]), start=rng.standard_normal(differences.shape[1]))
        growth, target = (heads[1] - heads[0]) / (LATE / 2), separator.multipliers @ differences
        worst = max(worst, float(np.linalg.norm(growth - target) / np.linalg.norm(target)))
    return worst


def _any_start(rng: np.random.Generator) -> World:
    """At the reference or elsewhere, with even odds."""
    world = draw_world(rng)
    return with_random_start(world, rng) if rng.random() < 0.5 else world
