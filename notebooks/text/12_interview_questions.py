# %% [markdown]
# # 12 Interview questions
#
# **After this notebook you will be able to**
#
# - answer the questions on data loading that interviews ask, and say why each answer is true;
# - recognise the common wrong answers and name the experiment that refutes them;
# - find the subjects in which you are weak, and let the right cards come again in time;
# - sit a mock interview against a clock and read its report.
#
# **Time:** 60 minutes, and 20, 45 or 60 more for an interview. **Needs:**
# [01 Batching](01_batching.ipynb) to [04 Workers](04_workers.ipynb); no network, no GPU.

# %%
import tempfile
from collections import Counter

from dlkit.lab import CardsWidget, Deck, MockInterview, Progress, Quiz, exercise
from dlkit.lab.exercises import find
from dlkit.lab.interview import Interview, draw, history, weakness

scratch = Progress(tempfile.mkdtemp())  # for answers that are given to show something
deck = Deck(scratch)
print(len(deck.cards), "cards:", dict(Counter(card.form for card in deck.cards.values())))

# %% [markdown]
# ## Where you stand: the pre-test
#
# Twelve cards, from all over the subject. They come again as the post-test, in another order, so
# that you can see what this course changed. Answer without looking anything up; a wrong guess now
# costs nothing and shows where to begin.
#
# **Predict.** How many of the twelve will you know? Write the number down: how far off it is tells
# you as much as the score.

# %%
pretest = Quiz.test("pre-test", deck)
CardsWidget(pretest)

# %%
before, after = Quiz.test("pre-test"), Quiz.test("post-test")
print("topics:", sorted({card.topic for card in before.cards}))
print("the post-test asks the same:", set(before.cards) == set(after.cards))

# %% [markdown]
# **Investigate.** The tab key goes from choice to choice, space takes one. After each answer you
# see why it is right or wrong, and most cards can run the code that proves it. Do not skip that:
# an answer that you saw run stays longer than one that you read.
#
# **Modify.** The widget above writes into a scratch folder. `CardsWidget(Quiz.test("pre-test",
# Deck()))` keeps your answers. How does the score change if you answer everything with the first
# choice?
#
# **Make.** Take the pre-test for real, and write down the topics that it tells you to revise.

# %% [markdown]
# ## Answers that everybody gives
#
# Some wrong answers are so common that interviewers ask for them. Each is a choice on a card, and
# the card's code refutes it.
#
# **Predict.** `num_workers=1` and `num_workers=0`: is there a difference, and what is it? And does
# a `DistributedSampler` ever give a sample to two ranks?

# %%
worker = deck.card("num-workers-one")
worker

# %%
print(worker.run())
for choice in worker.choices:
    print("right:" if choice.right else "wrong:", choice.because)

# %%
repeated = deck.card("distributed-never-repeats")
print(repeated.question, repeated.code, sep="\n")
print("prints", repeated.run())
print(repeated.longer)

# %% [markdown]
# **Investigate.** Both claims sound right because they are nearly right. One worker is *one process
# more* than none: it overlaps loading with computing, and pays for a copy. And shards are disjoint
# only when their number divides the number of samples; else the sampler repeats some, so that all
# ranks take the same number of steps.
#
# **Modify.** In the code of the second card (`print(repeated.code)`), let the number of samples be
# a multiple of the ranks. What is printed, and why is this the case that people test?
#
# **Make.** Read the cards `shuffle-mixes-batches`, `loader-on-the-gpu`, `more-workers-faster` and
# `smaller-batches-train-faster`. For each, say the refuting experiment aloud before you run it.

# %% [markdown]
# ## Again, at the right time
#
# A card that you knew well can wait; one that you did not should come again soon. The deck decides
# by FSRS, a model of forgetting: each answer changes how *stable* the memory is thought to be, and
# the card is due when the chance of knowing it falls to nine in ten.
#
# **Predict.** You rate one new card "again" and another "easy". Which comes first, and by which
# factor do their pauses differ: two, ten, or more than a hundred?

# %%
for name, rating in (("drop-last", "again"), ("stages", "easy")):
    deck.review(name, rating)
pauses = {name: standing.due for name, standing in deck.standings().items()}
gap = pauses["stages"] - pauses["drop-last"]
print("the card that was known comes later, by days:", gap.days)

# %%
import datetime

soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
print("due in an hour:", [card.name for card in deck.due(soon, new=0)])
print("with two new ones:", [card.name for card in deck.due(soon, new=2)])

# %% [markdown]
# **Investigate.** Minutes against days: more than a hundred. The deck keeps nothing but your
# answers; when a card is due is computed anew from them, so a better model can be used later on the
# same answers.
#
# **Modify.** Rate `drop-last` "good" four times in a row. Why does its pause hardly grow, although
# the answers are right? (Look at the clock.)
#
# **Make.** `CardsWidget()` asks what is due for *you*. Ten minutes a day do more than two hours on
# the eve of the interview.

# %% [markdown]
# ## The interview
#
# A mock interview has cards, code and bug hunts, a clock that you can see, and follow-up questions.
# It prefers what you got wrong before.
#
# **Predict.** A learner answered every card on workers wrongly and every one on shuffling rightly.
# Of the next questions, how many times more are on workers?

# %%
past = Progress(tempfile.mkdtemp())
for card in Deck(past, topics=["workers", "memory", "shuffling", "sampling"]).cards.values():
    wrong = card.topic in ("workers", "memory")
    past.record(card.name, "answered", "card", "again" if wrong else "easy")
drawn = Counter(q.subject for seed in range(50) for q in draw(20, 2, None, past, seed))
weak = weakness(past)
print({subject: round(weak[subject], 2) for subject in ("workers", "storage", "shuffling")})
print("asked more often about workers:", drawn["workers"] > 3 * drawn["shuffling"])

# %% [markdown]
# Now one in slow motion, without the widget and with a clock that stands: an answer in code that is
# wrong, then what the interviewer asks about it.

# %%
slow = Interview(20, 1, ["batching"], progress=scratch, clock=lambda: 0.0, seed=4)
while slow.question.kind != "coding":
    slow.skip()
asked = find(slow.question.name)
print(slow)
slow.answer(asked.mistakes[0])

# %%
slow.skip()
print(slow.question.text)
print()
print("A good answer:", slow.question.expected)

# %%
slow.answer("I see the line now", rating="hard")
slow.answer(0) if slow.question.name in deck.cards else slow.skip()
report = slow.finish()
print("\n".join(repr(report).splitlines()[2:14]))

# %% [markdown]
# **Investigate.** The follow-up is made from the property that your code broke and the smallest
# input that shows it; the likely mistake, which an exercise would tell you, is kept back as its
# answer. The report names what to do again, as calls that you can paste into a cell.
#
# **Modify.** Answer the coding question with an endless loop instead. What does the interviewer ask
# then?
#
# **Make.** Sit a real one now: choose twenty minutes below, and begin. You may pause; if the kernel
# is restarted, run the cell again and go on where you were.

# %%
MockInterview(Progress(tempfile.mkdtemp()))

# %%
(over,) = history(scratch)
print(f"{over.minutes} minutes, level {over.level}: {over.right} of {over.asked} right")
print("to revise:", *over.revise)

# %% [markdown]
# The widget above writes to a scratch folder, as all cells so far do. `MockInterview()` without an
# argument keeps your interviews, and `history()` lists them.
#
# The slow interview has left its question open. Answer it now, without a clock; this check counts.


# %%
def pad_and_mask(
    rows: list[list[float]], padding: float
) -> tuple[list[list[float]], list[list[bool]]]:
    raise NotImplementedError


# %%
exercise(asked.name).check(pad_and_mask)

# %% [markdown]
# ## Recap
#
# - An answer that you saw run is worth more than one that you read.
# - The common wrong answers are nearly right; the experiment that refutes each is a few lines.
# - Spacing follows from your answers: what was hard comes soon, what was easy comes late.
# - An interviewer goes where your answer broke: find the smallest input that breaks it first.

# %% [markdown]
# ## Check yourself
#
# 1. Name three answers on data loading that sound right and are wrong, and an experiment for each.
# 2. Why does a card come again sooner after "again" than after "hard", although you saw its answer?
# 3. Your code fails in the interview. What do you say before you change a line?
#
# <details><summary>Answers</summary>
#
# (1) For instance: more workers are always faster (measure with a step that is slower than the
# loader), `shuffle=True` mixes the batches (print two epochs), a `DistributedSampler` never repeats
# a sample (five samples, two ranks). (2) Reading an answer is not recalling it; the model takes
# "again" as forgotten. (3) The smallest input that fails, what should come out, and what does.
#
# </details>

# %% [markdown]
# ## Read on
#
# - Ye, Su and Cao (2022), "A Stochastic Shortest Path Algorithm for Optimizing Spaced Repetition
#   Scheduling": the model behind the deck.
# - Roediger and Karpicke (2006), "Test-Enhanced Learning": why answering beats reading again.
# - PyTorch's documentation of `torch.utils.data`, from its first line to its last.
# - Next: [13 Coding exercises](13_coding_exercises.ipynb), [15 Bug hunt](15_bug_hunt.ipynb), and
#   [16 Deep learning questions](16_deep_learning_questions.ipynb), eight more with experiments.
