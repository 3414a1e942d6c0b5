"""Damaged model and checkpoint files: exit 4 from every command, never a crash or a silent load."""
import os
import random
import shutil

from harness import *

csv_classes("toy")
EXPERIMENT = experiment("dmg", "toy.yaml", "[{dense: 6}, batchnorm, relu, {dense: 3}]",
                        train="{epochs: 2, batch: 32}")
run("train", EXPERIMENT)
write("in.csv", "1,2,3,4\n")
rng = random.Random(11)
MODEL = read("runs/dmg/model.h5")
CHECKPOINT = read("runs/dmg/checkpoints/last.h5")
MODEL_COMMANDS = [["inspect", "m.h5"], ["eval", "m.h5"], ["predict", "m.h5", "in.csv"]]
CHECKPOINT_COMMANDS = [["inspect", "c.h5"], ["export", "c.h5", "--out", "x.h5"],
                       ["train", EXPERIMENT, "name=from-c", "train.from=c.h5"]]


def refused(args):
    r = run(*args, code=4, timeout=60)
    equal(r.out, "", " ".join(args))
    assert r.err.strip(), args


def attack(original, name, commands, damages):
    for number, damage in enumerate(damages):
        data = damage(bytearray(original))
        if bytes(data) == original:
            continue
        write(name, bytes(data))
        refused(commands[number % len(commands)])


def flip(data):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def flip_in_header(data):
    data[rng.randrange(512)] ^= 1 << rng.randrange(8)
    return data


def cut(data):
    return data[:rng.randrange(len(data))]


def replace_block(data):
    at, n = rng.randrange(len(data)), rng.randrange(1, 600)
    data[at:at + n] = rng.randbytes(min(n, len(data) - at))
    return data


def move_block(data):
    a, b, n = rng.randrange(len(data)), rng.randrange(len(data)), rng.randrange(1, 600)
    data[a:a + n] = data[b:b + n]
    return data


def grow(data):
    return data + rng.randbytes(rng.randrange(1, 2000))


@test("the undamaged files are taken, by every command")
def _():
    write("m.h5", MODEL)
    write("c.h5", CHECKPOINT)
    for args in MODEL_COMMANDS + CHECKPOINT_COMMANDS:
        run(*args)


@test("model: 500 flipped bits")
def _():
    attack(MODEL, "m.h5", MODEL_COMMANDS, [flip] * 440 + [flip_in_header] * 60)


@test("model: cut, overwritten, shuffled and longer")
def _():
    attack(MODEL, "m.h5", MODEL_COMMANDS,
           [cut] * 20 + [replace_block] * 15 + [move_block] * 15 + [grow] * 5)


@test("checkpoint: 500 flipped bits")
def _():
    attack(CHECKPOINT, "c.h5", CHECKPOINT_COMMANDS, [flip] * 440 + [flip_in_header] * 60)


@test("checkpoint: cut, overwritten, shuffled and longer")
def _():
    attack(CHECKPOINT, "c.h5", CHECKPOINT_COMMANDS,
           [cut] * 20 + [replace_block] * 15 + [move_block] * 15 + [grow] * 5)


@test("resume from damaged checkpoints: exit 4, and they stay as they are")
def _():
    for number in range(20):
        shutil.rmtree(path("runs/hurt"), ignore_errors=True)
        shutil.copytree(path("runs/dmg"), path("runs/hurt"))
        for name in ("last.h5", "previous.h5"):
            write("runs/hurt/checkpoints/" + name,
                  bytes((flip, cut, replace_block)[number % 3](bytearray(CHECKPOINT))))
        before = files_below("runs/hurt")
        run("train", EXPERIMENT, "name=hurt", "--resume", code=4)
        equal(files_below("runs/hurt"), before)


@test("empty files, garbage, folders, other formats: exit 4 (5 for a folder)")
def _():
    cases = [b"", b"\x00", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(4000), MODEL[512:],
             CHECKPOINT[:512], MODEL[:512], rng.randbytes(10000), b"name: x\n",
             read("runs/dmg/result.json"), b"PK\x03\x04" + bytes(200)]
    for data in cases:
        write("m.h5", data)
        write("c.h5", data)
        for args in MODEL_COMMANDS + CHECKPOINT_COMMANDS:
            refused(args)
    os.makedirs(path("folder.h5"))
    for args in (["inspect", "folder.h5"], ["eval", "folder.h5"], ["predict", "folder.h5", "in.csv"],
                 ["export", "folder.h5"], ["train", EXPERIMENT, "train.from=folder.h5"]):
        r = run(*args, code=(4, 5))
        contains(r.err, "folder.h5")


@test("a model where a checkpoint is meant, and the other way: exit 4 that says so")
def _():
    write("m.h5", MODEL)
    write("c.h5", CHECKPOINT)
    for args in (["eval", "c.h5"], ["predict", "c.h5", "in.csv"], ["export", "m.h5"],
                 ["train", EXPERIMENT, "train.from=m.h5"]):
        r = run(*args, code=4)
        contains(r.err, "model", "checkpoint")


@test("train.from a network of another shape: exit 4 that names the tensor")
def _():
    r = run("train", EXPERIMENT, "name=other", "train.from=runs/dmg", "model.init=xavier")
    experiment("wide", "toy.yaml", "[{dense: 7}, batchnorm, relu, {dense: 3}]",
               train="{epochs: 1, from: runs/dmg}")
    r = run("train", "wide.yaml", code=4)
    contains(r.err, "train.from", "dense1")


main()
