"""The Bradley-Terry gradient, and DPO's log-partition, which cancels (Rafailov et al. 2023, section 4)."""

from dataclasses import dataclass

import numpy as np
import sympy as sp

from theory import preferences, rewards
from theory.derivations.algebra import evaluate
from theory.derivations.derivation import Derivation, Witnesses, algebra
from theory.derivations.symbols import V, beta, c, over_words, pair_margin
from theory.preferences import PairRewards, bradley_terry_loss

r_plus, r_minus = sp.symbols("r^+ r^-", real=True)


def bradley_terry_gradient() -> Derivation:
    loss = sp.log(1 + sp.exp(r_minus - r_plus))
    losing = 1 / (1 + sp.exp(r_plus - r_minus))
    gradient = -losing

    def draw(rng: np.random.Generator) -> PairRewards:
        """Three ordinary pairs, a tie, and one pair far on either side."""
        chosen, rejected = rng.standard_normal((2, 6)) * 3
        rejected[3] = chosen[3]
        chosen[4:] += (300.0, -300.0)
        return PairRewards(chosen, rejected)

    def proven(pairs: PairRewards) -> np.ndarray:
        values = zip(pairs.chosen, pairs.rejected, strict=True)
        return np.array([evaluate(gradient, {r_plus: y, r_minus: w}) for y, w in values])

    def experimental(pairs: PairRewards) -> np.ndarray:
        import torch

        chosen, rejected = (torch.tensor(side, requires_grad=True) for side in (pairs.chosen, pairs.rejected))
        up, down = torch.autograd.grad(bradley_terry_loss(PairRewards(chosen, rejected)), (chosen, rejected))
        assert torch.equal(up, -down)
        return len(chosen) * up.numpy()  # the loss is a mean over pairs

    return Derivation(
        name="bradley_terry_gradient",
        title="A pair pulls with the probability its model gives to the wrong order",
        statement=(
            "The loss of a pair is -ln σ(r⁺ - r⁻). Its derivative in r⁺ is -g and in r⁻ is +g, with g = σ(r⁻ - r⁺) "
            "in (0, 1): one half at a tie, near one for a pair ranked badly wrong, near zero for one ranked safely "
            "right. The loss is convex in the margin and depends on nothing else."
        ),
        assumptions=("P(y⁺ beats y⁻) = σ(r⁺ - r⁻), the Bradley-Terry model",),
        steps=(
            algebra(
                "Raising both rewards alike changes nothing:",
                sp.Derivative(loss, r_plus) + sp.Derivative(loss, r_minus),
                0,
            ),
            algebra(
                "g is the probability of the wrong order: it and that of the right order sum to one:",
                losing + 1 / (1 + sp.exp(r_minus - r_plus)),
                1,
            ),
            algebra(
                "The second derivative is g (1 - g), positive: the loss is convex in the margin:",
                sp.Derivative(loss, r_plus, 2),
                losing * (1 - losing),
            ),
            algebra("In the rejected reward the derivative is g,", sp.Derivative(loss, r_minus), losing),
            algebra("and in the chosen reward the same with the other sign:", sp.Derivative(loss, r_plus), gradient),
        ),
        result=(sp.Derivative(sp.Function("loss")(r_plus, r_minus), r_plus), gradient),
        witnesses=Witnesses(
            draw=draw,
            algebra=proven,
            closed_form=lambda pairs: -preferences.bradley_terry_probability(pairs.swapped()),
            experiment=experimental,
            closed_form_name="theory.preferences.bradley_terry_probability of the swapped pair",
            experiment_text="gradient of the loss by autograd, margins from -300 to 300 nats",
        ),
        limits=(
            "Over a mean of n pairs each pulls with g / n.",
            "The loss never reaches zero at a finite margin: on separable data rewards grow without bound.",
        ),
        references=("Bradley and Terry 1952", "Razin et al. 2025, arXiv 2507.07981, section 2"),
    )


@dataclass(frozen=True)
class Choice:
    """A reward and a reference distribution over a finite set of responses to one prompt."""

    reward: np.ndarray
    reference: np.ndarray
    beta: float


def log_partition() -> Derivation:
    Z, q_a, q_b, s_a, t = sp.symbols("Z q_a q_b s_a t", positive=True)
    r_a, r_b = sp.symbols("r_a r_b", real=True)
    r, q, p, s = (sp.IndexedBase(name) for name in ("r", "q", "p", "s"))
    tilted = q_a * sp.exp(r_a / beta) / Z
    reward = r_a - beta * sp.log(Z)
    total = over_words(q[c] * sp.exp(r[c] / beta))

    def draw(rng: np.random.Generator) -> Choice:
        size = int(rng.choice([2, 3, 6]))
        return Choice(rng.standard_normal(size), rng.dirichlet(np.ones(size)), float(rng.uniform(0.3, 2.0)))

    def proven(choice: Choice) -> np.ndarray:
        """Rewards, then margins over the first response."""
        partition = evaluate(total, {V: len(choice.reward), beta: choice.beta, q: choice.reference, r: choice.reward})
        values = [evaluate(reward, {r_a: value, beta: choice.beta, Z: partition}) for value in choice.reward]
        margins = [evaluate(r_a - r_b, {r_a: value, r_b: choice.reward[0]}) for value in choice.reward]
        return np.array([values, margins])

    def closed_form(choice: Choice) -> np.ndarray:
        logits = np.log(choice.reference) + choice.reward / choice.beta
        policy = logits - np.logaddexp.reduce(logits)
        values = rewards.implicit_reward(policy[:, None], np.log(choice.reference)[:, None], choice.beta)
        return np.array([values, values - values[0]])

    return Derivation(
        name="log_partition",
        title="Every reward is an implicit one: the log-partition cancels in every comparison",
        statement=(
            "For any reward r and reference q over the responses to a prompt, the policy p(y) = q(y) exp(r(y) / β) / "
            "Z has the implicit reward β ln(p(y) / q(y)) = r(y) - β ln Z. Z depends on the prompt alone, so both "
            "rewards have the same margins. This p is the policy that maximises the expected reward less β times the "
            "divergence from q. An implicit model can therefore express whatever an explicit one can; what differs "
            "is what training makes of it."
        ),
        assumptions=(
            "the reference gives every response a positive probability",
            "responses are compared at one prompt",
        ),
        steps=(
            algebra("p is a distribution:", over_words(q[c] * sp.exp(r[c] / beta) / Z), 1, given={Z: total}),
            algebra(
                "For any policy s, reward less divergence is, response by response, a constant less the divergence "
                "from p:",
                s_a * (r_a - beta * sp.log(s_a / q_a)),
                s_a * beta * sp.log(Z) - beta * s_a * sp.log(s_a / tilted),
            ),
            algebra(
                "The divergence from p is never negative: t - 1 - ln t is zero at t = 1, falls before and rises "
                "after it, so ln(p/s) ≤ p/s - 1,",
                sp.Derivative(t - 1 - sp.log(t), t),
                (t - 1) / t,
            ),
            algebra(
                "and the mean of p/s - 1 under s is the difference of two sums, each one:",
                over_words(s[c] * (p[c] / s[c] - 1)),
                over_words(p[c]) - over_words(s[c]),
            ),
            algebra("The implicit reward of p is", beta * sp.log(tilted / q_a), reward),
            algebra(
                "and the log-partition cancels in the difference of two responses to one prompt:",
                beta * sp.log(tilted / q_a) - beta * sp.log(q_b * sp.exp(r_b / beta) / Z / q_b),
                r_a - r_b,
            ),
        ),
        result=(pair_margin, r_a - r_b),
        witnesses=Witnesses(
            draw=draw,
            algebra=proven,
            closed_form=closed_form,
            experiment=_regularised_optimum,
            closed_form_name="theory.rewards.implicit_reward of the tilted policy",
            experiment_text="implicit rewards, log-partition and all, and margins of the policy that maximises reward "
            "less divergence, by quasi-Newton",
            tolerance=1e-6,
        ),
        limits=(
            "Across prompts implicit rewards differ by β ln Z(x): they cannot be compared between prompts.",
            "A response the reference never produces has no implicit reward.",
            "An unrestricted policy reaches the optimum; a language model whose parameters are shared need not.",
        ),
        references=(
            "Rafailov et al. 2023, arXiv 2305.18290, section 4",
            "Lin et al. 2024, arXiv 2409.03650, section 2",
        ),
    )


def _regularised_optimum(choice: Choice) -> np.ndarray:
    """beta ln(p / q), and its margins over response 0, p found by maximising E r - beta KL(p | q) over logits."""
    import torch
    from scipy.optimize import minimize

    reward, reference = torch.tensor(choice.reward), torch.tensor(choice.reference).log()

    def loss(logits: np.ndarray) -> tuple[float, np.ndarray]:
        free = torch.tensor(logits, requires_grad=True)
        policy = free.log_softmax(-1)
        value = -(policy.exp() * (reward - choice.beta * (policy - reference))).sum()
        (gradient,) = torch.autograd.grad(value, free)
        return float(value.detach()), gradient.numpy()

    found = minimize(loss, np.zeros(len(reward)), jac=True, method="BFGS", options={"gtol": 1e-11}).x
    ratio = choice.beta * (torch.tensor(found).log_softmax(-1) - reference).numpy()
    return np.array([ratio, ratio - ratio[0]])
