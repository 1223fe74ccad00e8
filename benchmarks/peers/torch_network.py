"""The reference autoencoder in PyTorch, and its evaluation."""

import common
import torch
from torch import nn


def autoencoder() -> nn.Sequential:
    units = common.widths()
    layers = []
    for number, (before, after) in enumerate(zip(units, units[1:], strict=False), 1):
        linear = nn.Linear(before, after)
        # As Keras begins, so that the losses can be compared.
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.Tanh() if number == len(units) - 1 else nn.ReLU()]
    return nn.Sequential(*layers)


def loss_function(output, target):
    return (output - target).square().sum(dim=1).mean()


@torch.no_grad()
def held_out_loss(model, batches) -> float:
    model.eval()
    total = sum(loss_function(model(batch), batch) * len(batch) for batch in batches)
    model.train()
    return float(total) / sum(map(len, batches))
