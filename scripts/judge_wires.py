"""Parses requests with the providers' own Python types. An unknown member, a wrong type or a missing part is an error."""

import collections
import importlib
import json
import pkgutil
import sys

import anthropic.types
import openai.types
import pydantic
import typing_extensions
from google.genai import types as genai


def forbid_extra(package):
    """Typed dictionaries take unknown members unless they are told otherwise."""
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        for value in vars(importlib.import_module(info.name)).values():
            if typing_extensions.is_typeddict(value):
                value.__pydantic_config__ = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True)


def exhaust(value):
    """Iterables are checked only when they are walked."""
    if isinstance(value, dict):
        for inner in value.values():
            exhaust(inner)
    elif not isinstance(value, (str, bytes, int, float, bool, type(None))) and hasattr(value, "__iter__"):
        for inner in value:
            exhaust(inner)


def typed(model):
    adapter = pydantic.TypeAdapter(model)
    return lambda body: exhaust(adapter.validate_python(body))


def gemini(body):
    known = {
        "contents": lambda value: [genai.Content.model_validate(one) for one in value],
        "systemInstruction": genai.Content.model_validate,
        "tools": lambda value: [genai.Tool.model_validate(one) for one in value],
        "toolConfig": genai.ToolConfig.model_validate,
        "generationConfig": genai.GenerationConfig.model_validate,
    }
    for name, value in body.items():
        if name not in known:
            raise ValueError(f"unknown member {name}")
        known[name](value)
    if not body["contents"]:
        raise ValueError("no contents")


def judges():
    forbid_extra(anthropic.types)
    forbid_extra(openai.types)
    messages = importlib.import_module("anthropic.types.message_create_params")
    chat = importlib.import_module("openai.types.chat.completion_create_params")
    responses = importlib.import_module("openai.types.responses.response_create_params")
    return {
        "anthropic": typed(messages.MessageCreateParamsStreaming),
        "openai_chat": typed(chat.CompletionCreateParamsStreaming),
        "openai_responses": typed(responses.ResponseCreateParamsStreaming),
        "gemini": gemini,
    }


def broken(wire, body):
    """Bodies that a judge must refuse, so that we know that it looks."""
    list_of = {"anthropic": "messages", "openai_chat": "messages", "openai_responses": "input", "gemini": "contents"}
    yield {**body, "no_such_member": 1}
    yield {**body, list_of[wire]: [{"role": 5}]}


def main(path):
    judge = judges()
    counts, failures = collections.Counter(), 0
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        request = json.loads(line)
        wire, body = request["wire"], request["body"]
        try:
            judge[wire](body)
            counts[wire] += 1
        except Exception as error:  # whatever a judge says is a verdict
            failures += 1
            print(f"request {number} ({wire}): {str(error)[:1500]}\n{json.dumps(body)[:1500]}\n", file=sys.stderr)
        if counts[wire] == 1:
            for wrong in broken(wire, body):
                try:
                    judge[wire](wrong)
                except Exception:
                    continue
                failures += 1
                print(f"the judge of {wire} takes anything: {json.dumps(wrong)[:300]}", file=sys.stderr)
    versions = f"anthropic {anthropic.__version__}, openai {openai.__version__}, google-genai {genai_version()}"
    print(f"{sum(counts.values())} requests accepted by {versions}: {dict(counts)}; {failures} complaints")
    return 1 if failures or sum(counts.values()) != 200 else 0


def genai_version():
    from google.genai import version

    return version.__version__


sys.exit(main(sys.argv[1]))
