"""OpenAI's protocol: what its requests mean to a task, and how a task's results look in it. Pure."""
