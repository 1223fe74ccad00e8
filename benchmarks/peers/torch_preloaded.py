"""PyTorch at its best: data as one tensor, fused Adam, with ``--compile`` also compiled."""

import common
import torch
import torch_network


def main() -> None:
    args = common.arguments(compile=False)
    torch.manual_seed(common.SEED)
    x, held_out = (torch.from_numpy(common.scaled(a)) for a in common.raw_mnist(args.rows))
    held_out_batches = held_out.split(common.VALIDATION_BATCH)
    model = torch_network.autoencoder()
    optimizer = torch.optim.Adam(
        model.parameters(), common.LEARNING_RATE, eps=common.EPSILON, fused=True
    )

    def forward(batch):
        return torch_network.loss_function(model(batch), batch)

    if args.compile:
        forward = torch.compile(forward)
    for _ in range(args.epochs):
        total = torch.zeros(())
        for rows in torch.randperm(len(x)).split(common.BATCH):
            loss = forward(x[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            total += loss.detach() * len(rows)
        val_loss = torch_network.held_out_loss(model, held_out_batches)
    common.finish(loss=total / len(x), val_loss=val_loss)


if __name__ == "__main__":
    main()
