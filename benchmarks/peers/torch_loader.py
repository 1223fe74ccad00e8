"""PyTorch's eager loop over a ``DataLoader``; the images are a ``TensorDataset`` of floats."""

import common
import torch
import torch_network
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    args = common.arguments()
    raw, _ = common.raw_mnist(args.rows)
    fit(TensorDataset(torch.from_numpy(common.scaled(raw))), args.epochs)


def fit(dataset, epochs: int) -> None:
    """The loop that tutorials write."""
    torch.manual_seed(common.SEED)
    loader = DataLoader(dataset, batch_size=common.BATCH, shuffle=True)
    held_out = torch.from_numpy(common.scaled(common.raw_mnist(1)[1]))
    held_out_batches = held_out.split(common.VALIDATION_BATCH)
    model = torch_network.autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), common.LEARNING_RATE, eps=common.EPSILON)
    for _ in range(epochs):
        total = 0.0
        for (batch,) in loader:
            loss = torch_network.loss_function(model(batch), batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item() * len(batch)
        val_loss = torch_network.held_out_loss(model, held_out_batches)
    common.finish(loss=total / len(dataset), val_loss=val_loss)


if __name__ == "__main__":
    main()
