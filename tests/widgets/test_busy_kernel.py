"""A real kernel whose main thread runs a cell: what is typed and pressed in the boxes must be taken meanwhile."""

import sys

import pytest
from jupyter_client import BlockingKernelClient, KernelManager

from helpers import files

MAKE = """
from helpers.chat import generate
from helpers.chat.conversation import ChatSession
from helpers.widgets.boxes import ChatBox
from tests.scripted import Script, WordTokenizer, fake_model
generate.stream = Script(["A first."], ["A second."])
box = ChatBox(ChatSession(fake_model(), WordTokenizer()))
print(box.screen.comm.comm_id, box.retry_button.comm.comm_id)
"""
# A cell that waits for what the page sends, and gives up in time to say so.
WAIT = """
import time
end = time.monotonic() + 15
while not ({condition}) and time.monotonic() < end:
    time.sleep(0.02)
print("came" if ({condition}) else "never came")
"""
PATIENCE = 60  # seconds


def printed(client: BlockingKernelClient, message: str) -> str:
    """What the cell that ``message`` started printed, once it has ended."""
    text = ""
    while True:
        found = client.get_iopub_msg(timeout=PATIENCE)
        if found["parent_header"].get("msg_id") != message:
            continue
        if found["msg_type"] == "error":
            pytest.fail("\n".join(found["content"]["traceback"]))
        text += found["content"].get("text", "")
        if found["content"].get("execution_state") == "idle":
            return text.strip()


@pytest.fixture(scope="module")
def kernel():
    manager = KernelManager()
    manager.kernel_cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager.start_kernel(cwd=str(files.project_root()))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def free_thread(kernel):
    """The identity of a second thread of the kernel that takes messages, as JupyterLab asks for one."""
    kernel.control_channel.send(kernel.session.msg("create_subshell_request", {}))
    return kernel.get_control_msg(timeout=PATIENCE)["content"]["subshell_id"]


def test_a_question_and_a_button_are_taken_while_a_cell_runs(kernel, free_thread):
    def send(comm: str, data: dict) -> None:
        message = kernel.session.msg("comm_msg", {"comm_id": comm, "data": {"method": "custom", "content": data}})
        message["header"]["subshell_id"] = free_thread
        kernel.shell_channel.send(message)

    screen, retry = printed(kernel, kernel.execute(MAKE)).split()
    cell = kernel.execute(WAIT.format(condition="len(box.session.history) == 2 and not box.retry_button.disabled"))
    send(screen, {"op": "ask", "text": "Who are you?"})
    assert printed(kernel, cell) == "came"
    said = "box.session.history[1:] and box.session.history[1]['content'] == 'A second.'"
    cell = kernel.execute(WAIT.format(condition=said))
    send(retry, {"event": "click"})
    assert printed(kernel, cell) == "came"
