"""One turn of a LangGraph agent with a tool that does nothing, kept by its SQLite or its Postgres checkpointer."""

import sys
import uuid

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

base_url, steps, store, prompt = sys.argv[1:]


@tool
def noop(n: int) -> str:
    """Says its entry."""
    return f"entry-{n:06d}"


def saver():
    if "://" in store:
        from langgraph.checkpoint.postgres import PostgresSaver

        return PostgresSaver.from_conn_string(store)
    from langgraph.checkpoint.sqlite import SqliteSaver

    return SqliteSaver.from_conn_string(store)


model = ChatOpenAI(model="x", base_url=base_url, api_key="none").bind_tools([noop])
graph = StateGraph(MessagesState)
graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
graph.add_node("tools", ToolNode([noop]))
graph.add_edge(START, "model")
graph.add_conditional_edges("model", tools_condition)
graph.add_edge("tools", "model")
with saver() as checkpointer:
    if "://" in store:
        checkpointer.setup()
    agent = graph.compile(checkpointer=checkpointer)
    thread = {"configurable": {"thread_id": str(uuid.uuid4())}, "recursion_limit": 2 * int(steps) + 10}
    state = agent.invoke({"messages": [("user", prompt)]}, thread)
    print(state["messages"][-1].content)
