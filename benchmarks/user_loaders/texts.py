"""Texts of different lengths, as lists of tokens, padded in a collate_fn of the user's own."""

import random

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

WORDS = ["data", "loader", "batch", "epoch", "worker", "sample", "order", "wait"]


class Reviews(Dataset[tuple[torch.Tensor, int]]):
    """Sentences that are split into tokens each time they are read."""

    def __init__(self, length: int = 2_000) -> None:
        draw = random.Random(0)
        self.texts = [" ".join(draw.choices(WORDS, k=draw.randint(5, 120))) for _ in range(length)]
        self.vocabulary = {word: number for number, word in enumerate(WORDS, 1)}

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        tokens = [self.vocabulary[word] for word in self.texts[index].split()]
        return torch.tensor(tokens), index % 2


def collate(samples: list[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
    """Pad the texts of a batch to the longest one."""
    texts, labels = zip(*samples, strict=True)
    lengths = torch.tensor([len(text) for text in texts])
    padded = pad_sequence(list(texts), batch_first=True)
    return {"text": padded, "length": lengths, "label": torch.tensor(labels)}


def make_loader() -> DataLoader[tuple[torch.Tensor, int]]:
    """Return the training loader."""
    return DataLoader(Reviews(), batch_size=32, shuffle=True, collate_fn=collate)
