"""The audits of real preference files as sections of text and table: a Markdown page beside the stored rows, and part
of the index of `rewardgap figures`. Nothing is computed here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulations.results import Row, read_json, read_rows, write_text

KINDS = ("explicit", "implicit", "generative")
RULES = ("longest", "shortest", "bag_of_tokens", "token_overlap")
INTRODUCTION = """Made by `{command}` on {files} files, {seconds} s of processor time ({threads} thread); versions,
settings and hashes are in `provenance.json` and `files.jsonl`, every number below in the JSONL files beside this
page. Ties count one half; intervals are 95 % over prompts (Wilson, pairs of one prompt counted once where they
agree)."""
FILES = """Every pair is read, and encoded without a length limit by the byte-level tokenizer (2048 tokens) of the
small model below; lengths are its tokens. Pairs that cannot be ranked are dropped and counted. XSTest is no
preference file: of its two models' completions to a prompt the one that complies wins where the prompt is safe and
the one that refuses where it is not; GPT-4 is nearly always the one that refuses, so these pairs also tell two
models apart. GSM8K's pairs are two solutions of one model with a right and a wrong final answer."""
BASELINES = """Accuracy over the whole file of picking the longest response, the shortest, and of two rules that know
the {pairs} pairs of UltraFeedback's training file (whose own line is in-sample): a bag of tokens fitted to them,
and the overlap of tokens with their responses."""
HELD_OUT = """A quarter of each file's prompts is held out by hash; the bag of tokens and the token overlap know the
rest. A reward model trained on such a file must beat these numbers before its accuracy says anything about meaning."""
MODELS = """One Mistral of width {hidden} and {layers} layers, pretrained for {steps} steps on local text, trained for
one epoch on at most {sample} pairs of each file less the held-out prompts, pairs of more than {limit} tokens left
out, and scored on those prompts. This shows that every file passes through `train` and `score`; it is no evidence
on how the kinds compare: the models are tiny and so is n."""
ELSEWHERE = """`shared`: pairs that have a prompt or a response in common with the training pairs."""
COMPARISONS = """Of {count} comparisons (every two kinds on each sample above; exact McNemar test over prompts) {found}
are significant at 0.05 after Holm's correction over all of them."""
OVERLAPS = """Counts of evaluation pairs by what they have in common with some pair of the training file: the same
words, or (near) the same but for case and punctuation. Files that share nothing are left out."""
TITLE = "Real preference files: what is in them, and what a reward model must beat"


@dataclass(frozen=True)
class Section:
    """Text with `code` in backticks, and a table under it."""

    title: str
    text: str
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def write_page(folder: Path) -> Path:
    """README.md in the folder of the stored rows."""
    write_text(folder / "README.md", markdown(folder))
    return folder / "README.md"


def markdown(folder: Path) -> str:
    parts = [f"# {TITLE}", whole(folder).text]
    for section in sections(folder):
        parts += [f"## {section.title}", section.text]
        if section.rows:
            lines = (section.heads, ["---"] * len(section.heads), *section.rows)
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def whole(folder: Path) -> Section:
    """What all sections have in common: how their numbers were made."""
    about = read_json(folder / "provenance.json")
    about |= {"command": "python benchmarks/audit_real_files.py", "files": len(read_rows(folder / "files.jsonl"))}
    return Section(TITLE, INTRODUCTION.format(**about))


def sections(folder: Path) -> list[Section]:
    """What the rows of `folder` say."""
    files, models, overlaps, comparisons = (
        read_rows(folder / f"{name}.jsonl") for name in ("files", "models", "overlaps", "comparisons")
    )
    settings = read_json(folder / "provenance.json")["settings"]
    within, elsewhere = ([row for row in models if row["command"] == name] for name in ("train", "score"))
    significant = [row for row in comparisons if row["p_holm"] <= 0.05]
    rules = ("file", "n", *map(_words, RULES))
    kinds = ("file", "n", *KINDS, "bag of tokens", "longest")
    about_models = MODELS.format(**settings["language_model"], sample=settings["sample"], limit=settings["limit"])
    about_pairs = COMPARISONS.format(count=len(comparisons), found=len(significant))
    lengths = ("prompt tokens", "chosen", "rejected")
    return [
        _section("Files", FILES, ("file", "pairs", "kept", "dropped", "prompts", *lengths), map(_file, files)),
        _section(
            "Rules that read no prompt",
            BASELINES.format(pairs=files[0]["kept"]),
            rules,
            (_rules(row, row["kept"], "baselines") for row in files),
        ),
        _section(
            "The same rules, learnt from the file itself",
            HELD_OUT,
            rules,
            (_rules(row, row["held_out"], "held_out_baselines") for row in files),
        ),
        _section("Three kinds of a small model", about_models, kinds, _kinds(within)),
        _section(
            "The models trained on UltraFeedback, scored on samples of every file",
            ELSEWHERE,
            (*kinds, "shared"),
            _kinds(elsewhere, shared=True),
        ),
        _section(
            "Kind against kind on the same pairs",
            about_pairs,
            ("file", "kinds", "difference", "p (Holm)"),
            map(_comparison, significant),
        ),
        _section("What the files share", OVERLAPS, ("training", "evaluation", "n", "shared"), map(_overlap, overlaps)),
    ]


def _section(title: str, text: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Section:
    return Section(title, text, tuple(heads), tuple(tuple(row) for row in rows))


def _file(row: Row) -> Sequence[str]:
    dropped = "; ".join(f"{count} {reason}" for reason, count in row["dropped"].items())
    lengths = (f"{row[f'{name}_tokens']:.0f}" for name in ("prompt", "chosen", "rejected"))
    return _name(row), str(row["pairs_in"]), str(row["kept"]), dropped, str(row["prompts"]), *lengths


def _rules(row: Row, n: int, key: str) -> Sequence[str]:
    return _name(row), str(n), *(_accuracy(row[key][name]) for name in RULES)


def _kinds(rows: Sequence[Row], *, shared: bool = False) -> Iterable[Sequence[str]]:
    for name in dict.fromkeys(row["file"] for row in rows):
        kinds = {row["kind"]: row for row in rows if row["file"] == name}
        one = kinds[KINDS[0]]
        rules = [_accuracy(one["baselines"][rule]) for rule in ("bag_of_tokens", "longest")]
        common = [str(one["overlap"]["any"])] if shared else []
        yield _name(one), str(one["n"]), *(_accuracy(kinds[kind]) for kind in KINDS), *rules, *common


def _comparison(row: Row) -> Sequence[str]:
    interval = f"{row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
    return f"`{row['source']}`", f"{row['first']} against {row['second']}", interval, f"{row['p_holm']:.2g}"


def _overlap(row: Row) -> Sequence[str]:
    left_out = ("training", "evaluation", "any", "chosen", "rejected", "trained_on", "file")
    counts = "; ".join(f"{value} {_words(name)}" for name, value in row.items() if name not in left_out and value)
    return f"`{row['trained_on']}`", _name(row), str(row["evaluation"]), counts


def _accuracy(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return f"{row['accuracy']:.2f}"
    return f"{row['accuracy']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _name(row: Row) -> str:
    return f"`{row['file']}`"


def _words(name: str) -> str:
    return name.replace("_", " ")
