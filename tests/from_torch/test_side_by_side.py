"""docs/from_torch_side_by_side.md shows what is written now, beside the lines that it is of."""

from __future__ import annotations

import pytest

from tests.from_torch import side_by_side


@pytest.mark.parametrize("package", side_by_side.MODELS)
@pytest.mark.filterwarnings("ignore")
def test_the_page_shows_what_is_written(package):
    """Write the page anew with ``python -m tests.from_torch.side_by_side``."""
    if not side_by_side.is_installed(package):
        pytest.skip(f"the page's version of {package} is not installed")
    page = side_by_side.read()
    shown = [text for name, _, text in side_by_side.SHOWN.findall(page) if side_by_side.of(name) == package]
    assert len(shown) > 1
    assert all(text.startswith("class ") for text in shown)
    assert side_by_side.written(package, page) == page


@pytest.mark.filterwarnings("ignore")
def test_rt_detr_agrees_with_torch():
    """It picks queries by their scores: with weights that leave no ties it is right on two inputs."""
    pytest.importorskip("transformers")
    side_by_side.convert("transformers").run(verify=True)
