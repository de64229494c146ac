"""Train models: networks, data, the loop, evaluation. May use runtime for media and the spec."""
