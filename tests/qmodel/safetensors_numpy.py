"""safetensors files with struct, json and NumPy alone; groups, vectors and attributes look as those
of h5py do."""
import json
import struct

import numpy as np

TYPES = {"U8": np.uint8, "I8": np.int8, "I32": "<i4", "F32": "<f4"}


def load(path):
    """(tensors by name, metadata), after checking all that the format asks for."""
    with open(path, "rb") as f:
        data = f.read()
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0 and data[8:9] == b"{"
    header = json.loads(data[8:8 + length])
    body, tensors, ends = data[8 + length:], {}, [0]
    metadata = header.pop("__metadata__")
    assert all(isinstance(v, str) for v in metadata.values())
    for name, about in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = about["data_offsets"]
        assert begin == ends[-1], "a hole"
        ends.append(end)
        dtype = np.dtype(TYPES[about["dtype"]])
        assert begin % dtype.itemsize == 0, "not aligned"
        tensors[name] = np.frombuffer(body[begin:end], dtype).reshape(about["shape"])
    assert ends[-1] == len(body)
    return tensors, metadata


class Node:
    def __init__(self, tensors, metadata, path=""):
        self.tensors, self.metadata, self.path = tensors, metadata, path
        mark = path + ":"
        self.attrs = {k[len(mark):] if path else k: v for k, v in metadata.items()
                      if (k.startswith(mark) if path else ":" not in k)}

    def _inner(self, name):
        return self.path + "/" + name if self.path else name

    def __contains__(self, name):
        path = self._inner(name)
        return any(k == path or k.startswith(path + "/") for k in self.tensors)

    def __iter__(self):
        start = self.path + "/"
        return iter({k[len(start):].split("/")[0] for k in self.tensors if k.startswith(start)})

    def __getitem__(self, key):
        if isinstance(key, str):
            return Node(self.tensors, self.metadata, self._inner(key))
        return self.tensors[self.path][key]


def open_file(path):
    return Node(*load(path))
