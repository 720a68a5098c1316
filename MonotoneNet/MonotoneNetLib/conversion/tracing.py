"""The graph of one module's own forward; the modules it calls are not looked into.

So a module that cannot be traced does not hide the others, and every one is judged by its name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.nn.parameter import is_lazy

#: Of one forward, in training and in evaluation.
Graphs = tuple[fx.Graph, fx.Graph]


class UntraceableError(Exception):
    """A forward whose graph cannot be known, and why."""


class _OwnForward(fx.Tracer):
    """Records a forward for one tensor, or several, with its options as they are by default."""

    # Else a forward would compute with a buffer's present numbers, or change them, when traced.
    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Every module that is called stays one node."""
        return True

    def create_arg(self, a: Any) -> Any:
        """A tensor that was computed beside the graph, e.g. from a parameter, is unknown."""
        if isinstance(a, torch.Tensor):
            named = (*self.root.parameters(), *self.root.buffers())
            if not any(a is each for each in named):
                raise UntraceableError("it uses a tensor that is not computed from its input")
        return super().create_arg(a)

    def create_args_for_root(
        self, root_fn: Callable, is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable, list[Any]]:
        """The module itself and a placeholder for each argument without a default."""
        given: list[Any] = [self.root]
        for parameter in list(inspect.signature(root_fn).parameters.values())[1:]:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise UntraceableError("its forward takes any number of arguments")
            if parameter.default is not parameter.empty:
                continue
            if parameter.kind is parameter.KEYWORD_ONLY:
                raise UntraceableError("its forward has a keyword without a default")
            given.append(self.create_proxy("placeholder", parameter.name, (), {}))
        return root_fn, given


def trace(module: nn.Module) -> Graphs:
    """Graphs of a module's own forward, with all in it in training and all in evaluation.

    Parameters
    ----------
    module : Module
        Left as it is, its buffers too.

    Raises
    ------
    UntraceableError
        If the forward depends on values, or fails without them.
    """
    graphs = []
    for training in (True, False):
        with _mode(module, training):
            try:
                graphs.append(_OwnForward().trace(module))
            except UntraceableError:
                raise
            except Exception as error:  # whatever a user's forward may raise when given no tensor
                text = str(error).strip().splitlines()
                raise UntraceableError(text[0] if text else type(error).__name__) from error
    return graphs[0], graphs[1]


@contextmanager
def _mode(module: nn.Module, training: bool) -> Iterator[None]:
    """Everything in training or in evaluation; modes and buffers are restored.

    A forward may ask for the mode of a child as well as for its own.
    """
    modes = [(each, each.training) for each in module.modules()]
    buffers = [(each, each.detach().clone()) for each in module.buffers() if not is_lazy(each)]
    for each, _ in modes:
        each.training = training
    try:
        yield
    finally:
        for each, mode in modes:
            each.training = mode
        with torch.no_grad():
            for buffer, numbers in buffers:
                if not torch.equal(buffer, numbers):
                    buffer.copy_(numbers)


def same_graphs(first: fx.Graph, second: fx.Graph) -> bool:
    """Whether two graphs call the same things with the same arguments."""
    return _described(first) == _described(second)


def _described(graph: fx.Graph) -> list[tuple[Any, ...]]:
    order = {node: index for index, node in enumerate(graph.nodes)}

    def plain(argument: Any) -> str:
        return repr(fx.node.map_arg(argument, lambda node: f"%{order[node]}"))

    return [(n.op, str(n.target), plain(n.args), plain(n.kwargs)) for n in graph.nodes]
