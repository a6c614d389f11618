import pytest
import torch
from torch import nn

from dlkit import DataLoader, TensorDataset
from dlkit.trainer import Callback, Trainer

pytest.importorskip("ipywidgets")

from dlkit.lab.live_plot import LivePlot


def loader():
    torch.manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(20, 4), torch.arange(20) % 3), 8)


def trainer(*callbacks):
    return Trainer(nn.Linear(4, 3), device="cpu", progress=False, callbacks=callbacks)


def test_the_picture_and_its_words_follow_every_epoch():
    live = LivePlot()
    shown = []

    class Look(Callback):
        def on_epoch_end(self, trainer, row):
            shown.append((bytes(live.image.value), live.text.value))

    history = trainer(live, Look()).fit(loader(), 3, loader())
    pictures, texts = zip(*shown, strict=True)
    assert len(set(pictures)) == 3
    assert all(picture.startswith(b"\x89PNG") and len(picture) > 4000 for picture in pictures)
    for row, text in zip(history, texts, strict=True):
        assert f"after epoch {row['epoch']}: train loss {row['train_loss']:.4f}" in text
        assert f"val accuracy {row['val_accuracy']:.2%}" in text


def test_the_curves_of_an_earlier_fit_are_kept():
    live = LivePlot()
    model = trainer(live)
    model.fit(loader(), 2)
    model.fit(loader(), 3)
    (line,) = live.picture.axes[0].lines
    assert line.get_xdata().tolist() == [1, 2, 3]


def test_the_words_say_why_training_stopped_early():
    class Stop(Callback):
        def on_epoch_end(self, trainer, row):
            trainer.stop("enough <for today>")

    live = LivePlot()
    trainer(live, Stop()).fit(loader(), 3)
    assert "stopped: enough &lt;for today&gt;" in live.text.value


def test_before_training_the_words_say_so():
    assert LivePlot().text.value == "no epoch yet"
    assert repr(LivePlot()) == "<LivePlot: no epoch yet>"
