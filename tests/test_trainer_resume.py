"""A run that is killed, interrupted or stopped anywhere ends where an undisturbed one ends."""

# ruff: noqa: NPY002  # the global NumPy generator is what datasets draw from, so it is tested

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
)
from torch.utils import data as torch_data
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

from dlkit import DataLoader, TensorDataset, TransformDataset
from dlkit.trainer import Callback, CheckpointError, EarlyStopping, Trainer

EPOCHS, STEPS = 3, 7  # 50 samples in batches of 8: seven steps, the last one of two samples


def data(n: int = 50) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (n,), generator=generator)
    return TensorDataset(torch.randn(n, 4, generator=generator) + labels[:, None], labels)


def noisy(inputs):
    """Augmentation that draws from all three global generators."""
    return inputs + torch.randn(4) + random.random() + float(np.random.rand())


def make_trainer(folder: Path, callbacks=(), **options) -> Trainer:
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
    )
    settings = {
        "scheduler": lambda o: OneCycleLR(o, max_lr=0.1, total_steps=EPOCHS * STEPS),
        "schedule_every": "step",
        "checkpoint": folder / "run.pt",
        "checkpoint_every": 1,
        **options,
    }
    return Trainer(model, device="cpu", progress=False, seed=11, callbacks=callbacks, **settings)


def make_loader(*, own_generator: bool = False, **options) -> DataLoader:
    generator = torch.Generator().manual_seed(3) if own_generator else None
    dataset = TransformDataset(data(), noisy)
    return DataLoader(dataset, 8, shuffle=True, generator=generator, **options)


def outcome(trainer: Trainer) -> tuple:
    """All that must be equal: weights, optimizer, generators, and the history but for times."""
    weights = [value.tolist() for value in trainer.model.state_dict().values()]
    momentum = [state["momentum_buffer"].tolist() for state in trainer.optimizer.state.values()]
    drawn = (random.random(), float(np.random.rand()), float(torch.rand(())))
    return weights, momentum, drawn, trainer.history.without_timings(), trainer.global_step


class Unplug(Callback):
    """Pulls the plug in a step: raises what it is given, when the global step is reached."""

    def __init__(self, step: int, error: type[BaseException]) -> None:
        self.step, self.error = step, error

    def on_step_end(self, trainer, step):
        if step.global_step == self.step:
            raise self.error


class PowerCut(BaseException):
    """Nothing handles it, so nothing is saved on the way out."""


@pytest.fixture
def undisturbed(tmp_path):
    """The outcome of a run that nobody disturbs, for a loader of the given kind."""

    def run(**loader_options):
        folder = tmp_path / "undisturbed"
        trainer = make_trainer(folder)
        trainer.fit(make_loader(**loader_options), EPOCHS, DataLoader(data(20), 8))
        return outcome(trainer)

    return run


@pytest.fixture
def keyboard():
    """Python's own handler for Ctrl-C, which a job in the background starts without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def disturb_the_generators() -> None:
    torch.manual_seed(999), random.seed(999), np.random.seed(999)


@pytest.mark.parametrize("own_generator", [False, True])
@pytest.mark.parametrize("step", [1, 3, 7, 8, 13, 14, 20, 21])
def test_a_run_cut_after_any_step_ends_with_the_same_bits(
    tmp_path, undisturbed, step, own_generator
):
    expected = undisturbed(own_generator=own_generator)
    with pytest.raises(PowerCut):
        # The plug is pulled after the step, before its checkpoint: the one of the step before,
        # or of the epoch before, is all that is left.
        make_trainer(tmp_path, [Unplug(step, PowerCut)]).fit(
            make_loader(own_generator=own_generator), EPOCHS, DataLoader(data(20), 8)
        )
    disturb_the_generators()
    trainer = make_trainer(tmp_path)
    if step > 1:
        trainer.resume(tmp_path / "run.pt")
        assert trainer.global_step == step - 1
    trainer.fit(make_loader(own_generator=own_generator), EPOCHS, DataLoader(data(20), 8))
    assert outcome(trainer) == expected


def test_a_run_cut_in_every_step_ends_with_the_same_bits(tmp_path, undisturbed):
    expected = undisturbed()
    cuts = 0
    while True:
        trainer = make_trainer(tmp_path, [Unplug(cuts + 2, PowerCut)])
        if cuts:
            trainer.resume(tmp_path / "run.pt")
        try:
            trainer.fit(make_loader(), EPOCHS, DataLoader(data(20), 8))
            break
        except PowerCut:
            cuts += 1
            disturb_the_generators()
    assert cuts == EPOCHS * STEPS - 1
    assert outcome(trainer) == expected


def test_a_run_cut_in_validation_does_not_train_the_epoch_twice(tmp_path, undisturbed):
    expected = undisturbed()

    class CutOff:
        """A validation loader that fails in its second epoch."""

        epoch = 0

        def __iter__(self):
            self.epoch += 1
            yield from DataLoader(data(20), 8)
            if self.epoch == 2:
                raise KeyboardInterrupt

    trainer = make_trainer(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(make_loader(), EPOCHS, CutOff())
    disturb_the_generators()
    resumed = make_trainer(tmp_path).resume(tmp_path / "run.pt")
    assert (resumed.epoch, resumed.global_step) == (1, 2 * STEPS)
    resumed.fit(make_loader(), EPOCHS, DataLoader(data(20), 8))
    assert outcome(resumed) == expected


def test_a_run_with_workers_is_continued_with_the_same_bits_and_another_number_of_them(tmp_path):
    expected = make_trainer(tmp_path / "a")
    expected.fit(DataLoader(data(), 8, shuffle=True, num_workers=2), EPOCHS)
    expected = outcome(expected)
    with pytest.raises(PowerCut):
        make_trainer(tmp_path / "b", [Unplug(11, PowerCut)]).fit(
            DataLoader(data(), 8, shuffle=True, num_workers=2), EPOCHS
        )
    disturb_the_generators()
    resumed = make_trainer(tmp_path / "b").resume(tmp_path / "b" / "run.pt")
    resumed.fit(DataLoader(data(), 8, shuffle=True, num_workers=1), EPOCHS)
    assert outcome(resumed) == expected


SCRIPT = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_trainer_resume import *

    class Kill(Callback):
        def on_step_end(self, trainer, step):
            if step.global_step == {step}:
                os.kill(os.getpid(), signal.SIGKILL)

    folder = Path({folder!r})
    trainer = make_trainer(folder, [Kill()], checkpoint_every=3)
    if (folder / "run.pt").exists():
        trainer.resume(folder / "run.pt")
    trainer.fit(make_loader(), EPOCHS, DataLoader(data(20), 8))
    torch.save(outcome(trainer), folder / "outcome.pt")
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_process_killed_in_mid_epoch_is_continued_by_another_with_the_same_bits(
    tmp_path, undisturbed
):
    def run(step: int) -> int:
        script = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tmp_path), step=step)
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], check=False, timeout=120
        ).returncode

    assert run(step=11) == -signal.SIGKILL  # in the second epoch; the last checkpoint is of step 9
    assert torch.load(tmp_path / "run.pt", weights_only=True)["global_step"] == 9
    assert run(step=0) == 0
    assert torch.load(tmp_path / "outcome.pt", weights_only=True) == undisturbed()


@pytest.mark.parametrize(
    "make_schedule",
    [
        lambda o: MultiStepLR(o, [2, 9]),
        lambda o: CosineAnnealingLR(o, 21),
        lambda o: SequentialLR(o, [LinearLR(o), CosineAnnealingLR(o, 9)], milestones=[4]),
    ],
)
def test_every_schedule_is_continued(tmp_path, make_schedule):
    outcomes = []
    for step in (0, 11):
        trainer = make_trainer(
            tmp_path / str(step), [Unplug(step, PowerCut)], scheduler=make_schedule
        )
        try:
            trainer.fit(make_loader(), EPOCHS)
        except PowerCut:
            trainer = make_trainer(tmp_path / str(step), scheduler=make_schedule)
            trainer.resume(tmp_path / str(step) / "run.pt").fit(make_loader(), EPOCHS)
        outcomes.append(outcome(trainer))
    assert outcomes[0] == outcomes[1]


def test_metrics_with_counts_and_with_lists_are_continued_in_mid_epoch(tmp_path):
    def run(folder, step):
        metrics = {"top2": MulticlassAccuracy(num_classes=3, top_k=2, average="micro")}
        metrics["auroc"] = MulticlassAUROC(num_classes=3)
        return make_trainer(folder, [Unplug(step, PowerCut)], metrics=metrics)

    expected = run(tmp_path / "a", 0).fit(make_loader(), EPOCHS).without_timings()
    with pytest.raises(PowerCut):
        run(tmp_path / "b", 11).fit(make_loader(), EPOCHS)
    resumed = run(tmp_path / "b", 0).resume(tmp_path / "b" / "run.pt")
    assert resumed.fit(make_loader(), EPOCHS).without_timings() == expected


def test_early_stopping_remembers_across_a_resume(tmp_path):
    class Script(Callback):
        def on_epoch_end(self, trainer, row):
            row["val_loss"] = [0.9, 0.5, 0.6, 0.7, 0.8][trainer.epoch - 1]

    def make(step=0):
        stopping = EarlyStopping(patience=2, restore_best=True)
        options = {"scheduler": None, "schedule_every": "epoch"}
        return make_trainer(tmp_path, [Unplug(step, PowerCut), Script(), stopping], **options)

    expected = make()
    expected.fit(make_loader(), 9)
    (tmp_path / "run.pt").unlink()
    with pytest.raises(PowerCut):
        make(step=2 * STEPS + 3).fit(make_loader(), 9)
    resumed = make().resume(tmp_path / "run.pt")
    resumed.fit(make_loader(), 9)
    assert resumed.epoch == expected.epoch == 4
    assert outcome(resumed)[0] == outcome(expected)[0]

    finished = make().resume(tmp_path / "run.pt")
    with pytest.warns(UserWarning, match="stopped because val_loss has not improved"):
        finished.fit(make_loader(), 9)
    assert finished.epoch == 4
    assert outcome(finished)[0] == outcome(expected)[0]


@pytest.mark.parametrize("step", [3, 7, 11, 21])
def test_after_an_interrupt_fit_goes_on_in_the_same_process(tmp_path, undisturbed, step):
    expected = undisturbed()
    unplug = Unplug(step, KeyboardInterrupt)
    trainer = make_trainer(tmp_path, [unplug], checkpoint=None, checkpoint_every=None)
    loader = make_loader()
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(loader, EPOCHS, DataLoader(data(20), 8))
    assert trainer.in_mid_epoch
    assert len(trainer.history) == (step - 1) // STEPS
    trainer.evaluate(DataLoader(data(20), 8))  # the model can be used meanwhile
    disturb_the_generators()
    unplug.step = 0
    trainer.fit(loader, EPOCHS, DataLoader(data(20), 8))
    assert outcome(trainer) == expected


def test_an_interrupt_leaves_a_checkpoint_of_the_very_step(tmp_path, undisturbed):
    expected = undisturbed()
    trainer = make_trainer(tmp_path, [Unplug(11, KeyboardInterrupt)], checkpoint_every=None)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(make_loader(), EPOCHS, DataLoader(data(20), 8))
    resumed = make_trainer(tmp_path).resume(tmp_path / "run.pt")
    assert resumed.global_step == 11
    resumed.fit(make_loader(), EPOCHS, DataLoader(data(20), 8))
    assert outcome(resumed) == expected


def test_ctrl_c_waits_for_the_end_of_the_step(tmp_path, undisturbed, keyboard):
    expected = undisturbed()
    pressed = []

    class PressInForward(nn.Module):
        def forward(self, inputs):
            if len(pressed) == 10:
                signal.raise_signal(signal.SIGINT)
            pressed.append(1)
            return inputs

    trainer = make_trainer(tmp_path, checkpoint_every=None)
    trainer.model.append(PressInForward())
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(make_loader(), EPOCHS, DataLoader(data(20), 8))
    # Seven steps, three of validation, and the eighth step, in which the key was pressed.
    assert trainer.global_step == 8
    resumed = make_trainer(tmp_path).resume(tmp_path / "run.pt")
    resumed.fit(make_loader(), EPOCHS, DataLoader(data(20), 8))
    assert outcome(resumed) == expected
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_while_a_batch_is_read_keeps_the_last_checkpoint(tmp_path, undisturbed):
    expected = undisturbed()
    read = []

    def noisy_until_interrupted(inputs):
        read.append(1)
        if len(read) == 5 * 8 - 3:  # in the fifth batch, after some of its random numbers
            raise KeyboardInterrupt
        return noisy(inputs)

    loader = DataLoader(TransformDataset(data(), noisy_until_interrupted), 8, shuffle=True)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, checkpoint_every=3).fit(loader, EPOCHS, DataLoader(data(20), 8))
    resumed = make_trainer(tmp_path).resume(tmp_path / "run.pt")
    assert resumed.global_step == 3
    resumed.fit(make_loader(), EPOCHS, DataLoader(data(20), 8))
    assert outcome(resumed) == expected


def test_a_second_ctrl_c_stops_at_once_and_leaves_the_last_checkpoint(tmp_path, keyboard):
    class Impatient(Callback):
        def on_step_end(self, trainer, step):
            if step.global_step == 4:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
                pytest.fail("training went on")

    trainer = make_trainer(tmp_path, [Impatient()], checkpoint_every=3)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(make_loader(), EPOCHS)
    assert torch.load(tmp_path / "run.pt", weights_only=True)["global_step"] in (3, 4)


def test_training_works_outside_the_main_thread(tmp_path):
    trainer = make_trainer(tmp_path)
    thread = threading.Thread(target=trainer.fit, args=(make_loader(), EPOCHS))
    thread.start()
    thread.join()
    assert trainer.finished


def test_the_model_keeps_what_it_learned_when_the_dataset_fails(tmp_path):
    class Failing:
        def __init__(self):
            self.fail = True

        def __len__(self):
            return 50

        def __getitem__(self, index):
            if self.fail and index == 40:
                raise OSError("the disk is gone")
            return data()[index]

    dataset = Failing()
    trainer = make_trainer(tmp_path, scheduler=None, schedule_every="epoch")
    with pytest.raises(OSError, match="the disk is gone"):
        trainer.fit(DataLoader(dataset, 8), 2)
    assert trainer.global_step == 5
    assert torch.load(tmp_path / "run.pt", weights_only=True)["global_step"] == 5
    dataset.fail = False
    assert trainer.fit(DataLoader(dataset, 8), 2).column("epoch") == [1, 2]


def test_pytorchs_loader_is_continued_between_epochs(tmp_path):
    def loader():
        generator = torch.Generator().manual_seed(3)
        dataset = TransformDataset(data(), noisy)
        return torch_data.DataLoader(dataset, 8, shuffle=True, generator=generator)

    expected = make_trainer(tmp_path / "a", checkpoint_every=None)
    expected.fit(loader(), EPOCHS)
    first = make_trainer(tmp_path / "b", [Unplug(11, PowerCut)], checkpoint_every=None)
    with pytest.raises(PowerCut):
        first.fit(loader(), EPOCHS)
    disturb_the_generators()
    resumed = make_trainer(tmp_path / "b", checkpoint_every=None).resume(tmp_path / "b" / "run.pt")
    assert resumed.epoch == 1
    resumed.fit(loader(), EPOCHS)
    # The generators are drawn from first by `expected`, whose outcome is compared without them.
    assert [outcome(resumed)[i] for i in (0, 1, 3, 4)] == [
        outcome(expected)[i] for i in (0, 1, 3, 4)
    ]


def test_pytorchs_loader_cannot_go_on_in_mid_epoch_and_the_error_says_so(tmp_path):
    with pytest.raises(PowerCut):
        make_trainer(tmp_path, [Unplug(11, PowerCut)]).fit(make_loader(), EPOCHS)
    trainer = make_trainer(tmp_path, checkpoint_every=None).resume(tmp_path / "run.pt")
    plain = torch_data.DataLoader(data(), 8)
    with pytest.raises(CheckpointError, match=r"middle of an epoch.*no state_dict\(\).*dlkit"):
        trainer.fit(plain, EPOCHS)
    trainer.restart_epoch()
    assert trainer.fit(plain, 2).column("epoch") == [1, 2]


def test_checkpoints_in_mid_epoch_are_refused_for_pytorchs_loader(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint_every=1 needs.*torch.*no state_dict"):
        make_trainer(tmp_path).fit(torch_data.DataLoader(data(), 8), 1)


def test_saving_in_mid_epoch_is_refused_for_pytorchs_loader(tmp_path):
    class Save(Callback):
        def on_step_end(self, trainer, step):
            trainer.save(tmp_path / "mid.pt")

    trainer = make_trainer(tmp_path, [Save()], checkpoint_every=None)
    with pytest.raises(ValueError, match=r"middle of an epoch.*no state_dict"):
        trainer.fit(torch_data.DataLoader(data(), 8), 1)
    assert not (tmp_path / "mid.pt").exists()


def test_an_interrupted_epoch_of_pytorchs_loader_is_started_anew(tmp_path):
    unplug = Unplug(11, KeyboardInterrupt)
    trainer = make_trainer(
        tmp_path, [unplug], checkpoint_every=None, scheduler=None, schedule_every="epoch"
    )
    loader = torch_data.DataLoader(data(), 8)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(loader, 2)
    # What is on disk is the end of the first epoch, from which this loader can go on.
    assert torch.load(tmp_path / "run.pt", weights_only=True)["global_step"] == STEPS
    unplug.step = 0
    assert trainer.fit(loader, 2).column("epoch") == [1, 2]
    assert trainer.global_step == 4 + 2 * STEPS


def test_a_resume_in_mid_epoch_with_another_batch_size_is_refused_and_can_start_anew(tmp_path):
    with pytest.raises(PowerCut):
        make_trainer(tmp_path, [Unplug(11, PowerCut)]).fit(make_loader(), EPOCHS)
    options = {"scheduler": None, "schedule_every": "epoch"}
    with pytest.raises(CheckpointError, match="scheduler OneCycleLR, this trainer has None"):
        make_trainer(tmp_path, **options).resume(tmp_path / "run.pt")
    trainer = make_trainer(tmp_path).resume(tmp_path / "run.pt")
    other = DataLoader(TransformDataset(data(), noisy), 16, shuffle=True)
    with pytest.raises(CheckpointError, match=r"run\.pt belongs to another loader.*batch_size"):
        trainer.fit(other, 2)
    trainer.restart_epoch()
    assert trainer.fit(other, 2).column("batch_size") == [8, 16]


def test_after_a_wrong_loader_the_right_one_still_goes_on(tmp_path, undisturbed):
    expected = undisturbed()
    with pytest.raises(PowerCut):
        make_trainer(tmp_path, [Unplug(11, PowerCut)]).fit(
            make_loader(), EPOCHS, DataLoader(data(20), 8)
        )
    trainer = make_trainer(tmp_path).resume(tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match="belongs to another loader"):
        trainer.fit(DataLoader(data(), 16, shuffle=True), EPOCHS)
    trainer.fit(make_loader(), EPOCHS, DataLoader(data(20), 8))
    assert outcome(trainer) == expected
