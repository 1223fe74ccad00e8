"""A SavedModel is looked into before anything of it runs."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.core.protobuf import saved_model_pb2

from kt_transfer import UserError
from kt_transfer.serving import inspection
from kt_transfer.serving.inspection import require_harmless


def looked_into(path):
    require_harmless(path, "teacher", "trust_teacher")


def save(path, body, **tracked):
    """A model of four numbers; ``body`` is given these and the module."""
    module = tf.Module()
    module.kernel = tf.Variable(tf.ones([4, 3]))
    for name, value in tracked.items():
        setattr(module, name, value)
    served = tf.function(
        lambda x: {"logits": body(x, module)}, input_signature=[tf.TensorSpec([None, 4])]
    )
    tf.saved_model.save(module, str(path), signatures=served)
    return path


def after(effect):
    def body(x, module):
        with tf.control_dependencies([effect(x)]):
            return x @ module.kernel

    return body


def length_of(name):
    return tf.cast(tf.strings.length(tf.io.read_file(name)), tf.float32)


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("WriteFile", after(lambda x: tf.io.write_file("seen", "x"))),
        ("ReadFile", after(lambda x: tf.io.read_file("/etc/passwd"))),
        ("MatchingFiles", after(lambda x: tf.io.matching_files("/*"))),
        ("EagerPyFunc", after(lambda x: tf.py_function(lambda: 1.0, [], tf.float32))),
        ("PyFunc", after(lambda x: tf.numpy_function(lambda: 1.0, [], tf.float32))),
        (
            "SaveV2",
            after(
                lambda x: tf.raw_ops.SaveV2(
                    prefix="seen", tensor_names=["x"], shape_and_slices=[""], tensors=[x]
                )
            ),
        ),
        (
            "RestoreV2",
            after(
                lambda x: tf.raw_ops.RestoreV2(
                    prefix="other", tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32]
                )[0]
            ),
        ),
        (
            r"\w+Dataset",
            after(lambda x: tf.data.TextLineDataset("/x").reduce(0, lambda a, b: a + 1)),
        ),
        ("PrintV2", after(lambda x: tf.print(x, output_stream="file://seen"))),
        (
            "WriteFile",
            lambda x, m: tf.cond(
                tf.reduce_sum(x) > 0,
                lambda: after(lambda x: tf.io.write_file("seen", "x"))(x, m),
                lambda: x @ m.kernel,
            ),
        ),
        ("ReadFile", lambda x, m: tf.map_fn(lambda row: row + length_of("/x"), x) @ m.kernel),
        ("ReadFile", lambda x, m: tf.function(lambda: length_of("/x"))() + x @ m.kernel),
    ],
)
def test_what_reaches_beyond_the_model_is_refused_by_name(operation, body, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "m", body)
    with pytest.raises(
        UserError, match=f"m was given, .* it runs {operation} in .*trust_teacher=True"
    ):
        looked_into(path)
    assert not (tmp_path / "seen").exists()


def test_what_runs_while_it_is_loaded_is_refused_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Resource(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self):
            return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[])

        def _initialize(self):
            tf.io.write_file("seen", "x")

    path = save(tmp_path / "m", lambda x, m: x @ m.kernel, resource=Resource())
    (tmp_path / "seen").unlink(missing_ok=True)
    with pytest.raises(UserError, match="runs WriteFile"):
        looked_into(path)


def vocabulary(tmp_path):
    (tmp_path / "words.txt").write_text("a\nb\n")
    return tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(tmp_path / "words.txt"),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        -1,
    )


def in_every_way(x, m):
    """Variables, tables, random numbers, loops, branches, arrays, text: all inside the model."""
    tf.print("said")
    found = m.table.lookup(tf.strings.as_string(x[:, :1])) + m.words.lookup(tf.constant("a"))
    array = tf.TensorArray(tf.float32, 2).unstack([1.0, 2.0]).stack()
    looped = tf.while_loop(lambda i: i < 2.0, lambda i: i + 1.0, [0.0])[0]
    chosen = tf.cond(tf.reduce_sum(x) > 0, lambda: 1.0, lambda: 2.0)
    noise = m.generator.normal([]) + tf.random.uniform([])
    return x @ m.kernel + tf.cast(found, tf.float32) + array[0] + looped + chosen + noise


def test_what_stays_inside_the_model_passes(tmp_path):
    path = save(
        tmp_path / "m",
        in_every_way,
        words=tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1),
        table=vocabulary(tmp_path),
        generator=tf.random.Generator.from_seed(1),
    )
    looked_into(path)
    (tmp_path / "words.txt").unlink()  # the asset is its own copy
    assert tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.ones([2, 4]))[
        "logits"
    ].shape == (2, 3)


@pytest.mark.parametrize("way", ["export", "save", "words"])
def test_what_keras_writes_passes(way, tmp_path):
    if way == "words":
        words = layers.StringLookup(vocabulary=["a", "b"])
        stack = [keras.Input((3,), dtype="string"), words, layers.Embedding(4, 2), layers.LSTM(3)]
    else:
        stack = [keras.Input((8, 8, 1)), layers.Rescaling(1 / 255), layers.Conv2D(2, 3)]
        stack += [layers.BatchNormalization(), layers.Flatten(), layers.Dense(3, "softmax")]
        if way == "export":
            stack[1:1] = [layers.RandomFlip(), layers.GaussianNoise(0.1)]
    model = keras.Sequential(stack)
    if way == "save":
        tf.saved_model.save(model, str(tmp_path / "m"))
    else:
        model.export(str(tmp_path / "m"), verbose=False)
    looked_into(tmp_path / "m")


def tensorflow_1(path, harmful):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4])
        kernel = tf.compat.v1.get_variable("kernel", [4, 3])
        with tf.control_dependencies([tf.io.write_file("seen", "x")] if harmful else []):
            y = x @ kernel
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(path), {"x": x}, {"y": y})


def test_graphs_of_tensorflow_1_are_looked_into_as_well(tmp_path):
    tensorflow_1(tmp_path / "good", harmful=False)
    looked_into(tmp_path / "good")
    tensorflow_1(tmp_path / "bad", harmful=True)
    with pytest.raises(UserError, match="it runs WriteFile, which"):
        looked_into(tmp_path / "bad")


def test_our_own_export_passes(chain):
    looked_into(chain.exported)


def edited(path, change):
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((path / "saved_model.pb").read_bytes())
    change(model.meta_graphs[0])
    (path / "saved_model.pb").write_bytes(model.SerializeToString())


def rename_asset(graph):
    graph.asset_file_def[0].filename = "../../words.txt"


def bind_a_constant(graph):
    objects = graph.object_graph_def
    asset = next(n for n, node in enumerate(objects.nodes) if node.WhichOneof("kind") == "asset")
    objects.nodes[asset].constant.operation = "path"


def own_operation(graph):
    for function in graph.graph_def.library.function:
        function.node_def.add(name="o", op="Unheard")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (rename_asset, r"takes ../../words.txt, outside its own folder, for an asset"),
        (bind_a_constant, r"reads a file that is none of its assets \(InitializeTableFromText"),
        (own_operation, "runs Unheard in"),
    ],
)
def test_a_graph_that_was_tampered_with_is_refused(change, reason, tmp_path):
    path = save(
        tmp_path / "m",
        lambda x, m: x @ m.kernel + tf.cast(m.table.lookup(tf.constant("a")), tf.float32),
        table=vocabulary(tmp_path),
    )
    looked_into(path)
    edited(path, change)
    with pytest.raises(UserError, match=reason):
        looked_into(path)


def test_what_cannot_be_looked_into_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "m", lambda x, m: x @ m.kernel)
    monkeypatch.setattr(inspection, "MAX_GRAPH_BYTES", 100)
    with pytest.raises(UserError, match="has a graph of .* MiB, more than"):
        looked_into(path)
    monkeypatch.undo()
    (path / "saved_model.cpb").write_bytes(b"")
    with pytest.raises(UserError, match="split into chunks"):
        looked_into(path)
    (path / "saved_model.cpb").unlink()
    (path / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(ValueError, match="has a saved_model.pb that is none"):
        looked_into(path)
    (path / "saved_model.pb").unlink()
    with pytest.raises(ValueError, match="has no saved_model.pb"):
        looked_into(path)


def test_the_flag_lets_it_be_loaded_and_nothing_else_does(invoke, tmp_path):
    kernel = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    module = tf.Module()
    module.kernel = tf.Variable(kernel)

    def answer(x):
        with tf.control_dependencies([tf.io.write_file(str(tmp_path / "seen"), "x")]):
            return {"logits": tf.reshape(x, (-1, 64)) @ module.kernel}

    served = tf.function(answer, input_signature=[tf.TensorSpec([None, 8, 8])])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=served)
    metadata = json.dumps({"labels": list("0123456789"), "data": "digits"})
    (tmp_path / "m" / "metadata.json").write_text(metadata)
    (tmp_path / "seen").unlink(missing_ok=True)
    for words in (("distill", "--teacher", "m", "--out", "s"), ("predict", "--model", "m")):
        done = invoke(*words)
        assert done.code == 2
        assert "it runs WriteFile" in done.err
        assert not (tmp_path / "seen").exists()
    trusted = ("--trust-teacher", "--teacher-range", 0, 1, "--epochs", 1, "--quiet")
    done = invoke("distill", "--teacher", "m", "--out", "s", "--compare-scratch", "no", *trusted)
    assert done.code == 0, done.err
    assert (tmp_path / "seen").exists()
