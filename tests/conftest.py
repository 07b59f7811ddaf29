"""What every test may count on: no network, one seed, the real data where it exists, and no skip that hides a lack."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports them: the libraries read these once.
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

# The same examples every time, however busy the machine is.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-gpu", action="store_true", help="a test that needs a GPU fails where there is none")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest first, so that no process is left alone with them at the end."""

    def patience(item: pytest.Item) -> float:
        limit = item.get_closest_marker("timeout")
        return limit.args[0] if limit else 1.0 if item.get_closest_marker("slow") else 0.0

    items.sort(key=patience, reverse=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            lacking = "no CUDA device"
            pytest.fail(lacking) if item.config.getoption("--require-gpu") else pytest.skip(lacking)
    if item.get_closest_marker("native"):
        from rlaif_kernels import native

        if native.missing:
            required = "native" in os.environ.get("RLAIF_REQUIRE", "")
            pytest.fail(native.missing) if required else pytest.skip(native.missing)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What judges say in a test is kept for that test alone."""
    monkeypatch.setenv("RLAIF_CACHE", str(tmp_path / "judges.sqlite"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Each test starts from the same random states, whatever ran before it."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with `data/` and `models/`: RLAIF_REAL_DATA, or one beside the repository; skips where it is not."""
    folder = Path(os.environ.get("RLAIF_REAL_DATA", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data at {folder}; set RLAIF_REAL_DATA to a folder with data/ and models/")
    return folder
