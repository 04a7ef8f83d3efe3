"""The work that the queue carries: an event's task and attempt, the lease, the retry policy, the intake, the sweep.

Knows Celery, knows no hypervisor.
"""
