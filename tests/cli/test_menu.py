"""What a typed line means."""

import pytest

from chatsvc.cli.menu import (
    CHOICES,
    HELP,
    HISTORY_MESSAGES,
    Action,
    DeleteAccount,
    ListAccounts,
    LogOut,
    Menu,
    Say,
    Send,
    ShowHistory,
)


def take(*lines: str) -> list[Action]:
    """The actions that these lines lead to, one after the other."""
    menu = Menu()
    return [action for line in lines if (action := menu.take(line)) is not None]


def test_number_1_asks_for_the_recipient_then_for_the_text() -> None:
    menu = Menu()
    assert menu.take("1") is None
    assert menu.question == "To: "
    assert menu.take(" bob ") is None
    assert menu.question == "Text: "
    assert menu.take("  4  ") == Send("bob", "  4  ")
    assert menu.question == ""


@pytest.mark.parametrize(
    ("lines", "action"),
    [
        pytest.param(["2", ""], ListAccounts(""), id="list all by number"),
        pytest.param(["2", " al* "], ListAccounts("al*"), id="list some by number"),
        pytest.param(["3", "yes"], DeleteAccount(), id="delete by number"),
        pytest.param(["3", "Y"], DeleteAccount(), id="delete, short yes"),
        pytest.param(["3", "no"], Say("not deleted"), id="delete, no"),
        pytest.param(["3", ""], Say("not deleted"), id="delete, Enter is no yes"),
        pytest.param(["4"], LogOut(), id="log out by number"),
        pytest.param([" 4 "], LogOut(), id="blanks around a number"),
        pytest.param(["/send bob hi  there, /you"], Send("bob", "hi  there, /you"), id="send"),
        pytest.param(["/send bob", "/me waves"], Send("bob", "/me waves"), id="send asks for the text"),
        pytest.param(["/send", "bob", "hi"], Send("bob", "hi"), id="send asks for both"),
        pytest.param(["/list"], ListAccounts(""), id="list all"),
        pytest.param(["/list al"], ListAccounts("al"), id="list some"),
        pytest.param(["/history bob"], ShowHistory("bob", HISTORY_MESSAGES), id="history"),
        pytest.param(["/history bob 5000"], ShowHistory("bob", 5000), id="history of N"),
        pytest.param(["/delete", "yes"], DeleteAccount(), id="delete"),
        pytest.param(["/logout"], LogOut(), id="log out"),
        pytest.param(["/help"], Say(HELP), id="help"),
        pytest.param(["1", "/logout"], LogOut(), id="a command where a name is asked for"),
    ],
)
def test_a_line_means(lines: list[str], action: Action) -> None:
    assert take(*lines) == [action]


@pytest.mark.parametrize("line", ["", " ", "5", "0", "11", "1 bob", "hello", "send"])
def test_anything_else_asks_again(line: str) -> None:
    menu = Menu()
    assert menu.take(line) == Say(CHOICES)
    assert menu.question == ""


@pytest.mark.parametrize("line", ["/history", "/history bob x", "/history bob 0", "/history bob -1", "/history a 1 2"])
def test_a_wrong_history_command_says_how_it_goes(line: str) -> None:
    (action,) = take(line)
    assert isinstance(action, Say)
    assert action.text.startswith("/history NAME")


def test_an_unknown_command_points_to_the_help() -> None:
    (action,) = take("/quit now")
    assert isinstance(action, Say)
    assert "/quit" in action.text
    assert "/help" in action.text


def test_an_empty_answer_sends_nothing() -> None:
    for lines in (["1", ""], ["1", "bob", ""], ["/send bob", ""]):
        (action,) = take(*lines)
        assert isinstance(action, Say)
        assert action.text.startswith("nothing sent")


def test_a_question_can_be_left_for_the_menu() -> None:
    menu = Menu()
    menu.take("1")
    menu.back()
    assert menu.question == ""
    assert menu.take("4") == LogOut()
