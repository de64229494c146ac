"""Clips from the web by a list: which seconds of which video, fetched politely and once."""
