"""HDF5 files made and read by h5py, independent of halftone's own code.

    hdf5_files.py show FILE      every dataset and attribute of a container, one a line
    hdf5_files.py hostile DIR    containers with a right header and refused content, and DIR/list:
                                 "name|words of the message" a line
    hdf5_files.py tables DIR     files for the dataset reader
"""
import hashlib
import os
import struct
import sys
import zlib

import h5py
import numpy as np


def stamp(path, kind=b"model", version=1, magic=b"\x89HTN\r\n\x1a\n", forge=None):
    """Puts the header of docs/file-format.md in front."""
    with open(path, "rb") as f:
        content = f.read()[512:]
    if forge:
        content = forge(content)
    head = magic + kind.ljust(16, b"\0") + struct.pack("<IIQ", version, 512, len(content))
    head += hashlib.sha256(content).digest()
    head += hashlib.sha256(head).digest()
    with open(path, "wb") as f:
        f.write(head.ljust(512, b"\0") + content)


def check_header(path):
    with open(path, "rb") as f:
        data = f.read()
    magic, kind, version, header, length, digest, own = struct.unpack("<8s16sIIQ32s32s", data[:104])
    assert magic == b"\x89HTN\r\n\x1a\n" and header == 512 and data[104:512] == bytes(408)
    assert length == len(data) - 512 and digest == hashlib.sha256(data[512:]).digest()
    assert own == hashlib.sha256(data[:72]).digest()
    print("header", kind.rstrip(b"\0").decode(), version, digest.hex())


def show(path):
    check_header(path)
    with h5py.File(path, "r") as f:
        def describe(name, o):
            for key in sorted(o.attrs):
                v = o.attrs[key]
                v = v.decode() if isinstance(v, bytes) else v
                print("attribute", "/" + name, key, v if isinstance(v, str) else "%.17g" % v)
            if isinstance(o, h5py.Dataset):
                if o.dtype.kind == "S":
                    print("text", "/" + name, o[()].decode())
                else:
                    a = o[()]
                    total = sum(float(v) * (i % 97) for i, v in enumerate(a.reshape(-1)))
                    print("dataset", "/" + name, a.dtype.name, "x".join(map(str, a.shape)),
                          "%.17g" % total)
        describe("", f)
        names = []
        f.visit(names.append)
        for name in sorted(names):
            describe(name, f[name])


def hostile(folder):
    expected = []

    def make(name, words, fill, libver=("v110", "v110"), **header):
        path = os.path.join(folder, name)
        with h5py.File(path, "w", userblock_size=512, libver=libver) as f:
            f.attrs["n"] = np.int64(1)
            fill(f)
        stamp(path, **header)
        expected.append(name + "|" + words)

    def put(name="x", **keys):
        return lambda f: f.create_dataset(name, **keys)

    secret = os.path.join(folder, "secret")
    with open(secret, "wb") as f:
        f.write(b"another file's bytes")

    def virtual(f):
        layout = h5py.VirtualLayout(shape=(4,), dtype="u1")
        layout[:] = h5py.VirtualSource(secret, "x", shape=(4,))
        f.create_virtual_dataset("x", layout)

    def soft(f):
        f["x"] = h5py.SoftLink("/y")

    def external_link(f):
        f["x"] = h5py.ExternalLink(secret, "/y")

    def circle(f):
        f["a/loop"] = f["/"]

    def named_type(f):
        f["x"] = np.dtype("f4")

    def many(f):
        f.create_dataset("x", data=np.arange(3, dtype="u1"))
        g = f.create_group("g")
        for i in range(10001):
            g["n%d" % i] = f["x"]

    def attribute(value):
        def fill(f):
            f.create_group("x").attrs["a"] = value
        return fill

    def large_attribute(f):
        f.attrs.create("a", np.array(b"x" * 70000, dtype="S70000"))

    def bomb(f):
        d = f.create_dataset("x", shape=(1000,), dtype="u1", chunks=(500,), compression="gzip")
        d.id.write_direct_chunk((0,), zlib.compress(bytes(50 << 20), 9))

    bits = np.arange(16, dtype="u1")
    refused = [
        ("external_storage", "/x: external storage", put(shape=(20,), dtype="u1",
                                                         external=[(secret, 0, 20)])),
        ("virtual", "/x: a virtual dataset", virtual),
        ("soft_link", "/x: a soft link", soft),
        ("external_link", "/x: an external link", external_link),
        ("vlen_text", "/x: a variable-length type", put(data=["a", "b"],
                                                        dtype=h5py.string_dtype())),
        ("vlen_numbers", "/x: a variable-length type", put(shape=(3,),
                                                           dtype=h5py.vlen_dtype("i4"))),
        ("reference", "/x: a reference type", put(shape=(3,), dtype=h5py.ref_dtype)),
        ("compound", "/x: a compound type", put(shape=(3,), dtype=[("a", "f4"), ("b", "i4")])),
        ("enumeration", "/x: an enumeration type", put(data=np.array([True]))),
        ("array", "/x: an array type", put(shape=(3,), dtype="(2,2)i4")),
        ("opaque", "/x: an opaque type", put(shape=(3,), dtype="V5")),
        ("half", "/x: a type of number", put(data=np.zeros(3, "f2"))),
        ("big_endian", "/x: a type of number", put(data=np.zeros(3, ">f4"))),
        ("uint16", "/x: a type of number", put(data=np.zeros(3, "u2"))),
        ("long_double", "/x: numbers of 16 bytes", put(data=np.zeros(3, "f16"))),
        ("scalar", "/x: a scalar", put(data=np.float32(3))),
        ("texts", "/x: more than one text", put(data=np.array([b"a", b"b"]))),
        ("null", "/x: no elements", put(data=h5py.Empty("f4"))),
        ("no_rows", "/x: dimension 1 is 0", put(shape=(0, 3), dtype="f4")),
        ("long_rows", "/x: dimension 2 is 16777217", put(shape=(2, (1 << 24) + 1), dtype="u1",
                                                        chunks=(1, 1024))),
        ("many_elements", "/x: more than 2^31 - 1", put(shape=(1 << 16, 1 << 15), dtype="u1",
                                                        chunks=(1, 1024))),
        ("five_dimensions", "/x: 5 dimensions", put(shape=(2, 2, 2, 2, 2), dtype="u1")),
        ("terabytes", "/x: more than 2^31 - 1", put(shape=(1 << 24, 1 << 15), dtype="f8",
                                                    chunks=(1024, 16))),
        ("unwritten_chunks", "/x: declares 16777216 elements of 8", put(
            shape=(1 << 24,), dtype="f8", chunks=(1024,), fletcher32=True)),
        ("unwritten", "/x: declares 16777216 elements of 8", put(shape=(1 << 24,), dtype="f8")),
        ("bomb", "/x: a filter that halftone does not write", bomb),
        ("gzip", "/x: a filter that halftone does not write", put(data=bits, chunks=(16,),
                                                                  compression="gzip")),
        ("lzf", "/x: filter 32000", put(data=bits, chunks=(16,), compression="lzf")),
        ("scale_offset", "/x: filter 6", put(data=bits, chunks=(16,), scaleoffset=3)),
        ("large_chunk", "/x: chunks of", put(shape=(16,), maxshape=(None,), dtype="u1",
                                             chunks=(1 << 27,))),
        ("deep", "groups deeper than 16", lambda f: f.create_group("/".join("g" * 18))),
        ("circle", "groups deeper than 16", circle),
        ("named_type", "/x: neither a group nor a dataset", named_type),
        ("many", "more than 10000 objects", many),
        ("name", "no name", put(name="a\nb", data=bits)),
        ("attribute_vlen", "/x: an attribute", attribute("text")),
        ("attribute_array", "/x: an attribute", attribute(np.arange(3))),
        ("attribute_compound", "/x: an attribute", attribute(np.zeros((), [("a", "f4")]))),
        ("attribute_large", "/: an attribute", large_attribute),
        ("newer", "schema version 3 is newer than this halftone reads (1)", lambda f: 0),
        ("version_0", "schema version 0", lambda f: 0),
        ("kind", "a checkpoint, not a model", lambda f: 0),
        ("no_kind", "names no kind", lambda f: 0),
        ("odd_kind", "names no kind", lambda f: 0),
        ("magic", "not a halftone file", lambda f: 0),
        ("no_hdf5", "no HDF5 data", lambda f: 0),
        ("empty_hdf5", "libhdf5 cannot open", lambda f: 0),
    ]
    headers = {"newer": {"version": 3}, "version_0": {"version": 0},
               "kind": {"kind": b"checkpoint"}, "no_kind": {"kind": b""},
               "odd_kind": {"kind": b"mo\x1b[31mdel"}, "magic": {"magic": b"\x89HTO\r\n\x1a\n"},
               "no_hdf5": {"forge": lambda c: b"x" * 100},
               "empty_hdf5": {"forge": lambda c: c[:9] + b"\0" * 100}}
    for name, words, fill in refused:
        make(name, words, fill, **headers.get(name, {}))
    make("old_format", "an HDF5 superblock that", lambda f: 0, libver=("earliest", "v108"))
    with h5py.File(os.path.join(folder, "plain"), "w") as f:
        f["x"] = bits
    expected.append("plain|an HDF5 file that halftone did not write")
    with open(os.path.join(folder, "list"), "w") as f:
        f.write("\n".join(expected) + "\n")
    # and one that is sound, so that the way these files are made is known not to be the reason
    path = os.path.join(folder, "sound")
    with h5py.File(path, "w", userblock_size=512, libver=("v110", "v110")) as f:
        f.create_dataset("x", data=np.arange(5, dtype="i4"))
        f.attrs["n"] = np.int64(1)
    stamp(path)


def tables(folder):
    def file(name, **keys):
        return h5py.File(os.path.join(folder, name), "w", **keys)

    n = np.arange(60)
    with file("bytes") as f:
        f["images"] = (n * 7 % 251).astype("u1").reshape(5, 4, 3)
    for name, dtype in [("i1", "i1"), ("u2", "u2"), ("i4", "i4"), ("i8", "i8"), ("u8", "u8"),
                        ("f2", "f2"), ("f4", "f4"), ("f8", "f8"), ("big_i2", ">i2"),
                        ("big_f8", ">f8")]:
        with file(name) as f:
            f["group/values"] = (n - (0 if "u" in name else 30)).astype(dtype).reshape(20, 3)
    with file("packed", libver="latest") as f:
        f.create_dataset("x", data=(n * 0.25 - 1).reshape(5, 4, 3), chunks=(2, 3, 2),
                         compression="gzip", shuffle=True, fletcher32=True)
    with file("old_style") as f:
        f.create_dataset("x", data=(n * 0.25 - 1), chunks=(7,), compression="gzip")
    with file("sparse") as f:
        d = f.create_dataset("x", shape=(60,), dtype="f4", chunks=(10,), compression="gzip",
                             fillvalue=7)
        d[10:20] = 3
    with file("user_block", userblock_size=1024) as f:
        f["x"] = n.astype("i4")
    with file("several") as f:
        f["train_images"] = n.astype("u1")
        f["train_labels"] = n.astype("u1")
        f["names"] = ["a", "b"]
    with file("mixed") as f:
        f["values"] = n.astype("u1")
        f["names"] = ["a", "b"]
        f["scalar"] = 5
        f["link"] = h5py.SoftLink("/values")
    with file("none") as f:
        f["names"] = ["a", "b"]
    with file("external") as f:
        f.create_dataset("x", shape=(20,), dtype="u1", external=[("bytes", 0, 20)])
    with file("external_link") as f:
        f["x"] = h5py.ExternalLink(os.path.join(folder, "bytes"), "/images")
    with file("virtual") as f:
        layout = h5py.VirtualLayout(shape=(5, 4, 3), dtype="u1")
        layout[:] = h5py.VirtualSource(os.path.join(folder, "bytes"), "images", shape=(5, 4, 3))
        f.create_virtual_dataset("x", layout)
    with file("bomb") as f:
        d = f.create_dataset("x", shape=(1000,), dtype="u1", chunks=(500,), compression="gzip")
        d.id.write_direct_chunk((0,), zlib.compress(bytes(50 << 20), 9))
    with file("short") as f:
        d = f.create_dataset("x", shape=(1000,), dtype="u1", chunks=(500,), compression="gzip")
        d.id.write_direct_chunk((0,), zlib.compress(bytes(499)))
    with file("short_plain") as f:
        d = f.create_dataset("x", shape=(1000,), dtype="u1", chunks=(500,), fletcher32=True)
        d.id.write_direct_chunk((500,), bytes(100))
    with file("no_filter") as f:
        f.create_dataset("x", data=n.astype("u1"), chunks=(7,), maxshape=(None,))
    # an index that gives chunks other sizes than they have; its entries have 32 bytes, from 24 on
    for name, length, chunk, sizes in [("index", 60, 7, [8]), ("balanced_index", 60, 7, [8, 6]),
                                       ("large_index", 5000, 1, [2])]:
        path = os.path.join(folder, name)
        with h5py.File(path, "w") as f:
            f.create_dataset("x", data=np.zeros(length, "u1"), chunks=(chunk,))
        with open(path, "rb") as f:
            data = bytearray(f.read())
        at = data.index(b"TREE\x01\0") + 24
        for i, size in enumerate(sizes):
            assert struct.unpack_from("<I", data, at + 32 * i) == (chunk,)
            struct.pack_into("<I", data, at + 32 * i, size)
        with open(path, "wb") as f:
            f.write(data)
    with file("skipped") as f:  # a chunk that was stored without its filters
        d = f.create_dataset("x", shape=(60,), dtype="u1", chunks=(30,), compression="gzip")
        d.id.write_direct_chunk((0,), bytes(range(30)), filter_mask=1)
        d.id.write_direct_chunk((30,), zlib.compress(bytes(range(30, 60))))
    with file("declared") as f:
        f.create_dataset("x", shape=(1 << 24, 100), dtype="f4", chunks=(1024, 100))
    with file("checksum") as f:
        f.create_dataset("x", data=(n * 7 % 251).astype("u1"), chunks=(60,), fletcher32=True)
    path = os.path.join(folder, "checksum")
    with open(path, "rb") as f:
        data = f.read()
    at = data.index((n * 7 % 251).astype("u1").tobytes())
    with open(path, "wb") as f:
        f.write(data[:at] + b"\x55" + data[at + 1:])


{"show": show, "hostile": hostile, "tables": tables}[sys.argv[1]](sys.argv[2])
