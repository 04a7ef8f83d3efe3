"""The XenServer driver and its peer."""
