"""The live timeline driven as a browser drives it: sliders move, buttons are clicked."""

import threading

import pytest

pytest.importorskip("ipywidgets")

from dlkit.lab import live_timeline
from dlkit.lab.live_timeline import BATCHES, LiveTimeline, Run, run_for_real
from dlkit.plots.live_timeline import predicted_and_real
from dlkit.workers.simulated import simulate

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def no_threads_left():
    yield
    left = [t.name for t in threading.enumerate() if "dlkit" in t.name]
    assert left == []


def test_the_prediction_follows_a_slider_at_once():
    live = LiveTimeline(workers=0, sample=10, batch_size=2, step=0)
    before = bytes(live.image.value)
    assert "16 batches in 320 ms" in live.text.value
    live.controls["workers"].value = 2
    assert "16 batches in 160 ms" in live.text.value
    assert live.image.value[:8] == PNG
    assert live.image.value != before


def test_a_run_fills_the_picture_the_bar_and_the_words():
    live = LiveTimeline(workers=2, sample=1, batch_size=2, step=0)
    live.start_button.click()
    assert live.wait(30)
    assert live.progress.value == BATCHES
    assert "run: 16 batches in" in live.text.value
    assert "were needed" in live.picture.axes[0].get_title(loc="left")
    journeys = live.current.journeys
    assert [j.worker for j in journeys] == [0, 1] * 8
    assert all(j.started <= j.ready <= j.delivered <= j.used for j in journeys)
    assert (live.start_button.disabled, live.stop_button.disabled) == (False, True)


def test_without_workers_the_training_loop_fetches():
    live = LiveTimeline(workers=0, sample=1, batch_size=1, step=0)
    live.start()
    assert live.wait(30)
    assert {j.worker for j in live.current.journeys} == {None}


class Held:
    """A run that gets so many batches, and then stands still until it is let go."""

    def __init__(self, monkeypatch, batches):
        self.here, self.go = threading.Event(), threading.Event()
        count = iter(range(1000))
        original = live_timeline.ended

        class Counting:
            def __init__(self, own):
                self.own = own

            def next(inner, loader, stop):  # noqa: N805
                if next(count) == batches:
                    self.here.set()
                    assert self.go.wait(30)
                return inner.own.next(loader, stop)

        from contextlib import contextmanager

        @contextmanager
        def held(loader):
            with original(loader) as own:
                yield Counting(own)

        monkeypatch.setattr(live_timeline, "ended", held)


def test_the_button_stops_a_run_and_its_batches_stay(monkeypatch):
    held = Held(monkeypatch, batches=5)
    live = LiveTimeline(workers=2, sample=0, batch_size=1, step=0)
    live.start_button.click()
    assert held.here.wait(30)
    assert not live.wait(0)
    assert (live.start_button.disabled, live.stop_button.disabled) == (True, False)
    live.stop_button.click()
    held.go.set()
    assert live.wait(30)
    assert live.progress.value == 5
    assert "so far: 5 batches" in live.text.value
    assert "5 of 16 batches are here" in live.picture.axes[0].get_title(loc="left")


def test_a_slider_ends_the_run_and_shows_the_new_prediction(monkeypatch):
    held = Held(monkeypatch, batches=3)
    live = LiveTimeline(workers=1, sample=0, batch_size=1, step=0)
    live.start()
    thread = live.current.thread
    assert held.here.wait(30)
    live.controls["step"].value = 20
    assert "16 batches in 320 ms" in live.text.value
    assert "not run yet" in live.text.value
    held.go.set()
    thread.join(30)
    assert not thread.is_alive()
    assert "not run yet" in live.text.value  # what the old run still had to say is not shown
    assert (live.start_button.disabled, live.stop_button.disabled) == (False, True)


def test_a_second_start_ends_the_first_run():
    live = LiveTimeline(workers=1, sample=1, batch_size=1, step=0)
    live.start()
    first = live.current
    live.start()
    assert live.current is not first
    assert first.stop.is_set()
    assert not first.thread.is_alive()
    assert live.wait(30)
    assert live.progress.value == BATCHES


def test_closing_the_widget_ends_its_run():
    live = LiveTimeline(workers=1, sample=5, batch_size=4, step=0)
    live.start()
    thread = live.current.thread
    live.close()
    thread.join(30)
    assert not thread.is_alive()


def test_an_error_of_the_run_stands_in_the_words(monkeypatch):
    def broken(self, index):
        raise OSError("the <disk> is gone")

    monkeypatch.setattr(live_timeline.Sleepers, "__getitem__", broken)
    live = LiveTimeline(workers=1)
    live.start()
    assert live.wait(30)
    assert "the run failed: OSError: the &lt;disk&gt; is gone" in live.text.value
    assert not live.start_button.disabled


def test_a_stopped_run_ends_before_its_first_batch():
    run = Run()
    run.stop.set()
    run_for_real(run, {"workers": 0, "batch_size": 1, "sample": 0, "step": 0})
    assert (run.journeys, run.error) == ([], None)


def test_buttons_and_sliders_are_reached_by_the_keyboard():
    live = LiveTimeline()
    assert live.start_button.tabbable is not False
    assert live.stop_button.tabbable is not False
    assert {type(c).__name__ for c in live.controls.values()} == {"IntSlider"}


def test_the_picture_keeps_its_height_while_batches_come_in():
    predicted = simulate([0.01] * 4, 2, step=0.02)
    empty, full = (predicted_and_real(predicted, real, 2) for real in ([], predicted))
    assert empty.get_size_inches().tolist() == full.get_size_inches().tolist()
    assert "4 batches in 90 ms, training waits 10 ms; run: 4 batches in 90 ms" in full.caption
    with pytest.raises(ValueError, match="at least one batch"):
        predicted_and_real([], [], 2)
