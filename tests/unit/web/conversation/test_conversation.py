"""A conversation answers sentence by sentence, is interrupted at once, and goes on after any error."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.applications import Starlette
from starlette.websockets import WebSocket
from tests.unit.web.callers import BOUND_SECONDS
from tests.unit.web.conversation.scripted import (
    HOLD,
    Client,
    Ear,
    Script,
    Voice,
    application,
    kinds,
    spoken,
    talking,
    written,
)

from glowplug.errors import InvalidInput, NotReady, Unreachable
from glowplug.web.conversation.endpoint import CONVERSATION, Conversations
from glowplug.web.conversation.parts import ConversationLimits, Engines
from glowplug.web.permission import anyone

WAV = b"RIFF....WAVEfmt "


async def bounded(event: asyncio.Event) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        await event.wait()


async def test_a_text_is_answered_in_writing_and_aloud() -> None:
    async with talking(application(Script("Good ", "morning. ", "How are you?"))) as client:
        frames = await client.turn("Hello")
    assert frames[0] == {"type": "transcript", "turn": 1, "text": "Hello"}
    assert written(frames) == "Good morning. How are you?"
    assert spoken(frames) == ["Good morning.", "How are you?"]
    assert frames[-1] == {"type": "reply_done", "turn": 1}


async def test_a_sound_is_announced_with_its_sentence_and_how_to_read_it() -> None:
    async with talking(application(Script("Yes."))) as client:
        frames = await client.turn("Hello?")
    (sound,) = (frame for frame in frames if frame["type"] == "audio")
    assert sound == {
        "type": "audio",
        "turn": 1,
        "sentence": "Yes.",
        "format": "wav",
        "sample_rate": 8000,
        "data": b"Yes.",
    }


async def test_the_first_sentence_is_heard_while_the_second_is_still_being_made() -> None:
    script = Script("One. ", "Two", HOLD, ".")
    async with talking(application(script)) as client:
        client.tell("text", text="count")
        await bounded(script.holding)
        frames = await client.until("audio")
        assert spoken(frames) == ["One."]
        script.let_go.set()
        assert spoken(await client.until("reply_done")) == ["Two."]


async def test_the_reply_is_written_on_while_a_sentence_is_being_spoken() -> None:
    voice = Voice(holds_at="One")
    async with talking(application(Script("One. ", "Two. ", "Three."), voice)) as client:
        client.tell("text", text="count")
        await bounded(voice.holding)
        frames = await client.until("reply_delta")
        while written(frames) != "One. Two. Three.":
            frames += await client.until("reply_delta")
        assert spoken(frames) == []
        voice.let_go.set()
        assert spoken(await client.until("reply_done")) == ["One.", "Two.", "Three."]


async def test_the_chat_is_told_what_was_said_before() -> None:
    script = Script("Hi.")
    async with talking(application(script, instructions="Be brief.")) as client:
        await client.turn("first")
        await client.turn("second")
    assert script.asked[1] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "second"},
    ]


async def test_speech_in_one_frame_is_understood() -> None:
    ear = Ear("what time is it")
    async with talking(application(Script("Noon."), ear=ear)) as client:
        client.send(WAV)
        frames = await client.until("reply_done")
    assert frames[0] == {"type": "transcript", "turn": 1, "text": "what time is it"}
    assert ear.played == [(WAV, "audio/wav")]


async def test_speech_in_many_frames_is_put_together() -> None:
    ear = Ear("hello")
    async with talking(application(Script("Hi."), ear=ear)) as client:
        client.tell("audio_start", format="webm")
        client.send(b"one")
        client.send(b"two")
        client.tell("audio_end")
        await client.until("reply_done")
    assert ear.played == [(b"onetwo", "audio/webm")]


async def test_samples_become_a_wav_file() -> None:
    ear = Ear("hello")
    async with talking(application(Script("Hi."), ear=ear)) as client:
        client.tell("audio_start", format="pcm", sample_rate=16000)
        client.send(b"\1\0" * 8)
        client.tell("audio_end")
        await client.until("reply_done")
    ((audio, media_type),) = ear.played
    assert media_type == "audio/wav"
    assert audio.startswith(b"RIFF")
    assert audio.endswith(b"\1\0" * 8)


async def test_silence_is_not_answered() -> None:
    script = Script("never")
    async with talking(application(script, ear=Ear("  "))) as client:
        client.send(WAV)
        assert kinds(await client.until("reply_done")) == ["transcript", "reply_done"]
    assert script.asked == []


async def test_a_new_text_stops_the_reply_and_its_model_at_once() -> None:
    script = Script("I will tell ", HOLD)
    async with talking(application(script)) as client:
        client.tell("text", text="a story")
        await bounded(script.holding)
        client.tell("text", text="no, wait")
        frames = await client.until("interrupted")
        assert frames[-1] == {"type": "interrupted", "turn": 1}
        assert script.stopped == 1
        frames = await client.until("reply_delta")
        assert all(frame["turn"] == 2 for frame in frames)


async def test_what_was_said_until_an_interruption_is_remembered() -> None:
    script = Script("Once upon ", HOLD)
    async with talking(application(script)) as client:
        client.tell("text", text="a story")
        await bounded(script.holding)
        script.steps = ["Fine."]
        client.tell("text", text="shorter")
        await client.until("reply_done")
    assert script.asked[1] == [
        {"role": "user", "content": "a story"},
        {"role": "assistant", "content": "Once upon "},
        {"role": "user", "content": "shorter"},
    ]


async def test_who_begins_to_speak_stops_the_reply() -> None:
    script = Script("Well, ", HOLD)
    async with talking(application(script, ear=Ear())) as client:
        client.tell("text", text="go on")
        await bounded(script.holding)
        client.tell("audio_start", format="wav")
        await client.until("interrupted")
        assert script.running == 0


async def test_an_interruption_stops_the_voice_too() -> None:
    voice = Voice(holds_at="long")
    async with talking(application(Script("A long word. "), voice)) as client:
        client.tell("text", text="speak")
        await bounded(voice.holding)
        client.tell("stop")
        await client.until("interrupted")
        assert voice.stopped == 1


async def test_an_interruption_stops_the_ear_too() -> None:
    ear = Ear(holds=True)
    async with talking(application(Script("Hi."), ear=ear)) as client:
        client.send(WAV)
        await bounded(ear.holding)
        client.tell("text", text="I would rather write")
        frames = await client.until("reply_done")
        assert kinds(frames)[:2] == ["interrupted", "transcript"]
        assert ear.stopped == 1


async def test_stop_without_a_reply_says_nothing() -> None:
    async with talking(application(Script("Hi."))) as client:
        client.tell("stop")
        assert kinds(await client.turn("hello"))[0] == "transcript"


async def test_reset_forgets_what_was_said() -> None:
    script = Script("Hi.")
    async with talking(application(script)) as client:
        await client.turn("my name is Ada")
        client.tell("reset")
        assert await client.until("reset") == [{"type": "reset"}]
        await client.turn("what is my name?")
    assert script.asked[1] == [{"role": "user", "content": "what is my name?"}]


async def test_without_an_ear_speech_gets_a_clear_error_and_text_still_works() -> None:
    async with talking(application(Script("Hi."))) as client:
        client.send(WAV)
        error, done = await client.until("reply_done")
        assert (error["type"], error["component"], error["code"]) == ("error", "stt", "not_ready")
        assert "send text" in error["message"]
        assert done == {"type": "reply_done", "turn": 1}
        assert written(await client.turn("hello")) == "Hi."


async def test_a_chat_that_dies_is_told_in_its_own_words_and_the_conversation_goes_on() -> None:
    script = Script("Let me ", Unreachable("Ollama: connection refused"))
    async with talking(application(script)) as client:
        frames = await client.turn("hello")
        assert {
            "type": "error",
            "turn": 1,
            "component": "chat",
            "code": "unreachable",
            "message": "Ollama: connection refused",
        } in frames
        assert spoken(frames) == ["Let me"]
        script.steps = ["Here again."]
        assert written(await client.turn("hello?")) == "Here again."
    assert script.asked[1][1] == {"role": "assistant", "content": "Let me "}


async def test_an_error_of_the_engines_own_tells_nothing_of_its_inside() -> None:
    async with talking(application(Script(ValueError("/srv/secret/path")))) as client:
        error, _ = (await client.turn("hello"))[1:]
    assert (error["code"], error["component"]) == ("task_failed", "chat")
    assert "secret" not in error["message"]


async def test_an_ear_that_fails_is_an_error_and_nothing_is_asked() -> None:
    script = Script("never")
    async with talking(application(script, ear=Ear(ValueError("noise")))) as client:
        client.send(WAV)
        assert kinds(await client.until("reply_done")) == ["error", "reply_done"]
    assert script.asked == []


async def test_a_voice_that_fails_leaves_the_reply_in_writing() -> None:
    voice = Voice(fails_at="Two")
    async with talking(application(Script("One. ", "Two. ", "Three."), voice)) as client:
        frames = await client.turn("count")
        assert written(frames) == "One. Two. Three."
        assert spoken(frames) == ["One."]
        assert [frame["component"] for frame in frames if frame["type"] == "error"] == ["tts"]
        assert spoken(await client.turn("again")) == ["One."]


async def test_a_sentence_that_the_voice_cannot_say_is_left_out_and_told_once() -> None:
    voice = Voice(fails_at="o", error=InvalidInput("text: not my letters"))
    async with talking(application(Script("Oh no. ", "Six. ", "So."), voice)) as client:
        frames = await client.turn("count")
    assert spoken(frames) == ["Six."]
    assert [frame["code"] for frame in frames if frame["type"] == "error"] == ["invalid_input"]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("hello", "invalid_input"),
        ("[]", "invalid_input"),
        ('{"type": 1}', "invalid_input"),
        ('{"type": "sing"}', "invalid_input"),
        ('{"type": "text"}', "invalid_input"),
        ('{"type": "text", "text": " "}', "invalid_input"),
        ('{"type": "text", "text": 7}', "invalid_input"),
        ('{"type": "text", "text": "\\ud800"}', "invalid_input"),
        ('{"type": "audio_end"}', "invalid_input"),
        ('{"type": "audio_start", "format": "midi"}', "unsupported_media_type"),
        ('{"type": "audio_start", "format": ["wav"]}', "unsupported_media_type"),
        ('{"type": "audio_start", "format": "pcm"}', "invalid_input"),
        ('{"type": "audio_start", "format": "pcm", "sample_rate": 1e9}', "invalid_input"),
        (json.dumps({"type": "text", "text": "x" * 101}), "too_large"),
        ("x" * 5000, "too_large"),
        ("[" * 2000, "invalid_input"),
        (b"not a sound", "unsupported_media_type"),
        (b"", "unsupported_media_type"),
        (b"RIFF" + bytes(1000), "too_large"),
    ],
)
async def test_a_frame_that_makes_no_sense_is_refused_and_begins_no_turn(sent: str | bytes, code: str) -> None:
    script = Script("Hi.")
    async with talking(application(script, ear=Ear(), text_characters=100, audio_bytes=1000)) as client:
        client.send(sent)
        error = await client.frame()
        assert (error["type"], error["code"]) == ("error", code)
        assert "turn" not in error
        assert (await client.turn("hello"))[0]["turn"] == 1


async def test_a_frame_that_makes_no_sense_interrupts_nothing() -> None:
    script = Script("Well, ", HOLD, "yes.")
    async with talking(application(script)) as client:
        client.tell("text", text="so?")
        await bounded(script.holding)
        client.tell("text", text="")
        await client.until("error")
        script.let_go.set()
        assert written(await client.until("reply_done")).endswith("yes.")


async def test_speech_that_goes_on_for_ever_is_refused_once_and_dropped() -> None:
    ear = Ear()
    async with talking(application(Script("Hi."), ear=ear, audio_bytes=10)) as client:
        client.tell("audio_start")
        for _ in range(5):
            client.send(bytes(8))
        client.tell("audio_end")
        frames = await client.turn("hello")
    assert [frame.get("code") for frame in frames[:2]] == ["too_large", None]
    assert ear.played == []


async def test_an_empty_recording_is_refused() -> None:
    async with talking(application(Script("Hi."), ear=Ear())) as client:
        client.tell("audio_start")
        client.tell("audio_end")
        assert (await client.frame())["code"] == "invalid_input"


async def test_a_reply_without_an_end_is_cut_and_its_model_stopped() -> None:
    script = Script(*["word "] * 50)
    async with talking(application(script, reply_characters=60)) as client:
        frames = await client.turn("go on for ever")
        assert len(written(frames)) == 60
        assert "too_large" in [frame.get("code") for frame in frames]
    assert (script.stopped, script.running) == (1, 0)


async def test_an_answer_that_takes_too_long_is_given_up() -> None:
    script = Script("Hm. ", HOLD)
    async with talking(application(script, turn_seconds=0.1)) as client:
        frames = await client.turn("think")
        assert [frame["code"] for frame in frames if frame["type"] == "error"] == ["deadline_exceeded"]
        assert script.running == 0
        script.steps = ["Done."]
        assert written(await client.turn("again")) == "Done."


async def test_who_leaves_in_the_middle_stops_the_model() -> None:
    script = Script("Well, ", HOLD)
    async with talking(application(script)) as client:
        client.tell("text", text="so?")
        await bounded(script.holding)
    assert (script.stopped, script.running) == (1, 0)


async def test_a_client_that_does_not_read_makes_the_model_wait_and_is_let_go() -> None:
    script = Script(*["word "] * 1000)
    async with talking(application(script, send_seconds=0.1)) as client:
        client.reading.clear()
        client.tell("text", text="go")
        async with asyncio.timeout(BOUND_SECONDS):
            await asyncio.wait([client.task] if client.task else [])
        assert len(script.said) <= 1
        assert client.most_pending <= 2
        assert script.running == 0
        client.reading.set()


async def test_who_says_nothing_for_long_is_let_go() -> None:
    async with talking(application(Script("Hi."), idle_seconds=0.05)) as client:
        assert await client.closed() == (1001, "nothing was said for 0.05 s")


async def test_a_long_answer_is_no_silence() -> None:
    script = Script("Hm. ", HOLD, "Yes.")
    async with talking(application(script, idle_seconds=0.05)) as client:
        client.tell("text", text="think")
        await bounded(script.holding)
        await asyncio.sleep(0.15)
        script.let_go.set()
        assert written(await client.until("reply_done")) == "Hm. Yes."


async def test_so_many_conversations_at_once_and_no_more() -> None:
    app = application(Script("Hi."), conversations=1)
    async with talking(app) as first:
        async with Client(app, CONVERSATION, kind="websocket") as second:
            code, why = await second.closed()
        assert code == 1013
        assert "try again" in why
        assert written(await first.turn("hello")) == "Hi."
    async with talking(app) as third:
        assert written(await third.turn("hello")) == "Hi."


async def test_those_whose_engines_are_still_looked_up_count_too() -> None:
    asked, found = asyncio.Event(), asyncio.Event()

    async def engines_of(websocket: WebSocket) -> Engines:
        del websocket
        asked.set()
        await found.wait()
        raise NotReady("no engines after all")

    talks = Conversations(engines_of, anyone(), ConversationLimits(conversations=1))
    app = Starlette(routes=talks.routes())
    async with asyncio.timeout(10), talking(app) as first:
        await asked.wait()
        async with Client(app, CONVERSATION, kind="websocket") as second:
            assert "held already" in (await second.closed())[1]
        found.set()
        assert "after all" in (await first.closed())[1]
        async with Client(app, CONVERSATION, kind="websocket") as third:
            assert "after all" in (await third.closed())[1]


async def test_two_talk_at_once_and_hear_nothing_of_each_other() -> None:
    script = Script("Hi.")
    app = application(script)
    async with talking(app) as one, talking(app) as other:
        await one.turn("I am one")
        await other.turn("I am the other")
        await one.turn("who am I?")
    assert [message["content"] for message in script.asked[2]] == ["I am one", "Hi.", "who am I?"]


async def test_an_empty_piece_and_an_empty_sound_are_not_passed_on() -> None:
    async with talking(application(Script("", "***", "Yes."))) as client:
        frames = await client.turn("hello")
    assert written(frames) == "***Yes."
    assert spoken(frames) == ["Yes."]
