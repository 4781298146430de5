"""What every test shares: the tolerance table, the real data, one thread per process."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("REWARDGAP_CACHE", "none")  # no test may find what another left, or write to the user's folder

from pathlib import Path

import pytest
from hypothesis import settings

# The same instances on every run and machine; no deadline, for machines are shared.
settings.register_profile("rewardgap", derandomize=True, deadline=None)
settings.load_profile("rewardgap")

# float64: sums of a few thousand products of order one. float32: the same through a small transformer.
# bfloat16: eight bits of mantissa. A test that needs another number says why on its line.
TOLERANCE = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 2e-2}


@pytest.fixture(scope="session")
def tolerance() -> dict[str, float]:
    return TOLERANCE


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real files (see README, "Real data")."""
    folder = os.environ.get("REWARDGAP_DATA")
    if not folder:
        pytest.skip("REWARDGAP_DATA is not set; this test reads real files (README, 'Real data')")
    path = Path(folder).resolve()
    if not path.is_dir():
        pytest.skip(f"REWARDGAP_DATA={folder} is not a folder")
    return path


def real_file(folder: Path, name: str) -> Path:
    """A real file, plain or gzipped; the test is skipped where it is not there: `make data` fetches some, not all."""
    for path in (folder / name, folder / f"{name}.gz", folder / name.removesuffix(".gz")):
        if path.is_file():
            return path
    pytest.skip(f"REWARDGAP_DATA has no {name} (README, 'Real data')")
