"""The figures of three open questions: combined shifts, scale, and what can be said before training."""

from figures.combined_shifts import combined_shifts
from figures.foretold import prediction
from figures.picture import Picture
from figures.scale import scale

QUESTIONS = (
    Picture(
        "combined_shifts",
        "Prompt shift x response shift: do the gaps add up?",
        ("study/shifts/rows.jsonl", "simulate/shift_grid/shift_grid.jsonl", "rung2/rows.jsonl"),
        "rewardgap study shifts; rewardgap simulate shift_grid; rewardgap study persona",
        combined_shifts,
        "a: explicit minus implicit accuracy on held-out pairs, with new prompts, new responses, both, or neither. b: "
        "what both do beyond the sum of each, in accuracy: 0 adds, positive compounds. An implicit model that guesses "
        "has nothing left to lose, which makes b negative. c: the same in log-odds, where all pairs right count as a "
        "finite number. d: zero if new prompts leave the same share of an implicit model's skill (2 accuracy - 1) "
        "whatever the words; positive if both together leave more. Bars are 95 % intervals over seeds (rung 0) or "
        "clusters. On rung 2 training questions with training answers are the training pairs themselves.",
    ),
    Picture(
        "scale",
        "Does the gap close with scale?",
        ("study/scale/rows.jsonl",),
        "rewardgap study scale",
        scale,
        "The synonym language, untied Mistral, label by the statement; one size is changed at a time and nothing tuned "
        "again. Accuracy on held-out prompts, in unseen words (solid, with 95 % bands over clusters) and in seen ones "
        "(dotted). Titles: slope of the gap on unseen words per doubling, with its 95 % interval. Beta is of "
        "implicit models alone.",
    ),
    Picture(
        "prediction",
        "Predicted before training, measured after it",
        ("study/prediction/rows.jsonl",),
        "rewardgap study prediction",
        prediction,
        "A dot is a set of held-out pairs under one shift, for one language model and one way of training; dots are "
        "shaken by up to 0.02. Horizontal: the share of pairs with a positive score, from the untrained model and the "
        "training pairs. a: coefficients of all parameters; b: the theory's, hidden states fixed; c: token overlap, "
        "which knows no model; d: explicit minus implicit. Titles: rank correlation over held-out cells, and area "
        "under the curve over all their pairs. The form of the score was chosen on the development cells; crosses are "
        "shifts which those did not have.",
    ),
)
