"""The executable guarantee: real servers, real clients, real faults, and a checker of what became of everything.

`python -m tests.chaos --help`, or `make chaos`. A run draws faults by seed, records what clients see from outside
(`history`), and judges that alone (`checker`): nothing in the servers is trusted or looked into.
"""
