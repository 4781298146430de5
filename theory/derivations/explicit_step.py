"""What one gradient step on one pair does to an explicit reward (Razin et al. 2025, section 4)."""

import numpy as np
import sympy as sp

from theory.derivations import closed_forms, experiment
from theory.derivations.algebra import evaluate
from theory.derivations.derivation import Derivation, Witnesses, algebra
from theory.derivations.experiment import Case, draw_case
from theory.derivations.shared_steps import ADAM, RAZIN, loss_step
from theory.derivations.symbols import (
    D,
    eta,
    g,
    hbar,
    i,
    j,
    over_coordinates,
    reward_change,
)


def explicit_one_step() -> Derivation:
    u, d = sp.IndexedBase("u"), sp.IndexedBase("d")
    reward = over_coordinates(u[i] * hbar[i], i)
    moved = over_coordinates((u[i] + eta * g * d[i]) * hbar[i], i)
    result = eta * g * over_coordinates(d[i] * hbar[i], i)

    def proven(case: Case) -> float:
        direction = case.chosen.end - case.rejected.end
        losing = 1 / (1 + np.exp(case.head @ direction))
        return evaluate(
            result, {D: len(case.head), eta: case.step_size, g: losing, d: direction, hbar: case.evaluated.end}
        )

    def experimental(case: Case) -> float:
        loss = experiment.pair_loss(experiment.explicit(case.chosen), experiment.explicit(case.rejected))
        return experiment.change(experiment.explicit(case.evaluated), loss, case.head, case.step_size)

    return Derivation(
        name="explicit_one_step",
        title="One step moves an explicit reward by an inner product of hidden states",
        statement=(
            "One gradient step of size η on the pair (x, y⁺, y⁻) changes the explicit reward of any response ȳ to "
            "any prompt x̄ by η g ⟨h̄, d⟩, where h̄ = h(x̄, ȳ), d = h(x, y⁺) - h(x, y⁻) and g = σ(r(x, y⁻) - r(x, "
            "y⁺)) before the step. The formula is exact at every η. Tokens enter through hidden states only."
        ),
        assumptions=("hidden states are fixed; only the head u is trained", "the loss is Bradley-Terry on one pair"),
        steps=(
            loss_step,
            algebra(
                "The reward is linear in u, so its gradient is the hidden state:", sp.Derivative(reward, u[j]), hbar[j]
            ),
            algebra("Hence the step is u → u + η g d, and the reward moves by exactly", moved - reward, result),
        ),
        result=(reward_change, result),
        witnesses=Witnesses(
            draw=draw_case,
            algebra=proven,
            closed_form=closed_forms.explicit_change,
            experiment=experimental,
            closed_form_name="theory.dynamics.explicit_change",
            experiment_text="an actual gradient step of size η, its gradient by autograd",
        ),
        limits=(
            ADAM,
            "A batch: the change is the mean of the pairs' changes.",
            "If the backbone is trained as well, hidden states move and this is the head's share only.",
            "After the step g is another number: over a training run the formula is applied step by step.",
        ),
        references=(RAZIN, "Lin et al. 2024, arXiv 2409.03650, for the explicit model"),
    )
