"""Runs integer models of halftone on NumPy arrays.

    import halftone

    with halftone.Model("runs/fashion-mnist/w4a8-seed1/model.h5") as model:
        print(model)
        logits = model.predict(images)        # float32 [rows, outputs]
        classes = model.classify(images)      # [rows]

One file, nothing to build: it calls the shared library libhalftone.so. That is looked for, in this
order, at HALFTONE_LIBRARY, beside this file, in the lib folders above this file, and where the
system looks.

Any number of threads may use one model. Calls let other Python threads run meanwhile. Models are
read by libhdf5, which is not safe for threads: models may be opened by several threads, but not
while other code of this process (h5py) uses that library.
"""
import ctypes
import os
import sys
import threading

import numpy as np

__all__ = ["Model", "Layer", "Error", "version"]

_SONAME = "libhalftone.so.0"
_FILE_NAMES = (_SONAME, "libhalftone.so")


class Error(Exception):
    """What the library refused, in its own words. status: the number of enum ht_status."""

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


class Layer:
    """What one layer is: name, activation, inputs, outputs, weight_bits, input_bits (32: float32)."""

    def __init__(self, c):
        self.name = c.name.decode()
        self.activation = c.activation.decode()
        self.inputs, self.outputs = c.inputs, c.outputs
        self.weight_bits, self.input_bits = c.weight_bits, c.input_bits

    def __repr__(self):
        return "<Layer %s: %d -> %d, %d-bit weights, %s>" % (
            self.name, self.inputs, self.outputs, self.weight_bits, self.activation)


# --- the library ---

class _CError(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("signal", ctypes.c_int), ("msg", ctypes.c_char * 2048)]


class _CLayer(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char * 64), ("activation", ctypes.c_char * 16),
                ("inputs", ctypes.c_size_t), ("outputs", ctypes.c_size_t),
                ("weight_bits", ctypes.c_int), ("input_bits", ctypes.c_int)]


_pointer, _size, _text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
_FUNCTIONS = {  # name: what comes back, what goes in
    "ht_version": (_text, []),
    "ht_predictor_open": (ctypes.c_int, [ctypes.POINTER(_pointer), _text, _size,
                                         ctypes.POINTER(_CError)]),
    "ht_predictor_close": (None, [_pointer]),
    "ht_predictor_features": (_size, [_pointer]),
    "ht_predictor_outputs": (_size, [_pointer]),
    "ht_predictor_classes": (_size, [_pointer]),
    "ht_predictor_class_name": (_text, [_pointer, _size]),
    "ht_predictor_name": (_text, [_pointer]),
    "ht_predictor_task": (_text, [_pointer]),
    "ht_predictor_mode": (_text, [_pointer]),
    "ht_predictor_layers": (_size, [_pointer]),
    "ht_predictor_layer": (ctypes.c_int, [_pointer, _size, ctypes.POINTER(_CLayer)]),
    "ht_context_create": (ctypes.c_int, [ctypes.POINTER(_pointer), _pointer, _size, ctypes.c_uint,
                                         ctypes.POINTER(_CError)]),
    "ht_context_destroy": (None, [_pointer]),
    "ht_context_run": (None, [_pointer, _pointer, _size, _pointer]),
}
_lock = threading.Lock()  # of loading the library, and of libhdf5
_library = None


def _candidates():
    here = os.path.dirname(os.path.abspath(__file__))
    triplet = getattr(sys.implementation, "_multiarch", "")
    above = os.path.dirname(os.path.dirname(here))  # lib/python3/dist-packages: lib
    for folder in (here, above, os.path.join(above, triplet), above + "64"):
        for name in _FILE_NAMES:
            if os.path.isfile(os.path.join(folder, name)):
                yield os.path.join(folder, name)
    yield _SONAME


def _load():
    global _library
    with _lock:
        if _library is not None:
            return _library
        wanted = os.environ.get("HALFTONE_LIBRARY")
        tried = []
        for path in [wanted] if wanted else _candidates():
            try:
                library = ctypes.CDLL(path)
                for name, (result, arguments) in _FUNCTIONS.items():
                    function = getattr(library, name)
                    function.restype, function.argtypes = result, arguments
                _library = library
                return library
            except (OSError, AttributeError) as e:
                tried.append("%s: %s" % (path, e))
        raise ImportError("libhalftone is not usable; HALFTONE_LIBRARY can name it. " +
                          "; ".join(tried))


def version():
    """Of the library."""
    return _load().ht_version().decode()


def _check(status, error):
    if status != 0:
        raise Error(error.msg.decode("utf-8", "replace"), status)


# --- models ---

class Model:
    """An integer model from a file. threads: that one call may use (0: as many as there are);
    max_batch: rows that go through the network together.

    Attributes: path, name, task, mode, inputs, outputs, classes (names, or []), layers.
    """

    def __init__(self, path, threads=1, max_batch=256):
        self._handle = None  # first: __del__ reads it whatever happens below
        self._idle, self._busy = [], 0
        self._state = threading.Condition()
        self._c = c = _load()
        if not (isinstance(threads, int) and 0 <= threads <= 64):
            raise ValueError("threads must be a whole number from 0 to 64, not %r" % (threads,))
        if not (isinstance(max_batch, int) and max_batch >= 1):
            raise ValueError("max_batch must be a whole number from 1 on, not %r" % (max_batch,))
        self.path, self._threads, self._max_batch = os.fspath(path), threads, max_batch
        handle, error = _pointer(), _CError()
        with _lock:
            _check(c.ht_predictor_open(handle, os.fsencode(path), 1, error), error)
        self._handle = handle
        self.inputs, self.outputs = c.ht_predictor_features(handle), c.ht_predictor_outputs(handle)
        self.name, self.task, self.mode = (
            f(handle).decode("utf-8", "replace")
            for f in (c.ht_predictor_name, c.ht_predictor_task, c.ht_predictor_mode))
        self.classes = [c.ht_predictor_class_name(handle, i).decode("utf-8", "replace")
                        for i in range(c.ht_predictor_classes(handle))]
        self.layers = []
        for i in range(c.ht_predictor_layers(handle)):
            layer = _CLayer()
            c.ht_predictor_layer(handle, i, layer)
            self.layers.append(Layer(layer))

    def predict(self, x):
        """Outputs, float32 [rows, outputs], of x [rows, inputs], or [outputs] of one row [inputs];
        images may keep their shape: [rows, height, width]. Values are as in the training data:
        bytes of images as uint8 0..255 or as floats 0.0..255.0, features not standardized. Other
        types of numbers are rounded to float32."""
        rows, single = self._rows(x)
        y = np.empty((len(rows), self.outputs), np.float32)
        context = self._take()
        try:
            if len(rows):
                self._c.ht_context_run(context, rows.ctypes.data, len(rows), y.ctypes.data)
        finally:
            self._give_back(context)
        return y[0] if single else y

    def classify(self, x):
        """The class of each row, a number [rows] (or one of one row); classes[n] is its name."""
        if self.task != "classification":
            raise TypeError("%s is a model for %s: it has no classes" % (self.name, self.task))
        y = self.predict(x)
        if self.outputs == 1:
            return (y[..., 0] > 0).astype(np.intp)
        return y.argmax(axis=-1)

    def close(self):
        """Waits for calls that run, and frees the model. More than once is allowed."""
        with self._state:
            self._state.wait_for(lambda: self._busy == 0)
            handle, self._handle = self._handle, None
            idle, self._idle = self._idle, []
        for context in idle:
            self._c.ht_context_destroy(context)
        if handle is not None:
            self._c.ht_predictor_close(handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_handle", None) is not None:
            self.close()

    def __repr__(self):
        return "<Model %s: %s, %s, %d inputs, %d outputs, %s-bit weights%s>" % (
            self.name, self.task, self.mode, self.inputs, self.outputs,
            "/".join(str(layer.weight_bits) for layer in self.layers),
            "" if self._handle is not None else ", closed")

    def _rows(self, x):
        """x as float32 [rows, inputs], contiguous; and whether it was one row."""
        x = np.asarray(x)
        if x.dtype.kind not in "buif":
            raise TypeError("inputs must be numbers, not %s" % x.dtype)
        if x.shape == (self.inputs,):
            return np.ascontiguousarray(x, np.float32).reshape(1, -1), True
        if x.ndim < 2 or int(np.prod(x.shape[1:])) != self.inputs:
            raise ValueError("inputs of %s are [rows, %d], not %s"
                             % (self.name, self.inputs, list(x.shape)))
        return np.ascontiguousarray(x, np.float32).reshape(len(x), self.inputs), False

    def _take(self):
        """Buffers for one call; each call that runs has its own."""
        with self._state:
            if self._handle is None:
                raise ValueError("this model is closed")
            self._busy += 1
            if self._idle:
                return self._idle.pop()
        context, error = _pointer(), _CError()
        try:
            _check(self._c.ht_context_create(context, self._handle, self._max_batch, self._threads,
                                             error), error)
        except BaseException:
            self._give_back(None)
            raise
        return context

    def _give_back(self, context):
        with self._state:
            self._busy -= 1
            if context is not None:
                self._idle.append(context)
            self._state.notify_all()
