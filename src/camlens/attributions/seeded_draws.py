"""Other libraries' random draws, taken from a generator of ours.

captum draws from the random state of the whole process: a map would depend on what else has drawn, threads would
take numbers from each other, and the user's own draws would change.
"""

from collections.abc import Iterator
from contextlib import contextmanager
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
    """While entered, whatever this thread draws through torch comes from `generator`, and the global state rests.

    A mode belongs to the thread that entered it, so that any number of threads may draw at once. The draws are those
    that the same code would make after `torch.manual_seed` with the generator's seed. On another device they are
    made where the generator is, and moved. Left alone are calls that name a generator themselves, and what a model
    calls but captum does not, dropout and the first weights of layers: a model runs inside `paused`.

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

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A block within the mode's own in which it does not act: for the model, whose draws are not the library's.

        The mode is taken off rather than told to look away, since a compiled model would be compiled again for it.
        """
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            self.__enter__()  # type: ignore[no-untyped-call]

    def _drawn(self, func: Any, args: Any, kwargs: Any) -> Any:
        home = self.generator.device
        tensors = [one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)]
        place = tensors[0].device if tensors else kwargs.get("device") or torch.get_default_device()
        own = {"device": home} if func in _FACTORIES or "device" in kwargs else {}
        kwargs = {**_moved(kwargs, home), **own, "generator": self.generator}
        return func(*(_there(one, home) for one in args), **kwargs).to(place)

    def _filled(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, home = args[0], self.generator.device
        here = tensor if tensor.device == home else torch.empty_like(tensor, device=home)
        others = (_there(one, home) for one in args[1:])
        func(here, *others, **{**_moved(kwargs, home), "generator": self.generator})
        return tensor if here is tensor else tensor.copy_(here)


def _moved(kwargs: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: _there(one, device) for name, one in kwargs.items()}


def _there(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
