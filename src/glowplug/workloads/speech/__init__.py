"""Speech: text read aloud (`tts`) and speech written down (`stt`)."""
