"""The demo in a browser. Handlers are plain functions; only ``page`` and ``server`` know Gradio."""
