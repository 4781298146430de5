"""Where the single-token theorem stops: starts, decay, seen words, tied rows. Each with what happens instead."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import sympy as sp

from theory import single_token
from theory.derivations.algebra import evaluate
from theory.derivations.derivation import Derivation, Step, Witnesses, algebra
from theory.derivations.shared_steps import ADAM, RAZIN, loss_step
from theory.derivations.single_token import (
    R,
    frozen_step,
    margin,
    margin_step,
    margin_values,
    partition_step,
    pull,
    row_step,
    unseen,
    unseen_margin,
)
from theory.derivations.symbols import (
    D,
    P,
    U,
    V,
    a,
    b,
    beta,
    c,
    chosen,
    delta,
    eta,
    g,
    h,
    hbar,
    i,
    j,
    k,
    margin_after,
    margin_change,
    o,
    over_coordinates,
    over_entries,
    over_words,
    rejected,
)
from theory.derivations.words import World, draw_world, margins_after, with_random_start

ASSUMPTIONS = (
    "hidden states are fixed; only the output layer is trained",
    "every response is one token, and nothing follows it",
)
t = sp.Symbol("t", integer=True, nonnegative=True)
decay = sp.Symbol("lambda", positive=True)
F, W, K = (sp.IndexedBase(name) for name in ("F", "W", "K"))

tied_row_step = algebra(
    "A row of U is a mixture of rows of W, so the gradient of the margin in row o of W is",
    sp.Derivative(beta * over_coordinates(sp.Sum((F[a, k] - F[b, k]) * W[k, i], (k, 1, P)) * h[i], i), W[o, j]),
    beta * (F[a, o] - F[b, o]) * h[j],
)


def non_zero_start() -> Derivation:
    return Derivation(
        name="non_zero_start",
        title="A policy that starts away from its reference keeps its unseen margins, whatever they are",
        statement=(
            "Train on pairs of one-token responses from any start U ≠ R. The implicit margin of a pair of unseen "
            "words a, b stays at β ⟨(U_a - R_a) - (U_b - R_b), h⟩: accuracy on unseen words is that of the start, no "
            "longer one half."
        ),
        assumptions=(*ASSUMPTIONS, "gradient descent on the Bradley-Terry loss, no weight decay; no shared parameters"),
        steps=(partition_step, margin_step, row_step, loss_step, frozen_step),
        result=(margin_after, margin),
        witnesses=Witnesses(
            draw=lambda rng: with_random_start(draw_world(rng), rng),
            algebra=lambda world: margin_values(world, world.evaluated),
            closed_form=unseen_margin,
            experiment=margins_after,
            closed_form_name="theory.single_token.unseen_margin",
            experiment_text="margins of unseen pairs after gradient descent by autograd from a random start",
        ),
        limits=(
            "Weight decay moves unseen rows (weight_decay); a seen word moves its pair (one_seen_token).",
            "Starting from a fine-tuned policy but measuring against the base model is such a start.",
        ),
        references=(f"{RAZIN}, theorem 2 (general start)",),
    )


def weight_decay() -> Derivation:
    shrunk = (1 - eta * decay) ** t * U[a, j]
    decayed = beta * over_coordinates(((1 - eta * decay) ** t * (U[a, j] - U[b, j]) - R[a, j] + R[b, j]) * h[j])
    return Derivation(
        name="weight_decay",
        title="Weight decay turns unseen margins into the reference's preference, reversed",
        statement=(
            "With weight decay λ a step is U → (1 - η λ) U - η ∇. A row of an unseen word shrinks by the same factor "
            "at every step, so an unseen margin after t steps is β ⟨(1 - η λ)^t (U_a - U_b) - (R_a - R_b), h⟩. From "
            "U = R it tends to -β ⟨R_a - R_b, h⟩: the implicit model comes to prefer what the reference finds "
            "unlikely."
        ),
        assumptions=(*ASSUMPTIONS, "gradient descent with weight decay λ, 0 < η λ < 1; no shared parameters"),
        steps=(
            partition_step,
            margin_step,
            row_step,
            loss_step,
            algebra(
                "The loss adds nothing to a row whose word is in none of the pairs, so one more step shrinks it once "
                "more, and by induction t steps t times:",
                (1 - eta * decay) * shrunk + pull(a),
                shrunk.subs(t, t + 1),
                given=unseen,
            ),
            algebra(
                "The factor tends to zero (0 < 1 - η λ < 1; write it as exp(-s)):",
                sp.Limit(sp.exp(-sp.Symbol("s", positive=True) * t), t, sp.oo),
                0,
            ),
            algebra(
                "Both rows by the same factor, so the margin of a over b after t steps is",
                margin.xreplace({U[a, j]: shrunk, U[b, j]: shrunk.subs(a, b)}),
                decayed,
            ),
        ),
        result=(margin_after, decayed),
        witnesses=Witnesses(
            draw=_decaying_world,
            algebra=lambda world: margin_values(world, world.evaluated, decayed.subs(t, world.steps), **_decay(world)),
            closed_form=unseen_margin,
            experiment=margins_after,
            closed_form_name="theory.single_token.unseen_margin",
            experiment_text="margins of unseen pairs after gradient descent with weight decay, by autograd",
        ),
        limits=(
            "AdamW decays by the same factor 1 - η λ, so unseen rows shrink alike; Adam with an L2 term in the loss "
            "rescales it per parameter and does not.",
            "Decay towards the reference instead of zero would keep the margins frozen.",
        ),
        references=(f"{RAZIN}, theorem 2; this case is ours",),
    )


def one_seen_token() -> Derivation:
    return Derivation(
        name="one_seen_token",
        title="One seen word is enough to move a pair, in proportion to the prompts' similarity",
        statement=(
            "One step on the one-token pair (x; w, w') changes the margin of a over b at prompt x̄ by exactly "
            "β² η g ⟨h̄, h⟩ (1[a = w] - 1[a = w'] - 1[b = w] + 1[b = w']), at any η. A pair with one seen word moves; "
            "one with both moves twice as much."
        ),
        assumptions=(*ASSUMPTIONS, "the loss is Bradley-Terry on one pair; rows share no parameters"),
        steps=(partition_step, margin_step, row_step, loss_step, *_kernel_steps(tied=False)),
        result=(margin_change, _change(tied=False)),
        witnesses=_change_witnesses(tied=False),
        limits=(
            "Prompts at right angles move nothing; a prompt of negative inner product moves the wrong way.",
            ADAM,
            "With all words unseen the bracket is zero: the single-token theorem.",
        ),
        references=(f"{RAZIN}, theorem 2; this case is ours",),
    )


def tied_rows() -> Derivation:
    return Derivation(
        name="tied_rows",
        title="Rows that share parameters carry a margin to words that were never trained",
        statement=(
            "Let the output rows share parameters, U = F W with W trained, and K = F Fᵀ the Gram matrix of the rows "
            "of F. One step on the one-token pair (x; w, w') changes the margin of a over b at prompt x̄ by exactly "
            "β² η g ⟨h̄, h⟩ (K(a, w) - K(a, w') - K(b, w) + K(b, w')). Free rows have the identity for K; synonyms with "
            "equal rows of F move together, so unseen words generalise like seen ones."
        ),
        assumptions=(*ASSUMPTIONS, "the loss is Bradley-Terry on one pair; F is fixed"),
        steps=(partition_step, margin_step, tied_row_step, loss_step, *_kernel_steps(tied=True)),
        result=(margin_change, _change(tied=True)),
        witnesses=_change_witnesses(tied=True),
        limits=(
            ADAM,
            "Output rows tied to the input embedding also move hidden states, which no formula with fixed hidden "
            "states sees; there this is the output layer's share.",
        ),
        references=(f"{RAZIN}, theorem 2; this case is ours",),
    )


def _bracket(tied: bool) -> sp.Expr:
    kernel = (lambda x, y: K[x, y]) if tied else delta
    return kernel(a, chosen) - kernel(a, rejected) - kernel(b, chosen) + kernel(b, rejected)


def _change(*, tied: bool) -> sp.Expr:
    return beta**2 * eta * g * over_coordinates(hbar[j] * h[j]) * _bracket(tied)


def _kernel_steps(*, tied: bool) -> tuple[Step, ...]:
    """The margin is linear in the parameters: its change is eta g times the inner product of two gradients, exactly."""
    s, t = sp.IndexedBase("s"), sp.IndexedBase("t")
    step = eta * g * beta * h[j]
    if tied:
        unmoved = lambda word: sp.Sum(F[word, o] * W[o, j], (o, 1, P))  # noqa: E731
        moved = lambda word: sp.Sum(F[word, o] * (W[o, j] + step * (F[chosen, o] - F[rejected, o])), (o, 1, P))  # noqa: E731
        gram = {K[x, y]: sp.Sum(F[x, o] * F[y, o], (o, 1, P)) for x in (a, b) for y in (chosen, rejected)}
        words = sp.Sum((F[a, o] - F[b, o]) * (F[chosen, o] - F[rejected, o]), (o, 1, P))
        pairs = ((a, chosen, 1), (a, rejected, -1), (b, chosen, -1), (b, rejected, 1))
        right = sum(sign * sp.Sum(F[x, o] * F[y, o], (o, 1, P)) for x, y, sign in pairs)
        text = "The one over features is the four entries of the Gram matrix, K(a, w) = Σ_o F(a, o) F(w, o):"
    else:
        unmoved = lambda word: U[word, j]  # noqa: E731
        moved = lambda word: U[word, j] + step * (delta(chosen, word) - delta(rejected, word))  # noqa: E731
        words = over_words((delta(a, c) - delta(b, c)) * (delta(chosen, c) - delta(rejected, c)))
        right = _bracket(tied)
        text = "The one over words counts tokens in common:"
    return (
        algebra(
            "The step moves the parameters by η g times the gradient at the training pair. The margin is linear in "
            "them, so it changes by η g times the inner product of two such gradients, exactly. That splits into one "
            "over coordinates, ⟨h̄, h⟩, and one over words or features:",
            over_entries(beta * s[b] * hbar[j] * beta * t[b] * h[j]),
            beta**2 * over_words(s[b] * t[b], b) * over_coordinates(hbar[j] * h[j]),
        ),
        algebra(text, words, right),
        algebra(
            "All together: the margin at x̄ after the step, less that before it, is",
            _margin_at_new_prompt(moved) - _margin_at_new_prompt(unmoved),
            _change(tied=tied),
            given=gram if tied else None,
        ),
    )


def _margin_at_new_prompt(row: Callable[[sp.Symbol], sp.Expr]) -> sp.Expr:
    """`row`: entry j of a word's row."""
    return margin.xreplace({h[j]: hbar[j], U[a, j]: row(a), U[b, j]: row(b)})


def _change_witnesses(*, tied: bool) -> Witnesses:
    return Witnesses(
        draw=lambda rng: _one_pair_world(rng, tied=tied),
        algebra=lambda world: _change_values(world, tied=tied),
        closed_form=_closed_change,
        experiment=lambda world: margins_after(world) - margins_after(world, steps=0),
        closed_form_name="theory.single_token.margin_change" + (" with row_gram" if tied else ""),
        experiment_text="change of the margins of seen and unseen words in one actual step, gradients by autograd",
    )


def _one_pair_world(rng: np.random.Generator, *, tied: bool) -> World:
    """Evaluated words are drawn from all eight, so that pairs with none, one and two seen words occur."""
    world = with_random_start(replace(draw_world(rng, pairs=1), steps=1), rng)
    words = np.stack([rng.permutation(8)[:2] for _ in world.evaluated.chosen])
    words[0] = world.trained.chosen[0], 7
    world = replace(world, evaluated=replace(world.evaluated, chosen=words[:, 0], rejected=words[:, 1]))
    if not tied:
        return world
    features = rng.standard_normal((8, 3))
    return replace(world, weights=rng.standard_normal((3, world.weights.shape[1])), features=features)


def _trained_margin(world: World) -> float:
    return float(margins_after(replace(world, evaluated=world.trained), steps=0)[0])


def _change_values(world: World, *, tied: bool) -> np.ndarray:
    pair, pairs = world.trained, world.evaluated
    values = {beta: world.beta, eta: world.step_size, g: 1 / (1 + np.exp(_trained_margin(world)))}
    values |= {D: pair.prompts.shape[1], V: len(world.reference), h: pair.prompts[0]}
    values |= {chosen: int(pair.chosen[0]) + 1, rejected: int(pair.rejected[0]) + 1}
    if tied:
        values[K] = np.array([[x @ y for y in world.features] for x in world.features])
    rows = zip(pairs.prompts, pairs.chosen, pairs.rejected, strict=True)
    result = _change(tied=tied)
    return np.array([evaluate(result, {**values, hbar: x, a: int(y) + 1, b: int(w) + 1}) for x, y, w in rows])


def _closed_change(world: World) -> np.ndarray:
    gram = None if world.features is None else world.features @ world.features.T
    ours, theirs = world.evaluated, world.trained
    change = single_token.margin_change(
        *(ours.prompts, ours.chosen, ours.rejected),
        *(theirs.prompts, theirs.chosen, theirs.rejected),
        np.array([_trained_margin(world)]),
        beta=world.beta,
        step_size=world.step_size,
        row_gram=gram,
    )
    return change[:, 0]


def _decaying_world(rng: np.random.Generator) -> World:
    return replace(draw_world(rng), weight_decay=float(rng.uniform(0.01, 0.5)))


def _decay(world: World) -> dict[str, float]:
    return {"lambda": world.weight_decay}
