"""The cases that every hypervisor driver passes. `rig.py` says what a driver brings along to be put through them."""
