# %% [markdown]
# # 16 Deep learning questions
#
# Eight questions open nearly every interview on deep learning. Each has a textbook answer, and each
# has a small experiment behind it. Here are the experiments.
#
# **After this notebook you will be able to**
#
# - answer the eight questions in a sentence, and name the numbers that prove each answer;
# - say what each idea costs and where it ends;
# - tell an effect from luck: by a control, and by several seeds.
#
# **Time:** 90 minutes. **Needs:** [07 Train a CNN](07_train_a_cnn.ipynb); no network, no GPU.

# %%
from dlkit.lab import demos
from dlkit.lab.cards import load

cards = {card.demo: card for card in load().values() if card.demo}
for name in demos.DEMOS:
    print(f"{name:18} {cards[name].question}")

# %% [markdown]
# ## What is deep learning?
#
# Two spirals, 200 points each. Three models: a line; four linear layers with nothing between them;
# the same four layers with a tanh between them.
#
# **Predict.** How many points in a hundred does each of the three get right? Does depth help
# without the tanh?

# %%
# NBVAL_IGNORE_OUTPUT
spirals = demos.separate_spirals()
spirals.picture()

# %%
right = spirals.accuracy
print("the deep net separates them:", right["deep"] > 0.95)
print("a line does not:", right["linear"] < 0.75)
print("nor do layers without nonlinearity:", right["deep, no nonlinearity"] < 0.75)

# %% [markdown]
# **Investigate.** Look at the picture on the right: the last layer of the deep net draws a line,
# like the linear model. It works because the layers before have moved the points. That is the
# answer: *learned layers turn the data until a simple model suffices*. Linear maps one after
# another are one linear map, so depth without a nonlinearity buys nothing.
#
# **Modify.** `separate_spirals(n=20)`: fewer points. Does the net still find spirals, or only
# twenty points?
#
# **Make.** By hand: two layers with ReLU that compute exclusive or. The card's code has an answer:
# `print(load()["what-deep-learning-is"].code)`.

# %% [markdown]
# ## What are CNNs?
#
# A dense and a convolutional net learn digits that stand in the middle of the image.
#
# **Predict.** Then the digits move by four pixels, a third of their width. Which share does each
# still recognise? Which of the two has more parameters?

# %%
# NBVAL_IGNORE_OUTPUT
shifted = demos.shift_digits()
shifted.picture()

# %%
convolutional, dense = shifted.accuracy["convolutional"], shifted.accuracy["dense"]
print("parameters:", shifted.parameters)
print("maps move with the image:", shifted.equivariance_error < 1e-5)
print("both know digits in the middle:", min(convolutional[0], dense[0]) > 0.9)
print("after four pixels, CNN above dense by 30 points:", convolutional[-1] > dense[-1] + 0.3)

# %% [markdown]
# **Investigate.** A filter gives the same answer wherever its stroke stands, so a moved digit gives
# moved maps; here the largest value anywhere is then kept, and the place no longer matters. The
# dense net has a weight for every place, and has never seen a digit at this one.
#
# **Modify.** `shifted.filters` are the learned weights. Which one looks for horizontal strokes?
#
# **Make.** `exercise("conv2d")`: the convolution itself, in plain loops.

# %% [markdown]
# ## What is back-propagation?
#
# **Predict.** A net with 13 weights. How many forward passes do differences of the loss need for
# the gradient, and how many does back-propagation? In a chain of 20 layers, what is left of the
# gradient at the first one when weights are half as large as they should be?

# %%
flow = demos.gradients_by_hand()
flow.picture()

# %%
print("by hand and autograd agree:", flow.autograd_error < 1e-12)
print("by hand and differences agree:", flow.difference_error < 1e-8)
print("forward passes that differences need:", flow.forward_passes)
print("half-sized weights leave less than a thousandth:", flow.norms[0.5][0] < 1e-3)

# %% [markdown]
# **Investigate.** Follow the red numbers from the right: each is made from the one after it, times
# a weight, times the slope of tanh. One walk back gives all 13, at about the price of two forward
# passes. It is also why depth is hard: twenty factors below one are nearly nothing.
#
# **Modify.** `gradients_by_hand(seed=3)`. Which edge has the largest gradient now, and which two
# numbers make it?
#
# **Make.** `exercise("two_layer_backward")`, for a batch, against autograd.

# %% [markdown]
# ## What are RNNs?
#
# A net reads one bit, then zeros, and must name the bit at the end.
#
# **Predict.** Up to which distance does a plain recurrent net manage: 5, 20, or 60 steps? And an
# LSTM as PyTorch starts it?

# %%
# NBVAL_IGNORE_OUTPUT
bits = demos.remember_a_bit()
bits.picture()

# %%
plain, opened = bits.accuracy["plain"], bits.accuracy["LSTM, gate open"]
print("over five steps the plain net remembers:", plain[0] > 0.95)
print("over sixty it guesses:", plain[-1] < 0.65)
print("an LSTM whose gate starts open remembers:", opened[-1] > 0.95)
print("gradient left in the plain net is nothing:", bits.gradients["plain"][0] < 1e-6)

# %% [markdown]
# **Investigate.** The right-hand panel was drawn *before* any training and foretells the left one:
# what has no gradient cannot be learned. The LSTM is no cure by name. Its forget gate starts half
# shut, and a half to the power of 60 is nothing as well; with a bias of 5 it starts open.
#
# **Modify.** Set `demos.recurrence.OPEN = 1` and run again. How far does the LSTM reach now?
#
# **Make.** `exercise("lstm_cell")`: find the line that makes the state's gradient a product of
# gates.

# %% [markdown]
# ## What are GANs?
#
# Real points lie in five heaps. The generator never sees one.
#
# **Predict.** From what, then, does it learn where they are? And when it has learned, how sure is
# the discriminator of a real point?

# %%
# NBVAL_IGNORE_OUTPUT
forged = demos.forge_points()
forged.picture()

# %%
start, _, end = forged.snapshots
print("at the start, few points are near:", start.near < 0.2)
print("at the end, most are:", end.near > 0.6)
print("heaps found:", end.heaps, "of 5")
print("the discriminator is unsure of real points:", 0.3 < end.verdicts[0] < 0.7)

# %% [markdown]
# **Investigate.** Grey is where the discriminator says "generated". The generator's points walk up
# this slope, and the slope changes under their feet: a game, not a descent. That it ends well is
# not promised; the known failure is *collapse*, where some heaps stay empty.
#
# **Modify.** Run `forge_points(seed)` for seeds 1 to 3. Is every heap found each time?
#
# **Make.** `exercise("gan_losses")`: both losses, and why one of them goes blind.

# %% [markdown]
# ## What is reinforcement learning?
#
# A walk from start to goal along a cliff: every step costs 1, a fall costs 100.
#
# **Predict.** One move in ten is random, also at the edge. Will the *learned* path keep away from
# the cliff?

# %%
walked = demos.walk_the_cliff()
walked.picture()

# %%
print("steps of the learned path:", len(walked.path) - 1)
print("rows it walks through:", sorted({row for row, _ in walked.path}))
print("values on it are exact:", walked.error < 1e-6)

# %% [markdown]
# **Investigate.** It walks on the edge. Q-learning learns the value of acting *best from here on*,
# whatever it does while learning; its own falls, the dips in the curve, do not frighten it. Nobody
# told it the way: value has come back from the goal, one field at a time.
#
# **Modify.** `walk_the_cliff(episodes=30)`: which fields have a value already?
#
# **Make.** Write the update of SARSA, which uses the action really taken next. Which path does it
# learn? Then `exercise("q_update")`.

# %% [markdown]
# ## What is transfer learning?
#
# A net has learned digits 0 to 4, wherever in the image they stand. Now it gets 5 to 9, anywhere
# too, with 1, 3 or 10 labels a class.
#
# **Predict.** With its old features frozen, does it beat the same net trained from scratch? Does it
# beat *random* features that are frozen too?

# %%
# NBVAL_IGNORE_OUTPUT
reused = demos.reuse_features()
reused.picture()

# %%
for count in reused.labels:
    old, scratch, chance = (reused.mean(way, count) for way in reused.accuracy)
    print(f"{count:2} labels: old features beat scratch: {old > scratch},", end=" ")
    print(f"beat random features: {old > chance}")

# %% [markdown]
# **Investigate.** The random features are the control: they have as little to learn as the old
# ones, so what lies between the two was carried over: mostly, that a stroke means the same wherever
# it stands. It is no law: with digits in the middle, the net from scratch wins.
#
# **Modify.** `demos.transfer.FARTHEST = 0`, and run again. Why do the old features lose now?
#
# **Make.** `exercise("freeze_body")`: frozen weights, and what batch normalisation does meanwhile.

# %% [markdown]
# ## What is distillation?
#
# **Predict.** A student that has never seen a 3 learns from a teacher's probabilities. Which share
# of threes does it name? And one that learns from labels?

# %%
# NBVAL_IGNORE_OUTPUT
distilled = demos.teach_a_student()
distilled.picture()

# %%
few, never = distilled.accuracy, distilled.unseen
print("from labels, no 3 is ever named:", max(never["labels"]) == 0)
print("from the teacher, most are:", sum(never["teacher"]) / 3 > 0.4)
better = sum(t > h for t, h in zip(few["teacher"], few["labels"], strict=True))
print("with few images the teacher helps in most runs:", better >= 2)

# %% [markdown]
# **Investigate.** The teacher says of some 5 that it is a little like a 3. From many such doubts
# the student learns what a 3 looks like. At temperature 1 these doubts are thousandths and move
# nothing; dividing logits by 4 brings them up.
#
# **Modify.** Set `demos.distillation.TEMPERATURE = 1` and run again. What becomes of the threes?
#
# **Make.** `exercise("distillation_loss")`: where does the factor of the squared temperature come
# from?

# %% [markdown]
# ## Recap
#
# - Depth bends space; it needs a nonlinearity. Convolution shares weights over places.
# - Back-propagation is the chain rule from the end; a product of small factors is its limit, in
#   deep nets and in long sequences. Gates that stand open keep it alive.
# - A GAN learns from a judge, Q-learning from rewards, a student from doubts.
# - Reused features need a control, and few labels need several seeds.

# %% [markdown]
# ## Check yourself
#
# 1. Frozen random features do as well as frozen old ones. What was transferred?
# 2. What do a 20-layer net with small weights and a plain RNN over 60 steps have in common?
# 3. Why does Q-learning walk at the edge, although it falls while it explores?
#
# <details><summary>Answers</summary>
#
# (1) Nothing: the gain came from having less to learn. (2) The gradient is a product of many
# factors below one. (3) It values the best action from each field, not the one it happens to take.
#
# </details>

# %% [markdown]
# ## Read on
#
# - LeCun, Bengio and Hinton (2015), "Deep learning": the field in nine pages.
# - Each demonstration names its paper: `help(demos.teach_a_student)`.
# - PyTorch's tutorials on transfer learning, DCGAN, and reinforcement learning (DQN).
# - Next: [12 Interview questions](12_interview_questions.ipynb), with these cards among them.
