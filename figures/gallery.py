"""Which figures there are: for each its rows file, its drawing function and a caption that says how to read it.

Captions say where to look and what the marks are, never what the result was: the numbers come from the rows.
"""

from collections.abc import Callable

from matplotlib.figure import Figure

from figures import cycles, draw, dynamics, real_pairs, shifts, simulations, study_arms, trajectories, win_rates
from figures.iterative import iterative
from figures.ladder import ladder
from figures.lin_grid import lin_grid
from figures.picture import Picture
from figures.questions import QUESTIONS

STORY = (
    Picture(
        "ladder",
        "The same comparison on every rung",
        ("rung0/single_token.jsonl", "rung1/rows.jsonl", "rung2/rows.jsonl"),
        "rewardgap reproduce --persona DIR",
        ladder,
        "Accuracy on tokens that training showed and on tokens it did not. a: synthetic embeddings after training "
        "(seen are the training pairs; dots are seeds). b and c: small language models pretrained on the synonym "
        "language, held-out prompts; in b the label depends on the statement, in c it is constant (dots are "
        "clusters: a split of the words, a pretrained model and a training seed). d: the real Persona questions, "
        "published strings without the terminator. The dashed line is what the single-token theorem says of "
        "implicit models; only a meets all its assumptions. Bars are 95 % intervals.",
    ),
    Picture(
        "single_token",
        "Single-token responses: accuracy on tokens never seen in training",
        ("rung0/single_token.jsonl",),
        "rewardgap reproduce",
        draw.single_token,
        "Gradient descent on synthetic embeddings. a: accuracy on pairs whose tokens occur in no training pair; "
        "the dotted lines are the training pairs, the dashed one is the max-margin separator, which the theorem "
        "says the explicit model approaches. b: the largest reward margin on the same pairs, next to the "
        "theorem's tolerance; a zero is drawn at the bottom. c: the angle between the explicit head and the "
        "separator. d to g: the same as a with one assumption of the theorem removed, where the implicit model "
        "may leave one half; seeds may leave it to either side, so the mean distance from it is printed. Thin lines "
        "are seeds, thick lines their mean.",
    ),
    Picture(
        "separator",
        "Single-token responses: where the theorem speaks, and whether it is right",
        ("rung0/unseen_pairs.jsonl",),
        "rewardgap reproduce",
        draw.separator,
        "Every dot is an unseen pair of one seed (a column). The theorem promises the max-margin separator's ranking "
        "wherever the pair's margin exceeds the angle that is left between the explicit head and the separator, that "
        "is, above the grey wedge; crosses outside it would refute it. The wedge's share of the pairs is printed. "
        "Training moves the columns to the left, at the logarithmic rate of max-margin convergence.",
    ),
    Picture(
        "one_step",
        "One gradient step: predicted against measured reward change",
        ("rung0/one_step.jsonl",),
        "rewardgap reproduce",
        draw.one_step,
        "Every mark is an evaluation pair whose margin one gradient step on other pairs has changed: the closed "
        "form's prediction against what automatic differentiation did, both divided by the step size; the dashed "
        "line is equality. Last panel: the error against the step size (median, shaded 5 % to 95 %), both axes "
        "logarithmic; the order in the legend is fitted up to step size 0.01. A first-order formula has order 2; the "
        "explicit reward is linear in its parameters, so its formula should be exact up to rounding.",
    ),
    Picture(
        "surface_forms",
        "The synonym language: surface forms seen and unseen in training",
        ("rung1/rows.jsonl",),
        "rewardgap reproduce",
        shifts.surface_forms,
        "Small language models pretrained here, held-out prompts. Compare seen with unseen forms along a row, and "
        "the two kinds within it. Large marks are means with 95 % t intervals over clusters, dots are the clusters "
        "(a split of the words, a pretrained model and a training seed of its own), short strokes the training "
        "pairs, grey bars a prompt-blind bag of tokens. The first rows train all parameters; the rows below change "
        "one thing about the untied Mistral unless they name another model.",
    ),
    Picture(
        "persona_controls",
        "Persona questions: the published paraphrase and its controls",
        ("rung2/rows.jsonl",),
        "rewardgap reproduce --persona DIR",
        shifts.persona_controls,
        "Held-out questions of the real agreeableness file; every panel trains in another way, every line asks "
        "the same models to rank other answers. Large marks are means with 95 % t intervals over clusters (a draw "
        "of the prompts and a training seed; dots). Open diamonds are the published accuracies, measured on "
        "larger models with the terminator inside the response. Compare the lines below the paraphrase with it: "
        'each changes only its prefixes. In "words left out" the pretraining texts hold no evaluation word; in '
        '"label by prompt" half the questions have No as the matching answer.',
    ),
)

# Not part of the story's report: rows of their own command.
MODELS = (
    Picture(
        "predicted_changes",
        "One gradient step on a language model: predicted against measured reward change",
        ("dynamics/one_step.jsonl",),
        "python benchmarks/store_dynamics.py",
        dynamics.predicted_changes,
        "Two small language models, an untied Mistral and a tied Gemma-2 whose logits lie beyond its soft cap. Every "
        "mark is a watched pair whose margin one gradient step on other pairs has changed, in "
        "units of the largest change of what was moved: the token-overlap theory's prediction from hidden states and "
        "output layer, against what the step did. Coloured marks on the dashed line: the output layer alone (untied "
        "first) or the explicit head, which is what the theory assumes (step size 0.00001). Diamonds and crosses move "
        "hidden states as well, where the theory promises nothing (step size 0.001; the models compute norms in "
        "float32, in whose rounding a smaller step drowns). Last column: the relative error against the step size, "
        "both axes logarithmic; a first-order formula's falls with the step until rounding takes over, the explicit "
        "head's is rounding alone.",
    ),
    Picture(
        "along_training",
        "Training language models: coefficients of step 0 against coefficients tracked",
        ("dynamics/training.jsonl",),
        "python benchmarks/store_dynamics.py",
        dynamics.along_training,
        "Plain gradient descent on the same pairs and models; relative error of the predicted margin changes since the "
        "start. Dashed: everything is predicted from the model at step 0. Solid: one-step predictions added up, each "
        "from the model of its step. Where the output layer alone is trained the solid line's error comes from the "
        "steps' size; elsewhere both leave out how hidden states move. Explicit: learning rate 0.01, implicit 0.1, "
        "generative 0.001.",
    ),
)


def _simulation(name: str, title: str, draw: Callable[..., Figure], caption: str) -> Picture:
    """An experiment's picture: its rows are where `rewardgap simulate NAME` leaves them below its folder of runs."""
    return Picture(name, title, (f"simulate/{name}/{name}.jsonl",), f"rewardgap simulate {name}", draw, caption)


SIMULATIONS = (
    _simulation(
        "partly_seen",
        "Responses whose words are partly seen",
        simulations.partly_seen,
        "New prompts; responses of a few answer words, of which the share on the horizontal axis occurs in training "
        "pairs. Families differ from the first in the one thing their title names; in e output rows start as the "
        "embeddings of the words and are trained apart from them. Whether a response is right stands in its hidden "
        "states by construction, along one direction (fainter in g, absent in h); that the explicit models read it "
        "off words never seen says no more. Implicit models rank such words wrong, not at chance: words that never "
        "match fall where training raises others in like states. Of the first step's margin change in a, the terms "
        "behind an answer word along that direction are -39.7, all others +9.0; by the others alone 0.78 of the pairs "
        "would be ranked right, and in h 0.53 are. Dots are seeds, large marks means with 95 % t intervals over seeds.",
    ),
    _simulation(
        "carriers",
        "What carries a preference to words never seen: terminators and prefixes",
        simulations.carriers,
        "One answer word decides each pair; lines differ in what stands around it in training and, where a line "
        "says so, in the evaluated pairs. A terminator is predicted from a state that has seen the answer, a prefix "
        "from one that has not. Large marks are means with 95 % t intervals over seeds (dots).",
    ),
    _simulation(
        "shift_grid",
        "Prompt shift x response shift",
        simulations.shift_grid,
        "Downwards, prompts (and what meaning looks like in hidden states) turn toward another domain; to the right, "
        "words are replaced by unseen ones. a and b: accuracies; c: explicit minus implicit; d: what is left of c "
        "after adding up each shift's own effect, so 0 adds and positive compounds. Means over seeds; differences in "
        "c and d whose 95 % t interval leaves out zero are bold (one cell at a time, not corrected for their number).",
    ),
    _simulation(
        "representations",
        "A trainable encoder: how far the theory of fixed hidden states carries",
        simulations.representations,
        "Accuracy on words never seen, against how similar the output rows of words with one meaning are at the "
        "start. Titles give the encoder's learning rate over the head's; frozen is the theory's case, where every "
        "unseen pair ties. Dots are seeds: look whether a mean of one half is a tie or two opposite sides.",
    ),
    _simulation(
        "trajectory",
        "From one step to a whole run: how long a prediction lasts",
        trajectories.trajectory,
        "Margins of evaluated pairs, predicted against gradient descent. a, b: coefficients are those of step 0; "
        "c: coefficients of every step, with the error that is left against the step size (dashed: in proportion). "
        "Explicit coefficients do not change, so only rounding is left. Thin lines are seeds, thick ones medians.",
    ),
    _simulation(
        "convergence",
        "How heads approach the max-margin separator, and where there is none",
        trajectories.convergence,
        "Explicit models. a: the angle between head and separator, for families that have one; b: the head's length, "
        "which grows without end where a separator exists. Thin lines are seeds, thick ones medians.",
    ),
    _simulation(
        "verify_generate",
        "Verifying without generating, by exact enumeration",
        trajectories.verify_generate,
        "Implicit models over all responses of a small language, trained to prefer each correct response, one the "
        "reference hardly ever produces, to each incorrect one. First panels: accuracy on all those pairs, and the "
        "probability that a sampled response is correct. Last: log-odds of a correct sample above the least that a "
        "verifier of that margin must have; no square can lie below the dashed line.",
    ),
)


def _study(name: str, title: str, draw: Callable[..., Figure], caption: str, *files: str) -> Picture:
    """A study's picture: its rows are where they are kept, below study/NAME."""
    sources = tuple(f"study/{name}/{file}" for file in files or ("rows.jsonl",))
    return Picture(name, title, sources, f"rewardgap study {name}", draw, caption)


STUDIES = (
    _study(
        "hamiltonian",
        "Hamiltonian cycles: verifying without generating",
        cycles.cycles,
        "Small language models on graphs of ten vertices. a, b: held-out graphs, the planted cycle against three kinds "
        "of negatives, for models trained on random orders (as published; the diamond is the published accuracy of a "
        "larger model) and on near-cycles; large marks are means with 95 % t intervals over training seeds (dots). c: "
        "samples at temperature 1 that are orders of all vertices, and that are cycles, with 95 % Wilson intervals; an "
        "arrow is the upper limit where there was none, the black stroke the exact probability with all cycles of a "
        "graph enumerated, the dashed line an order drawn at random. Where fewer than half of the samples are orders "
        "the model cannot write the format, and its zero says nothing about cycles. d: margins on random negatives in "
        "units of beta; Theorem 1 bounds what is generated only for margins below the third line, and by its converse "
        "no margin over all responses exceeds the fourth. Filled marks: the models of a, hollow ones those of b.",
        "rows.jsonl",
        "generation.jsonl",
    ),
    _study(
        "ultrafeedback",
        "UltraFeedback: in distribution, rewritten by GPT-4.1, in other domains",
        real_pairs.ultrafeedback,
        "Small language models trained on a sample of real pairs, the paper's own test files. First panel: accuracy, "
        "beside rules that read no prompt (grey) and the published means of six larger models (diamonds). Then the "
        "same on pairs of nearly equal length, and with what a line through the length difference explains taken out "
        "of the margins. Last: in distribution, by quarter of token overlap with the training responses, the paper's "
        "explanation of the gap there. Large marks are means with 95 % t intervals over clusters (a language model and "
        "a training seed; dots); categories are means over the sets below them.",
    ),
    _study(
        "rewardmath",
        "RewardMATH: the published split and one that does not leak",
        real_pairs.rewardmath,
        "As the figure of UltraFeedback, trained on mathematics. Of the published split's test pairs 99 % have their "
        "prompt and their chosen response among the training pairs; the second line leaves those prompts out of "
        "training. RewardBench's mathematics counts as the token-level shift. Published numbers are not known.",
    ),
    Picture(
        "win_rates",
        "Which kind wins: evaluations by training set and shift",
        ("study/ultrafeedback/rows.jsonl", "study/rewardmath/rows.jsonl"),
        "rewardgap study ultrafeedback; rewardgap study rewardmath",
        win_rates.win_rates,
        "Every (model, seed, test set) is one evaluation, won by the kind whose accuracy is ahead by more than 0.01; "
        "the numbers count evaluations. Those of one model share its training, so they are not independent. The "
        "published bars are not known.",
    ),
    _study(
        "ablations",
        "Persona: what about the training carries the result",
        study_arms.ablations,
        "Held-out questions; every line changes one thing about the untied Mistral of the first. From left to right "
        "the training answers, the published paraphrase, and its words behind one prefix for both answers. Large marks "
        "are means with 95 % t intervals over clusters (prompts and a training seed; dots). A mean of states exists "
        "for explicit models only, a missing reference for implicit ones. The last two arms: the published code's lost "
        "last token, beside the same with the terminator, and either kind trained on from the other's backbone.",
    ),
    _study(
        "repair",
        "Copies of the training pairs in other words",
        study_arms.repair,
        "The synonym language, label by the statement. Every training pair also comes in copies whose answer words are "
        "exchanged for synonyms: words of the training pairs, words that are neither trained on nor tested, or (last "
        "line, no repair but an upper limit) the tested words themselves; all arms take the same number of steps. "
        "Large marks are means with 95 % intervals over clusters (dots): the widest of those over clusters, splits of "
        "the words and language models.",
    ),
    _study(
        "lin2024",
        "Six training sets x six evaluation sets",
        lin_grid,
        "Small language models trained on one set of real pairs (lines) and evaluated on held-out prompts of every set "
        "(columns); six sets at hand, not those of the paper. In every cell the accuracy, or the difference, and half "
        "its 95 % interval, the wider of those over clusters (a language model and a training seed) and over pairs. "
        "Framed: the training set's own held-out prompts; dotted: another set of the same domain, with other "
        "generators of responses. Bold: an interval without zero, one cell at a time, not corrected for their number. "
        "d: the differences in order, their mean per shift (blue), and the mean and the largest drop that Lin et al. "
        "(2024) report over five settings; which five is not known.",
        "grid.jsonl",
    ),
    _study(
        "iterative",
        "Optimising against a reward model: what it is worth in true reward",
        iterative,
        "The graded synonym language, where the true reward of every response is known; small untied Mistrals. a: "
        "policies over rounds of DPO on their own responses, by who labels the best and the worst of eight; the "
        "labellers learnt from the same preferences, which hold half of the words. b: the best of n responses of the "
        "language model under each kind. c: the same against the kind's own reward, in units of its spread over "
        "responses to one prompt; a kind that is right follows the dotted line. Where a line falls, more does harm. "
        "Bands (none for the truth) are 95 % t intervals over clusters: a pretrained model, a halving of the words, "
        "preferences of its own.",
    ),
)

PICTURES = (*STORY, *STUDIES, *QUESTIONS, *SIMULATIONS, *MODELS)
