"""Figures of networks, runs and localisations, for papers and model cards. matplotlib, without a window.

Every module draws one figure and gives it back; :mod:`avol.train.figures.style` writes it to a file.
"""
