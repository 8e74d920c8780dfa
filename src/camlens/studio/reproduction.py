"""Python and shell code that reproduces a view outside the studio."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from camlens.data.samples import printable
from camlens.studio.bench import Workbench
from camlens.studio.schemas import ExplanationRequest, TargetChoice


@dataclass(frozen=True)
class Lines:
    """The settings that reproduce maps; without `layers` the methods choose them."""

    methods: tuple[str, ...]
    target: TargetChoice
    layers: tuple[str, ...] = ()
    seed: int = 0
    options: Mapping[str, int] = field(default_factory=dict)

    def python(self, bench: Workbench, image: str) -> str:
        """Return Python code that computes the maps."""
        target, wanted = _python_target(self.target)
        image_import, image_text = _python_image(bench, image)
        lines = [
            "from camlens import explain, load_model",
            *([f"from camlens.targets import {wanted}"] if wanted else []),
            *([image_import] if image_import else []),
            "",
            f"loaded = load_model({bench.settings.model!r}{_python_options(bench)})",
            "explanation = explain(",
            "    loaded,",
            f"    {image_text},",
            f"    method={_one_or_several(self.methods)!r},",
            *([f"    layers={_one_or_several(self.layers)!r},"] if self.layers else []),
            *([f"    target={target},"] if target else []),
            *([f"    options={dict(self.options)!r},"] if self.options else []),
            *([f"    seed={self.seed},"] if self.seed else []),
            ")",
        ]
        return "\n".join(lines)

    def shell(self, bench: Workbench, image: str) -> str:
        """Return a shell command that draws the maps."""
        if self.target.kind in ("contrast", "top") or min(len(self.methods), len(self.layers)) > 1:
            return self._python_in_the_shell(bench, image)  # the commands explain one class at a time
        fetch, file = _shell_image(bench, image)
        several = len(self.methods) > 1 or len(self.layers) > 1
        parts = ["camlens", "compare" if several else "explain", file, "--model", bench.settings.model]
        for name, text in _model_options(bench).items():
            parts += [f"--{name.replace('_', '-')}", text]
        if len(self.layers) > 1 and len(self.methods) == 1:
            parts += ["--layers", ",".join(self.layers), "--method", self.methods[0]]
        else:
            parts += ["--methods" if several else "--method", ",".join(self.methods)]
            parts += ["--layer", self.layers[0]] if self.layers else []
        for name, value in self.options.items():
            parts += [f"--{name}", str(value)]
        if self.seed:
            parts += ["--seed", str(self.seed)]
        if self.target.kind == "class":
            parts += ["--class", str(self.target.index)]
        return fetch + shlex.join(parts)

    def _python_in_the_shell(self, bench: Workbench, image: str) -> str:
        """Return the Python code as one shell command that writes an HTML page for each method."""
        by_name = "explanation" if len(self.methods) > 1 else "{'maps': explanation}"
        lines = [
            self.python(bench, image),
            f"for name, maps in {by_name}.items():",
            "    maps.save_html(f'{name}.html')",
        ]
        return "\n".join(["python - <<'CAMLENS'", *lines, "CAMLENS"])


def request_lines(request: ExplanationRequest) -> Lines:
    """Return the settings that reproduce a checked request."""
    return Lines(request.methods, request.target, request.layers)


def _one_or_several(names: tuple[str, ...]) -> str | list[str]:
    return names[0] if len(names) == 1 else list(names)


def _python_target(choice: TargetChoice) -> tuple[str, str]:
    """Return the target as Python code, and the name to import from camlens.targets."""
    if choice.kind == "class":
        return str(choice.index), ""
    if choice.kind == "contrast":
        return f"Contrast({choice.index}, {choice.against})", "Contrast"
    if choice.kind == "top":
        return f"TopK({choice.k})", "TopK"
    return "", ""


def _model_options(bench: Workbench) -> dict[str, str]:
    """Return the arguments of `load_model` other than the spec."""
    names = ("weights", "activation", "task", "output_key")
    return {name: value for name in names if (value := getattr(bench.settings, name)) is not None}


def _python_options(bench: Workbench) -> str:
    return "".join(f", {name}={value!r}" for name, value in _model_options(bench).items())


def _python_image(bench: Workbench, image: str) -> tuple[str, str]:
    """Return the import that the image needs, and the image as Python code."""
    if image.startswith("u"):
        return "", '"YOUR-IMAGE.jpg"'
    number = int(image[1:])
    path = bench.gallery.path(number)
    if path is not None:
        return "", repr(str(path))
    return (
        "from camlens.data import open_source",
        f"open_source({bench.gallery.spec!r})[{number}].load()",
    )


def _shell_image(bench: Workbench, image: str) -> tuple[str, str]:
    """Return the command that fetches the image from the studio, if it has no file, and its file."""
    if image.startswith("u"):
        return "", "YOUR-IMAGE.jpg"
    path = bench.gallery.path(int(image[1:]))
    if path is not None:
        return "", printable(str(path))
    settings = bench.settings
    token = ' -H "Authorization: Bearer $TOKEN"' if settings.token else ""
    file = f"{image}.png"
    address = f"http://{settings.host}:{settings.port}/api/images/{image}/picture.png?longest=4096"
    return f"curl -s{token} -o {file} {address} && ", file
