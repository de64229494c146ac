"""Run a model on media. Never imports torch."""
