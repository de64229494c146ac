"""Published evaluation protocols: their annotations, the media they name, and what a model makes of them.

Boxes are read for measuring alone; nothing here is learnt from.
"""
