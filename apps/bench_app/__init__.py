"""What ``avol bench`` measures, one question a module."""
