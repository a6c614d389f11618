"""Where the time goes, what to change, and what another setting would give.

    a run of a loader  --profile-->  Profile  --diagnose-->  findings, each with its gain
                                        |
    parts, one by one  --measure_costs--> Costs  --predict-->  throughput at other settings
                                                  tune, sweep: the same, measured as well

Read in this order:

    profiling     a run that is watched, on  private, watching, transforms (a loader that notes)
                                             facts, usage, kept (settings, memory, generators)
                                             probing, skew (what is measured beside the run)
    profiled      `Profile`, what was seen; in words  report
    costs         what the parts cost: as a run has shown  seen_costs,  or one by one  measure,
                  on  parts, clocks, lock, crossing
    predict       throughput at settings that were not run, on  settings
    findings      what to change, on  faults_limits, faults_speed, faults_data  and  gains
    tune, sweep   the best of all settings, and a table of many, on  candidates, running
"""
