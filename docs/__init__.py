"""The site: pages, slides and lesson plans, made from the notebooks and the docstrings.

    notebooks, docstrings, plans, README --stage--> sources --Sphinx--> pages --check--> build/site
                                                    slides --nbconvert-------^

`python -m docs.build` makes all of it, asks for nothing from outside, and runs no notebook: the
outputs are those that are committed, and tested. Read `build` (the steps), then `stage`, which uses
`notebook_page`, `still`, `terms` and `reference`; then `slides` and `links`.
"""
