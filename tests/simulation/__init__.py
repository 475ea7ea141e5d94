"""The deterministic simulator: a whole cluster in one process, from one seed.

    python -m tests.simulation --seeds 0:100                 every class
    python -m tests.simulation --seeds 7 --class cut --trace one run, told line by line

The real core (`chatsvc.replication`) runs in simulated processes. What surrounds it is simulated: `agenda`
(time), `network`, `disk`, `directory`, `server` (machine, process, host of the core), `workload` (clients),
`machine` (the replicated toy state). `faults` is the nemesis, `availability` asks whether the last survivor
serves, `checkers` judges. `parameters` turns a seed into a cluster, `run` into an outcome; `ledger` keeps
figures.
"""
