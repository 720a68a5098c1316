"""Functional activations and norms of a forward replaced by modules, which can be split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx, nn

from ..activations import SplitActivation
from .graph_check import Findings, Functional
from .tracing import Graphs, same_graphs

_DROPOUTS: dict[str, type[nn.Module]] = {
    "dropout": nn.Dropout,
    "dropout1d": nn.Dropout1d,
    "dropout2d": nn.Dropout2d,
    "dropout3d": nn.Dropout3d,
}


class ModesDifferError(Exception):
    """A forward that does in training what one graph cannot say."""


def rewrite(module: nn.Module, graphs: Graphs, findings: Sequence[Findings]) -> fx.GraphModule:
    """A module with the same children whose forward calls modules only.

    Parameters
    ----------
    module : Module
        A container without faults; gets the new activations as children.
    graphs : pair of Graph
        Of its forward in training and in evaluation; they are changed.
    findings : pair of Findings
        In these graphs.

    Raises
    ------
    ModesDifferError
        If its forward differs between training and evaluation, other than by dropout.
    """
    in_training, graph = graphs
    _dropouts_as_modules(in_training, graph, module)
    first, second = (each.functional for each in findings)
    if [_told(each) for each in first] != [_told(each) for each in second]:
        raise ModesDifferError
    for pair in zip(first, second, strict=True):
        name = _as_module(pair[1], module)
        for each in pair:
            _replace(each.node, name)
    if not same_graphs(in_training, graph):
        raise ModesDifferError
    made = fx.GraphModule(module, graph, class_name=type(module).__name__)
    made.training = module.training
    return made


def _dropouts_as_modules(in_training: fx.Graph, graph: fx.Graph, module: nn.Module) -> None:
    """``F.dropout(x, training=self.training)`` says in each graph the mode it was traced in."""
    for pair in zip(_dropouts(in_training), _dropouts(graph), strict=False):
        if [_argument(node, 2, "training") for node in pair] != [True, False]:
            continue
        name = str(getattr(pair[1].target, "__name__", None))
        added = _add(module, name, _DROPOUTS[name](_argument(pair[1], 1, "p")))
        for node in pair:
            _replace(node, added)


def _dropouts(graph: fx.Graph) -> list[fx.Node]:
    functions = [getattr(nn.functional, name) for name in _DROPOUTS]
    return [node for node in graph.nodes if node.target in functions]


def _argument(node: fx.Node, position: int, keyword: str) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(keyword)


def _told(found: Functional) -> tuple[str, str]:
    """The function and, with its options, the activation."""
    return found.name, str(found.activation)


def _as_module(found: Functional, module: nn.Module) -> str | None:
    """Name of the module that stands for a call; None for a norm, which is removed."""
    if found.activation is None:
        return None
    return _add(module, found.name, SplitActivation(found.activation))


def _add(module: nn.Module, name: str, child: nn.Module) -> str:
    number = 0
    while hasattr(module, f"{name}_{number}"):
        number += 1
    module.add_module(f"{name}_{number}", child.train(module.training))
    return f"{name}_{number}"


def _replace(node: fx.Node, name: str | None) -> None:
    """Let a node's users take what a module makes of its input, or its input itself."""
    x: Any = node.args[0] if node.args else node.kwargs["input"]
    graph = node.graph
    instead = x
    if name is not None:
        with graph.inserting_before(node):
            instead = graph.call_module(name, (x,))
    node.replace_all_uses_with(instead)
    unused = [each for each in node.all_input_nodes if each.op == "get_attr"]
    graph.erase_node(node)
    for each in unused:
        if not each.users:
            graph.erase_node(each)
