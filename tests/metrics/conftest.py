"""What several tests of the image metrics share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paragone.metrics.extractors.i3d_network import I3DNetwork
from paragone.metrics.extractors.inception_network import InceptionNetwork


@pytest.fixture(scope="session")
def random_inception() -> InceptionNetwork:
    """Random weights whose activations neither vanish nor explode, and batch norms that differ from the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = InceptionNetwork()
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
                nn.init.uniform_(layer.weight, 0.5, 1.5)
            elif isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def random_i3d() -> I3DNetwork:
    """The same for I3D."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = I3DNetwork()
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm3d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
                nn.init.uniform_(layer.weight, 0.5, 1.5)
            elif isinstance(layer, nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight)
    return network.eval().requires_grad_(False)
