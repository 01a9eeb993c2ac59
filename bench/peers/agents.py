"""One turn of the OpenAI Agents SDK with a tool that does nothing, kept in its SQLite session."""

import sys

from agents import Agent, OpenAIChatCompletionsModel, Runner, SQLiteSession, function_tool
from openai import AsyncOpenAI

base_url, steps, store, prompt = sys.argv[1:]


@function_tool
def noop(n: int) -> str:
    """Says its entry."""
    return f"entry-{n:06d}"


model = OpenAIChatCompletionsModel("x", AsyncOpenAI(base_url=base_url, api_key="none"))
agent = Agent(name="bench", instructions="Do as you are told.", tools=[noop], model=model)
result = Runner.run_sync(agent, prompt, session=SQLiteSession("bench", store), max_turns=int(steps) + 2)
print(result.final_output)
