"""What the tests of training share."""

import pytest
import torch


@pytest.fixture
def one_thread():  # small layers on busy cores: threads wait for one another longer than they work
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
