"""Logs, metrics, traces and Flower's pages: what operators see of the work."""
