"""One module per hypervisor: see `tests/contract/rig.py`."""
