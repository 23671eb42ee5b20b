"""Sound out of callers' files: what is wrong with one is said, and nothing but the file is opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.workloads.speech.sounds import RATE, png, silent_film, tone, wav, written

from glowplug.errors import Canceled, InvalidInput
from glowplug.workloads.speech import decoding
from glowplug.workloads.speech.encoding import Encoder
from glowplug.workloads.speech.values import AudioFormat


def samples_of(folder: Path, data: bytes, longest_seconds: float = 60) -> np.ndarray:
    return decoding.samples_of(written(folder, data), longest_seconds, lambda: None)


def encoded(folder: Path, kind: AudioFormat, seconds: int = 10) -> bytes:
    path = folder / f"whole.{kind}"
    with Encoder(path, kind, 24_000) as encoder:
        for _ in range(seconds):
            encoder.add(tone(1, 24_000).astype(np.float32) / 32768)
        encoder.end()
    return path.read_bytes()


def test_a_wav_comes_out_as_it_went_in(tmp_path: Path) -> None:
    found = samples_of(tmp_path, wav(tone(1)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tone(1) / 32768, atol=1e-4)


@pytest.mark.parametrize("rate", [1_000, 7_777, 44_100, 192_000])
def test_any_usual_and_unusual_rate_is_brought_to_the_models(tmp_path: Path, rate: int) -> None:
    assert len(samples_of(tmp_path, wav(tone(2, rate), rate))) == pytest.approx(2 * RATE, abs=40)


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_are_mixed_into_one(tmp_path: Path, channels: int) -> None:
    many = np.repeat(tone(1), channels)
    assert len(samples_of(tmp_path, wav(many, channels=channels))) == RATE


@pytest.mark.parametrize("kind", ["flac", "mp3", "opus", "aac"])
def test_compressed_files_are_read(tmp_path: Path, kind: AudioFormat) -> None:
    assert len(samples_of(tmp_path, encoded(tmp_path, kind))) / RATE == pytest.approx(10, abs=0.2)


@pytest.mark.parametrize("promised", [0xFFFFFFFF, 0x7FFFFFFF], ids=["as FFmpeg says it", "as others do"])
def test_a_wav_that_was_streamed_is_read_although_its_header_promises_more(tmp_path: Path, promised: int) -> None:
    assert len(samples_of(tmp_path, wav(tone(1), promised_bytes=promised))) == RATE


def test_a_wav_that_breaks_off_is_refused_with_both_lengths(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"breaks off after 1\.0 of 5\.0 seconds"):
        samples_of(tmp_path, wav(tone(1), promised_bytes=5 * RATE * 2))


def test_a_flac_that_breaks_off_is_refused(tmp_path: Path) -> None:
    whole = encoded(tmp_path, "flac")
    with pytest.raises(InvalidInput, match="breaks off after"):
        samples_of(tmp_path, whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (png(), "not a file of WAV, MP3"),
        (b"These are words, not sounds.\n" * 200, "not a file of WAV, MP3"),
        (b"\x00" * 5000, "not a file of WAV, MP3"),
        (silent_film(), "has no sound, only pictures"),
        (silent_film()[:300], "no sound|not a file of"),
        (wav(tone(0)), "no sound in it"),
        (wav(tone(1), 0), "not a file of|samples a second"),
        (wav(tone(1), 1), "samples a second"),
        (wav(tone(1), 3_999_999_999), "not a file of|samples a second"),
        (wav(np.repeat(tone(1), 20), channels=20), "20 channels; 1 to 8"),
        (wav(np.full(RATE, np.nan, "<f4"), floats=True), "no numbers"),
        (wav(np.full(RATE, np.inf, "<f4"), floats=True), "no numbers"),
    ],
    ids=[
        "empty",
        "picture",
        "text",
        "zeros",
        "film",
        "cut film",
        "silence",
        "rate 0",
        "rate 1",
        "rate huge",
        "channels",
        "nan",
        "inf",
    ],
)
def test_what_is_no_sound_is_the_callers_error(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        samples_of(tmp_path, data)


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{}'\n",
        "[playlist]\nFile1={}\nNumberOfEntries=1\nVersion=2\n",
    ],
    ids=["HLS", "concat", "PLS"],
)
def test_a_playlist_opens_no_other_file_of_the_machine(tmp_path: Path, playlist: str) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav(tone(1)))
    with pytest.raises(InvalidInput, match="not a file of"):
        samples_of(tmp_path, playlist.format(secret).encode())


def test_a_file_longer_than_the_limit_is_refused_by_what_it_says_of_itself(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="longer than 3 seconds") as refused:
        samples_of(tmp_path, wav(tone(4)), longest_seconds=3)
    assert refused.value.data["longest_seconds"] == 3


def test_a_file_that_hides_its_length_is_refused_while_it_is_decoded(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="longer than 3 seconds"):
        samples_of(tmp_path, encoded(tmp_path, "aac"), longest_seconds=3)


def frames_of(aac: bytes) -> list[bytes]:
    """Cut an AAC stream into its frames, by the lengths in their heads."""
    frames = []
    while aac:
        length = (aac[3] & 3) << 11 | aac[4] << 3 | aac[5] >> 5
        frames.append(aac[:length])
        aac = aac[length:]
    return frames


def test_a_damaged_part_is_passed_over_but_a_ruin_is_refused(tmp_path: Path) -> None:
    good = frames_of(encoded(tmp_path, "aac"))
    bad = [frame[:7] + b"\xff" * (len(frame) - 7) for frame in good]
    heard = samples_of(tmp_path, b"".join([*good[:50], bad[50], *good[51:]]))
    assert len(heard) / RATE == pytest.approx(10, abs=0.3)
    with pytest.raises(InvalidInput, match=r"\d+ of its \d+ parts are damaged"):
        samples_of(tmp_path, b"".join([*good[:50], *bad[50:]]))


def test_what_there_is_of_a_file_that_never_said_its_length_is_read(tmp_path: Path) -> None:
    whole = encoded(tmp_path, "aac")
    assert len(samples_of(tmp_path, whole[: len(whole) // 2])) / RATE == pytest.approx(5, abs=0.3)


def test_a_caller_that_stops_is_heard_while_a_file_is_decoded(tmp_path: Path) -> None:
    def stop() -> None:
        raise Canceled

    with pytest.raises(Canceled):
        decoding.samples_of(written(tmp_path, wav(tone(1))), 60, stop)


def test_a_file_joined_of_two_that_differ_is_read_to_its_end(tmp_path: Path) -> None:
    other = tmp_path / "other.mp3"
    with Encoder(other, "mp3", 16_000) as encoder:
        encoder.add(tone(2).astype(np.float32) / 32768)
        encoder.end()
    found = samples_of(tmp_path, encoded(tmp_path, "mp3", 3) + other.read_bytes())
    assert len(found) / RATE == pytest.approx(5, abs=0.3)


def test_a_coding_that_nobody_knows_is_the_callers_error(tmp_path: Path) -> None:
    strange = bytearray(wav(tone(1)))
    strange[20:22] = b"\xfa\xfa"
    with pytest.raises(InvalidInput, match="its coding is not known"):
        samples_of(tmp_path, bytes(strange))
