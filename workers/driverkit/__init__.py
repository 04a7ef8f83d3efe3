"""The kit that hypervisor drivers share: connections, fault translation, storage routes, inventory tables, SSH."""
