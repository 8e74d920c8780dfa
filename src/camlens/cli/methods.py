"""`camlens methods`: every method, what it needs and what it is good for."""

from camlens.cli import options
from camlens.cli.terminal import say_json, table


def methods(json: options.Json = False) -> None:
    """List the methods: what each needs, what it costs, what it is good for, and its paper.

    Examples:

      camlens methods

      camlens methods --json
    """
    from camlens.methods import METHODS

    if json:
        facts = ("name", "needs", "scope", "cost", "signed", "diverging", "good_for", "paper")
        say_json(
            [
                {fact: getattr(entry, fact) for fact in facts} | {"options": dict(entry.options)}
                for entry in METHODS.values()
            ]
        )
        return
    rows = [(one.name, one.needs, one.cost, one.good_for, one.paper) for one in METHODS.values()]
    table("Methods", ("name", "needs", "cost", "good for", "paper"), rows)
