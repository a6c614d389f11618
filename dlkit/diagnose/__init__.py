"""Where the time goes, what to change, and what another setting would give.

    a run of a loader  --profile-->  Profile  --diagnose-->  findings, each with its gain
                                        |
    parts, one by one  --measure_costs--> Costs  --predict-->  throughput at other settings
                                                  tune, sweep: the same, measured as well

Read `profiling` (a run that is watched; `private`, `watching`, `probing`, `skew` say how), then
`profiled` (what was seen), `costs` and `predict` (what follows from it at settings that were not
run), then `findings` with the three modules of `faults_*`, and `tune` and `sweep`.
"""
