"""The lines that repeat a view outside the studio, in Python and in the shell."""

import shlex

from camlens.studio.bench import Workbench
from camlens.studio.schemas import ExplanationRequest, TargetChoice


def python_lines(bench: Workbench, request: ExplanationRequest) -> str:
    """Python that gives the very maps of a request."""
    methods = request.methods[0] if len(request.methods) == 1 else list(request.methods)
    layers = request.layers[0] if len(request.layers) == 1 else list(request.layers)
    target, wanted = _python_target(request.target)
    imports = ["from camlens import explain, load_model"]
    image_import, image = _python_image(bench, request.image)
    lines = [
        *imports,
        *([f"from camlens.targets import {wanted}"] if wanted else []),
        image_import,
        "",
        f"loaded = load_model({bench.settings.model!r}{_python_weights(bench)})",
        f"image = {image}",
        "explanation = explain(",
        "    loaded.model,",
        "    loaded.preprocess(image)[None],",
        f"    method={methods!r},",
        f"    layers={layers!r},",
        *([f"    target={target},"] if target else []),
        ")",
    ]
    return "\n".join(lines)


def shell_line(bench: Workbench, request: ExplanationRequest) -> str:
    """The shell commands that draw the maps of a request."""
    fetch, image = _shell_image(bench, request.image)
    several = len(request.methods) > 1 or len(request.layers) > 1
    parts = ["camlens", "compare" if several else "explain", image, "--model", bench.settings.model]
    if bench.settings.weights:
        parts += ["--weights", bench.settings.weights]
    if len(request.methods) > 1:
        parts += ["--methods", ",".join(request.methods), "--layer", request.layers[0]]
    elif several:
        parts += ["--layers", ",".join(request.layers), "--method", request.methods[0]]
    else:
        parts += ["--method", request.methods[0], "--layer", request.layers[0]]
    if request.target.kind == "class":
        parts += ["--class", str(request.target.index)]
    return fetch + shlex.join(parts)


def _python_target(choice: TargetChoice) -> tuple[str, str]:
    """The target as Python, and the name it needs from camlens.targets."""
    if choice.kind == "class":
        return str(choice.index), ""
    if choice.kind == "contrast":
        return f"Contrast({choice.index}, {choice.against})", "Contrast"
    if choice.kind == "top":
        return f"TopK({choice.k})", "TopK"
    return "", ""


def _python_weights(bench: Workbench) -> str:
    return f", weights={bench.settings.weights!r}" if bench.settings.weights else ""


def _python_image(bench: Workbench, image: str) -> tuple[str, str]:
    if image.startswith("u"):
        return "from camlens.data.decode import decode_image", 'decode_image("YOUR-IMAGE.jpg")'
    number = int(image[1:])
    path = bench.gallery.path(number)
    if path is not None:
        return "from camlens.data.decode import decode_image", f"decode_image({str(path)!r})"
    return (
        "from camlens.data.sources import open_source",
        f"open_source({bench.gallery.spec!r})[{number}].load()",
    )


def _shell_image(bench: Workbench, image: str) -> tuple[str, str]:
    """What must be done before, and the image's file; a composed picture is fetched from the studio."""
    if image.startswith("u"):
        return "", "YOUR-IMAGE.jpg"
    path = bench.gallery.path(int(image[1:]))
    if path is not None:
        return "", str(path)
    settings = bench.settings
    token = ' -H "Authorization: Bearer $TOKEN"' if settings.token else ""
    file = f"{image}.png"
    address = f"http://{settings.host}:{settings.port}/api/images/{image}/display.png"
    return f"curl -s{token} -o {file} {address} && ", file
