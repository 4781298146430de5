"""Steps that several derivations share: the loss, the score, the chain rule along one gradient step."""

import sympy as sp

from theory.derivations.derivation import algebra
from theory.derivations.symbols import (
    a,
    b,
    beta,
    c,
    delta,
    g,
    j,
    over_entries,
    over_words,
    z,
)

RAZIN = "Razin et al. 2025, arXiv 2507.07981, section 4"
ADAM = (
    "Plain gradient descent: Adam, with which published models are trained, rescales the gradient entry by entry, and "
    "its step is not of this form."
)

theta = sp.Symbol("theta", real=True)
r_plus, r_minus = sp.Function("r^+")(theta), sp.Function("r^-")(theta)
loss_step = algebra(
    "The loss of a pair is -ln σ(r⁺ - r⁻). By the chain rule its gradient is -g (∇r⁺ - ∇r⁻), where g = σ(r⁻ - r⁺) is "
    "the probability the model gives to the wrong order:",
    sp.Derivative(sp.log(1 + sp.exp(r_minus - r_plus)), theta),
    -(r_plus.diff(theta) - r_minus.diff(theta)) / (1 + sp.exp(r_plus - r_minus)),
)
grad, up, down = (sp.IndexedBase(name) for name in ("Gbar", "G^+", "G^-"))
chain_step = algebra(
    "Write Ḡ, G⁺, G⁻ for the gradients of ln π(ȳ|x̄), ln π(y⁺|x), ln π(y⁻|x). The reference model is "
    "constant, so ∇r = β G. The step is U → U + η g β (G⁺ - G⁻), and r̄, whose gradient is β Ḡ, rises at "
    "the rate (one β from the reward that is read off, one from the loss)",
    over_entries(beta * grad[b, j] * g * beta * (up[b, j] - down[b, j])),
    beta**2 * g * (over_entries(grad[b, j] * up[b, j]) - over_entries(grad[b, j] * down[b, j])),
)
partition = over_words(sp.exp(z[c]))
score_step = algebra(
    "The log-probability of word a is z_a - ln Σ exp z_c. Its gradient in the logits is the score, 1[a = b] - p_b:",
    sp.Derivative(z[a] - sp.log(partition), z[b]),
    delta(a, b) - sp.exp(z[b]) / partition,
)
