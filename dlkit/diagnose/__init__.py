"""Where the time goes, what to change, and what another setting would give.

    Costs --predict--> Prediction        what a pipeline's parts cost decides what it delivers

`costs` holds what was measured, `predict` what follows from it at settings that were not run.
"""
