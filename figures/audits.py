"""The audits of real preference files as a page: stored rows to Markdown tables, nothing computed."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simulations.results import Row, read_json, read_rows, write_text

KINDS = ("explicit", "implicit", "generative")
RULES = ("longest", "shortest", "bag_of_tokens", "token_overlap")
INTRODUCTION = """# Real preference files: what is in them, and what a reward model must beat

Made by `{command}` on {files} files, {seconds} s on {threads} thread(s) of {platform}; versions, settings and
hashes are in `provenance.json` and `files.jsonl`, every number below in the JSONL files beside this page. Ties
count one half; intervals are 95 % over prompts (Wilson, pairs of one prompt counted once where they agree)."""
FILES = """## Files

Every pair is read, and encoded without a length limit by the byte-level tokenizer (2048 tokens) of the small model
below; lengths are its tokens. Pairs that cannot be ranked are dropped and counted. XSTest is no preference file: of
its two models' completions to a prompt the one that complies wins where the prompt is safe and the one that refuses
where it is not; GPT-4 is nearly always the one that refuses, so these pairs also tell two models apart. GSM8K's
pairs are two solutions of one model with a right and a wrong final answer."""
BASELINES = """## Rules that read no prompt

Accuracy over the whole file of picking the longest response, the shortest, and of two rules that know the {pairs}
pairs of UltraFeedback's training file (whose own line is in-sample): a bag of tokens fitted to them, and the
overlap of tokens with their responses."""
HELD_OUT = """## The same rules, learnt from the file itself

A quarter of each file's prompts is held out by hash; the bag of tokens and the token overlap know the rest. A
reward model trained on such a file must beat these numbers before its accuracy says anything about meaning."""
MODELS = """## Three kinds of a small model

One Mistral of {parameters}, pretrained for {steps} steps on local text, trained for one epoch on at most {sample}
pairs of each file less the held-out prompts, pairs of more than {limit} tokens left out, and scored on those
prompts. This shows that every file passes through `train` and `score`; it is no evidence on how the kinds compare:
the models are tiny and so is n."""
ELSEWHERE = """## The models trained on UltraFeedback, scored on samples of every file

`shared`: pairs that have a prompt or a response in common with the training pairs."""
COMPARISONS = """## Kind against kind on the same pairs

Of {count} comparisons (every two kinds on each sample above; exact McNemar test over prompts) {found} are
significant at 0.05 after Holm's correction over all of them."""
OVERLAPS = """## What the files share

Counts of evaluation pairs by what they have in common with some pair of the training file: the same words, or
(near) the same but for case and punctuation. Files that share nothing are left out."""


def write_page(folder: Path) -> Path:
    """README.md in the folder of the stored rows."""
    write_text(folder / "README.md", page(folder))
    return folder / "README.md"


def page(folder: Path) -> str:
    files, models, overlaps, comparisons = (
        read_rows(folder / f"{name}.jsonl") for name in ("files", "models", "overlaps", "comparisons")
    )
    about = read_json(folder / "provenance.json")
    settings = about["settings"]
    model = settings["language_model"]
    within, elsewhere = ([row for row in models if row["command"] == name] for name in ("train", "score"))
    significant = [row for row in comparisons if row["p_holm"] <= 0.05]
    parts = [
        INTRODUCTION.format(
            command="python benchmarks/audit_real_files.py",
            files=len(files),
            **{name: about[name] for name in ("seconds", "threads", "platform")},
        ),
        FILES,
        table(
            ("file", "pairs", "kept", "dropped", "prompts", "prompt tokens", "chosen", "rejected"), map(_file, files)
        ),
        BASELINES.format(pairs=files[0]["kept"]),
        table(("file", "n", *map(_words, RULES)), (_rules(row, row["kept"], "baselines") for row in files)),
        HELD_OUT,
        table(
            ("file", "n", *map(_words, RULES)), (_rules(row, row["held_out"], "held_out_baselines") for row in files)
        ),
        MODELS.format(
            parameters=f"width {model['hidden']} and {model['layers']} layers",
            steps=model["steps"],
            sample=settings["sample"],
            limit=settings["limit"],
        ),
        table(("file", "n", *KINDS, "bag of tokens", "longest"), _kinds(within)),
        ELSEWHERE,
        table(("file", "n", *KINDS, "bag of tokens", "longest", "shared"), _kinds(elsewhere, shared=True)),
        COMPARISONS.format(count=len(comparisons), found=len(significant)),
        *([table(("file", "kinds", "difference", "p (Holm)"), map(_comparison, significant))] if significant else []),
        OVERLAPS,
        table(("training", "evaluation", "n", "shared"), map(_overlap, overlaps)),
    ]
    return "\n\n".join(parts) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _file(row: Row) -> Sequence[str]:
    dropped = "; ".join(f"{count} {reason}" for reason, count in row["dropped"].items())
    lengths = (f"{row[f'{name}_tokens']:.0f}" for name in ("prompt", "chosen", "rejected"))
    return _name(row), str(row["pairs_in"]), str(row["kept"]), dropped, str(row["prompts"]), *lengths


def _rules(row: Row, n: int, key: str) -> Sequence[str]:
    return _name(row), str(n), *(accuracy(row[key][name]) for name in RULES)


def _kinds(rows: Sequence[Row], *, shared: bool = False) -> Iterable[Sequence[str]]:
    for name in dict.fromkeys(row["file"] for row in rows):
        kinds = {row["kind"]: row for row in rows if row["file"] == name}
        one = kinds[KINDS[0]]
        rules = [accuracy(one["baselines"][rule]) for rule in ("bag_of_tokens", "longest")]
        common = [str(one["overlap"]["any"])] if shared else []
        yield _name(one), str(one["n"]), *(accuracy(kinds[kind]) for kind in KINDS), *rules, *common


def _comparison(row: Row) -> Sequence[str]:
    interval = f"{row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
    return f"`{row['source']}`", f"{row['first']} against {row['second']}", interval, f"{row['p_holm']:.2g}"


def _overlap(row: Row) -> Sequence[str]:
    left_out = ("training", "evaluation", "any", "chosen", "rejected", "trained_on", "file")
    counts = "; ".join(f"{value} {_words(name)}" for name, value in row.items() if name not in left_out and value)
    return f"`{row['trained_on']}`", _name(row), str(row["evaluation"]), counts


def accuracy(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return f"{row['accuracy']:.2f}"
    return f"{row['accuracy']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _name(row: Row) -> str:
    return f"`{row['file']}`"


def _words(name: str) -> str:
    return name.replace("_", " ")
