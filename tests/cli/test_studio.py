"""`camlens studio`: what it refuses before it listens. That it serves is tested with the wheel."""

import socket
from typing import Any


def test_a_port_that_is_taken_is_said_in_one_line(camlens: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = camlens("studio", "--port", str(taken.getsockname()[1]), "--no-browser")
    assert result.exit_code == 2
    assert "cannot listen on 127.0.0.1" in result.stderr
    assert "--port" in result.stderr


def test_others_are_let_in_with_a_token_only(camlens: Any) -> None:
    result = camlens("studio", "--host", "0.0.0.0", "--port", "0", "--token", "none", "--no-browser")
    assert result.exit_code == 2
    assert "a token is needed" in result.stderr
