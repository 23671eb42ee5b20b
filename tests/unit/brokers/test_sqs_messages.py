"""Where hints go on SQS, and how they are told apart there."""

from __future__ import annotations

import re

import pytest

from glowplug.broker import Hint
from glowplug.brokers.sqs_messages import SqsAddress, by_tens, group_of, reason_attributes
from glowplug.errors import SettingsError


class TestAddress:
    def test_the_region_comes_first_and_the_rest_may_be_left_out(self) -> None:
        assert SqsAddress.parse("sqs://eu-central-1") == SqsAddress("eu-central-1", "glowplug", None, fifo=False)

    def test_prefix_endpoint_and_fifo_are_read(self) -> None:
        read = SqsAddress.parse("sqs://us-east-1/team-a?endpoint=http://127.0.0.1:9324/&fifo=TRUE")
        assert read == SqsAddress("us-east-1", "team-a", "http://127.0.0.1:9324", fifo=True)

    @pytest.mark.parametrize(
        ("url", "fix"),
        [
            ("sqs://", "written like"),
            ("sqs:///queue", "written like"),
            ("sqs://eu-central-1/a/b", "written like"),
            ("sqs://eu-central-1/" + "x" * 41, "written like"),
            ("sqs://Eu_Central/x", "written like"),
            ("https://eu-central-1/x", "written like"),
            ("sqs://eu-central-1/x?fifo=yes", "true or false"),
            ("sqs://eu-central-1/x?region=x", "no option 'region'"),
            ("sqs://eu-central-1/x?endpoint=", "an endpoint is written like"),
            ("sqs://eu-central-1/x?endpoint=127.0.0.1:9324", "an endpoint is written like"),
        ],
    )
    def test_a_wrong_one_is_answered_with_the_fix(self, url: str, fix: str) -> None:
        with pytest.raises(SettingsError, match=fix):
            SqsAddress.parse(url)

    @pytest.mark.parametrize(
        "url",
        ["sqs://AKIA123:hidden@eu-central-1/x", "sqs://eu-central-1/x?endpoint=http://AKIA123:hidden@127.0.0.1:1"],
    )
    def test_keys_in_it_are_refused_and_not_repeated(self, url: str) -> None:
        with pytest.raises(SettingsError, match="keys") as caught:
            SqsAddress.parse(url)
        assert "hidden" not in caught.value.message
        assert "AKIA" not in caught.value.message


class TestQueueNames:
    def test_each_model_has_a_queue_and_one_for_dead_letters(self) -> None:
        address = SqsAddress("eu-central-1", "glow")
        assert (address.queue("digits"), address.dead_letters("digits")) == ("glow-digits", "glow-digits-dlq")

    def test_ordered_queues_end_as_sqs_has_it(self) -> None:
        address = SqsAddress("eu-central-1", "glow", fifo=True)
        assert (address.queue("m"), address.dead_letters("m")) == ("glow-m.fifo", "glow-m-dlq.fifo")

    @pytest.mark.parametrize("fifo", [False, True])
    def test_any_model_s_name_becomes_one_that_sqs_takes_and_no_two_the_same(self, fifo: bool) -> None:
        address = SqsAddress("eu-central-1", "p" * 40, fifo=fifo)
        models = ["a", "a b", "a_b", "a/b", "ä", "x" * 31, "x" * 100, "x" * 101, "m-dlq", "日本", "日木"]
        names = [name(model) for model in models for name in (address.queue, address.dead_letters)]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,75}(\.fifo)?", name) for name in names)


class TestGroups:
    def test_the_owner_is_the_group(self) -> None:
        assert group_of(Hint("1", "m.a", owner="ada@example.com"), fifo=False) == "ada@example.com"

    def test_without_an_owner_only_ordered_queues_have_one(self) -> None:
        assert group_of(Hint("1", "m.a"), fifo=False) is None
        assert group_of(Hint("1", "m.a"), fifo=True) == "1"

    @pytest.mark.parametrize("owner", ["a b", "ä", "x" * 129, "a\nb"])
    def test_an_owner_that_sqs_would_not_take_is_hashed(self, owner: str) -> None:
        group = group_of(Hint("1", "m.a", owner=owner), fifo=True)
        assert group is not None
        assert re.fullmatch(r"[0-9a-f]{64}", group)


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (10, [10]), (11, [10, 1]), (25, [10, 10, 5])])
def test_batches_are_of_ten(count: int, sizes: list[int]) -> None:
    batches = list(by_tens(range(count)))
    assert [len(batch) for batch in batches] == sizes
    assert [one for batch in batches for one in batch] == list(range(count))


@pytest.mark.parametrize(
    ("reason", "sent"), [("not JSON", "not JSON"), ("", "unknown"), ("a\x00b\nc", "a b c"), ("x" * 2000, "x" * 1000)]
)
def test_a_reason_is_text_that_sqs_takes(reason: str, sent: str) -> None:
    assert reason_attributes(reason)["reason"] == {"DataType": "String", "StringValue": sent}
