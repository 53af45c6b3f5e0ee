"""The checkerboard shop of `checkerboard.py`, once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkerboard import Files, text_vectors, trained, write_shop

from trainer.cli import main
from trainer.data.load import load_dataset
from trainer.data.split import split_by_time
from trainer.learn.shop import Shop

# Small matrices: more threads would only wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def shop(files: Files) -> Shop:
    data = load_dataset(files.products, files.events)
    return Shop(data, text_vectors(list(data.catalogue.texts)), split_by_time(data))


@pytest.fixture(scope="session")
def weights(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of the checkerboard, as `trainer train` writes it."""
    out = tmp_path_factory.mktemp("weights") / "user_tower.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        main(trained(files, out))
    return out


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """ibis speaks to DuckDB in a way that DuckDB would rather not: not ours to mend."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(
                pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
            )
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning:ibis"))
