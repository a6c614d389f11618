"""What only a notebook needs: widgets over the package's own functions, and the notebook tool.

Nothing here holds an algorithm: a widget asks ``samplers``, ``collate`` or ``plots`` and shows
the answer.
"""
