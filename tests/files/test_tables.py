"""A table in its three forms: what it holds is shown and never read as markup."""

import re

from rich.console import Console

from curr_reft.files.tables import Table, to_html, to_markdown, to_rich


def test_markdown_shows_names_as_they_are():
    names = [
        "a|b",
        "*x*",
        "`c`",
        "<script>",
        "[a](http://x)",
        "two\nlines",
        "\u202eback",
        "\ud800",
        "$x$",
        "&lt;",
    ]
    text = to_markdown(Table("t_t", ["model", "n"], [[name, "1"] for name in names]))
    title, _, _, _, *rows = text.splitlines()
    assert title == "**t\\_t**"
    shown = [re.fullmatch(r"\| (.*) \| 1 \|", row)[1] for row in rows]
    assert shown[:5] == ["a\\|b", "\\*x\\*", "\\`c\\`", "\\<script>", "[a\\](http://x)"]
    assert shown[5:] == ["two lines", "\\u202eback", "\\ud800", "\\$x\\$", "\\&lt;"]
    text.encode()


def test_html_escapes_and_marks_asides():
    rows = [["<b>&", "[x] (y)", "50.0 [40.0, 60.0] (51.0, 52.0)"], ["paper", "\x07", "7"]]
    text = str(to_html(Table("<t>", ["model", "source", "n"], rows, names=2, quoted=1)))
    assert "<caption>&lt;t&gt;</caption>" in text
    first, second = re.findall(r"<tr( class=quoted)?>\n?(<th scope=\"row\">.*?)</tr>", text, re.DOTALL)
    assert (first[0], second[0]) == ("", " class=quoted")
    assert '<th scope="row">&lt;b&gt;&amp;</th><td>[x] (y)</td>' in first[1].replace("\n", "")
    number = '50.0<span class="ends"> [40.0, 60.0]</span><span class="aside"> (51.0, 52.0)</span></td>'
    assert number in first[1]
    assert "<td>\\u0007</td>" in second[1]


def test_a_terminal_shows_markup_as_text():
    console = Console(width=60)
    with console.capture() as captured:
        console.print(to_rich(Table("[b]t[/b]", ["", ""], [["[red]a[/red]", "[/x]\x1b[31m"]])))
    lines = captured.get().splitlines()
    assert lines[0].strip() == "[b]t[/b]"
    assert "[red]a[/red]" in lines[2]
    assert "[/x]\\u001b[31m" in lines[2]
    assert len(lines) == 4
