"""One turn of a PydanticAI agent with a tool that does nothing. Nothing is kept."""

import sys

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import UsageLimits

base_url, _steps, _store, prompt = sys.argv[1:]

model = OpenAIChatModel("x", provider=OpenAIProvider(base_url=base_url, api_key="none"))
agent = Agent(model)


@agent.tool_plain
def noop(n: int) -> str:
    """Says its entry."""
    return f"entry-{n:06d}"


print(agent.run_sync(prompt, usage_limits=UsageLimits(request_limit=None)).output)
