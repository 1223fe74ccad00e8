"""PyTorch as its tutorial "Datasets & DataLoaders" writes it: a ``Dataset`` of one's own.

Images are kept as they come, and a transform makes floats of each when it is asked for.
"""

import common
import torch
import torch_loader
from torch.utils.data import Dataset


class Images(Dataset):
    def __init__(self, images, transform=None):
        self.images = images
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index]
        if self.transform:
            image = self.transform(image)
        return (image,)


def main() -> None:
    args = common.arguments()
    raw, _ = common.raw_mnist(args.rows)
    images = Images(torch.from_numpy(raw), transform=lambda image: image / 127.5 - 1)
    torch_loader.fit(images, args.epochs)


if __name__ == "__main__":
    main()
