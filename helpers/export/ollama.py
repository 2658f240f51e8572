"""A Modelfile for Ollama that leaves nothing to be guessed: template, system text, stop words, decoding, licence.

Left out, the template is guessed, and the default system text of the model's own goes with it.
"""

from helpers.chat.generate import render
from helpers.errors import ExportError

TURN, END = "<|im_start|>", "<|im_end|>"
# Go's text/template, over the turns that Ollama hands it. SYSTEM stands first where a talk brings no system turn.
TEMPLATE = f"""{{{{ range .Messages }}}}{TURN}{{{{ .Role }}}}
{{{{ .Content }}}}{END}
{{{{ end }}}}{TURN}assistant
"""
MODELFILE = '''FROM ./{file}
TEMPLATE """{template}"""
{system}PARAMETER temperature 0
PARAMETER repeat_penalty 1
{stops}
LICENSE """{licence}"""
'''
TALKS = (("user",), ("system", "user"), ("user", "assistant", "user"), ("system", "user", "assistant", "user"))


def default_system(tokenizer) -> str | None:
    """The system text that the chat template puts before a talk without one; None if it puts none.

    Raises `ExportError` for a template that is not ChatML, which is the only one written here.
    """
    text = render(tokenizer, [{"role": "user", "content": "Hi"}])
    head, system = text.partition(f"{TURN}user\n")[0], None
    if head.startswith(f"{TURN}system\n") and head.endswith(f"{END}\n"):
        system = head.removeprefix(f"{TURN}system\n").removesuffix(f"{END}\n")
    for roles in TALKS:
        talk = [{"role": role, "content": f"{role} says {n}."} for n, role in enumerate(roles)]
        first = [{"role": "system", "content": system}] if system is not None and roles[0] != "system" else []
        turns = "".join(f"{TURN}{turn['role']}\n{turn['content']}{END}\n" for turn in (*first, *talk))
        if render(tokenizer, talk) != f"{turns}{TURN}assistant\n":
            cure = "write its Modelfile yourself (github.com/ollama/ollama, folder docs), or export it with --to gguf"
            raise ExportError("this model's chat template is not ChatML", cure)
    return system


def modelfile(tokenizer, file: str, licence: str) -> str:
    """The Modelfile of the GGUF file called ``file``, beside which it will lie; ``licence`` is the licence's text."""
    system = default_system(tokenizer)
    stops = "\n".join(f'PARAMETER stop "{word}"' for word in dict.fromkeys((END, TURN, tokenizer.eos_token)))
    said = "" if system is None else f'SYSTEM """{system}"""\n'
    return MODELFILE.format(file=file, template=TEMPLATE, system=said, stops=stops, licence=licence)
