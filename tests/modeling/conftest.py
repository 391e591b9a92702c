import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Threads inside a product of 16 rows cost more than they give, and the machine is shared."""
    torch.set_num_threads(1)
