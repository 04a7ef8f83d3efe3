"""The life of one VM's drive: from an event and what the hypervisor shows to the steps that make it true.

`reconcile` is the way in; it uses `transitions` (event and state to goal), `plan` (goal to steps) and `execute` (steps
to driver calls). `state` is what is remembered between events.
"""
