"""Folders of JPEG files, decoded and augmented, as the tutorial of torchvision has it."""

import atexit
import shutil
import tempfile
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

CLASSES, PICTURES = 3, 24


def make_folder() -> Path:
    """Write a few pictures of each class into a new folder."""
    from PIL import Image

    generator = np.random.default_rng(0)
    root = Path(tempfile.mkdtemp(prefix="dlkit-pictures-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    for label in range(CLASSES):
        folder = root / f"class_{label}"
        folder.mkdir()
        for number in range(PICTURES):
            pixels = generator.integers(0, 256, (160, 160, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=80)
    return root


def make_loader() -> DataLoader:  # type: ignore[type-arg]
    """Return the training loader."""
    from torchvision import datasets, transforms

    augment = transforms.Compose(
        [
            transforms.RandomResizedCrop(128),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.2, 0.2, 0.2),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    dataset = datasets.ImageFolder(str(make_folder()), transform=augment)
    return DataLoader(dataset, batch_size=16, shuffle=True, num_workers=2)
