"""A SavedModel in the C++ loader that TF Serving is built on, asked by a C program (``loader.c``).

TensorFlow's wheel carries that loader as a library; the program has no Python in it.
"""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

SOURCE = Path(__file__).with_name("loader.c")
COMPILER = shutil.which("gcc") or shutil.which("cc")
STRING = tf.string.as_datatype_enum


def compiled(folder: Path) -> Path:
    """The program, built in a folder."""
    library = Path(tf.sysconfig.get_lib())
    program = folder / "loader"
    libraries = [library / f"libtensorflow_{name}.so.2" for name in ("cc", "framework")]
    command = [COMPILER, "-O2", "-Wall", "-Werror", "-o", program, SOURCE]
    command += [f"-I{tf.sysconfig.get_include()}", *libraries, f"-Wl,-rpath,{library}"]
    subprocess.run(command, check=True)
    return program


def ask(program: Path, model: Path, requests: list, folder: Path, repeats: int = 0):
    """The answers of a model to requests, and the seconds of each of several runs.

    Args:
        program: From :func:`compiled`.
        model: Folder of the SavedModel.
        requests: ``(signature, {input: array})``.
        folder: For the files that are exchanged.
        repeats: How often each is timed.

    Returns:
        For each request the outputs by name, and the seconds, a list for each.
    """
    signatures = signatures_of(model)
    plan, answers = folder / "plan", folder / "answers"
    plan.write_bytes(
        struct.pack("<i", len(requests))
        + b"".join(_packed(signatures[name], inputs) for name, inputs in requests)
    )
    command = [program, model, plan, answers, str(repeats)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    with answers.open("rb") as file:
        found = [
            {key: _read_tensor(file) for key in sorted(signatures[name].outputs)}
            for name, _ in requests
        ]
        assert not file.read(1)
    return found, [[float(text) for text in line.split()] for line in done.stdout.splitlines()]


def signatures_of(model: Path) -> dict:
    """The signatures that the file itself states, which is what a server goes by."""
    content = saved_model_pb2.SavedModel.FromString((model / "saved_model.pb").read_bytes())
    (graph,) = content.meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    named = dict(graph.signature_def)
    named.pop("__saved_model_init_op", None)
    return named


def _packed(signature, inputs: dict) -> bytes:
    assert set(inputs) == set(signature.inputs)
    parts = [struct.pack("<i", len(inputs))]
    for key, values in inputs.items():
        info = signature.inputs[key]
        parts += [_place(info.name), _tensor(np.asarray(values), info.dtype)]
    outputs = sorted(signature.outputs)
    parts.append(struct.pack("<i", len(outputs)))
    parts += [_place(signature.outputs[key].name) for key in outputs]
    return b"".join(parts)


def _place(tensor: str) -> bytes:
    name, index = tensor.rsplit(":", 1)
    return struct.pack("<i", len(name)) + name.encode() + struct.pack("<i", int(index))


def _tensor(values: np.ndarray, dtype: int) -> bytes:
    head = struct.pack(f"<ii{values.ndim}q", dtype, values.ndim, *values.shape)
    if dtype == STRING:
        texts = [text if isinstance(text, bytes) else str(text).encode() for text in values.flat]
        return head + b"".join(struct.pack("<q", len(text)) + text for text in texts)
    values = np.ascontiguousarray(values, tf.dtypes.as_dtype(dtype).as_numpy_dtype)
    return head + struct.pack("<q", values.nbytes) + values.tobytes()


def _read_tensor(file) -> np.ndarray:
    dtype, rank = struct.unpack("<ii", file.read(8))
    shape = struct.unpack(f"<{rank}q", file.read(8 * rank))
    if dtype == STRING:
        sizes = (struct.unpack("<q", file.read(8))[0] for _ in range(int(np.prod(shape))))
        return np.array([file.read(size) for size in sizes], object).reshape(shape)
    (size,) = struct.unpack("<q", file.read(8))
    values = np.frombuffer(file.read(size), tf.dtypes.as_dtype(dtype).as_numpy_dtype)
    return values.reshape(shape)
