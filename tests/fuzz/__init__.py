"""Everything that comes from outside, given by the hundred thousand: `make fuzz CASES=200000` (SEED=1, TARGET=name).

No case may end otherwise than by being taken or by an error of ours, none may hang, and memory must not grow. What is
given depends on nothing but seed, target and number: `make fuzz TARGET=event SEED=1 CASE=17` gives one case again.
"""
