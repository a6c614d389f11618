"""Pictures of the pipeline: plain data in, a matplotlib ``Figure`` out.

Every function here is pure: it computes nothing that a caller could not check, keeps no state
and never touches pyplot, so it is safe on any thread. ``style`` holds what the pictures share.
"""
