"""The architectures that can be imported, by the name that config.json gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert import decoders, gemma
from agentkit_server.models.convert.bert import bert
from agentkit_server.models.convert.decoders import llama, mistral, qwen2, qwen3, smollm3
from agentkit_server.models.convert.files import Fields, Files, read_object
from agentkit_server.models.convert.gemma import gemma2, gemma3, gemma3_with_vision
from agentkit_server.models.convert.phi import phi3, phi3_layer
from agentkit_server.models.convert.plan import Plan

DECODERS: Mapping[str, Callable[[Fields], Plan]] = {
    "LlamaForCausalLM": llama,
    "MistralForCausalLM": mistral,
    "Qwen2ForCausalLM": qwen2,
    "Qwen3ForCausalLM": qwen3,
    "SmolLM3ForCausalLM": smollm3,
    "Gemma2ForCausalLM": gemma2,
    "Gemma3ForCausalLM": gemma3,
    "Gemma3ForConditionalGeneration": gemma3_with_vision,
    "Phi3ForCausalLM": phi3,
}
LAYERS = {**decoders.LAYERS, **gemma.LAYERS, "phi3": phi3_layer}
"""llama.cpp's name of a decoder -> the tensors of one layer."""
BERT = "BertModel"
KNOWN = (*DECODERS, BERT)


def read_config(files: Files) -> Fields:
    """config.json. Raises ConversionError where there is none."""
    config = read_object(files, "config.json")
    if config is None:
        raise ConversionError("the folder has no config.json, which says what model it is")
    return config


def architecture(config: Fields) -> str:
    """The one architecture that config.json names. Raises ConversionError for one that is not known."""
    names = config.list("architectures")
    name = names[0] if len(names) == 1 else None
    if name not in KNOWN:
        said = (
            f"{name or names!r:.80} cannot be imported" if names else f"{config.where} names no architecture"
        )
        raise ConversionError(f"{said}; what can be is {', '.join(KNOWN)}")
    return name


def read_plan(config: Fields, files: Files) -> Plan:
    """How the model of a folder becomes a GGUF. Raises ConversionError."""
    name = architecture(config)
    quantised = config.object("quantization_config")
    if quantised is not None:
        method = quantised.text("quant_method") or "unknown"
        raise ConversionError(
            f"the weights are quantised ({method}); give them as they were before that, and let "
            "--quantize make them small again"
        )
    return bert(config, files) if name == BERT else DECODERS[name](config)
