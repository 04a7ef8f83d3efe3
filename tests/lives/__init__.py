"""Lives: a VM's whole life as Hypothesis makes it up, over the real store and the real use case (`make lives`).

Publishers that do not wait, workers that die or stand still at any point, operators, clones, hosts and storages that
are away for a time or for good. `asked` says in a few words what must come of it.
"""
