"""Turn a checkpoint into graphs for devices, each step verified."""
