# %% [markdown]
# # 11 Real time
#
# **After this notebook you will be able to**
#
# - say what a larger batch costs in latency and gives in throughput;
# - set a deadline, or an objective, and predict which loads will break it;
# - check a running queue with Little's law;
# - choose what to lose when there is too much, and count it;
# - bound the memory of a stream before it runs;
# - align sensors, and say what a tolerance costs.
#
# **Time:** 80 minutes. **Needs:** [04 Workers](04_workers.ipynb); no network, no GPU, no camera.

# %%
import asyncio
import threading
import time

import numpy as np
import torch

from dlkit.lab import LiveDigitsWidget, LiveDrivingWidget
from dlkit.live import LiveDigits, overload, record, train_recogniser, try_tolerance
from dlkit.live.driving import samples_of
from dlkit.plots import driving, streaming
from dlkit.streaming import Adaptive, Batcher, BufferPool, Camera, Fixed, MicroBatcher, Pipeline
from dlkit.streaming.simulated import simulate, steps

# %% [markdown]
# ## Latency against throughput
#
# A dataset waits for you; a camera does not. Two numbers count now: *throughput*, answers a second,
# and *latency*, seconds from the arrival of a frame to its answer.
#
# **Predict.** A model takes some time for each call and some for each frame. From batches of 1 to
# batches of 1,024, does throughput grow 1,024 times? What happens to the time of one batch?

# %%
torch.set_num_threads(1)
small = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 64), torch.nn.Linear(64, 10))
points = []


def measure(network, size):
    images, seconds = torch.rand(size, 1, 28, 28), []
    with torch.inference_mode():
        for _ in range(20):
            start = time.perf_counter()
            network(images)
            seconds.append(time.perf_counter() - start)
    return size, size / min(seconds), min(seconds)


# %%
# NBVAL_IGNORE_OUTPUT
for size in (1, 4, 16, 64, 256, 1024):
    points.append(measure(small, size))
    print("{:4} frames: {:9,.0f} frames/s, {:.6f} s a batch".format(*points[-1]))

# %%
(_, slow, first), (_, fast, last) = points[0], points[-1]
print("1,024 give more throughput than 1:", fast > 2 * slow)
print("but not 1,024 times as much:", fast < 1024 * slow)
print("and a batch takes longer:", last > first)
streaming.latency_and_throughput(points)

# %% [markdown]
# **Investigate.** The fixed cost of a call is shared by the batch; once it is small, throughput
# levels off while the time of a batch goes on growing. Beyond the bend you pay latency for nothing.
#
# **Modify.** Measure the CNN, `train_recogniser()`. A convolution is busy with one frame already:
# where is its bend?
#
# **Make.** Fit `seconds = a + b * size` to `points`. What throughput can no batch exceed?

# %% [markdown]
# ## Deadlines and objectives
#
# A *micro-batch* leaves when it is full, or when its oldest frame has waited `max_delay`. With an
# *objective*, size and delay are chosen while the stream runs.
#
# **Predict.** A call costs 2 ms and each frame 0.25 ms; 99 % of the answers should come within
# 60 ms (the *p99*). The load doubles from 25 to 6,400 frames/s. Where do batches of 1 fail, and
# where do batches of 64?


# %%
def service(frames):
    return 0.002 + 0.00025 * frames  # seconds


def p99_under(sizing):
    arrivals, plan = steps(first=25, factor=2, count=9, seconds=5.0)
    run = simulate(arrivals, Batcher(sizing, capacity=512, policy="drop_oldest"), service)
    return [(rate, run.percentile(0.99, start + 1, start + 5)) for start, rate in plan]


# %%
curves = {
    "batches of 1": p99_under(Fixed(1, delay=0.0)),
    "batches of 64": p99_under(Fixed(64, delay=10.0)),
    "adaptive": p99_under(Adaptive(objective=0.060, max_batch=64)),
}
streaming.under_load(curves, objective=0.060, capacity=64 / service(64))

# %%
sizing = Adaptive(objective=0.060, max_batch=64)
for load in (50, 800, 3200):
    arrivals, _ = steps(first=load, factor=1, count=1, seconds=20.0)
    run = simulate(arrivals, Batcher(sizing, capacity=512), service)
    print(f"{load:4} frames/s: batches of {run.sizes[-50:].mean():.1f}")

# %% [markdown]
# **Investigate.** This ran on a *simulated clock*: the batcher is told the time, so 45 seconds take
# one, and come out the same everywhere. Batches of 1 cannot keep up beyond 444 frames/s; batches of
# 64 wait for frames that do not come. The adaptive one measures what each size takes, and lets
# frames wait only for what the objective leaves over. In overload nobody holds it: something must
# be lost.
#
# **Modify.** Set the objective to 30 ms. Below which load does the adaptive batcher still hold it?
#
# **Make.** Plot a fixed batch of 64 with `delay=0.02`. Why is a deadline nearly enough?

# %% [markdown]
# ## Queues and Little's law
#
# On average, what is inside a system is its rate times the time each item spends there:
# $L = \lambda W$. It holds for any order, any distribution, any batching.
#
# **Predict.** 500 frames/s arrive; each takes 20 ms from arrival to answer. How many are inside?

# %%
camera, inside, answered = Camera(500, jitter=0.001, frames=1000), [], 0
pipeline = MicroBatcher(camera, max_batch=32, max_delay=0.015)


def look():
    while answered < 1000:
        inside.append(pipeline.counts().produced - answered)
        time.sleep(0.002)


threading.Thread(target=look, daemon=True).start()
for batch in pipeline:
    time.sleep(0.005)  # the model
    answered += len(batch)
    stats = pipeline.stats()

# %%
# NBVAL_IGNORE_OUTPUT
print(stats)
print(f"rate times time: {500 * stats.mean_latency:.1f}; counted: {np.mean(inside):.1f}")

# %%
counts = pipeline.counts()
print("counters:", counts)
print("Little's law:", 0.5 < np.mean(inside) / (500 * stats.mean_latency) < 2)

# %% [markdown]
# **Investigate.** The counters are read 500 times a second, not at every moment, so the two agree
# nearly; the law itself is exact for any stretch that begins and ends empty. Turn it round: a queue
# of 1,000 at 500 frames/s *is* two seconds of latency, whatever else you tune.
#
# **Modify.** Let the model take 40 ms. Which of the three numbers stays?
#
# **Make.** Bound the latency without any deadline: which `capacity` keeps it under 100 ms at 500
# frames/s?

# %% [markdown]
# ## What to lose
#
# A planner takes 50 ms for each of 30 samples a second: it can never keep up. The policy at the
# door of the queue decides what becomes of the rest.
#
# **Predict.** At second 12 the car ahead brakes hard. Under which policy does the planner hear of
# the danger last, and by how many seconds?

# %%
drive = record()
results = [overload(drive, p) for p in ("block", "drop_oldest", "drop_newest", "sample")]
driving.policies(results)

# %%
for result in results:
    counts = result.counts
    print(
        f"{result.policy:11} {counts.produced} = {counts.delivered} + {counts.lost}", counts.exact
    )
print(f"with room for one: {overload(drive, 'drop_oldest', capacity=1).reaction:.2f} s")

# %% [markdown]
# **Investigate.** `block` loses nothing and is useless: answers are about a road that is gone. The
# three others lose as much, but `drop_oldest` keeps what is fresh. A shorter queue is fresher
# still. At every moment *produced = delivered + dropped + in flight*: what was lost is a number,
# not a suspicion.
#
# **Modify.** Give `capacity=1` to all four. Why do two of them become equal?
#
# **Make.** Which policy would you take for frames that are stored and counted, not acted on?

# %% [markdown]
# ## Bounded memory
#
# **Predict.** Frames of 28x28 floats, 3,136 bytes; 100 may wait, batches of 32, a pool of two batch
# arrays. How many bytes can this stream take, at most? It reads up to 256 frames at once.

# %%
frame = np.zeros((28, 28), dtype=np.float32)
pool = BufferPool(2, shape=(32, 28, 28))
pipeline = Pipeline((frame for _ in range(5000)), max_batch=32, capacity=100, pool=pool)
arrays = {batch.array.__array_interface__["data"][0] for batch in pipeline}
print("bound in bytes:", pipeline.memory_bound())
print("by hand:       ", (100 + 256 + 32) * frame.nbytes + pool.nbytes)
print("arrays used for 5000 frames:", len(arrays), "- lost:", pool.leaked)


# %%
async def numbers():
    for number in range(6):
        await asyncio.sleep(0.001)
        yield number


stream = MicroBatcher(numbers(), max_batch=3, max_delay=1.0)
print([batch.items async for batch in stream])
try:
    Pipeline(numbers(), max_delay=-1.0)
except ValueError as error:
    print(error)

# %% [markdown]
# **Investigate.** Every box has an end, so the bound is known before the first frame but for its
# size. The pool lends the same memory again and again: nothing is allocated in the steady state.
# The second cell ran *inside* Jupyter's event loop, where `async for` waits without stopping it.
#
# **Modify.** Keep `batch.array` of every batch in a list. What do its values say after the loop?
#
# **Make.** Lend an array by `pool.lend()` and forget it. How does the pool know?

# %% [markdown]
# ## Live digit recognition
#
# Camera, queue, preprocessing, micro-batches, CNN: all of it in real time, in threads.
#
# **Predict.** You start at 100 frames/s and drag the load up. What grows first: the batch, the
# queue, or the latency?

# %%
model = train_recogniser()
LiveDigitsWidget(model, rate=100, objective=0.05)

# %%
# NBVAL_IGNORE_OUTPUT
with LiveDigits(model, rate=60, objective=0.1) as system:
    for rate in (60, 60, 60, 240, 240, 240):
        system.rate = rate
        system.wait(0.7)
        moment = system.read()
        print(f"{rate} frames/s: batches of {moment.batch:.1f},", moment.stats)

# %%
counts = system.pipeline.counts()
print("every frame is accounted for:", counts.exact, "- in flight:", counts.in_flight)
print("most answers are right:", system.right > 0.8 * system.answered)

# %% [markdown]
# **Investigate.** Press Start, then use the arrow keys on the slider. At first the batch grows and
# the latency hardly does: that is what the objective is for. Where your machine's capacity ends,
# the queue fills, and frames are dropped. Stop shows the sum.
#
# **Modify.** `LiveDigitsWidget(model, objective=None, max_batch=64, max_delay=10.0)`: why is it at
# its worst when there is nothing to do?
#
# **Make.** Write the answers of one second into a list, and find the frames that are wrong.

# %% [markdown]
# ## Driving
#
# Camera 30 Hz, lidar 10 Hz, IMU 100 Hz, into one sample. Items are late, lost, and stamped by three
# clocks, one of which is wrong. A *watermark* says when nothing earlier can still come.
#
# **Predict.** With a tolerance of 10 ms, which share of the camera's frames finds a lidar scan?

# %%
offsets = drive.offsets()
print({sensor: round(seconds, 3) for sensor, seconds in offsets.items()})
uncorrected = dict.fromkeys(offsets, 0.0)
print(f"kept, clocks corrected: {try_tolerance(drive, 0.03, offsets).kept:.2f}")
print(f"error, uncorrected:     {try_tolerance(drive, 0.06, uncorrected).error:.2f} m")
print(f"error, corrected:       {try_tolerance(drive, 0.06, offsets).error:.2f} m")

# %%
driving.alignment(drive, [sample for _, sample in samples_of(drive, 0.03)], 6.0, 6.8)

# %%
tried = [try_tolerance(drive, s) for s in (0.01, 0.02, 0.03, 0.05, 0.08, 0.12)]
driving.tolerances(tried)

# %% [markdown]
# **Investigate.** One frame in three has a scan within 10 ms. A wider tolerance keeps more, waits
# longer until nothing nearer can come, and fuses a frame with a gap from another moment. The clock
# that was wrong by 0.15 s fused badly, and nothing failed: offsets are measured from the items that
# were held up least.
#
# **Modify.** Use `match="before"` in an `Aligner`: what happens to the wait?
#
# **Make.** Brake on an event, not on every sample: `dlkit.live.driving.Watch`. How many alarms does
# the drive raise?
#
# Now drive: sixteen seconds, and the car ahead brakes at second 12.
#
# **Predict.** You give the planner 60 ms for each sample. How far is it behind the road at second
# 15 under `drop_oldest`, and how far under `block`?

# %%
LiveDrivingWidget(drive)

# %% [markdown]
# **Investigate.** Press Start, then move *planning* with the arrow keys. Under `drop_oldest` it is
# behind by the queue of 16 samples, and no more; under `block` by all that it has not done yet.
# Move *tolerance* down: frames find no partner, and fewer samples are left to plan for.
#
# **Modify.** Which planning time is the longest without a loss? Why that one?

# %% [markdown]
# ## Recap
#
# - Batches trade latency for throughput, up to a bend.
# - A deadline bounds waiting; an objective also chooses the size. Overload breaks both.
# - $L = \lambda W$: a long queue is a late answer.
# - A policy decides what is lost, exact counters say how much.
# - Bounded boxes and lent arrays make memory a number that is known beforehand.
# - Aligning needs clocks that agree, a tolerance, and watermarks.

# %% [markdown]
# ## Check yourself
#
# 1. Your p99 is 80 ms at 10 frames/s and 20 ms at 1,000. What is set wrongly?
# 2. A queue holds 300 items at 150 a second. How old is what comes out of it?
# 3. Two sensors align well in the morning and not at all at noon; nothing was changed. What do you
#    print first?
#
# <details><summary>Answers</summary>
#
# (1) The delay: batches wait for frames that do not come. (2) Two seconds. (3) The offset of each
# clock over the day.
#
# </details>

# %% [markdown]
# ## Read on
#
# - Crankshaw and others: *Clipper: A Low-Latency Online Prediction Serving System* (2017).
# - Akidau and others: *The Dataflow Model* (2015), on watermarks and lateness.
# - Dean and Barroso: *The Tail at Scale* (2013), on why the p99 counts.
# - Little: *A Proof for the Queuing Formula* (1961).
# - In the package: `dlkit/streaming/flow.py`, the way of an item in one page.
# - Next: [12 Interview questions](12_interview_questions.ipynb).
