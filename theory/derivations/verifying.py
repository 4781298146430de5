"""Verifying does not require generating (Razin et al. 2025, theorem 1), and how much generating it does require."""

from dataclasses import dataclass

import numpy as np
import sympy as sp
from scipy.optimize import linprog

from theory import verification
from theory.derivations.algebra import evaluate
from theory.derivations.derivation import Derivation, Witnesses, algebra, non_negative, numeric
from theory.derivations.symbols import beta, generating, odds

RAZIN = "Razin et al. 2025, arXiv 2507.07981, theorem 1"
ASSUMPTIONS = (
    "one prompt; finitely many responses, at least one of them correct and one incorrect",
    "the reference gives every response a positive probability",
    "the policy may be any distribution over responses (any such distribution is a language model)",
)
margin, success, Z, tilt, excess = sp.symbols("delta P Z E x", positive=True)


@dataclass(frozen=True)
class Task:
    """ln of the reference's probabilities of all responses, and which of them are correct."""

    reference: np.ndarray
    correct: np.ndarray
    margin: float
    beta: float

    @property
    def success(self) -> float:
        return float(np.exp(self.reference[self.correct]).sum())


def verifying_without_generating() -> Derivation:
    tilted, reference = sp.symbols("q_y q_w", positive=True)
    probability = margin / beta + sp.log(success) - sp.log(1 + (sp.exp(margin / beta) - 1) * success)
    bound = margin / beta + sp.log(success)

    def proven(task: Task) -> np.ndarray:
        values = {margin: task.margin, beta: task.beta, success: task.success}
        return np.array([task.margin, evaluate(probability, values), evaluate(bound, values)])

    def closed_form(task: Task) -> np.ndarray:
        settings = {"margin": task.margin, "beta": task.beta}
        policy = verification.least_generating_verifier(task.reference, task.correct, **settings)
        before = verification.log_generation_probability(task.reference, task.correct)
        return np.array(
            [
                verification.verifier_margin(policy, task.reference, task.correct, beta=task.beta),
                np.logaddexp.reduce(policy[task.correct]),
                verification.log_generation_bound(before, **settings),
            ]
        )

    def experimental(task: Task) -> np.ndarray:
        """The bound is read off too: generating, times the factor by which incorrect responses were scaled down."""
        policy = _least_generating_by_linear_programming(task)
        reward = task.beta * (np.log(policy) - task.reference)
        generated = np.log(policy[task.correct].sum())
        scaled = np.mean((task.reference - np.log(policy))[~task.correct])
        return np.array([reward[task.correct].min() - reward[~task.correct].max(), generated, generated + scaled])

    return Derivation(
        name="verifying_without_generating",
        title="An implicit reward can verify every response and yet generate hardly any correct one",
        statement=(
            "Let the reference produce a correct response with probability P. Tilting it by exp(δ/β) on the correct "
            "responses gives a policy whose implicit reward is larger by exactly δ on every correct response than on "
            "any incorrect one, and which generates a correct response with probability E P / (1 + (E - 1) P) ≤ E P, "
            "with E = exp(δ/β). If P vanishes, so does what it generates."
        ),
        assumptions=ASSUMPTIONS,
        steps=(
            algebra(
                "The policy is π(y) = E q(y) / Z for correct y and q(y) / Z for the others, q the reference. It sums "
                "to one:",
                tilt * success / Z + (1 - success) / Z,
                1,
                given={Z: 1 + (tilt - 1) * success},
            ),
            algebra(
                "The rewards of a correct y and an incorrect w differ by exactly δ:",
                beta * sp.log(tilt * tilted / Z / tilted) - beta * sp.log(reference / Z / reference),
                margin,
                given={tilt: sp.exp(margin / beta)},
            ),
            non_negative(
                "Z is at least one, as E = 1 + x with x ≥ 0:",
                Z - 1,
                excess * success,
                given={Z: 1 + (tilt - 1) * success, tilt: 1 + excess},
            ),
            non_negative(
                "so the probability of a correct response, E P / Z, is at most E P:",
                tilt * success - tilt * success / Z,
                (1 + excess) * excess * success**2 / Z,
                given={tilt: 1 + excess, Z: 1 + excess * success},
            ),
            algebra(
                "The bound's logarithm is negative, and the bound worth something, only if δ < β ln(1/P):",
                sp.log(tilt * success),
                (margin - beta * sp.log(1 / success)) / beta,
                given={tilt: sp.exp(margin / beta)},
            ),
            algebra(
                "It generates a correct response with log-probability",
                sp.log(tilt * success / Z),
                margin / beta + sp.log(success) - sp.log(Z),
                given={tilt: sp.exp(margin / beta)},
            ),
            algebra(
                "which is, with Z written out,",
                margin / beta + sp.log(success) - sp.log(Z),
                probability,
                given={Z: 1 + (sp.exp(margin / beta) - 1) * success},
            ),
        ),
        result=(sp.Function("ln")(generating), probability),
        witnesses=Witnesses(
            draw=_draw,
            algebra=proven,
            closed_form=closed_form,
            experiment=experimental,
            closed_form_name="theory.verification.least_generating_verifier and log_generation_bound",
            experiment_text="margin, generation and bound of the least generating verifier, by linear programming",
            tolerance=1e-8,
        ),
        limits=(
            "The bound exceeds one and says nothing once δ ≥ β ln(1/P): at β = 0.01 a margin of 1 is a factor of "
            "exp(100).",
            "It says that such a verifier exists, not that training finds it; what a given verifier generates at "
            "least is verifying_needs_some_generating.",
            "For a vanishing P and constant δ/β the verifier is no efficient generator; with δ/β growing as ln(1/P) "
            "it is.",
        ),
        references=(RAZIN,),
    )


def verifying_needs_some_generating() -> Derivation:
    lowest, highest, above, below, slack = sp.symbols("m M s_1 s_2 s_3", nonnegative=True)
    rest = sp.Symbol("Q", nonnegative=True)
    generated, missed = sp.symbols("C W", nonnegative=True)
    result = sp.log(success) - sp.log(1 - success) + margin / beta
    E = sp.Symbol("E", nonnegative=True)
    P = sp.Symbol("P", nonnegative=True)

    def least_odds(task: Task) -> float:
        policy = _least_generating_by_linear_programming(task)
        return float(np.log(policy[task.correct].sum() / policy[~task.correct].sum()))

    def closed_form(task: Task) -> float:
        before = verification.generation_log_odds(task.reference, task.correct)
        return float(verification.least_generation_log_odds(before, margin=task.margin, beta=task.beta))

    return Derivation(
        name="verifying_needs_some_generating",
        title="No verifier generates less: its odds are at least exp(δ/β) times the reference's",
        statement=(
            "Let the reference produce a correct response with probability P. Every policy whose implicit reward is "
            "larger by at least δ on each correct response than on any incorrect one generates a correct response "
            "with odds of at least exp(δ/β) P / (1 - P). The construction of verifying_without_generating has "
            "exactly these odds: it is the least generating verifier, and together the two say how much generating a "
            "margin costs."
        ),
        assumptions=ASSUMPTIONS,
        steps=(
            non_negative(
                "Let m be the smallest π(y) / q(y) over correct y and M the largest over incorrect ones. A margin of "
                "δ means m = E M + s₁, E = exp(δ/β). Summing, C = π(correct) = m P + s₂ and W = π(incorrect) = M Q - "
                "s₃, with Q = 1 - P and all s ≥ 0. Then the odds exceed E P / Q:",
                generated * rest - E * P * missed,
                above * P * rest + below * rest + E * P * slack,
                given={generated: lowest * P + below, missed: highest * rest - slack, lowest: E * highest + above},
            ),
            algebra(
                "The construction has all s = 0, hence exactly these odds (its Z cancels):",
                sp.log((tilt * success / Z) / ((1 - success) / Z)),
                result,
                given={tilt: sp.exp(margin / beta), 1 - success: sp.Symbol("Q", positive=True)},
            ),
        ),
        result=(sp.Function("ln")(odds), result),
        witnesses=Witnesses(
            draw=_draw,
            algebra=lambda task: evaluate(result, {margin: task.margin, beta: task.beta, success: task.success}),
            closed_form=closed_form,
            experiment=least_odds,
            closed_form_name="theory.verification.least_generation_log_odds",
            experiment_text="log-odds of the least generating verifier, by linear programming over distributions",
            tolerance=1e-8,
        ),
        measurements=(
            numeric("Largest shortfall of the odds of 2000 random verifiers, in nats", _worst_shortfall, 1e-9),
        ),
        limits=(
            "A margin on some pairs only, or on average, costs less.",
            "Accuracy one without a margin (δ → 0) costs nothing: odds need not exceed the reference's.",
        ),
        references=(f"{RAZIN}; the converse is ours",),
    )


def _draw(rng: np.random.Generator) -> Task:
    """Two to eight responses, success probabilities from near zero to near one."""
    count = int(rng.integers(2, 9))
    correct = np.arange(count) < rng.integers(1, count)
    logits = rng.standard_normal(count) + np.where(correct, rng.uniform(-4, 2), 0.0)
    reference = logits - np.logaddexp.reduce(logits)
    strength = float(rng.uniform(0.3, 2.0))
    return Task(reference, correct, strength * float(rng.uniform(0.1, 3.0)), strength)


def _least_generating_by_linear_programming(task: Task) -> np.ndarray:
    """Probabilities that minimise pi(correct), subject to the margin of every correct over every incorrect response.

    A margin bounds a ratio of probabilities, so that it is linear in them: pi(y) q(w) >= exp(delta / beta) pi(w) q(y).
    """
    reference, correct = np.exp(task.reference), task.correct
    rows = []
    for good in np.flatnonzero(correct):
        for bad in np.flatnonzero(~correct):
            row = np.zeros(len(reference))
            row[good], row[bad] = -1.0, np.exp(task.margin / task.beta) * reference[good] / reference[bad]
            rows.append(row)
    found = linprog(
        correct.astype(float),
        np.array(rows),
        np.zeros(len(rows)),
        np.ones((1, len(reference))),
        [1.0],
        method="highs-ds",
    )
    assert found.status == 0, found.message
    return found.x


def _worst_shortfall(rng: np.random.Generator) -> float:
    """Drawn by rewards: anything on incorrect responses, at least delta above the largest on correct ones."""
    worst = 0.0
    for _ in range(2000):
        task = _draw(rng)
        reward = task.beta * rng.standard_normal(len(task.reference))
        reward[task.correct] = reward[~task.correct].max() + task.margin + rng.exponential(0.3, task.correct.sum())
        logits = task.reference + reward / task.beta
        odds = np.logaddexp.reduce(logits[task.correct]) - np.logaddexp.reduce(logits[~task.correct])
        least = np.log(task.success) - np.log1p(-task.success) + task.margin / task.beta
        worst = max(worst, least - odds)
    return worst
