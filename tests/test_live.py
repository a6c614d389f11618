"""The two live systems, their pictures, their command and their widget."""

import io
import math
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image

from dlkit.cli import build_parser, live
from dlkit.lab import LiveDigitsWidget, LiveDrivingWidget
from dlkit.live import Drive, LiveDigits, LiveDriving, overload, record, try_tolerance
from dlkit.live.driving import Watch, play, samples_of, time_to_collision
from dlkit.live.road import BRAKING, DANGER, LONGEST, RATES, closing, danger, gap
from dlkit.plots import driving, streaming
from dlkit.plots.dashboard import Dashboard, Line, Panel
from dlkit.plots.style import png
from dlkit.streaming import Sample, Stamped

WAIT = 30.0
BLANK = 3000  # bytes


def constant(images):
    return torch.zeros(len(images), 10)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("dlkit")] == []


@pytest.fixture(scope="module")
def drive():
    return record()


# ---- digits -------------------------------------------------------------------------------------


def run_until_answered(system, count):
    while system.answered < count:
        assert not system.wait(0.01)


def test_frames_are_answered_and_every_one_is_accounted_for():
    # The model knows nothing but says 0: right for the zeros among the digits, a tenth.
    with LiveDigits(constant, rate=2000, policy="block") as system:
        run_until_answered(system, 500)
        moment = system.read()
    counts = system.pipeline.counts()
    assert counts.exact
    assert counts.in_flight == 0
    assert counts.delivered >= 500
    assert 0 < system.right < system.answered / 2
    assert moment.stats.counts.exact
    assert moment.batch >= 1


def test_the_rate_can_be_changed_while_it_runs():
    with LiveDigits(constant, rate=1) as system:
        system.rate = 2000
        run_until_answered(system, 100)
    assert system.rate == 2000


def test_a_model_that_fails_ends_the_system_and_its_error_is_raised_at_the_end():
    def broken(images):
        raise RuntimeError("no weights")

    system = LiveDigits(broken, rate=500)
    system.start()
    assert system.wait(WAIT)
    with pytest.raises(RuntimeError, match="no weights"):
        system.stop()
    assert not system.running


def test_a_system_runs_once():
    system = LiveDigits(constant)
    with system, pytest.raises(RuntimeError, match="started before"):
        system.start()


def test_a_system_may_be_stopped_before_its_thread_has_asked_for_a_batch():
    class Late(LiveDigits):
        def prepare_thread(self):
            self.pipeline.stop()

    with Late(constant) as system:
        assert system.wait(WAIT)
    assert system.answered == 0


@pytest.mark.parametrize("options", [{"rate": 0}, {"objective": -1}, {"policy": "none"}])
def test_a_system_refuses_what_it_cannot_hold(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LiveDigits(constant, **options)


def test_threads_give_the_interpreter_up_soon_while_any_system_runs():
    before = sys.getswitchinterval()
    with LiveDigits(constant, rate=500) as first, LiveDigits(constant, rate=500) as second:
        run_until_answered(first, 1)
        run_until_answered(second, 1)
        first.stop()
        assert sys.getswitchinterval() < before / 10
    assert sys.getswitchinterval() == before


# ---- driving ------------------------------------------------------------------------------------


def test_the_closing_speed_is_how_fast_the_gap_shrinks():
    for t in np.arange(0.5, LONGEST, 0.37).tolist():
        slope = (gap(t + 1e-5) - gap(t - 1e-5)) / 2e-5
        assert closing(t) == pytest.approx(-slope, abs=1e-3)
    assert BRAKING < danger() < LONGEST


def test_a_drive_is_the_same_each_time_and_comes_in_the_order_of_arrival(drive):
    again = record()
    assert again == drive
    arrivals = [arrived for arrived, _, _ in drive.events]
    assert arrivals == sorted(arrivals)
    for sensor, rate in RATES.items():
        expected = len(np.arange(0, LONGEST, 1 / rate))
        assert len(drive.of(sensor)) + drive.lost[sensor] == expected


def test_the_wrong_clock_is_found_within_milliseconds(drive):
    offsets = drive.offsets()
    assert offsets["lidar"] == pytest.approx(0.15, abs=0.005)
    assert offsets["camera"] == pytest.approx(0.0, abs=0.005)


def test_a_wider_tolerance_keeps_more_waits_longer_and_is_more_wrong(drive):
    tried = [try_tolerance(drive, seconds) for seconds in (0.01, 0.03, 0.06, 0.12)]
    assert [one.kept for one in tried] == sorted(one.kept for one in tried)
    assert tried[0].kept < 0.4 < 0.95 < tried[-1].kept
    assert tried[0].wait99 <= tried[-1].wait99
    assert tried[0].error < tried[-1].error


def test_a_clock_that_is_not_corrected_makes_the_gap_wrong_and_nothing_fails(drive):
    uncorrected = dict.fromkeys(RATES, 0.0)
    assert try_tolerance(drive, 0.06, uncorrected).error > 3 * try_tolerance(drive, 0.06).error


def test_a_tolerance_under_which_nothing_fits_gives_no_sample():
    quiet = Drive([(0.0, "camera", Stamped(0.0, 1.0)), (0.1, "imu", Stamped(0.0, 1.0))], 1.0, {})
    found = try_tolerance(quiet, 0.01, dict.fromkeys(RATES, 0.0))
    assert found.kept == 0.0
    assert math.isnan(found.error)


def test_in_an_overload_fresh_samples_tell_of_danger_first_and_blocking_last(drive):
    found = {p: overload(drive, p) for p in ("block", "drop_oldest", "drop_newest", "sample")}
    assert all(one.counts.exact for one in found.values())
    reactions = {policy: one.reaction for policy, one in found.items()}
    assert min(reactions, key=reactions.get) == "drop_oldest"
    assert max(reactions, key=reactions.get) == "block"
    assert reactions["drop_oldest"] < 1.0 < 4.0 < reactions["block"]
    assert found["block"].counts.lost == 0 < found["drop_oldest"].counts.lost
    assert overload(drive, "drop_oldest", capacity=1).reaction < reactions["drop_oldest"]


def test_each_answer_tells_of_its_own_sample_though_some_are_decided_together(drive):
    decided = list(samples_of(drive, 0.06))
    assert len({when for when, _ in decided}) < len(decided)
    free, planning = 0.0, 0.04
    for when, sample in decided:
        free = max(free, when) + planning
        if sample.stamp >= danger() - 0.5 and time_to_collision(sample) < DANGER:
            break
    found = overload(drive, "block", planning, capacity=len(decided))
    assert found.reaction == pytest.approx(free - danger())


def test_a_planner_that_keeps_up_loses_nothing_under_any_policy(drive):
    for policy in ("block", "drop_oldest"):
        assert overload(drive, policy, planning=0.001).counts.lost == 0


def test_danger_raises_one_alarm_and_not_one_for_each_sample(drive):
    watch, first, dangerous = Watch(), None, 0
    for _, sample in samples_of(drive, 0.06):
        dangerous += time_to_collision(sample) < DANGER
        if watch.see(sample) and first is None:
            first = sample.stamp
    assert dangerous > 10
    assert 1 <= watch.alarms <= 3
    assert first == pytest.approx(danger(), abs=0.3)


def test_a_gap_that_opens_is_never_closed():
    sample = Sample(0.0, {"camera": Stamped(0, -1.0), "lidar": Stamped(0, 9.0), "imu": None}, 0.0)
    assert time_to_collision(sample) == math.inf


def test_a_drive_played_in_real_threads_gives_the_samples_of_the_recording():
    drive = record(seconds=2.0)
    expected = [sample.stamp for _, sample in samples_of(drive, 0.06, max_wait=None)]
    # However long one thread has to wait for the machine, its sensor does not count as silent.
    played = [sample.stamp for sample in play(drive, 0.06, speed=2.0, max_wait=None)[0]]
    assert len(expected) > 40
    assert played[: len(expected)] == expected  # the last ones are decided by the end of the drive


def test_a_drive_ends_before_the_cars_meet():
    with pytest.raises(ValueError, match="seconds must be at most 16"):
        record(seconds=17.0)


def test_a_ride_answers_for_the_moments_of_the_recording_and_ends_with_it():
    drive = record(seconds=1.0)
    offsets = drive.offsets()
    with LiveDriving(drive, planning=0.0, max_wait=None) as system:
        assert system.wait(WAIT)
    moment = system.read()
    seen = {item.data: item.stamp - offsets["lidar"] for _, item in drive.of("lidar")}
    assert abs(seen[moment.gap] - moment.stamp) <= 0.06
    assert moment.stamp > 0.8
    assert moment.stats.counts.exact
    camera = system.sensors.counts()["camera"]
    assert camera.exact
    assert moment.unmatched == camera.lost == camera.produced - camera.delivered
    assert system.read().seconds == moment.seconds  # the road has ended


def test_a_slow_planner_falls_behind_the_road_or_loses_samples():
    drive = record(seconds=1.0)
    moments = {}
    for policy in ("block", "drop_oldest"):
        with LiveDriving(drive, planning=0.1, policy=policy, capacity=1) as system:
            assert system.wait(WAIT)
        moments[policy] = system.read()
    assert moments["block"].stats.counts.lost == 0 < moments["drop_oldest"].stats.counts.lost
    # A slow planner needs three times as long as the road for all of it.
    assert moments["block"].behind > 1.0
    answered = {policy: moment.stats.counts.delivered for policy, moment in moments.items()}
    assert answered["drop_oldest"] < answered["block"]


def test_tolerance_and_planning_can_be_changed_while_it_runs():
    with LiveDriving(record(seconds=1.0), planning=0.0) as system:
        system.tolerance = 0.0
        system.planning = 0.001
        before = system.sensors.counts()["camera"].delivered  # sampled before the change
        assert system.wait(WAIT)
    assert (system.tolerance, system.planning) == (0.0, 0.001)
    # At a tolerance of 0 no frame finds a partner. One may have been decided while it changed.
    assert system.sensors.counts()["camera"].delivered <= before + 1
    with pytest.raises(ValueError, match="planning must be a finite number of seconds, 0 or more"):
        system.planning = -1.0
    with pytest.raises(ValueError, match=r"tolerance of .* must be a finite number"):
        system.tolerance = -1.0


# ---- pictures -----------------------------------------------------------------------------------


def test_the_pictures_are_drawn_and_their_captions_have_the_numbers(drive):
    tried = [try_tolerance(drive, seconds) for seconds in (0.02, 0.06)]
    results = [overload(drive, policy) for policy in ("block", "drop_oldest")]
    samples = [sample for _, sample in samples_of(drive, 0.03)]
    with LiveDigits(constant, rate=1000) as system:
        run_until_answered(system, 50)
        system.read()
        run_until_answered(system, 100)
        system.read()
    with LiveDriving(record(seconds=1.0), planning=0.0, max_wait=None) as ride:
        ride.read()
        assert ride.wait(WAIT)
        ride.read()
    pictures = {
        "behind": driving.live_driving(list(ride.history), ride.drive),
        "keeps": driving.tolerances(tried),
        "dropped": driving.policies(results),
        "samples": driving.alignment(drive, samples, 6.0, 6.8),
        "p99": streaming.live_digits(list(system.history), 0.05),
        "throughput": streaming.latency_and_throughput([(1, 10.0, 0.1), (8, 40.0, 0.2)], 0.15),
        "objective": streaming.under_load({"a": [(10, 0.1), (20, 0.3)]}, 0.2, capacity=15),
    }
    for word, picture in pictures.items():
        assert word in picture.caption
        assert any(letter.isdigit() for letter in picture.caption)
        assert len(png(picture)) > BLANK


def test_the_title_of_the_load_picture_names_who_holds_the_objective():
    curves = {"good": [(10, 0.1), (1000, 0.9)], "bad": [(10, 0.9), (1000, 0.9)]}
    (axes,) = streaming.under_load(curves, 0.2, capacity=100).axes
    assert axes.get_title(loc="left").endswith("by: good")
    (axes,) = streaming.under_load(curves, 0.2).axes
    assert axes.get_title(loc="left").endswith("by: none")


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: streaming.under_load({}, 0.1), "curves must have a point each"),
        (lambda: streaming.under_load({"a": []}, 0.1), "curves must have a point each"),
        (lambda: streaming.latency_and_throughput([]), "points must hold"),
        (lambda: driving.live_driving([], record(seconds=1.0)), "readings must hold"),
        (lambda: driving.policies([]), "results must hold"),
        (lambda: driving.tolerances([]), "results must hold"),
        (lambda: streaming.live_digits([], 0.1), "readings must hold"),
    ],
)
def test_a_picture_of_nothing_is_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()


@pytest.fixture
def whole_panels(monkeypatch):
    """The panels that were drawn whole, and not only their lines."""
    drawn = []
    draw = Axes.draw
    monkeypatch.setattr(
        Axes, "draw", lambda self, renderer: drawn.append(self) or draw(self, renderer)
    )
    return drawn


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def board():
    fixed = Panel("itself", [Line(float, "black")], top=50, limit=40)
    double = Panel("its double", [Line(float, "black"), Line(lambda x: 2 * x, "red")])
    return Dashboard([fixed, double] * 2, str, lambda one, last: one - last, (-10, 0))


def test_a_picture_that_follows_is_drawn_whole_only_when_a_scale_changes(whole_panels):
    followed = board()
    _, left, _, right = followed.axes
    for last in range(2, 6):
        followed.follow(list(range(last)))
        followed.png()
    # All of them once, and those of the doubles when their scale has grown from 5 to 10.
    assert whole_panels == [*followed.axes, left, right]
    followed.follow([1000.0])
    followed.png()
    followed.png()
    assert whole_panels[6:] == [left, right]
    assert left.get_ylim() == (0, 5000)


def test_lines_on_kept_pixels_are_the_picture_that_is_drawn_whole():
    followed, whole = board(), board()
    for last in range(2, 6):
        followed.follow(list(range(last)))
        followed.png()
    whole.follow(list(range(5)))
    assert followed.axes[0].get_ylim() == whole.axes[0].get_ylim()
    assert followed.png() == whole.png()
    # Drawn by matplotlib alone, all are there too, but under the frames of the axes.
    alone = pixels(png(whole.picture))
    assert (
        np.mean(pixels(followed.png()) != alone) < 0.005 < np.mean(pixels(board().png()) != alone)
    )


def test_a_scale_of_seconds_grows_with_what_goes_beyond_it():
    panel = Panel("itself", [Line(lambda x: math.nan if x == 11 else x, "black")])
    followed = Dashboard([panel] * 4, str, lambda one, _: one, (0, 10))
    followed.follow([11.0, 12.0])
    assert followed.axes[0].get_xlim() == (0, 24)
    assert followed.axes[0].get_ylim() == (0, 20)


# ---- widget -------------------------------------------------------------------------------------


def test_the_widget_starts_follows_its_slider_and_stops():
    widget = LiveDigitsWidget(constant, rate=500)
    assert repr(widget) == "<LiveDigitsWidget: not started, 500 frames/s, objective 50 ms>"
    assert widget.image.layout.display == "none"  # an image without bytes looks broken
    drawn = threading.Event()
    widget.image.observe(lambda _: drawn.set(), names="value")
    widget.start_button.click()
    assert widget.start_button.disabled
    widget.rate.value = 1000
    assert widget.system.rate == 1000
    assert drawn.wait(WAIT)
    widget.stop_button.click()
    assert widget.system is None
    assert not widget.start_button.disabled
    assert len(widget.image.value) > BLANK
    assert widget.image.layout.display is None
    assert "stopped: " in widget.text.value
    assert "dropped" in repr(widget)


def test_the_widget_can_be_started_again_and_stops_by_itself():
    widget = LiveDigitsWidget(constant, rate=500, longest=0.5)
    for _ in range(2):
        widget.start()
        widget._thread.join(WAIT)
        assert widget.system is None
        assert "stopped: " in widget.text.value


def test_the_widget_says_what_failed():
    def broken(images):
        raise RuntimeError("<no weights>")

    widget = LiveDigitsWidget(broken, rate=500)
    widget.start()
    widget._thread.join(WAIT)
    assert "failed: RuntimeError: &lt;no weights&gt;" in widget.text.value


def test_a_widget_whose_system_cannot_be_made_says_why_and_may_be_started_again():
    widget = LiveDigitsWidget(constant, rate=500, policy="<none>")
    with pytest.raises(ValueError, match="policy"):
        widget.start()
    assert "not started: ValueError: policy must" in widget.text.value
    assert "&lt;none&gt;" in widget.text.value
    assert widget.system is None
    assert not widget.start_button.disabled
    assert widget.stop_button.disabled


def test_a_widget_whose_picture_cannot_be_drawn_ends_its_system_and_says_why(monkeypatch):
    def broken(dashboard, history):
        raise RuntimeError("<no picture>")

    monkeypatch.setattr(Dashboard, "follow", broken)
    widget = LiveDigitsWidget(constant, rate=500, longest=WAIT)
    widget.start()
    widget._thread.join(WAIT)
    assert "failed: RuntimeError: &lt;no picture&gt;" in widget.text.value
    assert widget.system is None
    assert not widget.start_button.disabled


def test_the_widget_of_the_drive_follows_its_sliders_and_ends_with_the_drive():
    widget = LiveDrivingWidget(record(seconds=16.0))
    widget.planning.value = 0
    words = "not started, tolerance 60 ms, planning 0 ms, policy drop_oldest"
    assert repr(widget) == f"<LiveDrivingWidget: {words}>"
    assert widget.text.value == words
    widget.start_button.click()
    widget.tolerance.value, widget.planning.value = 10, 5
    assert (widget.system.tolerance, widget.system.planning) == (0.01, 0.005)
    widget.stop_button.click()
    widget = LiveDrivingWidget(record(seconds=0.5), max_wait=None)
    widget.start_button.click()
    widget._thread.join(WAIT)
    assert widget.system is None
    assert len(widget.image.value) > BLANK
    assert "behind; gap" in widget.text.value
    assert "stopped: " in widget.text.value


def test_closing_the_widget_ends_what_runs():
    widget = LiveDigitsWidget(constant, rate=500)
    widget.start()
    widget.close()
    assert widget.system is None


# ---- command ------------------------------------------------------------------------------------


def arguments(*words):
    return build_parser("live").parse_args(["live", *words])


def test_the_command_shows_readings_line_by_line_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr("dlkit.live.digits.train_recogniser", lambda: constant)
    monkeypatch.setattr(live, "EVERY", 0.05)
    assert live.run(arguments("digits", "--seconds", "0.3", "--rate", "500", "--ramp")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all("p50 p95 p99, ms" in line and "dropped" in line for line in lines)


def test_the_command_shows_a_drive(monkeypatch, capsys):
    monkeypatch.setattr(live, "EVERY", 0.05)
    assert live.run(arguments("driving", "--seconds", "1", "--planning", "0.001")) == 0
    assert "seconds to collision" in capsys.readouterr().out


def test_the_command_refuses_a_system_that_does_not_exist(project):
    done = subprocess.run(
        [sys.executable, "-m", "dlkit", "live", "flying"],
        cwd=project,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "digits" in done.stderr


@pytest.mark.parametrize("size", ["0", "-4", "many"])
def test_the_command_refuses_batches_of_no_samples(size, capsys):
    with pytest.raises(SystemExit):
        arguments("digits", "--fixed", size)
    assert "argument --fixed" in capsys.readouterr().err


def test_in_a_terminal_the_readings_are_a_table():
    from rich.console import Console

    console = Console(width=60, file=open("/dev/null", "w"), record=True)  # noqa: SIM115
    console.print(live._table({"answers/s": "200", "dropped": "0"}))
    text = console.export_text()
    console.file.close()
    assert "answers/s" in text
    assert "200" in text
