"""Files in and out: audio, images, arrays, tables, hashes; every write is atomic.

Reads: wav/flac, pictures, ``.npy``, ``.safetensors``, CSV, JSON. Writes: the same, never in place.
To add a format: one module here with a ``read_x`` and a ``write_x`` that raise ``DataError`` subclasses naming the file.
"""
