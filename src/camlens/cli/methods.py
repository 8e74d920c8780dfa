"""`camlens methods`: the explanation methods."""

from camlens.cli import options
from camlens.cli.terminal import print_json, table


def methods(json: options.Json = False) -> None:
    """List the explanation methods with their cost, use and paper.

    Examples:

      camlens methods

      camlens methods --json
    """
    from camlens.methods import METHODS

    if json:
        facts = ("name", "needs", "scope", "cost", "signed", "diverging", "good_for", "paper")
        print_json(
            [
                {fact: getattr(entry, fact) for fact in facts} | {"options": dict(entry.options)}
                for entry in METHODS.values()
            ]
        )
        return
    rows = [(entry.name, entry.needs, entry.cost, entry.good_for, entry.paper) for entry in METHODS.values()]
    table("Methods", ("name", "needs", "cost", "good for", "paper"), rows)
