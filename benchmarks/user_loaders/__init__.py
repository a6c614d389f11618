"""Loaders as users write them: what `dlkit profile` is run on.

    dlkit profile benchmarks.user_loaders.pictures:make_loader
    dlkit profile benchmarks.user_loaders.texts:make_loader
    dlkit profile benchmarks.user_loaders.numbers:make_loader

Each makes its own data in a temporary folder when it is first asked.
"""
