"""The account's numbers are those of the stored results, and a sentence cannot lose its number unseen."""

import re
import shutil
from dataclasses import replace

import pytest
import study_rows

from figures.account import ACCOUNT, Numbers, account
from figures.gallery import PICTURES
from figures.redraw import STORED
from llm_experiments.studies import STUDIES
from llm_experiments.tasks import ablation_study, hamiltonian_claims, real_claims
from simulations.experiments import EXPERIMENTS
from simulations.results import UserError, read_json, write_json


def test_the_committed_account_is_the_stored_results():
    assert ACCOUNT.read_text(encoding="utf-8") == account(), "results have changed: run `python -m figures.account`"


def test_a_number_that_moves_moves_in_the_text_and_one_that_is_gone_is_missed(tmp_path):
    shutil.copytree(STORED, tmp_path / "data")
    summary = read_json(tmp_path / "data/summary.json")
    claim = next(c for c in summary["claims"] if c["id"] == "rung2/mistral/prefix_swap/implicit")
    claim |= {"measured": 0.4321, "low": 0.1234, "high": 0.6543}
    write_json(tmp_path / "data/summary.json", summary)
    assert "| implicit, its two prefixes swapped |  | 0.432 [0.123, 0.654] | 6 clusters |  |" in account(
        tmp_path / "data"
    )
    summary["claims"].remove(claim)
    write_json(tmp_path / "data/summary.json", summary)
    with pytest.raises(UserError, match="no stored claim 'rung2/mistral/prefix_swap/implicit'"):
        account(tmp_path / "data")


@pytest.fixture
def every_study(tmp_path):
    """What is stored, and made-up results of the studies that may not be stored yet."""
    shutil.copytree(STORED, tmp_path / "data")
    real = study_rows.real_rows(study_rows.ULTRAFEEDBACK_SETS)
    math = study_rows.real_rows(study_rows.REWARDMATH_SETS, ("published-split", "leak-free"))
    made = {
        "ultrafeedback": real_claims.real_claims("ultrafeedback", real, [], real_claims.PUBLISHED),
        "rewardmath": real_claims.real_claims("rewardmath", math, []),
        "ablations": ablation_study.ablation_claims(study_rows.ablation_rows())[0],
        "hamiltonian": hamiltonian_claims.hamiltonian_claims(study_rows.cycle_rows(), study_rows.generation_rows()),
    }
    gap = next(claim for claim in made["ultrafeedback"] if claim.id.endswith("domain shift/gap/accuracy"))
    made["ultrafeedback"].append(replace(gap, id="ultrafeedback/published/domain shift/gap/length_residual"))
    made |= {name: [replace(made["ablations"][0], id=f"{name}/some")] for name in ("iterative", "lin2024")}
    for name, claims in made.items():
        kept = [claim.to_row() for claim in claims if "length_residual/" not in claim.id]  # not every number is there
        write_json(tmp_path / f"data/study/{name}/summary.json", {"claims": kept, "notes": [f"A note on {name}."]})
    return tmp_path / "data"


def test_studies_that_arrive_are_told(every_study):
    text = account(every_study)
    assert "not stored yet" not in text
    for name in ("ultrafeedback", "hamiltonian", "iterative"):
        assert f"\n* A note on {name}.\n" in text
    assert text.count("| 0.720 |") == 1


def test_its_tables_are_whole_and_what_it_names_exists(every_study):
    text = account(every_study)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = table.splitlines()
        assert len(lines) > 2
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {6}, table
    named = re.findall(r"`rewardgap (study|simulate) ([a-z]\w+)", text)
    assert len(named) >= 5
    for command, name in named:
        assert name in (STUDIES if command == "study" else EXPERIMENTS), name
    drawn = {picture.name for picture in PICTURES}
    for names in re.findall(r"figures? ((?:\w+(?:, | and )?)+)", text):
        for name in re.split(r", | and ", names):
            assert "_" not in name or name in drawn, name


def test_the_tally_counts_every_decided_claim_once():
    tally = Numbers(STORED).tally()
    assert tally["holds"] > 50
    assert sum(tally.values()) == sum(claim["type"] != "observation" for claim in Numbers(STORED).claims.values())
