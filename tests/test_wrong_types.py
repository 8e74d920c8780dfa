"""Values of a wrong type, in a process without the runtime type checks of these tests."""

import json
import subprocess
import sys

import pytest

ASK = """
import json, sys, torch, numpy as np, camlens
from torch import nn
from camlens.audit.running.settings import RunSettings
from camlens.metrics import METRICS
from camlens.targets import Box, ClassScore, InMask, Similarity, TopK

torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
inputs, five = torch.randn(2, 3, 16, 16), list("abcde")
line = nn.Sequential(nn.Conv1d(3, 6, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 5))
signal = camlens.explain(line, torch.randn(2, 3, 16), layers="0")
explain, result = camlens.explain, camlens.explain(model, inputs, layers="0")

heat, mask = torch.rand(2, 8, 8), torch.rand(2, 8, 8) > 0.5
pictures, score = torch.rand(2, 3, 8, 8), lambda images, row: images.mean(dim=(1, 2, 3))
explainer = lambda images, row: images.mean(dim=1)
measured = lambda name, *given, **options: METRICS[name].function(*given, **options)

def said(expression):
    try:
        return f"no error: {eval(expression)}"
    except camlens.CamlensError as error:
        return f"{error.code} {error.facts.get('name', '')}"

print(json.dumps({expression: said(expression) for expression in json.load(sys.stdin)}))
"""
REFUSED = [
    (["explain(model, inputs, layers=5)", "explain(model, inputs, layers=[5])"], "argument.invalid layers"),
    (["explain(model, inputs, options=5)"], "argument.invalid options"),
    (["explain(model, inputs, args=5)", "explain(model, inputs, kwargs=[1])"], "argument.invalid"),
    (["Similarity('cat')"], "target.type"),
    (["InMask('cat', 1)"], "target.type"),
    (["result.heatmaps(size=5)", "result.heatmaps(size=(5., 5.))"], "size.invalid"),
    (["result.overlay(torch.rand(2, 3, 8, 8), 'half')"], "argument.invalid"),
    (["result.overlay(torch.rand(2, 3, 8, 8), target='cat')"], "target.out-of-range"),
    (
        [f"result.figure(torch.rand(2, 3, 8, 8), {name}='a')" for name in ("alpha", "threshold", "contour")],
        "argument.invalid",
    ),
    (["result.figure(torch.rand(2, 3, 8, 8), scale='a')"], "argument.invalid scale"),
    (["result.figure(torch.rand(2, 3, 8, 8), title=3)"], "argument.invalid title"),
    (["camlens.register_method('zz', paper='', needs='zzz', good_for='')(len)"], "argument.invalid needs"),
    (["camlens.register_method(5, paper='', needs='probe', good_for='')(len)"], "argument.invalid name"),
    (["signal.overlay(torch.rand(2, 8, 8))", "signal.figure(torch.rand(2, 8, 8))"], "images.axes"),
    (
        [
            f"explain(model, inputs, target={one})"
            for one in ("lambda out: out[:, 0].detach()", "lambda out: out.argmax(1)")
        ],
        "target.no-gradient",
    ),
    (["explain(model, inputs, target=Similarity(torch.zeros(5)))"], "target.zero"),
    (
        ["explain(model, inputs[..., :5], method='rise')"],
        "argument.invalid cells",
    ),
    (["explain(model, inputs, method='occlusion', options={'window': 2.5})"], "argument.invalid window"),
    (["camlens.get_conv_layers(5)"], "model.type"),
    (["camlens.get_top_predictions(model, 'cpu', inputs[0], None)"], "argument.invalid"),
    (["camlens.audit.run('demo:photos', model, 'run')"], "model.not-loaded"),
    (["camlens.load_model(5)", "camlens.load_model(None)"], "model.spec-type"),
    (["camlens.load_model('resnet18', weights=5)"], "model.weights-type"),
    (["camlens.audit.run(5, 'demo:photos', 'run')"], "data.type"),
    (["Box((1, 2, 3), 1)", "Box('abcd', 1)", "Box(None, 1)"], "target.type"),
    (
        [
            f"measured('{name}', heat, mask.numpy())"
            for name in ("energy_inside", "pointing_game", "max_box_accuracy", "top_k_intersection")
        ]
        + ["measured('pointing_game', heat, mask.numpy(), tolerance=1)"],
        "argument.invalid masks",
    ),
    (
        [
            "measured('energy_inside', heat.numpy(), mask)",
            "measured('sparseness', heat.numpy())",
            "measured('spearman', heat, heat.numpy())",
            "measured('deletion_auc', score, pictures, heat.numpy())",
        ],
        "argument.invalid maps",
    ),
    (["measured('average_drop', score, pictures.numpy(), heat)"], "argument.invalid inputs"),
    (
        [f"measured('{name}', 5, pictures, heat)" for name in ("average_drop", "insertion_auc", "road_morf")],
        "argument.invalid score",
    ),
    (
        ["measured('average_drop', lambda images, row: None, pictures, heat)"],
        "score.type",
    ),
    (
        ["measured('deletion_auc', lambda images, row: [1.0] * len(images), pictures, heat)"],
        "score.type",
    ),
    (["measured('max_sensitivity', 'cat', pictures)"], "argument.invalid explain"),
    (
        [
            "measured('max_sensitivity', lambda images, row: None, pictures)",
            "measured('parameter_randomisation', model, lambda model, images: None, inputs)",
            "measured('random_logit_similarity', lambda images, to: None, inputs, torch.tensor([0, 1]),"
            " number_of_classes=5)",
        ],
        "explain.type",
    ),
    (["measured('infidelity', score, pictures, heat, perturb=3)"], "argument.invalid perturb"),
    (["Box((0, 0, 2, 2), None)", "Box((0, 0, 2, 2), 'cat')"], "target.type"),
    (["explain(model, inputs, target=ClassScore('cat'))"], "target.type"),
    (["explain('resnet18', inputs)"], "model.type"),
    (
        [
            f"camlens.get_top_predictions(model, {device}, inputs[0], five)"
            for device in ("1.5", "[1]", "torch.float64")
        ],
        "device.unavailable",
    ),
]
SAME = [
    *(
        (f"{call.format('np.int64(4)')}.tolist()", f"{call.format('4')}.tolist()")
        for call in (
            "measured('pointing_game', heat, mask, tolerance={})",
            "measured('top_k_intersection', heat, mask, k={})",
            "measured('deletion_auc', score, pictures, heat, steps={})",
            "measured('max_sensitivity', explainer, pictures, samples={})",
            "measured('infidelity', score, pictures, heat, samples={})",
            "measured('sensitivity_n', score, pictures, heat, size={0}, samples={0})",
            "measured('random_logit_similarity', lambda images, to: images.mean(dim=1), inputs,"
            " torch.tensor([0, 1]), number_of_classes={})",
        )
    ),
    *(
        (f"{call.format('np.float32(0.25)')}.tolist()", f"{call.format('0.25')}.tolist()")
        for call in (
            "measured('intersection_over_union', heat, mask, threshold={})",
            "measured('max_box_accuracy', heat, mask, threshold={0}, overlap={0})",
            "measured('max_sensitivity', explainer, pictures, radius={})",
            "measured('border_energy', heat, width={})",
            "measured('road_morf', score, pictures, heat, shares=[{0}], noise={0})",
        )
    ),
    (
        "RunSettings(limit=np.int64(3), batch_size=np.int32(2), seed=np.uint8(1), workers=np.int64(0))",
        "RunSettings(limit=3, batch_size=2, seed=1, workers=0)",
    ),
    (
        "explain(model, inputs, target=TopK(np.int64(2))).classes.tolist()",
        "explain(model, inputs, target=TopK(2)).classes.tolist()",
    ),
    (
        "explain(model, inputs, target=ClassScore(np.array([1, 2])), memory_budget=90_000).classes.tolist()",
        "explain(model, inputs, target=[1, 2]).classes.tolist()",
    ),
    (
        "explain(model, inputs, target=ClassScore(torch.tensor([1, 2]))).classes.tolist()",
        "explain(model, inputs, target=[1, 2]).classes.tolist()",
    ),
    (
        "camlens.get_top_predictions(model, 'cpu', inputs[0], five, np.int64(2))",
        "camlens.get_top_predictions(model, 'cpu', inputs[0], five, 2)",
    ),
    ("explain(model, inputs, target=[np.int64(0), 1]).targets", "explain(model, inputs, target=[0, 1]).targets"),
    ("Box(np.array([0, 1, 2, 3]), 1)", "Box((0, 1, 2, 3), 1)"),
    ("result.heatmaps(size=np.array([5, 6])).shape", "result.heatmaps(size=(5, 6)).shape"),
]


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    """The code of the error of each expression, or its value."""
    asked = [one for expressions, _ in REFUSED for one in expressions] + [one for pair in SAME for one in pair]
    run = subprocess.run([sys.executable, "-c", ASK], input=json.dumps(asked), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    answers: dict[str, str] = json.loads(run.stdout)
    return answers


@pytest.mark.parametrize(("expressions", "words"), REFUSED)
def test_wrong_types_are_refused(said: dict[str, str], expressions: list[str], words: str) -> None:
    for expression in expressions:
        assert said[expression].startswith(words), expression


@pytest.mark.parametrize(("ours", "theirs"), SAME)
def test_numbers_of_numpy_and_torch_count_as_numbers(said: dict[str, str], ours: str, theirs: str) -> None:
    assert said[ours] == said[theirs]
    assert said[ours].startswith("no error")
