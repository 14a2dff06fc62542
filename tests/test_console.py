"""What is printed for people."""

from __future__ import annotations

from audiornn.commands.console import print_table


def test_odd_names_keep_a_row_of_a_table_in_one_line(capsys):
    print_table("ti\ntle", [{"path": "a\nb\t\x1b[31m\u2028ü\\", "score": 0.5}])
    text = capsys.readouterr().out
    assert r"a\nb\t\x1b[31m\u2028ü" in text and r"ti\ntle" in text
    assert not set("\x1b\t\u2028") & set(text)
    (row,) = [line for line in text.splitlines() if "31m" in line]
    assert "0.5" in row
