"""The trainer against a loop written by hand, and its words for what it cannot do."""

# ruff: noqa: NPY002  # the global NumPy generator is what datasets draw from, so it is tested

import copy
import math
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils import data as torch_data
from torchmetrics.classification import MulticlassF1Score

from dlkit import DataLoader, TensorDataset
from dlkit.trainer import Callback, EarlyStopping, History, NonFiniteLossError, Trainer

CLASSES = 3


def blobs(n: int = 50, seed: int = 0) -> TensorDataset:
    """Three overlapping clouds of points: learnable, but not at once."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (n,), generator=generator)
    return TensorDataset(torch.randn(n, 4, generator=generator) + labels[:, None], labels)


def net(dropout: float = 0.3) -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, CLASSES))


def quiet(model: nn.Module, **options) -> Trainer:
    return Trainer(model, device="cpu", progress=False, **options)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def by_hand(model, loader, epochs, make_schedule=None, every="epoch"):
    """The loop that every tutorial writes; returns the mean loss and accuracy of each epoch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    schedule = make_schedule(optimizer) if make_schedule else None
    rows = []
    for _ in range(epochs):
        model.train()
        loss_sum, correct, count = 0.0, 0, 0
        for inputs, targets in loader:
            optimizer.zero_grad()
            logits = model(inputs)
            loss = nn.functional.cross_entropy(logits, targets)
            loss.backward()
            optimizer.step()
            if schedule and every == "step":
                schedule.step()
            loss_sum += loss.item() * len(inputs)
            correct += int((logits.argmax(1) == targets).sum())
            count += len(inputs)
        if schedule and every == "epoch":
            schedule.step()
        rows.append((loss_sum / count, correct / count))
    return rows


@pytest.mark.parametrize("loader_class", [DataLoader, torch_data.DataLoader])
@pytest.mark.parametrize(
    ("make_schedule", "every"),
    [
        (None, "epoch"),
        (lambda optimizer: StepLR(optimizer, 1, gamma=0.5), "epoch"),
        (lambda optimizer: OneCycleLR(optimizer, max_lr=0.1, total_steps=21), "step"),
    ],
)
def test_fit_reaches_the_weights_of_a_loop_written_by_hand_bit_for_bit(
    loader_class, make_schedule, every
):
    data = blobs()
    torch.manual_seed(7)
    oracle = net()
    torch.manual_seed(7)
    rows = by_hand(oracle, loader_class(data, 8, shuffle=True), 3, make_schedule, every)

    model = net()
    torch.manual_seed(7)
    trainer = quiet(model, scheduler=make_schedule, schedule_every=every)
    history = trainer.fit(loader_class(data, 8, shuffle=True), epochs=3)

    assert same_weights(model, oracle)
    assert history.column("train_loss") == [loss for loss, _ in rows]
    assert history.column("train_accuracy") == pytest.approx([accuracy for _, accuracy in rows])


def test_a_model_left_in_evaluation_mode_is_trained_in_training_mode():
    modes = []
    model = net()
    model[2].register_forward_hook(lambda layer, inputs, output: modes.append(layer.training))
    model.eval()
    loader = DataLoader(blobs(), 25)
    quiet(model).fit(loader, 2, loader)
    assert modes == [True, True, False, False] * 2


def test_seed_seeds_all_generators_when_training_starts():
    class Draw(Callback):
        def on_epoch_start(self, trainer):
            self.drawn = (random.random(), float(np.random.rand()), float(torch.rand(())))

    drawn = []
    for noise in (1, 2):
        callback = Draw()
        trainer = quiet(net(), seed=3, callbacks=[callback])
        torch.rand(noise), random.random()  # what happens before fit does not matter
        trainer.fit(DataLoader(blobs(), 8), epochs=1)
        drawn.append(callback.drawn)
    assert drawn[0] == drawn[1]


def test_loss_and_accuracy_are_means_over_samples_not_over_batches():
    data = blobs(50)
    model = net()
    trainer = quiet(model)
    whole = trainer.evaluate(DataLoader(data, 50))
    model.eval()
    logits = model(data.tensors[0])
    loss = nn.functional.cross_entropy(logits, data.tensors[1]).item()
    accuracy = (logits.argmax(1) == data.tensors[1]).double().mean().item()
    assert whole == pytest.approx({"loss": loss, "accuracy": accuracy})
    for batch_size in (1, 7, 16, 49):  # the last batch is smaller, down to one sample
        assert trainer.evaluate(DataLoader(data, batch_size)) == pytest.approx(whole)


def test_validation_is_what_evaluate_returns_after_the_epoch():
    val_loader = DataLoader(blobs(30, seed=1), 8)
    trainer = quiet(net())
    history = trainer.fit(DataLoader(blobs(), 8, shuffle=True), 2, val_loader)
    assert trainer.evaluate(val_loader) == {
        "loss": history[-1]["val_loss"],
        "accuracy": history[-1]["val_accuracy"],
    }


def test_validation_does_not_change_what_is_learned():
    models = []
    for val_loader in (None, DataLoader(blobs(30, seed=1), 8)):
        model = net(dropout=0)
        loader = DataLoader(blobs(), 8, shuffle=True, generator=torch.Generator().manual_seed(0))
        quiet(model).fit(loader, 3, val_loader)
        models.append(model)
    assert same_weights(*models)


def test_evaluate_inside_an_epoch_leaves_training_and_its_sums_alone():
    class Peek(Callback):
        def on_step_end(self, trainer, step):
            trainer.evaluate(torch_data.DataLoader(blobs(10, seed=2), 5, sampler=range(10)))

    runs = []
    for callbacks in ([], [Peek()]):
        model = net(dropout=0)
        trainer = quiet(model, callbacks=callbacks)
        loader = DataLoader(blobs(), 8, shuffle=True, generator=torch.Generator().manual_seed(0))
        runs.append((model, trainer.fit(loader, 2).without_timings()))
    assert runs[0][1] == runs[1][1]
    assert same_weights(runs[0][0], runs[1][0])


def test_evaluate_and_predict_give_every_layer_its_mode_back():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    model.train()
    model[1].eval()
    trainer = quiet(model)
    trainer.evaluate(DataLoader(blobs(), 8))
    trainer.predict(DataLoader(blobs(), 8))
    assert [layer.training for layer in model.modules()] == [True, True, False, True]


def test_predict_returns_logits_in_the_loaders_order_for_inputs_with_or_without_targets():
    data = blobs()
    model = net().eval()
    expected = model(data.tensors[0]).detach()
    trainer = quiet(model)
    alone = torch_data.DataLoader(data.tensors[0], 8)
    for loader in (DataLoader(data, 8), DataLoader(TensorDataset(data.tensors[0]), 8), alone):
        logits = trainer.predict(loader)
        assert torch.allclose(logits, expected)
        assert logits.dtype is torch.float32


def test_the_best_epoch_passes_over_nan_and_there_is_none_where_all_is_nan():
    history = History([{"epoch": 1, "val_loss": math.nan}, {"epoch": 2, "val_loss": 0.5}])
    assert history.best("val_loss")["epoch"] == 2
    with pytest.raises(ValueError, match="'val_loss' is NaN in every epoch"):
        history[:1].best("val_loss")


def test_history_has_one_row_per_epoch_with_all_columns():
    loader = DataLoader(blobs(50), 8)
    trainer = quiet(net(), scheduler=lambda o: StepLR(o, 1, gamma=0.1))
    history = trainer.fit(loader, 3, loader)
    assert history.columns == [
        *("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"),
        *("samples_per_second", "wait_share", "lr", "seconds", "batch_size"),
    ]
    assert history.column("epoch") == [1, 2, 3]
    assert history.column("lr") == pytest.approx([0.01, 0.001, 0.0001])
    assert history.column("batch_size") == [8, 8, 8]
    for row in history:
        assert 0 < row["wait_share"] < 1
        assert row["samples_per_second"] == pytest.approx(50 / row["seconds"])
    frame = history.to_pandas()
    assert frame.shape == (3, 10)
    assert frame["train_loss"].tolist() == history.column("train_loss")


def test_waiting_is_the_time_inside_next_and_nothing_else(monkeypatch):
    from dlkit.trainer import loop as module

    clock = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])

    class SlowLoader:
        def __iter__(self):
            for batch in DataLoader(blobs(40), 10):
                clock[0] += 3.0
                yield batch

    class SlowStep(Callback):
        def on_step_end(self, trainer, step):
            clock[0] += 1.0

    row = quiet(net(), callbacks=[SlowStep()]).fit(SlowLoader(), 1)[0]
    assert row["seconds"] == 16.0
    assert row["wait_share"] == 0.75
    assert row["samples_per_second"] == 40 / 16


def test_epochs_is_where_training_ends_so_the_batch_size_can_change_on_the_way():
    trainer = quiet(net())
    trainer.fit(DataLoader(blobs(), 8), epochs=2)
    history = trainer.fit(DataLoader(blobs(), 32), epochs=5)
    assert history.column("batch_size") == [8, 8, 32, 32, 32]
    with pytest.warns(UserWarning, match="5 of epochs=5 are done already"):
        trainer.fit(DataLoader(blobs(), 32), epochs=5)
    assert len(trainer.history) == 5


def test_metrics_of_torchmetrics_become_columns():
    metric = MulticlassF1Score(num_classes=CLASSES, average="macro")
    data = blobs()
    trainer = quiet(net(), metrics={"f1": metric})
    row = trainer.fit(DataLoader(data, 8), 1, DataLoader(data, 8))[0]
    metric.update(trainer.predict(DataLoader(data, 8)), data.tensors[1])
    assert row["val_f1"] == pytest.approx(float(metric.compute()))
    assert "train_f1" in row
    assert "train_accuracy" not in row


def test_regression_has_a_loss_and_no_accuracy():
    data = TensorDataset(torch.randn(20, 4), torch.randn(20, 1))
    row = quiet(nn.Linear(4, 1), loss_fn=nn.MSELoss()).fit(DataLoader(data, 5), 1)[0]
    assert "train_accuracy" not in row
    assert math.isfinite(row["train_loss"])


def test_augment_sees_training_inputs_only():
    seen = []

    def augment(inputs):
        seen.append(len(inputs))
        return inputs + 100

    trainer = quiet(net(), augment=augment)
    plain = trainer.evaluate(DataLoader(blobs(), 25))
    assert seen == []
    trainer.fit(DataLoader(blobs(), 25), 1, DataLoader(blobs(), 5))
    assert seen == [25, 25]
    assert plain["loss"] < trainer.history[0]["train_loss"]


def test_any_optimizer_is_accepted_as_object_or_as_function():
    model = net(dropout=0)
    other = copy.deepcopy(model)
    by_object = quiet(model, optimizer=torch.optim.AdamW(model.parameters(), lr=0.02))
    by_function = quiet(other, optimizer=lambda p: torch.optim.AdamW(p, lr=0.02))
    by_object.fit(DataLoader(blobs(), 8), 2)
    by_function.fit(DataLoader(blobs(), 8), 2)
    assert same_weights(model, other)


def test_plateau_schedule_follows_the_validation_loss():
    data = blobs()
    trainer = quiet(
        net(),
        # Steps too small for float32: the validation loss stands still from the first epoch on.
        optimizer=lambda p: torch.optim.SGD(p, lr=1e-30),
        scheduler=lambda o: ReduceLROnPlateau(o, patience=0, factor=0.5, eps=0),
    )
    history = trainer.fit(DataLoader(data, 8), 4, DataLoader(data, 8))
    assert history.column("lr") == pytest.approx([1e-30, 1e-30, 5e-31, 2.5e-31], abs=0)
    assert trainer.scheduler.best == history[0]["val_loss"]


def test_bf16_autocast_computes_in_bf16_and_keeps_float32_weights():
    seen = []
    model = net(dropout=0)
    model[0].register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    trainer = quiet(model, autocast="bf16")
    history = trainer.fit(DataLoader(blobs(), 8), 5)
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert trainer.predict(DataLoader(blobs(), 8)).dtype is torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("autocast", [None, "bf16", "fp16"])
def test_training_on_a_gpu_learns(autocast):
    trainer = Trainer(net(dropout=0), device="cuda", autocast=autocast, progress=False)
    history = trainer.fit(DataLoader(blobs(200), 16, shuffle=True), 10)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert trainer.predict(DataLoader(blobs(), 8)).device.type == "cpu"


def test_early_stopping_waits_for_its_patience_and_can_restore_the_best_weights():
    losses = iter([0.9, 0.5, 0.6, 0.7, 0.8])
    kept = {}

    class Script(Callback):
        """Dictates validation losses and notes the weights after the best epoch."""

        def on_epoch_end(self, trainer, row):
            row["val_loss"] = next(losses)
            if row["epoch"] == 2:
                kept.update(copy.deepcopy(trainer.model.state_dict()))

    model = net()
    stopping = EarlyStopping("val_loss", patience=2, restore_best=True)
    trainer = quiet(model, callbacks=[Script(), stopping])
    trainer.fit(DataLoader(blobs(), 8, shuffle=True), 10)
    assert trainer.epoch == 4
    assert "best 0.5 in epoch 2" in trainer.stop_reason
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


def test_early_stopping_says_which_columns_there_are():
    trainer = quiet(net(), callbacks=[EarlyStopping("val_loss")])
    with pytest.raises(KeyError, match=r"train_loss.*val_loader"):
        trainer.fit(DataLoader(blobs(), 8), 2)


def test_callbacks_are_called_in_the_documented_order():
    class Log(Callback):
        def __init__(self):
            self.events = []

        def on_fit_start(self, trainer):
            self.events.append("fit_start")

        def on_epoch_start(self, trainer):
            self.events.append("epoch_start")

        def on_step_end(self, trainer, step):
            self.events.append(f"step {step.epoch}.{step.step} ({step.global_step})")

        def on_epoch_end(self, trainer, row):
            self.events.append(f"epoch_end {row['epoch']}")

        def on_fit_end(self, trainer):
            self.events.append("fit_end")

    log = Log()
    quiet(net(), callbacks=[log]).fit(DataLoader(blobs(10), 5), 2)
    assert log.events == [
        "fit_start",
        *("epoch_start", "step 1.1 (1)", "step 1.2 (2)", "epoch_end 1"),
        *("epoch_start", "step 2.1 (3)", "step 2.2 (4)", "epoch_end 2"),
        "fit_end",
    ]


def test_steps_know_the_dataset_indices_of_their_batch():
    seen = []

    class Note(Callback):
        def on_step_end(self, trainer, step):
            seen.extend(step.indices)

    quiet(net(), callbacks=[Note()]).fit(DataLoader(blobs(50), 8, shuffle=True), 1)
    assert sorted(seen) == list(range(50))
    assert seen != list(range(50))


def test_a_nan_in_the_data_stops_training_before_it_reaches_the_weights():
    data = blobs(50)
    data.tensors[0][13, 2] = math.nan
    loader = DataLoader(data, 8, shuffle=True, generator=torch.Generator().manual_seed(0))
    model = net()
    trainer = quiet(model)
    with pytest.raises(
        NonFiniteLossError, match="Not finite in inputs: dataset index 13"
    ) as caught:
        trainer.fit(loader, 1)
    assert 13 in caught.value.indices
    assert f"epoch 1, step {caught.value.step}" in str(caught.value)
    assert str(caught.value.indices) in str(caught.value)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_diverging_model_is_told_from_bad_data_and_history_is_kept():
    class Explode(Callback):
        def on_epoch_end(self, trainer, row):
            if row["epoch"] == 2:
                for group in trainer.optimizer.param_groups:
                    group["lr"] = 1e38

    trainer = quiet(net(dropout=0), callbacks=[Explode()])
    with pytest.raises(NonFiniteLossError, match="finite, so the model's outputs overflow"):
        trainer.fit(DataLoader(blobs(), 8), 5)
    assert len(trainer.history) == 2
    assert trainer.epoch == 2


def test_without_indices_the_error_says_that_the_loader_does_not_tell():
    data = blobs()
    data.tensors[0][3] = math.inf
    with pytest.raises(NonFiniteLossError, match=r"does not tell.*inputs: position 3\."):
        quiet(net()).fit(torch_data.DataLoader(data, 50), 1)


EMPTY = TensorDataset(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


@pytest.mark.parametrize(
    ("loader", "error", "words"),
    [
        (DataLoader(EMPTY, 4), ValueError, "train_loader gave no batch: its dataset is empty"),
        (DataLoader(blobs(5), 8, drop_last=True), ValueError, "no batch.*smaller than a batch"),
        (torch_data.DataLoader(EMPTY, 4), ValueError, "train_loader gave no batch"),
        ([torch.zeros(2, 4)], TypeError, r"one Tensor \[2, 4\].*\(inputs, targets\)"),
        ([{"image": 1}], TypeError, r"dict with the keys \['image'\].*\(inputs, targets\)"),
        ([(torch.zeros(2, 4),) * 3], TypeError, r"tuple of \(Tensor \[2, 4\], .*collate_fn"),
        ([(torch.zeros(2, 4), [0, 1])], TypeError, r"\(Tensor \[2, 4\], list\)"),
        ([(torch.zeros(2, 4), torch.zeros(3))], ValueError, "same number of samples"),
        ([(torch.zeros(0, 4), torch.zeros(0))], ValueError, r"Tensor \[0, 4\]"),
        ([(torch.tensor(1.0), torch.tensor(1))], ValueError, r"Tensor \[\]"),
        (iter(DataLoader(blobs(), 8)), TypeError, "train_loader must start anew.*EpochIterator"),
        (3, TypeError, "train_loader must be a loader.*int"),
    ],
)
def test_fit_names_what_is_wrong_with_a_loader(loader, error, words):
    with pytest.raises(error, match=words):
        quiet(net()).fit(loader, 1)


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_evaluation_of_an_empty_loader_is_refused(method):
    with pytest.raises(ValueError, match=r"no batch to .*its dataset is empty"):
        getattr(quiet(net()), method)(DataLoader(EMPTY, 4))


def test_after_a_refused_loader_the_trainer_works_with_a_right_one():
    trainer = quiet(net())
    with pytest.raises(TypeError):
        trainer.fit([*DataLoader(blobs(), 25), "not a batch"], 1)
    history = trainer.fit(DataLoader(blobs(), 8), 1)
    assert [row["epoch"] for row in history] == [1]


OTHER = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"optimizer": "sgd"}, TypeError, "optimizer.*'sgd'"),
        ({"optimizer": torch.optim.SGD(OTHER.parameters(), lr=1)}, ValueError, "no parameter of"),
        ({"scheduler": 0.1}, TypeError, "scheduler.*0.1"),
        (
            {"scheduler": StepLR(torch.optim.SGD(OTHER.parameters(), lr=1), 1)},
            ValueError,
            "another optimizer",
        ),
        ({"schedule_every": "batch"}, ValueError, "'epoch' or 'step', got 'batch'"),
        ({"device": "gpu"}, ValueError, "device 'gpu'"),
        ({"autocast": "fp8"}, ValueError, "'bf16' or 'fp16', got 'fp8'"),
        ({"autocast": "fp16", "device": "cpu"}, ValueError, "fp16.*CUDA.*bf16"),
        ({"metrics": {"f1": "macro"}}, TypeError, r"metrics\['f1'\].*torchmetrics"),
        ({"metrics": [1]}, TypeError, "must map names"),
        ({"loss_fn": "mse"}, TypeError, "loss_fn must be a function, but got 'mse'"),
        ({"loss_fn": nn.MSELoss}, TypeError, r"the class MSELoss: write MSELoss\(\)"),
        ({"augment": 0.5}, TypeError, "augment must be a function, but got 0.5"),
        ({"callbacks": [EarlyStopping]}, TypeError, "callbacks must hold objects.*EarlyStopping"),
        ({"callbacks": EarlyStopping()}, TypeError, "callbacks must be a list of callbacks"),
        ({"checkpoint_every": 5}, ValueError, "checkpoint_every needs checkpoint="),
        ({"checkpoint_every": 0, "checkpoint": "a.pt"}, ValueError, "checkpoint_every.*0"),
    ],
)
def test_trainer_names_the_wrong_argument(options, error, words):
    with pytest.raises(error, match=words):
        Trainer(net(), **{"device": "cpu", "progress": False, **options})


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True])
def test_fit_names_a_wrong_number_of_epochs(epochs):
    with pytest.raises(ValueError, match=f"epochs.*{epochs}"):
        quiet(net()).fit(DataLoader(blobs(), 8), epochs)


def test_a_loss_per_sample_is_refused_with_its_shape():
    trainer = quiet(net(), loss_fn=nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(ValueError, match=r"got shape \[8\].*reduction='mean'"):
        trainer.fit(DataLoader(blobs(), 8), 1)


def test_a_metric_per_class_is_refused_by_name():
    metric = MulticlassF1Score(num_classes=CLASSES, average=None)
    with pytest.raises(ValueError, match=r"metrics\['f1'\] must compute one number"):
        quiet(net(), metrics={"f1": metric}).fit(DataLoader(blobs(), 8), 1)


def test_progress_bar_shows_loss_rate_and_share_of_waiting(capsys):
    trainer = Trainer(net(), device="cpu", progress=True)
    trainer.fit(DataLoader(blobs(), 8), 1, DataLoader(blobs(), 8))
    last = capsys.readouterr().err.strip().splitlines()[-1]
    for words in ("Epoch 1/1", "7/7", "loss=", "samples/s=", "waiting=", "val_accuracy="):
        assert words in last


def test_the_trainer_and_the_models_are_imported_without_the_packages_they_may_need_later():
    heavy = "torchmetrics tqdm matplotlib torchvision sklearn pandas ipywidgets IPython"
    script = (
        "import sys, torch; before = set(sys.modules); import dlkit.trainer, dlkit.models;"
        "import dlkit.trainer.augment, dlkit.trainer.results;"
        f"print([name for name in {heavy.split()!r} if name in set(sys.modules) - before])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr
