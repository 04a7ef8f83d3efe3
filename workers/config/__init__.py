"""The configuration of a process: settings, inventory, keys, and where Redis is."""
