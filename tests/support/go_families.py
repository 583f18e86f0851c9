# ruff: noqa: E501 - a line of a template is as long as it is
"""Go templates with the structure that families of models have in Ollama's registry, in words of our own."""

from __future__ import annotations

CHATML = """\
{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""

CHATML_LEGACY = """\
{{ if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ .Response }}<|im_end|>
"""

LLAMA_2 = """\
[INST] {{ if .System }}<<SYS>>
{{ .System }}
<</SYS>>

{{ end }}{{ .Prompt }} [/INST] {{ .Response }}</s>"""

LLAMA_3 = """\
{{- if or .System .Tools }}<|start_header_id|>system<|end_header_id|>

{{ .System }}
{{- if .Tools }}

Results of functions are for you: use them to answer.
{{- end }}<|eot_id|>
{{- end }}
{{- range $at, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $at)) 1 }}
{{- if eq .Role "user" }}<|start_header_id|>user<|end_header_id|>

{{ if and $.Tools $last }}Functions, one of which you may answer with as {"name": its name, "parameters": arguments by name}:

{{ range $.Tools }}{{ . }}
{{ end }}
{{ end }}{{ .Content }}<|eot_id|>{{ if $last }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- else if eq .Role "assistant" }}<|start_header_id|>assistant<|end_header_id|>

{{ if .ToolCalls }}{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}{{ end }}
{{- else }}{{ .Content }}
{{- end }}{{ if not $last }}<|eot_id|>{{ end }}
{{- else if eq .Role "tool" }}<|start_header_id|>ipython<|end_header_id|>

{{ .Content }}<|eot_id|>{{ if $last }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- end }}
{{- end }}"""

MISTRAL = """\
{{- range $i, $_ := .Messages }}
{{- if eq .Role "user" }}
{{- if and $.Tools (le (len (slice $.Messages $i)) 2) }}[AVAILABLE_TOOLS] {{ $.Tools }}[/AVAILABLE_TOOLS]
{{- end }}[INST] {{ if and $.System (eq (len (slice $.Messages $i)) 1) }}{{ $.System }}

{{ end }}{{ .Content }}[/INST]
{{- else if eq .Role "assistant" }}
{{- if .Content }} {{ .Content }}
{{- else if .ToolCalls }}[TOOL_CALLS] [
{{- range $n, $_ := .ToolCalls }}{{ if $n }}, {{ end }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{- end }}]
{{- end }}</s>
{{- else if eq .Role "tool" }}[TOOL_RESULTS] {"content": {{ json .Content }}} [/TOOL_RESULTS]
{{- end }}
{{- end }}"""

QWEN_2_5 = """\
{{- if or .System .Tools }}<|im_start|>system
{{- if .System }}
{{ .System }}
{{- end }}
{{- if .Tools }}

# Tools

<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>

A call is written so:
<tool_call>
{"name": its name, "arguments": its arguments}
</tool_call>
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}{{ range $n, $_ := .ToolCalls }}{{ if $n }}
{{ end }}<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>{{ end }}
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}"""

QWEN_3 = """\
{{- $asked := -1 }}
{{- range $i, $m := .Messages }}{{ if eq $m.Role "user" }}{{ $asked = $i }}{{ end }}{{ end }}
{{- if or .System .Tools }}<|im_start|>system
{{ if .System }}{{ .System }}{{ end }}
{{- if .Tools }}

<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>

Calls: <tool_call>
{"name": its name, "arguments": its arguments}
</tool_call>
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}
{{- if and $.IsThinkSet (eq $i $asked) }}{{ if $.Think }} /think{{ else }} /no_think{{ end }}{{ end }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if and $.IsThinkSet (and .Thinking (or $last (gt $i $asked))) -}}
<think>
{{ .Thinking }}
</think>

{{ end -}}
{{ if .Content }}{{ .Content }}{{ end }}
{{- range $n, $_ := .ToolCalls }}{{ if or $n $.Messages }}
{{ end }}<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>
{{- end }}
{{- if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ if and $.IsThinkSet (not $.Think) -}}
<think>

</think>

{{ end -}}
{{ end }}
{{- end }}"""

COMMAND_R = """\
{{- if or .Tools .System }}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>
{{- if .System }}{{ .System }}{{ end }}
{{- if .Tools }}

## Available Tools
{{ range .Tools }}
```python
def {{ .Function.Name }}(
{{- range $name, $property := .Function.Parameters.Properties }}{{ $name }}: {{ $property.Type }}{{ end }}):
    '''{{ .Function.Description }}'''
```
{{ end }}
Write 'Action:' and a JSON list of "tool_name" and "parameters".
{{- end }}<|END_OF_TURN_TOKEN|>
{{- end }}
{{- range .Messages }}
{{- if eq .Role "system" }}{{ continue }}{{ end }}<|START_OF_TURN_TOKEN|>
{{- if eq .Role "user" }}<|USER_TOKEN|>{{ .Content }}
{{- else if eq .Role "assistant" }}<|CHATBOT_TOKEN|>
{{- if .Content }}{{ .Content }}
{{- else if .ToolCalls }}Action: ```json
[
{{- range $n, $_ := .ToolCalls }}{{ if $n }},{{ end }}
    {
        "tool_name": "{{ .Function.Name }}",
        "parameters": {{ .Function.Arguments }}
    }
{{- end }}
]```
{{- end }}
{{- else if eq .Role "tool" }}<|SYSTEM_TOKEN|><results>
{{ .Content }}</results>
{{- end }}<|END_OF_TURN_TOKEN|>
{{- end }}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"""

GEMMA = """\
{{- range $at, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $at)) 1 }}
{{- if or (eq .Role "user") (eq .Role "system") }}<start_of_turn>user
{{ .Content }}<end_of_turn>
{{ if $last }}<start_of_turn>model
{{ end }}
{{- else if eq .Role "assistant" }}<start_of_turn>model
{{ .Content }}{{ if not $last }}<end_of_turn>
{{ end }}
{{- end }}
{{- end }}"""

GEMMA_LEGACY = """\
<start_of_turn>user
{{ if .System }}{{ .System }} {{ end }}{{ .Prompt }}<end_of_turn>
<start_of_turn>model
{{ .Response }}<end_of_turn>
"""

PHI_3 = """\
{{ if .System }}<|system|>
{{ .System }}<|end|>
{{ end }}{{ if .Prompt }}<|user|>
{{ .Prompt }}<|end|>
{{ end }}<|assistant|>
{{ .Response }}<|end|>
"""

ZEPHYR = """\
{{ if .System }}<|system|>
{{ .System }}</s>
{{ end }}{{ if .Prompt }}<|user|>
{{ .Prompt }}</s>
{{ end }}<|assistant|>
"""

ALPACA = """\
{{ if .System }}{{ .System }}

{{ end }}{{ if .Prompt }}### Instruction:
{{ .Prompt }}

{{ end }}### Response:
{{ .Response }}

"""

VICUNA = """\
{{ with .System }}{{ . }}

{{ end }}{{ with .Prompt }}USER: {{ . }}
{{ end }}ASSISTANT: {{ .Response }}</s>
"""

GRANITE_3 = """\
{{- if .Tools }}<|start_of_role|>available_tools<|end_of_role|>
{{- range .Tools }}
{{ . }}
{{- end }}<|end_of_text|>
{{ end }}
{{- range $at, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $at)) 1 }}
{{- if eq .Role "tool" }}<|start_of_role|>tool_response<|end_of_role|>
{{- else }}<|start_of_role|>{{ .Role }}<|end_of_role|>
{{- end }}
{{- if .ToolCalls }}<|tool_call|>[
{{- range $n, $_ := .ToolCalls }}{{ if $n }}, {{ end }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{- end }}]
{{- else }}{{ .Content }}
{{- end }}
{{- if not (and $last (eq .Role "assistant")) }}<|end_of_text|>
{{ end }}
{{- if and $last (ne .Role "assistant") }}<|start_of_role|>assistant<|end_of_role|>
{{- end }}
{{- end }}"""

HARMONY = """\
<|start|>system<|message|>You are a model.
Current date: {{ currentDate }}
Reasoning: {{ if .ThinkLevel }}{{ .ThinkLevel }}{{ else }}medium{{ end }}<|end|>
{{- if or .System .Tools }}<|start|>developer<|message|>
{{- if .System }}# Instructions

{{ .System }}
{{- end }}
{{- if .Tools }}
# Tools

namespace functions {
{{- range .Tools }}
// {{ .Function.Description }}
type {{ .Function.Name }} = (_: {
{{- range $name, $property := .Function.Parameters.Properties }}
// {{ $property.Description }}
{{ $name }}: {{ $property | toTypeScriptType }},
{{- end }}
}) => any;
{{- end }}
}
{{- end }}<|end|>
{{- end }}
{{- range .Messages }}
{{- if eq .Role "user" }}<|start|>user<|message|>{{ .Content }}<|end|>
{{- else if eq .Role "assistant" }}
{{- if .Thinking }}<|start|>assistant<|channel|>analysis<|message|>{{ .Thinking }}<|end|>
{{- end }}
{{- if .Content }}<|start|>assistant<|channel|>final<|message|>{{ .Content }}<|end|>
{{- end }}
{{- range .ToolCalls }}<|start|>assistant<|channel|>commentary to=functions.{{ .Function.Name }} <|constrain|>json<|message|>{{ .Function.Arguments }}<|call|>
{{- end }}
{{- else if eq .Role "tool" }}<|start|>functions.{{ .ToolName }} to=assistant<|channel|>commentary<|message|>{{ .Content }}<|end|>
{{- end }}
{{- end }}<|start|>assistant"""

DEEPSEEK_R1 = """\
{{- if .System }}{{ .System }}{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<｜User｜>{{ .Content }}
{{- else if eq .Role "assistant" }}<｜Assistant｜>
{{- if and $.IsThinkSet (and $last .Thinking) }}<think>
{{ .Thinking }}
</think>
{{ end }}{{ .Content }}{{ if not $last }}<｜end▁of▁sentence｜>{{ end }}
{{- end }}
{{- if and $last (ne .Role "assistant") }}<｜Assistant｜>
{{- if and $.IsThinkSet (not $.Think) }}<think>

</think>

{{ end }}
{{- end }}
{{- end }}"""

CODELLAMA = """\
{{- if .Suffix }}<PRE> {{ .Prompt }} <SUF>{{ .Suffix }} <MID>
{{- else }}[INST] {{ if .System }}<<SYS>>{{ .System }}<</SYS>>

{{ end }}{{ .Prompt }} [/INST] {{ end }}{{ .Response }}"""

STARCODER_2 = """\
{{- if .Suffix }}<file_sep>
{{- if .System }}{{ .System }}{{ end }}<fim_prefix>{{ .Prompt }}<fim_suffix>{{ .Suffix }}<fim_middle>
{{- else }}{{ .Prompt }}
{{- end }}{{ .Response }}<|endoftext|>"""

QWEN_CODER = """\
{{- if .Suffix }}<|fim_prefix|>{{ .Prompt }}<|fim_suffix|>{{ .Suffix }}<|fim_middle|>
{{- else if .Messages }}
{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ end }}{{ .Response }}{{ if .Response }}<|im_end|>{{ end }}"""

FUNCTIONARY = """\
{{- if .System }}<|start_header_id|>system<|end_header_id|>

{{ .System }}<|eot_id|>
{{- end }}
{{- if .Tools }}<|start_header_id|>system<|end_header_id|>

{{ range .Tools }}Use the function '{{ .Function.Name }}' to: {{ .Function.Description }}
{{ json .Function }}
{{ end }}
Write <function=its name>{arguments}</function><|eot_id|>
{{- end }}
{{- range .Messages }}
{{- if ne .Role "system" }}
{{- if eq .Role "tool" }}<|start_header_id|>ipython<|end_header_id|>
{{- else }}<|start_header_id|>{{ .Role }}<|end_header_id|>
{{- end }}

{{ .Content }}
{{- range .ToolCalls }}<function={{ .Function.Name }}>{{ .Function.Arguments }}</function>
{{- end }}<|eot_id|>
{{- end }}
{{- end }}<|start_header_id|>assistant<|end_header_id|>

"""

SOLAR = """\
{{ if .System }}### System:
{{ .System }}

{{ end }}{{ if .Prompt }}### User:
{{ .Prompt }}

{{ end }}### Assistant:
{{ .Response }}</s>

"""

FALCON = """\
{{ if .System }}System: {{ .System }}
{{ end }}{{ if .Prompt }}User: {{ .Prompt }}
{{ end }}Falcon: {{ .Response }}
"""

OPENCHAT = """\
{{ .System }}<|end_of_turn|>GPT4 Correct User: {{ .Prompt }}<|end_of_turn|>GPT4 Correct Assistant: {{ .Response }}<|end_of_turn|>"""

MAGICODER = """\
{{ if .System }}{{ .System }}

{{ end }}{{ if .Prompt }}@@ Instruction
{{ .Prompt }}

{{ end }}@@ Response
{{ .Response }}
"""

FIREFUNCTION = """\
{{- if or .System .Tools }}<|start_header_id|>system<|end_header_id|>
{{- if .System }}
{{ .System }}
{{- end }}
{{- if .Tools }}
You can call: {{ json .Tools }}
{{- end }}<|eot_id|>
{{- end }}
{{- range .Messages }}
{{- if eq .Role "system" }}{{ continue }}
{{- else }}<|start_header_id|>{{ .Role }}<|end_header_id|>

{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }} functools[
{{- range $n, $_ := .ToolCalls }}{{ if $n }}, {{ end }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{- end }}]
{{- end }}<|eot_id|>
{{- end }}
{{- end }}<|start_header_id|>assistant<|end_header_id|>

"""

NEMOTRON = """\
{{- range .Messages }}
{{- if eq .Role "system" }}<extra_id_0>System
{{ .Content }}
{{- range $.Tools }}
<tool> {{ . }} </tool>
{{- end }}
{{ else if eq .Role "user" }}<extra_id_1>User
{{ .Content }}
{{ else if eq .Role "assistant" }}<extra_id_1>Assistant
{{ if .Content }}{{ .Content }}
{{- else }}{{ range .ToolCalls }}<toolcall> {"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}} </toolcall> {{ end }}
{{- end }}
{{ else if eq .Role "tool" }}<extra_id_1>Tool
{{ .Content }}
{{ end }}
{{- end }}<extra_id_1>Assistant
"""

MADE_UP = """\
{{- range .Tools }}TOOL {{ .Function.Name }} {{ json .Function.Parameters.Required }}
{{ end }}
{{- range .Messages }}@{{ .Role }}: {{ .Content }}
{{- if .Thinking }}(((pondering {{ .Thinking }} pondering)))
{{- end }}
{{- if .ToolCalls }}§§calls {{ range $n, $_ := .ToolCalls }}{{ if $n }};{{ end }}{"function":"{{ .Function.Name }}","with":{{ .Function.Arguments }}}{{ end }} calls§§
{{- end }}
{{ end }}@assistant: """
