"""Pictures of the pipeline: plain data in, a matplotlib ``Figure`` out.

Every function here is pure: it computes nothing that a caller could not check, keeps no state
and never touches pyplot, so it is safe on any thread. ``style`` holds what the pictures share; each
other module draws one subject:

    pipeline                           the stages of a batch
    batching, shuffling, augmentation  what is in a batch
    building, workers, live_timeline   who fetches which batch when, and in which order it comes
    profiling, prediction, sweep       what was measured, predicted, and tried
    training, classification           what a model learned, and what it takes for what
    sharding, ranks                    samples and time of several ranks
    storage                            formats and caches
    streaming, driving, dashboard      live systems, and a picture that follows one
    exercises, demos                   a learner's answer beside the right one; demonstrations
"""
