"""Data to train on: class-labelled photographs and sounds, real clips, and the scenes composed of them."""
