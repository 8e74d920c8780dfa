"""Read weights files without running pickled code, load them into a model, and seed random weights."""

import pickle
import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from camlens.core.errors import ModelError

State = Mapping[str, Tensor]

_WRAPPINGS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")
_DEPTH = 4  # of nested wrappings: a pickled mapping may contain itself
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the random weights drawn in the block; the global random state is restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed the accelerators, which are not restored
        torch.default_generator.manual_seed(seed)
        yield


def read_weights(path: str | Path, *, trust_pickle: bool = False) -> dict[str, Tensor]:
    """Return the state dict in a safetensors or torch file, on the CPU.

    In a checkpoint it is looked up under the usual keys ("state_dict", "model", ...). "FILE#KEY" selects another key,
    or the weights whose names begin with "KEY.", such as "run.pth#ema".

    Raises ModelError if the file is missing, is not a weights file, holds no state dict or several under unusual keys,
    or is a pickle that could run code (unless `trust_pickle`).
    """
    path, key = _file_and_key(Path(path).expanduser())
    if not path.is_file():
        raise ModelError(
            f'weights file {path} does not exist: pass a file, None or "random"',
            code="model.weights-missing",
            file=str(path),
        )
    with path.open("rb") as stream:
        start = stream.read(9)
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return _dense(_state_in(_read_torch(path, trust_pickle), path, key), path)
    if start[8:] != b"{":
        raise ModelError(
            f"{path} is not a weights file: it must be a safetensors file or written by torch.save",
            code="model.weights-format",
            file=str(path),
        )
    try:
        return _dense(_state_in(load_file(path), path, key), path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is a damaged safetensors file: {error}", code="model.weights-damaged", file=str(path)
        ) from error


def _file_and_key(path: Path) -> tuple[Path, str | None]:
    if "#" not in path.name or path.is_file():
        return path, None
    name, _, key = path.name.rpartition("#")
    return path.with_name(name), key


def _read_torch(path: Path, trust_pickle: bool) -> object:
    if zipfile.is_zipfile(path) and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()):
        raise ModelError(
            f"{path} is a TorchScript archive: save the state_dict of the model it was made from",
            code="model.weights-torchscript",
            file=str(path),
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except Exception as error:  # damaged archives, missing classes: torch raises errors of many kinds
        if trust_pickle or not isinstance(error, pickle.UnpicklingError):
            raise ModelError(
                f"{path} cannot be read as weights: {first_line(error)}",
                code="model.weights-damaged",
                file=str(path),
            ) from error
        match = re.search(r"GLOBAL (\S+)", str(error))
        detail = f" (it contains {match[1]})" if match else ""
        raise ModelError(
            f"{path} is a pickle of more than tensors{detail}, and loading it could run arbitrary code. Save only the"
            " weights, with safetensors.torch.save_file(model.state_dict(), FILE) or"
            " torch.save(model.state_dict(), FILE), or pass trust_pickle=True if you trust its source",
            code="model.weights-pickle",
            file=str(path),
        ) from error


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _state_in(content: object, path: Path, key: str | None) -> State:
    """Return the state dict in the content of a file: under `key`, else under a usual key, else the only one."""
    entries = content if isinstance(content, Mapping) else {}
    own = _weights_of(content)
    if key is not None:
        under_prefix = {name: value for name, value in (own or {}).items() if name.startswith(f"{key}.")}
        chosen = _weights_of(entries.get(key)) or under_prefix
        if chosen:
            return chosen
    elif own is not None:
        return own
    sets = {str(name): state for name, value in entries.items() if (state := _weights_of(value)) is not None}
    if key is None and len(sets) == 1:
        return next(iter(sets.values()))
    if sets or key is not None:
        problem = "holds more than one set of weights" if key is None else f"holds no weights under {key!r}"
        raise ModelError(
            f"{path} {problem}: pass {path.name}#KEY with one of these keys: {', '.join(sets) or 'none'}",
            code="model.weights-key",
            file=str(path),
            key=key,
            keys=list(sets),
        )
    keys = ", ".join(map(str, list(entries)[:6])) or type(content).__name__
    raise ModelError(
        f"{path} holds no state dict but {keys}; the keys {', '.join(_WRAPPINGS)} were tried",
        code="model.weights-no-state-dict",
        file=str(path),
        keys=list(map(str, entries)),
    )


def _weights_of(content: object, depth: int = _DEPTH) -> State | None:
    """Return the value if it maps names to tensors, else the first such mapping under a usual key."""
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if not isinstance(content, Mapping) or not content:
        return None
    if all(isinstance(value, Tensor) for value in content.values()):
        return {str(name): value for name, value in content.items()}
    inner = (_weights_of(content.get(wrapping), depth - 1) for wrapping in _WRAPPINGS if depth)
    return next((state for state in inner if state is not None), None)


def _dense(state: State, path: Path) -> dict[str, Tensor]:
    """Return the state dict; raise ModelError if one of its tensors is not dense."""
    for name, value in state.items():
        forms = {"meta": value.is_meta, "nested": value.is_nested}
        form = next((form for form, applies in forms.items() if applies), None)
        if form is None and value.layout != torch.strided:
            form = str(value.layout).removeprefix("torch.")
        if form is not None:
            raise ModelError(
                f"{name} in {path} is a {form} tensor: save the weights as dense tensors",
                code="model.weights-form",
                file=str(path),
                name=name,
                form=form,
            )
    return dict(state)


def load_weights(model: nn.Module, state: State, *, source: str | Path) -> None:
    """Load a state dict whose names may have the prefix of a wrapper ("module.", "model.", "backbone.", ...).

    Other weights of a wrapper, such as "criterion.weight", are ignored. If the weights do not fit, raises ModelError
    with the first names and shapes that do not and the likely fix, and leaves the model unchanged.
    """
    expected = model.state_dict()
    state = _without_prefix(state, expected, source)
    missing = [name for name in expected if name not in state and not _is_counter(name)]
    unexpected = [name for name in state if name not in expected]
    misshapen = [name for name in state if name in expected and state[name].shape != expected[name].shape]
    if missing or unexpected or misshapen:
        cause, fix = _likely_cause(state, expected, missing, unexpected, misshapen)
        raise ModelError(
            f"{_misfit(source, state, expected, missing, unexpected, misshapen)}; {fix}",
            code="model.weights-misfit",
            source=str(source),
            cause=cause,
            missing=missing,
            unexpected=unexpected,
            misshapen={name: (tuple(state[name].shape), tuple(expected[name].shape)) for name in misshapen},
        )
    for name, value in state.items():
        if _kind(value) != _kind(expected[name]) and not _is_counter(name):
            raise ModelError(
                f"{name} in {source} is {_plain(value.dtype)}, but {_plain(expected[name].dtype)} in the model, and"
                " conversion would change its values: save floating-point weights, dequantized if necessary",
                code="model.weights-dtype",
                source=str(source),
                name=name,
                dtype=_plain(value.dtype),
                expected=_plain(expected[name].dtype),
            )
    complete = OrderedDict(state)
    complete._metadata = getattr(expected, "_metadata", None)  # type: ignore[attr-defined]  # versions of the modules
    model.load_state_dict(complete, strict=False)


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _kind(value: Tensor) -> str:
    return "complex" if value.is_complex() else "floating" if value.is_floating_point() else "integer"


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _without_prefix(state: State, expected: State, source: str | Path) -> State:
    """Return the weights without the prefix under which most of the model's names are found."""
    counts: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        starts = [".".join(parts[:depth]) + "." * bool(depth) for depth in range(len(parts))]
        counts.update(start for start in starts if name[len(start) :] in expected)
    most = max(counts.values(), default=0)
    best = [prefix for prefix, count in counts.items() if count == most]
    known = [prefix for prefix in best if prefix in ("", *_PREFIXES)]
    if len(best) > 1 and len(known) != 1:
        keys = [prefix.removesuffix(".") for prefix in best]
        raise ModelError(
            f"{source} holds more than one set of weights: pass {source}#KEY with one of these keys: {', '.join(keys)}",
            code="model.weights-key",
            file=str(source),
            key=None,
            keys=keys,
        )
    prefix = (known or best or [""])[0]
    inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if all(name in inside or _is_counter(name) for name in expected):
        return inside
    return inside | {name: value for name, value in state.items() if not name.startswith(prefix)}


def _misfit(
    source: str | Path,
    state: State,
    expected: State,
    missing: list[str],
    unexpected: list[str],
    misshapen: list[str],
) -> str:
    """Return a message with the first names and shapes that do not fit."""
    lines = [f"the weights in {source} do not fit the model"]
    shapes = [f"{name} {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}" for name in misshapen]
    for title, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines.append(f"{title}: {', '.join(names[:3])}{more}")
    return "; ".join(lines)


def _likely_cause(
    state: State, expected: State, missing: list[str], unexpected: list[str], misshapen: list[str]
) -> tuple[str, str]:
    """Return the likely cause as a code, and the fix."""
    heads = [name for name in misshapen if state[name].shape[1:] == expected[name].shape[1:]]
    if misshapen and heads == misshapen and len(misshapen) <= 4 and not missing and not unexpected:
        return "classes", f"they have another number of classes: pass num_classes={state[heads[-1]].shape[0]}"
    if not any(name in expected for name in state):
        return "architecture", "no name matches: they belong to another architecture or need renaming"
    if not missing and not misshapen:
        return "more", "the file has more weights than the model: check the model name, or save only its weights"
    return "variant", "they probably belong to another variant of the architecture: check the model name and options"
