"""The chaos suite: the lives of many VMs on a fleet that is being broken all the time. `make chaos` runs it.

`plan.py` says what happens, and `plan_from_seed.py` makes it up from a seed. `storm.py` carries it out on real workers
and a real Redis: `orchestrators.py` publish and look, `troubles.py` breaks things, `witness.py` keeps what a spy could
have seen.
`model.py` knows what must be true of each VM; `judge.py` has the checks, and `verdict.py` makes them all.
"""
