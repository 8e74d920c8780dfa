"""Make the random draws of other libraries come from a given generator.

captum draws from the global random state: a map would depend on earlier draws, threads would take numbers from each
other, and the user's own draws would change.
"""

import weakref
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_FACTORIES = {torch.rand, torch.randn, torch.randint, torch.randperm}
_FROM_TENSORS = {torch.normal, torch.bernoulli, torch.multinomial, torch.poisson, torch.binomial}
_FROM_TENSORS |= {Tensor.bernoulli, Tensor.multinomial}
_IN_PLACE = {
    Tensor.bernoulli_,
    Tensor.cauchy_,
    Tensor.exponential_,
    Tensor.geometric_,
    Tensor.log_normal_,
    Tensor.normal_,
    Tensor.random_,
    Tensor.uniform_,
}


class SeededDraws(TorchFunctionMode):
    """While entered, what this thread draws through torch comes from `generator`; the global state does not change.

    A mode is active in the thread that entered it, so any number of threads may draw at once. The draws are those that
    the same code would make after `torch.manual_seed` with the generator's seed. For another device they are made on
    the generator's device and moved. Calls that pass a generator are left alone, and so are dropout and weight
    initialization, which a model calls but captum does not: run a model inside `paused`.

        with SeededDraws(torch.Generator().manual_seed(0)):
            torch.distributions.Normal(0.0, 1.0).sample((3,))
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") is None:
            if func in _IN_PLACE:
                return self._filled(func, args, kwargs)
            if func in _FACTORIES or func in _FROM_TENSORS:
                return self._drawn(func, args, kwargs)
        return func(*args, **kwargs)

    def paused(self) -> AbstractContextManager[None]:
        """A block in which the mode is not active, for running the model.

        The mode is removed, because an inactive one would still make a compiled model recompile.
        """
        return _Paused(self)

    def _drawn(self, func: Any, args: Any, kwargs: Any) -> Any:
        home = self.generator.device
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        place = tensors[0].device if tensors else kwargs.get("device") or torch.get_default_device()
        own = {"device": home} if func in _FACTORIES or "device" in kwargs else {}
        kwargs = {**_moved(kwargs, home), **own, "generator": self.generator}
        return func(*(_there(value, home) for value in args), **kwargs).to(place)

    def _filled(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, home = args[0], self.generator.device
        here = tensor if tensor.device == home else torch.empty_like(tensor, device=home)
        others = (_there(value, home) for value in args[1:])
        func(here, *others, **{**_moved(kwargs, home), "generator": self.generator})
        return tensor if here is tensor else tensor.copy_(here)


class _Paused(AbstractContextManager[None]):
    def __init__(self, draws: SeededDraws) -> None:
        self.draws = draws

    def __enter__(self) -> None:
        self.draws.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def __exit__(self, *_: object) -> None:
        self.draws.__enter__()  # type: ignore[no-untyped-call]


def _moved(kwargs: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: _there(value, device) for name, value in kwargs.items()}


def _there(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


class PrivateDraws(SeededDraws):
    """While entered, the model draws what it would draw now, and the global state does not change.

    At the first draw the generator becomes a copy of the global one. Functions that take no generator, such as dropout,
    draw from the global one, which is put back at once. The mode is dropped if its guard is collected.
    """

    def __init__(self, guard: object) -> None:
        super().__init__(torch.Generator())
        self.guard = weakref.ref(guard)
        self.begun = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _DRAWING:
            return func(*args, **(kwargs or {}))
        if not self.begun:
            self.generator.set_state(torch.get_rng_state())
            self.begun = True
        if func not in _WITHOUT_GENERATOR:
            return super().__torch_function__(func, types, args, kwargs)
        device = next((value.device for value in args if isinstance(value, Tensor)), torch.device("cpu"))
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.set_rng_state(self.generator.get_state())
            result = func(*args, **(kwargs or {}))
            self.generator.set_state(torch.get_rng_state())
        return result


_functional = torch.nn.functional
_WITHOUT_GENERATOR = {
    torch.rand_like,
    torch.randn_like,
    torch.randint_like,
    torch.rrelu,
    torch.rrelu_,
    _functional.rrelu,
    _functional.gumbel_softmax,
    _functional.fractional_max_pool2d,
    _functional.fractional_max_pool3d,
    _functional.scaled_dot_product_attention,
    _functional.multi_head_attention_forward,
}
_WITHOUT_GENERATOR |= {
    getattr(room, name) for room in (torch, _functional) for name in dir(room) if "dropout" in name and name[0] != "_"
}
_DRAWING = _FACTORIES | _FROM_TENSORS | _IN_PLACE | _WITHOUT_GENERATOR
