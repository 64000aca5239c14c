"""The paper's claims as experiments: what to train, what to measure, and the results.

`definitions` says which runs an experiment has, `runner` executes them through the ordinary commands, `measurement`
evaluates them, `results` keeps one row per run, and `report` writes docs/results.md from the rows.
"""
