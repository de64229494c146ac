"""Read and write media with PyAV."""
