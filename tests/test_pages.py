"""The report, the figure index and the terminal table: the run's own numbers, text as text, nothing fetched."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import story_rows

from figures.redraw import redraw
from figures.story_page import baselines, flatten, headline, write_story
from figures.table import claims_table, number, unit_detail, units, verdict
from simulations.results import Claim, UserError, write_json, write_rows

HOSTILE = "<script>alert('x')</script> & <img src=http://example.com/x.png onerror=alert(1)>"


def claim(name: str, **changes: object) -> Claim:
    values: dict = {
        "id": name,
        "rung": 1,
        "type": "registered",
        "statement": f"Statement of {name}.",
        "measured": 0.99,
        "low": 0.97,
        "high": 1.0,
        "n": 6,
        "unit": "splits",
        "seeds": 12,
        "op": ">=",
        "value": 0.95,
    }
    return Claim(**{**values, **changes})


EXPLICIT = claim("rung1/explicit/unseen", kind="explicit", model="mistral", split="unseen_forms")
IMPLICIT = claim(
    "rung1/implicit/unseen",
    kind="implicit",
    model="mistral",
    split="unseen_forms",
    measured=0.523,
    low=0.461,
    high=0.585,
    op="within",
    value=(0.4, 0.6),
)
FALSE = claim("false", measured=0.5, low=0.4, high=0.6)
OPEN = claim("open", measured=0.94, low=0.9, high=0.98)
SEEN = claim("seen", type="observation", op="none", value=None, statement=HOSTILE, published="0.02 <b>")
FROZEN = claim(
    "frozen", rung=0, type="theorem", measured=0.0, low=0.0, high=0.0, op="<=", value=1e-12, unit="pairs", n=360
)
CLAIMS = [EXPLICIT, IMPLICIT, FALSE, OPEN, SEEN, FROZEN]


def write_summary(folder: Path, claims: list[Claim], **more: object) -> None:
    rows = [one.to_row() for one in claims]
    write_json(
        folder / "summary.json", {"claims": rows, "provenance": {"commit": "abc", "versions": {"numpy": "2"}}, **more}
    )


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with one of the rows files, its report written."""
    folder = tmp_path_factory.mktemp("story")
    write_rows(folder / "rung0/unseen_pairs.jsonl", story_rows.unseen_pair_rows())
    write_summary(folder, CLAIMS, seconds={"rung 0": 3.25}, notes=[f"note {HOSTILE}"])
    write_story(folder)
    return folder


@pytest.mark.integration
def test_the_report_carries_claims_figures_and_provenance(story: Path) -> None:
    text = (story / "report.html").read_text(encoding="utf-8")
    for wanted in (
        "0.523 [0.461, 0.585]",
        "0.4 to 0.6",
        "≤ 1e-12",
        "6 splits, 12 seeds",
        "versions.numpy",
        "rung 0",
        "abc",
    ):
        assert wanted in text
    for name in ("holds", "fails", "undecided", "observed"):
        assert re.search(rf'<td class="verdict {name}">', text)
    assert text.count("data:image/png;base64,") == 2  # one figure, wide and narrow
    assert text.count("Not run here.") == 5
    for ending in (".png", ".pdf", "_single.png", "_single.pdf"):
        assert (story / "figures" / f"separator{ending}").stat().st_size > 1000


def test_the_report_shows_text_as_text(story: Path) -> None:
    text = (story / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text.lower()
    assert "<img src=http" not in text
    assert text.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; ") == 2  # the claim and the note
    assert "published: 0.02 &lt;b&gt;" in text


def test_the_report_needs_no_other_file_and_no_network(story: Path) -> None:
    text = (story / "report.html").read_text(encoding="utf-8")
    loaded = re.findall(r'(?:src|srcset|href)="([^"]{0,40})', text)
    assert loaded
    assert all(address.startswith("data:") for address in loaded)
    assert "@import" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text


@pytest.mark.integration
def test_writing_the_report_again_changes_nothing(story: Path) -> None:
    before = (story / "report.html").read_bytes()
    write_story(story)
    assert (story / "report.html").read_bytes() == before


def test_the_headline_repeats_the_runs_numbers() -> None:
    sentence = headline([one.to_row() for one in CLAIMS])
    assert "explicit reward model ranks 0.990 [0.970, 1.000]" in sentence
    assert "implicit one 0.523 [0.461, 0.585] (mistral)" in sentence
    assert headline([FROZEN.to_row(), FALSE.to_row()]) == "1 of 2 proved or predicted claims hold in this run."
    constant = replace(IMPLICIT, id="rung1/constant/implicit/unseen")
    assert "implicit one" not in headline([EXPLICIT.to_row(), constant.to_row()])  # not its twin


def test_a_unit_is_counted_briefly_and_explained_at_length() -> None:
    row = claim("clusters", n=24, seeds=24, unit="clusters (split of the words x pretraining seed)").to_row()
    assert units(row) == "24 clusters"
    assert unit_detail(row) == "split of the words × pretraining seed"
    assert units(claim("one", n=384, seeds=8, unit="pair x step").to_row()) == "384 pairs × steps, 8 seeds"
    assert units(claim("alone", n=1, seeds=1, unit="clusters (split)").to_row()) == "1 cluster"
    assert units(claim("two", n=16, seeds=16, unit="seed").to_row()) == "16 seeds"


def test_a_run_without_rows_still_gets_its_report(tmp_path: Path) -> None:
    write_summary(tmp_path, [FROZEN])
    assert write_story(tmp_path).read_text(encoding="utf-8").count("Not run here.") == 6


def test_a_folder_without_a_summary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"summary\.json: no such file"):
        write_story(tmp_path)
    write_json(tmp_path / "summary.json", {"seconds": {}})
    with pytest.raises(UserError, match="no field 'claims'"):
        write_story(tmp_path)


def test_baselines_are_means_over_splits() -> None:
    rows = [
        {"label": "constant", "split": "seen_forms", "cluster": cluster, "bag_of_tokens": value}
        for cluster, value in enumerate((0.8, 0.9))
    ]
    expected = {"baseline": "prompt-blind bag of tokens", "where": "constant, seen forms", "accuracy": "0.850"}
    assert baselines(rows) == [expected]


def test_provenance_is_flattened() -> None:
    assert flatten({"a": {"b": 1, "c": None}, "d": [1, 2], "e": 0.123456}) == [
        ("a.b", "1"),
        ("d", "1, 2"),
        ("e", "0.1235"),
    ]


@pytest.mark.integration
@pytest.mark.integration
def test_the_stored_results_of_the_repository_are_drawn(tmp_path: Path) -> None:
    index = redraw(tmp_path)
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert {"ladder.png", "single_token.png", "separator.png", "one_step.png", "surface_forms.png"} <= drawn
    assert index.exists()


@pytest.mark.integration
def test_redraw_writes_figures_and_both_indexes(tmp_path: Path) -> None:
    write_rows(tmp_path / "data/rung0/unseen_pairs.jsonl", story_rows.unseen_pair_rows())
    index = redraw(tmp_path / "out", tmp_path / "data")
    assert index.name == "index.html"
    assert (tmp_path / "out/separator.pdf").exists()
    written = (tmp_path / "out/index.md").read_text(encoding="utf-8")
    assert "rung0/unseen_pairs.jsonl" in written
    assert "rewardgap reproduce" in written
    assert not (tmp_path / "out/surface_forms.png").exists()
    for name, page in (("md", written), ("html", index.read_text(encoding="utf-8"))):
        assert "Not drawn" in page, name
        assert "no study/ablations/rows.jsonl; made by" in page, name
    with pytest.raises(UserError, match="holds no results to draw"):
        redraw(tmp_path / "out", tmp_path / "empty")


@pytest.mark.parametrize("columns", [72, 100, 140])
def test_the_claims_table_fits_its_columns(columns: int) -> None:
    text = claims_table(CLAIMS, columns=columns)
    assert max(len(line) for line in text.splitlines()) == columns
    for mark in ("✓ Statement", "✗ Statement", "? Statement", "· <script>"):
        assert mark in text
    assert text.splitlines()[-1] == "✓ holds 3   ✗ fails 1   ? undecided 1   · observed 1"


def test_the_claims_table_is_aligned_and_orders_rungs() -> None:
    lines = claims_table(CLAIMS).splitlines()
    assert [line.strip(" ─") for line in lines if line.startswith("rung")] == [
        "rung 0",
        "rung 1: mistral",
        "rung 1",
        "rung 1, observed",
    ]
    column = lines[0].index("expected")
    firsts = [line for line in lines if line[:1] in "✓✗?" and "Statement" in line]
    assert len(firsts) == 5
    assert all(line[column - 1] == " " and line[column] in "≤≥0" for line in firsts)


def test_a_published_value_stands_beside_its_claim_and_takes_no_room_where_there_is_none() -> None:
    table = claims_table([EXPLICIT, claim("known", published="0.726"), OPEN])
    header, *lines = table.splitlines()
    assert header.split()[-1] == "published"
    beside = {line.split(".")[0]: line[header.index("published") :] for line in lines if "Statement of" in line}
    assert beside == {
        "✓ Statement of rung1/explicit/unseen": "",
        "✓ Statement of known": "0.726",
        "? Statement of open": "",
    }
    assert "published" not in claims_table([EXPLICIT, OPEN])


def test_the_claims_table_cannot_be_broken_by_a_statement() -> None:
    text = claims_table([claim("evil", statement="line\nbreak \x1b[31mred\x1b[0m \r over")])
    assert "\x1b" not in text
    assert "\r" not in text
    assert "line break" in text


def test_a_claim_reads_the_same_as_object_and_as_row() -> None:
    assert claims_table(CLAIMS) == claims_table([one.to_row() for one in CLAIMS])
    assert verdict(OPEN.to_row()) == "undecided"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1.000"),
        (2.0003, "2.000"),
        (3.2e-13, "3.2e-13"),
        (12.34, "12.3"),
        (4000, "4,000"),
        (None, "-"),
    ],
)
def test_numbers_read_as_a_person_writes_them(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.integration
def test_drawing_needs_neither_torch_nor_transformers() -> None:
    code = "import sys, figures.story_page, figures.redraw; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_a_browser_opens_the_report_without_scrolling_sideways(story: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on the PATH")
    page = tmp_path / "frame.html"
    report = (story / "report.html").as_uri()
    # the report inside a frame of phone width; its own width is read through the print of the frame's document
    page.write_text(
        f"<body><iframe id=f src='{report}' style='width:375px;height:800px;border:0'></iframe><pre id=out></pre>"
        "<script>"
        "f.onload=()=>{const e=f.contentDocument.documentElement;out.textContent='width '+e.scrollWidth+' images '+"
        "[...f.contentDocument.images].filter(i=>i.naturalWidth>0).length}</script>",
        encoding="utf-8",
    )
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-sync",
        "--no-first-run",
        "--allow-file-access-from-files",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=5000",
    ]
    done = subprocess.run([browser, *flags, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120)
    found = re.search(r"width (\d+) images (\d+)", done.stdout)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    assert int(found[1]) <= 375
    assert int(found[2]) == 1
