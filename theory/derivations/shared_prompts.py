"""Evaluated at a training prompt, or one like it: what unseen words have in common there."""

import numpy as np
import sympy as sp

from theory.derivations import closed_forms, experiment
from theory.derivations.algebra import evaluate
from theory.derivations.derivation import Derivation, Witnesses, algebra
from theory.derivations.experiment import Case, Spoken, draw_case
from theory.derivations.shared_steps import ADAM, RAZIN, chain_step, loss_step, score_step
from theory.derivations.symbols import (
    D,
    a,
    b,
    beta,
    c,
    chosen,
    delta,
    eta,
    f,
    g,
    h,
    j,
    over_coordinates,
    over_entries,
    over_words,
    p,
    q,
    rejected,
    reward_change,
)

UNSEEN = 4  # words of the vocabulary that no training pair holds


def shared_prompts() -> Derivation:
    result = beta**2 * eta * g * (p[rejected] - p[chosen]) * over_coordinates(h[j] * f[j])

    def gradient(word: sp.Symbol, predicted: sp.IndexedBase, state: sp.IndexedBase) -> sp.Expr:
        """Entry (b, j) of the gradient of a log-probability."""
        return (delta(word, b) - predicted[b]) * state[j]

    def rho(word: sp.Symbol) -> sp.Expr:
        return delta(a, word) - q[a] - p[word] + over_words(p[c] * q[c])

    def proven(case: Case) -> np.ndarray:
        values = {D: len(case.head), beta: case.beta, eta: case.step_size, g: experiment.losing(case)}
        values |= {h: case.evaluated.hidden[0], f: case.chosen.hidden[0]}
        values |= {chosen: int(case.chosen.tokens[0]) + 1, rejected: int(case.rejected.tokens[0]) + 1}
        change = evaluate(result, {**values, p: experiment.next_token(case, case.evaluated)[0]})
        return np.full(UNSEEN, change)

    def measured(case: Case) -> np.ndarray:
        _, loss = experiment.implicit_step(case)
        readings = (experiment.implicit(case, response) for response in _unseen(case))
        return np.array([case.step_size * experiment.slope(reading, loss, case.weights) for reading in readings])

    return Derivation(
        name="shared_prompts",
        title="At one prompt all unseen words rise and fall together, however close the prompt is to training",
        statement=(
            "Train on one-token pairs (x; w, w') and read off the rewards of unseen words at a prompt x̄, x itself "
            "included. To first order every one of them changes by the same amount, β² η g ⟨h̄, h⟩ (p(w') - p(w)) "
            "with p the distribution at x̄: sharing the prompt moves unseen words through the log-partition, but "
            "never apart. What is proved is the first-order term; that differences do not move at all, at any step, "
            "is the single-token theorem."
        ),
        assumptions=(
            "hidden states are fixed; only the output layer U is trained; logits are U h",
            "every response is one token; the loss is Bradley-Terry on one pair",
        ),
        steps=(
            score_step,
            loss_step,
            chain_step,
            algebra(
                "Both training responses are read at one prompt, so the overlap coefficients of an unseen word a "
                "with w and with w' differ only in what the evaluated prompt predicts (both indicators are zero):",
                sp.Add(rho(chosen), sp.Mul(-1, rho(rejected), evaluate=False), evaluate=False),
                p[rejected] - p[chosen],
                given={delta(a, chosen): 0, delta(a, rejected): 0},
            ),
            algebra(
                "All together: the reward rises at the rate of the sum, over all entries (b, j) of U, of its gradient "
                "β Ḡ times the step g β (G⁺ - G⁻). There is no a left in it: all unseen words move alike:",
                eta
                * over_entries(
                    beta * gradient(a, p, h) * g * beta * (gradient(chosen, q, f) - gradient(rejected, q, f))
                ),
                result,
                given={delta(a, chosen): 0, delta(a, rejected): 0},
            ),
        ),
        result=(reward_change, result),
        witnesses=Witnesses(
            draw=_draw,
            algebra=proven,
            closed_form=lambda case: np.array([closed_forms.implicit_change(case, word) for word in _unseen(case)]),
            experiment=measured,
            closed_form_name="theory.dynamics.implicit_change of every unseen word",
            experiment_text="η times the derivative of each unseen reward along the step, by autograd",
        ),
        limits=(
            ADAM,
            "Seen words at a shared prompt move apart the most: ⟨h̄, h⟩ = ‖h‖² (one_seen_token).",
            "Several training pairs add their changes; unseen words still move together at each prompt.",
        ),
        references=(f"{RAZIN}, theorem 2; this case is ours",),
    )


def _draw(rng: np.random.Generator) -> Case:
    """Words 0 to 2 are trained, the last four are not; half the time the evaluated prompt is the training one."""
    case = draw_case(rng, vocabulary=3 + UNSEEN, tokens=1, identical=False)
    up, down = rng.permutation(3)[:2]
    prompt = rng.standard_normal((1, len(case.head)))
    evaluated = prompt if rng.random() < 0.5 else rng.standard_normal(prompt.shape)
    chosen, rejected, asked = (
        Spoken(state, np.array([word]), state[0]) for state, word in ((prompt, up), (prompt, down), (evaluated, 3))
    )
    return Case(
        **{name: getattr(case, name) for name in ("weights", "reference", "head", "beta", "step_size")},
        evaluated=asked,
        chosen=chosen,
        rejected=rejected,
    )


def _unseen(case: Case) -> list[Spoken]:
    asked = case.evaluated
    return [Spoken(asked.hidden, np.array([word]), asked.end) for word in range(3, 3 + UNSEEN)]
