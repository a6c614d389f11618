"""Windows of a long recording in a memory-mapped file."""

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

SAMPLES, WINDOW, CHANNELS = 100_000, 256, 8


class Windows(Dataset[torch.Tensor]):
    """Every window of a recording that is too long for memory."""

    def __init__(self, path: Path) -> None:
        self.recording: Any = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return (len(self.recording) - WINDOW) // 16

    def __getitem__(self, index: int) -> torch.Tensor:
        window = self.recording[16 * index : 16 * index + WINDOW]
        return torch.from_numpy(np.array(window, dtype=np.float32))


def make_loader() -> DataLoader[torch.Tensor]:
    """Return the training loader."""
    folder = Path(tempfile.mkdtemp(prefix="dlkit-recording-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "recording.npy"
    np.save(path, np.random.default_rng(0).integers(0, 1000, (SAMPLES, CHANNELS), dtype=np.int16))
    return DataLoader(Windows(path), batch_size=64, shuffle=True, num_workers=2, pin_memory=False)
