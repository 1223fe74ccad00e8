"""PyTorch as its tutorials write it: ``TensorDataset``, ``DataLoader``, eager."""

import common
import torch
import torch_network
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    args = common.arguments()
    torch.manual_seed(common.SEED)
    x, held_out = (torch.from_numpy(common.scaled(a)) for a in common.raw_mnist(args.rows))
    loader = DataLoader(TensorDataset(x), batch_size=common.BATCH, shuffle=True)
    held_out_batches = held_out.split(common.VALIDATION_BATCH)
    model = torch_network.autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), common.LEARNING_RATE, eps=common.EPSILON)
    for _ in range(args.epochs):
        total = 0.0
        for (batch,) in loader:
            loss = torch_network.loss_function(model(batch), batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item() * len(batch)
        val_loss = torch_network.held_out_loss(model, held_out_batches)
    common.finish(loss=total / len(x), val_loss=val_loss)


if __name__ == "__main__":
    main()
