"""What is remembered of a conversation: the last of it, in turns, within limits."""

from __future__ import annotations

from glowplug.web.conversation.history import History


def contents(history: History) -> list[str]:
    return [message["content"] for message in history.messages()]


def roles(history: History) -> list[str]:
    return [message["role"] for message in history.messages()]


def test_the_oldest_is_forgotten_first_and_the_instructions_never() -> None:
    history = History("be kind", messages=4, characters=1000)
    for number in range(5):
        history.heard(f"question {number}")
        history.said(f"answer {number}")
    assert contents(history) == ["be kind", "question 3", "answer 3", "question 4", "answer 4"]


def test_many_characters_push_out_what_is_older() -> None:
    history = History("", messages=100, characters=50)
    history.heard("a" * 30)
    history.said("b" * 10)
    history.heard("c" * 30)
    assert contents(history) == ["c" * 30]


def test_it_begins_with_a_question_whatever_is_forgotten() -> None:
    history = History("", messages=3, characters=1000)
    for _ in range(4):
        history.heard("q")
        history.said("a")
    assert roles(history)[0] == "user"


def test_what_is_said_last_is_kept_however_long_it_is() -> None:
    history = History("", messages=2, characters=10)
    history.heard("x" * 100)
    assert contents(history) == ["x" * 100]


def test_two_questions_in_a_row_are_one_message() -> None:
    history = History("", messages=10, characters=100)
    history.heard("so")
    history.said("")
    history.heard("well?")
    assert history.messages() == [{"role": "user", "content": "so\nwell?"}]


def test_questions_that_nobody_answers_are_forgotten_at_last() -> None:
    history = History("", messages=10, characters=20)
    for number in range(50):
        history.heard(f"again {number}")
    assert sum(map(len, contents(history))) <= 20


def test_clear_forgets_all_but_the_instructions() -> None:
    history = History("be kind", messages=10, characters=100)
    history.heard("x")
    history.clear()
    assert contents(history) == ["be kind"]
