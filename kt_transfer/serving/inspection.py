"""Inspect the graph of a SavedModel for side effects before any of it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from kt_transfer.errors import UserError, named

MAX_GRAPH_BYTES = 512 * 2**20

# Stateful operations whose state is internal to the model: variables and tables, random numbers,
# arrays and stacks of loops, calls of its own functions. Other stateful operations are refused.
_OWN_STATE = re.compile(
    r"_?VarHandles?Op|_?ReadVariables?Op|Variable(V2|Shape)?|Assign(Add|Sub)?VariableOp"
    r"|VarIsInitializedOp|DestroyResourceOp|DisableCopyOnRead|TemporaryVariable"
    r"|Resource(Gather|GatherNd|StridedSliceAssign|CountUpTo|Scatter\w+|Apply\w+|SparseApply\w+)"
    r"|(Anonymous)?(Mutable(Dense)?)?HashTable(OfTensors)?(V2)?|LookupTable\w+|InitializeTableV2"
    r"|StatefulPartitionedCall|If|While|Case"
    r"|Random(Uniform|UniformInt|StandardNormal|Shuffle|Gamma|Poisson|PoissonV2|Crop)"
    r"|TruncatedNormal|ParameterizedTruncatedNormal|Multinomial|NonDeterministicInts"
    r"|Stateful(Uniform|UniformInt|UniformFullInt|StandardNormal|StandardNormalV2"
    r"|TruncatedNormal|RandomBinomial)|Rng(Skip|ReadAndSkip)|StatelessRandomGetAlg"
    r"|SampleDistortedBoundingBox(V2)?|DummySeedGenerator|(Anonymous|Delete)\w*SeedGenerator"
    r"|TensorArray(Grad|GradV2|GradV3|GradWithShape|\w+V3|V2)?|Stack(V2|PushV2|PopV2|CloseV2)?"
    r"|Assert|CheckNumerics(V2)?|Empty|GuaranteeConst|Print|PrintV2|CudnnRNN\w*|DeepCopy"
)
# Operations that are registered as stateless although they have side effects.
_REACHES_OUT = re.compile(
    r"(?i).*(files?$|fromtextfile|dataset|reader|pyfunc|debug|snapshot|customcall|tpu|save|restore"
    r"|send|recv|rpc|iterator).*"
)
_TABLE_FROM_FILE = re.compile(r"InitializeTableFromTextFile(V2)?")
_RESTORE = re.compile(r"Restore(V2|Slice)?")
_PRINTED_TO = ("stdout", "stderr", "log(info)", "log(warning)", "log(error)", "")


def require_harmless(path: Path, setting: str, trust: str) -> None:
    """Refuse a SavedModel that does more than compute with its own variables and assets.

    A SavedModel is a program: its graph can read and write files, access a network or call
    Python, when it is loaded or called.

    Args:
        path: Folder of the SavedModel.
        setting: The setting that it was given with.
        trust: The setting that lets such a model be loaded nevertheless.

    Raises:
        UserError: If it has side effects, or cannot be inspected.
        ValueError: If it is not a SavedModel; the message completes a sentence that begins with
            "it".
    """
    try:
        meta_graphs = _read(path)
        by_objects = len(meta_graphs) == 1 and meta_graphs[0].HasField("object_graph_def")
        for meta_graph in meta_graphs:
            _Graph(meta_graph, by_objects).require_harmless()
    except _RefusedError as error:
        raise UserError(
            setting=setting,
            given=path,
            expected="a SavedModel that only computes with its own variables and assets",
            but=f"it {error}",
            remedy=f"give another one, or add {named(trust, True)} if you know where it comes from",
        ) from error


class _RefusedError(Exception):
    """The end of a sentence that begins with "it"."""


def _read(path: Path):
    if (path / "saved_model.cpb").exists():  # which TensorFlow would prefer
        raise _RefusedError("is split into chunks (saved_model.cpb), which are not looked into")
    file = path / "saved_model.pb"
    try:
        if (size := file.stat().st_size) > MAX_GRAPH_BYTES:
            raise _RefusedError(
                f"has a graph of {size / 2**20:,.0f} MiB, more than the "
                f"{MAX_GRAPH_BYTES / 2**20:,.0f} MiB that are looked into"
            )
        content = file.read_bytes()
    except OSError as error:
        raise ValueError(f"has no saved_model.pb that can be read ({error})") from error
    model = saved_model_pb2.SavedModel()
    try:
        model.ParseFromString(content)
    except Exception as error:  # an error of protobuf, whose module depends on the version
        raise ValueError(f"has a saved_model.pb that is none ({error})") from error
    return model.meta_graphs


class _Graph:
    """The operations of a graph that run when it is loaded or called."""

    def __init__(self, meta_graph, by_objects: bool):
        self.meta_graph = meta_graph
        # TensorFlow 2 runs only functions that the object graph refers to.
        self.by_objects = by_objects
        graph = meta_graph.graph_def
        self.nodes = {node.name: node for node in graph.node}
        self.functions = {function.signature.name: function for function in graph.library.function}
        self.gradients = {
            gradient.function_name: gradient.gradient_func for gradient in graph.library.gradient
        }
        self.assets = set()
        for asset in meta_graph.asset_file_def:
            if Path(asset.filename).is_absolute() or ".." in Path(asset.filename).parts:
                raise _RefusedError(f"takes {asset.filename}, outside its own folder, for an asset")
            self.assets.add(_name(asset.tensor_info.name))

    def require_harmless(self) -> None:
        """Check every operation that can run."""
        if self.by_objects:
            functions = self.meta_graph.object_graph_def.concrete_functions
            self._check_functions(list(functions), may_restore=False)
            return
        saver = self.meta_graph.saver_def
        fetched = [
            _name(tensor.name)
            for signature in self.meta_graph.signature_def.values()
            for tensor in signature.outputs.values()
        ]
        for key in ("saved_model_main_op", "legacy_init_op", "saved_model_init_op", "init_op"):
            fetched += map(_name, self.meta_graph.collection_def[key].node_list.value)
        # The saver restores variables on loading, but never saves.
        self._check_nodes(self._ancestors(fetched), may_restore=False)
        if saver.restore_op_name:
            self._check_nodes(self._ancestors([_name(saver.restore_op_name)]), may_restore=True)

    def _ancestors(self, names) -> list:
        found, waiting = {}, list(names)
        while waiting:
            name = waiting.pop()
            if name in self.nodes and name not in found:
                found[name] = self.nodes[name]
                waiting += map(_name, self.nodes[name].input)
        return list(found.values())

    def _check_nodes(self, nodes, may_restore: bool) -> None:
        for node in nodes:
            self._require(node, None, may_restore)
        called = [name for node in nodes for name in _called_by(node)]
        self._check_functions(called, may_restore)

    def _check_functions(self, names, may_restore: bool) -> None:
        """Check every node of these functions and those that they call."""
        seen, waiting = set(), list(names)
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self.functions:
                continue
            seen.add(name)
            function = self.functions[name]
            for node in function.node_def:
                self._require(node, function, may_restore)
                waiting += _called_by(node)
            if name in self.gradients:
                waiting.append(self.gradients[name])

    def _require(self, node, function, may_restore: bool) -> None:
        operation, known = node.op, op_def_registry.get(node.op)
        where = f" in {function.signature.name}" if function is not None else ""
        is_call = known is None and operation in self.functions
        if is_call or (may_restore and _RESTORE.fullmatch(operation)):
            return
        if _TABLE_FROM_FILE.fullmatch(operation):
            if self._is_asset(node.input[1], function):
                return
            raise _RefusedError(f"reads a file that is none of its assets ({operation}{where})")
        harmless = known is not None and (
            _OWN_STATE.fullmatch(operation)
            if known.is_stateful
            else not _REACHES_OUT.fullmatch(operation)
        )
        if operation == "PrintV2":
            harmless = node.attr["output_stream"].s.decode(errors="replace") in _PRINTED_TO
        if not harmless:
            raise _RefusedError(
                f"runs {operation}{where}, which may touch files, a network, processes or Python"
            )

    def _is_asset(self, tensor: str, function, seen: frozenset = frozenset()) -> bool:
        """Whether a file name is that of an asset, for all callers of a function."""
        if function is None:
            return _name(tensor) in self.assets
        passed_on = {
            node.name: node.input[0] for node in function.node_def if node.op == "Identity"
        }
        while (name := _name(tensor)) in passed_on:
            tensor = passed_on[name]
        arguments = [argument.name for argument in function.signature.input_arg]
        own = function.signature.name
        if name not in arguments or own in seen:
            return False
        number = arguments.index(name)
        return self._is_bound_to_asset(own, number - len(arguments)) and all(
            number < len(node.input) and self._is_asset(node.input[number], caller, seen | {own})
            for node, caller in self._all_nodes()
            if own in _called_by(node)
        )

    def _is_bound_to_asset(self, function: str, from_the_end: int) -> bool:
        """Whether the object graph, if it binds this input of a function, binds it to an asset."""
        objects = self.meta_graph.object_graph_def
        if not self.by_objects or function not in objects.concrete_functions:
            return True
        bound = objects.concrete_functions[function].bound_inputs
        if -from_the_end > len(bound):
            return False
        return objects.nodes[bound[from_the_end]].WhichOneof("kind") == "asset"

    def _all_nodes(self) -> Iterator[tuple]:
        if not self.by_objects:
            yield from ((node, None) for node in self.nodes.values())
        for function in self.functions.values():
            for node in function.node_def:
                yield node, function


def _called_by(node) -> list[str]:
    """Names of the functions that an operation may call."""
    called = [node.op]
    for value in node.attr.values():
        called += [value.func.name, *(function.name for function in value.list.func)]
    return [name for name in called if name]


def _name(tensor: str) -> str:
    """The node of a tensor or control dependency."""
    return tensor.removeprefix("^").split(":")[0]
