"""Live data: batches with deadlines, streams in order of time, queues with limits."""
