"""Tests of weights files: no code is run, and weights that do not fit are refused."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from camlens.core.errors import ModelError
from camlens.models.weight_files import load_weights, read_weights, seeded
from tests.refusals import refused


def small_net(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), head=nn.Linear(4, classes)))


class Malicious:
    """Unpickling this makes a directory: harmless, and seen at once."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def same(read: dict[str, torch.Tensor], model: nn.Module) -> bool:
    expected = model.state_dict()
    return read.keys() == expected.keys() and all(torch.equal(read[name], expected[name]) for name in expected)


def test_the_format_of_weights_does_not_depend_on_the_file_name(tmp_path: Path) -> None:
    model = small_net()
    save_file(model.state_dict(), tmp_path / "weights.pth")
    assert same(read_weights(tmp_path / "weights.pth"), model)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapping", [None, "state_dict", "model", "model_state_dict", "module"])
def test_a_state_dict_is_found_in_its_wrapping(tmp_path: Path, wrapping: str | None, zipped: bool) -> None:
    model = small_net()
    content = model.state_dict() if wrapping is None else {"epoch": 3, "best": 0.5, wrapping: model.state_dict()}
    torch.save(content, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    assert same(read_weights(tmp_path / "net.pt"), model)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    mark, path = tmp_path / "was run", tmp_path / "net.pt"
    torch.save({"state_dict": small_net().state_dict(), "extra": Malicious(mark)}, path,
               _use_new_zipfile_serialization=zipped)  # fmt: skip
    with refused("model.weights-pickle", ModelError, file=str(path)):
        read_weights(path)
    assert not mark.exists()


def test_a_bare_malicious_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        mark, path = tmp_path / f"was run {protocol}", tmp_path / f"{protocol}.safetensors"
        path.write_bytes(pickle.dumps(Malicious(mark), protocol))
        with pytest.raises(ModelError):
            read_weights(path)
        assert not mark.exists()


def test_a_trusted_pickle_of_a_whole_model_gives_its_weights(tmp_path: Path) -> None:
    model = small_net()
    torch.save(model, tmp_path / "model.pt")
    with refused("model.weights-pickle", ModelError, file=str(tmp_path / "model.pt")):
        read_weights(tmp_path / "model.pt")
    assert same(read_weights(tmp_path / "model.pt", trust_pickle=True), model)


def test_other_files_than_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.pt").write_text("these are no weights")
    torch.save({"epoch": 3, "args": [1]}, tmp_path / "empty.pt")
    torch.save(small_net().state_dict(), tmp_path / "whole.pt")
    (tmp_path / "half.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:700])
    save_file(small_net().state_dict(), tmp_path / "whole.safetensors")
    (tmp_path / "half.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-20])
    for name, code in {
        "notes.pt": "model.weights-format",
        "empty.pt": "model.weights-no-state-dict",
        "half.pt": "model.weights-damaged",
        "half.safetensors": "model.weights-damaged",
        "missing.pt": "model.weights-missing",
        ".": "model.weights-missing",
    }.items():
        with pytest.raises(ModelError) as caught:
            read_weights(tmp_path / name)
        assert caught.value.code == code
        assert caught.value.facts["file"] == str(tmp_path / name)


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/data.pkl", b"")
        archive.writestr("net/constants.pkl", b"")
    with refused("model.weights-torchscript", ModelError, file=str(tmp_path / "net.pt")):
        read_weights(tmp_path / "net.pt")


# Several sets of weights in one file


@pytest.mark.parametrize("key", ["ema", "state_dict_ema", "params_ema", "teacher"])
def test_one_of_several_sets_of_weights_is_selected_by_its_key(tmp_path: Path, key: str) -> None:
    usual, chosen = small_net(), small_net()
    content = {"epoch": 3, "state_dict": usual.state_dict(), key: {"state_dict": chosen.state_dict(), "decay": 0.9}}
    torch.save(content, tmp_path / "run.pth")
    assert same(read_weights(tmp_path / "run.pth"), usual)
    assert same(read_weights(f"{tmp_path}/run.pth#{key}"), chosen)


def test_the_only_set_of_weights_is_used_whatever_its_key(tmp_path: Path) -> None:
    model = small_net()
    torch.save({"epoch": 3, "teacher": model.state_dict()}, tmp_path / "run.pth")
    assert same(read_weights(tmp_path / "run.pth"), model)


@pytest.mark.parametrize("suffix", ["", "#nobody"])
def test_without_a_usual_key_or_with_an_unknown_one_the_keys_are_listed(tmp_path: Path, suffix: str) -> None:
    torch.save({"student": small_net().state_dict(), "teacher": small_net().state_dict()}, tmp_path / "run.pth")
    with pytest.raises(ModelError) as caught:
        read_weights(f"{tmp_path}/run.pth{suffix}")
    assert caught.value.code == "model.weights-key"
    assert caught.value.facts["keys"] == ["student", "teacher"]


def test_sets_that_differ_by_a_prefix_are_selected_by_it(tmp_path: Path) -> None:
    nets = {"student": small_net(), "teacher": small_net()}
    state = {f"{key}.{name}": value for key, net in nets.items() for name, value in net.state_dict().items()}
    save_file(state, tmp_path / "run.safetensors")
    filled = small_net()
    with pytest.raises(ModelError) as caught:
        load_weights(filled, read_weights(tmp_path / "run.safetensors"), source=tmp_path / "run.safetensors")
    assert caught.value.code == "model.weights-key"
    assert caught.value.facts["keys"] == ["student", "teacher"]
    load_weights(filled, read_weights(f"{tmp_path}/run.safetensors#teacher"), source="the teacher")
    assert same(dict(filled.state_dict()), nets["teacher"])


def test_a_file_whose_name_has_a_hash_sign_is_read(tmp_path: Path) -> None:
    model = small_net()
    torch.save(model.state_dict(), tmp_path / "run#3.pth")
    assert same(read_weights(tmp_path / "run#3.pth"), model)


# Weights that would change their values


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_weights_of_another_kind_of_number_are_refused(dtype: torch.dtype) -> None:
    model = small_net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = dict(small_net().state_dict())
    state["conv.weight"] = (10 * state["conv.weight"]).to(dtype)
    with pytest.raises(ModelError) as caught:
        load_weights(model, state, source="a file")
    assert caught.value.code == "model.weights-dtype"
    assert caught.value.facts["name"] == "conv.weight"
    assert caught.value.facts["dtype"] == str(dtype).removeprefix("torch.")
    assert same(before, model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_weights_of_another_precision_are_loaded(dtype: torch.dtype) -> None:
    model, given = small_net(), small_net()
    state = {name: value.to(dtype) for name, value in given.state_dict().items()}
    load_weights(model, state, source="a file")
    torch.testing.assert_close(model.conv.weight, given.conv.weight, atol=1e-2, rtol=0)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize("form", ["meta", "sparse_coo"])
def test_tensors_that_are_not_dense_are_refused(tmp_path: Path, form: str) -> None:
    state = dict(small_net().state_dict())
    weight = state["head.weight"]
    state["head.weight"] = weight.to("meta") if form == "meta" else weight.to_sparse()
    torch.save({"model": state}, tmp_path / "net.pt")
    with pytest.raises(ModelError) as caught:
        read_weights(tmp_path / "net.pt")
    assert caught.value.code == "model.weights-form"
    assert (caught.value.facts["name"], caught.value.facts["form"]) == ("head.weight", form)


def test_a_file_that_contains_itself_is_refused(tmp_path: Path) -> None:
    content: dict[str, object] = {"epoch": 1}
    content["state_dict"] = content["model"] = content
    torch.save(content, tmp_path / "net.pt")
    for suffix in ("", "#model"):
        with pytest.raises(ModelError):
            read_weights(f"{tmp_path / 'net.pt'}{suffix}")


# Names


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module._orig_mod.", "model.net.", "own."])
def test_prefixes_of_wrappers_are_removed(prefix: str) -> None:
    given, filled = small_net(), small_net()
    load_weights(filled, {prefix + name: value for name, value in given.state_dict().items()}, source="a file")
    assert same(dict(filled.state_dict()), given)


def test_other_weights_of_a_wrapper_are_ignored() -> None:
    given, filled = small_net(), small_net()
    state = {f"model.{name}": value for name, value in given.state_dict().items()}
    load_weights(filled, {"criterion.weight": torch.ones(3), **state}, source="a file")
    assert same(dict(filled.state_dict()), given)


def test_the_error_for_misfitting_weights_lists_the_other_weights() -> None:
    state = {f"model.{name}": value for name, value in small_net().state_dict().items()}
    state |= {"criterion.weight": torch.ones(3), "model.more.weight": torch.ones(3)}
    del state["model.head.bias"]
    with pytest.raises(ModelError) as caught:
        load_weights(small_net(), state, source="a file")
    assert caught.value.code == "model.weights-misfit"
    assert caught.value.facts["missing"] == ["head.bias"]
    assert set(caught.value.facts["unexpected"]) == {"criterion.weight", "more.weight"}  # type: ignore[call-overload]


def test_the_usual_prefix_is_preferred_to_that_of_an_average() -> None:
    given, average, filled = small_net(), small_net(), small_net()
    state = {f"{prefix}.{name}": value for prefix, net in (("average", average), ("model", given))
             for name, value in net.state_dict().items()}  # fmt: skip
    load_weights(filled, state, source="a file")
    assert same(dict(filled.state_dict()), given)


def test_a_name_of_the_model_is_no_prefix() -> None:
    given, filled = nn.ModuleDict({"model": nn.Linear(2, 2)}), nn.ModuleDict({"model": nn.Linear(2, 2)})
    load_weights(filled, given.state_dict(), source="a file")
    assert same(dict(filled.state_dict()), given)


def test_batch_counters_may_be_missing() -> None:
    state = {name: value for name, value in small_net().state_dict().items() if "num_batches" not in name}
    model = small_net()
    load_weights(model, state, source="an old file")
    assert torch.equal(model.norm.running_mean, state["norm.running_mean"])


def test_another_number_of_classes_is_refused_and_leaves_the_model_unchanged() -> None:
    model = small_net(3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shapes = {"head.weight": ((7, 4), (3, 4)), "head.bias": ((7,), (3,))}
    with refused("model.weights-misfit", ModelError, source="old.pt", cause="classes", misshapen=shapes):
        load_weights(model, small_net(7).state_dict(), source="old.pt")
    assert same(before, model)


def test_missing_and_unexpected_names_are_listed() -> None:
    state = dict(small_net().state_dict())
    state["top.weight"] = state.pop("head.weight")
    names = {"missing": ["head.weight"], "unexpected": ["top.weight"]}
    with refused("model.weights-misfit", ModelError, cause="variant", **names):
        load_weights(small_net(), state, source="a file")


def test_weights_without_a_matching_name_belong_to_another_architecture() -> None:
    state = {f"block{index}.weight": torch.zeros(1) for index in range(9)}
    with refused("model.weights-misfit", ModelError, cause="architecture", unexpected=list(state)):
        load_weights(small_net(), state, source="a file")


def test_random_weights_depend_only_on_the_seed_and_keep_the_random_state() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    with seeded(1):
        first = small_net()
    torch.rand(3)
    with seeded(1):
        again = small_net()
    with seeded(2):
        other = small_net()
    torch.random.set_rng_state(before)
    assert same(dict(first.state_dict()), again)
    assert not torch.equal(first.conv.weight, other.conv.weight)
    with seeded(1):
        small_net()
    assert torch.equal(torch.random.get_rng_state(), before)
