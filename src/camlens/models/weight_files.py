"""Weights: read from a file without running it, fitted to a model with helpful errors, or seeded."""

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from camlens.core.errors import ModelError

State = Mapping[str, Tensor]

_WRAPPINGS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let what the block builds draw its weights from `seed`; the global random state is put back after."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators too, for good
        yield


def read_weights(path: str | Path, *, trust_pickle: bool = False) -> dict[str, Tensor]:
    """The state dict in a safetensors file or a torch file, on the CPU, out of whatever it is wrapped in.

    Raises ModelError for a file that is missing, is no weights file, holds no state dict, or is a pickle that
    could run code (unless `trust_pickle`).
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ModelError(f'weights file {path} does not exist or is no file; weights are a file, None or "random"')
    with path.open("rb") as stream:
        start = stream.read(9)
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return _state_in(_read_torch(path, trust_pickle), path)
    if start[8:] == b"{":
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is a damaged safetensors file: {error}") from error
    raise ModelError(f"{path} is not a weights file: neither safetensors nor what torch.save writes")


def _read_torch(path: Path, trust_pickle: bool) -> object:
    if zipfile.is_zipfile(path) and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()):
        raise ModelError(f"{path} is a TorchScript archive: save the state_dict of the model it was made from")
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        if trust_pickle:
            raise ModelError(f"{path} is damaged: {_first_line(error)}") from error
        found = re.search(r"GLOBAL (\S+)", str(error))
        holds = f" (it holds {found[1]})" if found else ""
        raise ModelError(
            f"{path} is a pickle of more than weights{holds}, and reading it could run code of whoever made"
            " it. Save"
            " the weights alone, with safetensors.torch.save_file(model.state_dict(), FILE) or"
            " torch.save(model.state_dict(), FILE); only where you trust its maker as your own code, say"
            " trust_pickle=True"
        ) from error
    except Exception as error:  # a damaged archive, or classes that are not there: torch raises errors of many kinds
        raise ModelError(f"{path} cannot be read as weights: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _state_in(content: object, path: Path) -> dict[str, Tensor]:
    """The mapping of names to tensors in what a file held: bare, or under one of the usual keys."""
    if isinstance(content, nn.Module):
        return dict(content.state_dict())
    if isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(name): value for name, value in content.items()}
        for wrapping in _WRAPPINGS:
            if isinstance(content.get(wrapping), Mapping | nn.Module):
                return _state_in(content[wrapping], path)
    keys = ", ".join(map(str, list(content)[:6])) if isinstance(content, Mapping) else type(content).__name__
    raise ModelError(f"{path} holds no state dict (found: {keys}); looked under {', '.join(_WRAPPINGS)}")


def load_weights(model: nn.Module, state: State, *, source: str | Path) -> None:
    """Load a state dict whose names may carry a wrapper's prefix ("module.", "model.", ...).

    Raises ModelError, with the first names and shapes that do not fit and the likely mend, and leaves the
    model then as it was.
    """
    expected = model.state_dict()
    state = _without_prefix(state, expected)
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in expected]
    misshapen = [name for name in state if name in expected and state[name].shape != expected[name].shape]
    if missing or unexpected or misshapen:
        raise ModelError(_misfit(source, state, expected, missing, unexpected, misshapen))
    complete = OrderedDict(state)
    complete._metadata = getattr(expected, "_metadata", None)  # type: ignore[attr-defined]  # versions of the modules
    model.load_state_dict(complete, strict=False)


def _without_prefix(state: State, expected: State) -> State:
    while state and not any(name in expected for name in state):
        prefix = next((prefix for prefix in _PREFIXES if all(name.startswith(prefix) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _misfit(
    source: str | Path,
    state: State,
    expected: State,
    missing: list[str],
    unexpected: list[str],
    misshapen: list[str],
) -> str:
    """The message: what does not fit, and why that may be."""
    lines = [f"the weights in {source} do not fit the model"]
    shapes = [f"{name} {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}" for name in misshapen]
    for title, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines.append(f"{title}: {', '.join(names[:3])}{more}")
    return "; ".join(lines) + "; " + _mend(state, expected, missing, unexpected, misshapen)


def _mend(state: State, expected: State, missing: list[str], unexpected: list[str], misshapen: list[str]) -> str:
    heads = [name for name in misshapen if state[name].shape[1:] == expected[name].shape[1:]]
    if misshapen and heads == misshapen and len(misshapen) <= 4 and not missing and not unexpected:
        return f"they were trained for another number of classes: say num_classes={state[heads[-1]].shape[0]}"
    if not any(name in expected for name in state):
        return "not one name agrees: they are probably of another architecture, or need renaming"
    return "they are probably of another variant of the architecture: check the model's name and its options"
