"""The vocabulary between the engine and whoever drives it: what goes in, what comes out.

These structs are also the frames on the pipe to a runner's child process (msgpack, tagged unions), so
they hold plain data only. Token ids are ints of the model's vocabulary; durations are nanoseconds.
"""

from __future__ import annotations

from typing import Literal

import msgspec

CacheType = Literal["f16", "q8_0", "q4_0"]
FlashAttention = Literal["auto", "on", "off"]
Pooling = Literal["none", "mean", "cls", "last", "rank"]
FinishReason = Literal["stop", "length", "deadline", "cancelled", "error"]


class LoadSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides how a model is loaded. Two equal specs can share one runner."""

    path: str
    n_ctx: int
    """Tokens that one sequence may hold."""
    n_cells: int
    """KV cells in all, shared by running sequences and cached prefixes; at least `n_ctx`."""
    n_seq_max: int = 64
    """Sequences in all, running and cached (1 to 256)."""
    n_batch: int = 512
    n_threads: int = 0
    """0 = physical cores."""
    n_gpu_layers: int = -1
    """-1 = all when built with a GPU backend, else none."""
    main_gpu: int = 0
    cache_type: CacheType = "f16"
    flash_attention: FlashAttention = "auto"
    park_bytes: int = 512 << 20
    """Ordinary memory that cached prefixes may take outside the KV cells, as far as it is free."""
    use_mmap: bool = True
    use_extra_bufts: bool = True
    """Repacked weight buffers (AMX among them). Off is the safe retry after a crash at warm-up."""
    embedding: bool = False
    """The model only embeds (its metadata has a pooling type)."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How the next token is chosen. Defaults are those of the native `options` table."""

    seed: int = -1
    """-1 = random."""
    temperature: float = 0.8
    top_k: int = 40
    """<= 0 = the whole vocabulary."""
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_last_n: int = 64
    """0 = off, -1 = the whole context."""
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    mirostat: Literal[0, 1, 2] = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    logit_bias: dict[int, float] = {}
    """Token id -> added to its logit; -inf forbids (OpenAI's -100 is sent as -inf)."""


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the child knows once the model is loaded."""

    n_vocab: int
    n_ctx: int
    n_ctx_train: int
    n_embd: int
    n_params: int
    weights_bytes: int
    pooling: Pooling
    bos: str
    """Text of the beginning-of-sequence token, "" when there is none. Templates use it."""
    eos: str
    eog: list[int]
    """Every end-of-generation id."""
    add_bos: bool
    fim: tuple[int, int, int] | None
    """Ids of (prefix, suffix, middle) for infill, None when the model cannot."""
    gpu_layers: int
    gpu_bytes: int
    system_info: str
    use_extra_bufts: bool
    pair: list[list[int]] = []
    """Ids before, between and behind two texts that a rank head judges together; [] = none anywhere."""
    control: dict[str, int] = {}
    """Text -> id of every control token. Text that the model writes never contains them: they are told
    apart from it in `Delta.marks`. (User-defined tokens are ordinary text.)"""


# --- into the child ---------------------------------------------------------------------------------


class AdapterFile(msgspec.Struct, frozen=True):
    """A LoRA adapter, and how much of it is added to the model."""

    path: str
    version: int
    """Two files of the same path and version have the same content."""
    scale: float


class ItemsRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked of one place in a JSON value. Places are numbered as in `Distinct.places`; -1 = one that
    nothing is asked of."""

    unique: bool = False
    """An array here has no two items that are equal as JSON."""
    values: list[str] = []
    """JSON texts of all that an item of it can be, [] = not known."""
    first: list[int] = []
    """The places of its first items."""
    items: int = -1
    """… of its other items."""
    names: dict[str, int] = {}
    """… of the properties of an object here."""
    rest: int = -1
    """… of its other properties."""


class CallLead(msgspec.Struct, frozen=True, kw_only=True):
    """How the calls of one tool are written up to their arguments, a JSON object."""

    before: str
    """Regular expression over bytes, each written as the character of its number."""
    place: int
    """Of the arguments, -1 = nothing is asked of them."""


class Lead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What may stand before a JSON value: blocks from `opening` to `closing`, then `marker`, with white space
    round each. Control token n is written as byte 255 and `<n>`, which no text contains.

    Where calls may come instead, each of their arguments is such a value."""

    inside: bool = False
    """The text begins inside a block."""
    opening: bytes = b""
    """b"" = no other block can come."""
    closing: bytes = b""
    marker: bytes = b""
    calls: list[CallLead] = []
    """Of every tool that may be called; [] with `triggers` = what calls consist of is not followed."""
    triggers: list[bytes] = []
    """What the first call begins with, one of these; [] with `calls` = nothing but calls can come."""
    text: bool = False
    """Text may come before a trigger."""
    answer: bool = True
    """The value may come without a call."""


class Distinct(msgspec.Struct, frozen=True, kw_only=True):
    """The arrays in the JSON value of an answer, or in the arguments of its calls, whose items must be
    distinct, beyond what its grammar says."""

    places: list[ItemsRule]
    """The first is that of an answer without calls."""
    lead: Lead = Lead()


class Generate(msgspec.Struct, tag=True, kw_only=True):
    """Continue `prompt` (token ids, at least one). Answered by Delta* then one Finished per index."""

    id: int
    prompt: list[int]
    sampling: Sampling = Sampling()
    max_tokens: int = -1
    """-1 = until the model stops or its context is full."""
    stop: list[str] = []
    """Generation ends before the first of these; the text of a stop string is not emitted."""
    n: int = 1
    """Completions of this one prompt; they share its cells. `index` tells them apart; completion i
    uses seed + i."""
    logprobs: int | None = None
    """None = off, else how many alternatives to report with each token (0 to 20)."""
    ignore_eos: bool = False
    special: bool = False
    """Emit the text of control tokens too."""
    shift: bool = False
    """When the context is full, drop the oldest half after `keep` tokens and go on."""
    keep: int = 4
    grammar: str = ""
    """llguidance grammar (Lark, or its JSON form) that the answer must follow, "" = none. It names control
    tokens by id (`<[7]>`); end-of-generation is allowed where the grammar may end. One that cannot be
    compiled within bounds is answered by Failed(code="invalid_grammar") before anything is computed."""
    distinct: Distinct | None = None
    """Beside `grammar`: what may not be repeated."""
    marks: list[int] = []
    """Control tokens to report in `Delta.marks`."""
    deadline_ns: int = 0
    """On the clock of `time.monotonic_ns`, which the processes of a machine share; 0 = none. What is not done
    by then ends with reason `deadline`, between two steps."""
    each_step: bool = False
    """A Delta for every step, where others get one for several: for whoever counts tokens and steps in."""
    pin: str = ""
    """Keep the prefix that this leaves under this name: it gives way only after all that are not pinned. The
    next request of the same name takes the name over, `Unpin` lets go of it, and so does the 64th that is
    newer."""
    adapters: int = 0
    """Which set of `LoadAdapters` is added to the model, 0 = none."""


class Cancel(msgspec.Struct, tag=True):
    """Stop request `id` within one step. Answered by Finished(reason="cancelled")."""

    id: int


class Tokenize(msgspec.Struct, tag=True, kw_only=True):
    """Answered by Tokenized."""

    id: int
    text: str
    add_special: bool = True
    """Add BOS/EOS as the model's metadata says."""
    parse_special: bool = True
    """Read control-token text (`<|im_start|>`) as the token."""


class Detokenize(msgspec.Struct, tag=True, kw_only=True):
    """Answered by Detokenized."""

    id: int
    tokens: list[int]
    special: bool = True


class Embed(msgspec.Struct, tag=True, kw_only=True):
    """One vector per input (token ids), not normalised; of a rank head, its scores. Answered by Embedded."""

    id: int
    inputs: list[list[int]]
    adapters: int = 0
    """As in `Generate`."""


class GetStats(msgspec.Struct, tag=True):
    """Answered by Stats."""

    id: int


class DropCache(msgspec.Struct, tag=True):
    """Forget every cached prefix that no running sequence uses. Answered by Stats."""

    id: int


class Unpin(msgspec.Struct, tag=True):
    """Let the prefix pinned as `pin` go like any other, also one that is being computed. Answered by
    Stats."""

    id: int
    pin: str


class LoadAdapters(msgspec.Struct, tag=True):
    """Call these adapters, together, the set `number` (1 or more); of a number that is known nothing changes.
    Files that are loaded are not loaded again. Answered by Stats, or by Failed(code="load_failed") when one
    does not fit the model."""

    id: int
    number: int
    files: list[AdapterFile]


class DropAdapters(msgspec.Struct, tag=True):
    """Forget the set `number`, which no request uses any more, its prefixes, and the files that no other set
    needs. Answered by Stats."""

    id: int
    number: int


class Shutdown(msgspec.Struct, tag=True):
    """Free the model and exit 0."""


Query = GetStats | DropCache | Unpin | LoadAdapters | DropAdapters
"""Answered by Stats."""
Command = Generate | Cancel | Tokenize | Detokenize | Embed | Query | Shutdown

# --- out of the child -------------------------------------------------------------------------------


class TopLogprob(msgspec.Struct, frozen=True):
    """An alternative at one position. `token` is its text with undecodable bytes replaced."""

    token: str
    id: int
    logprob: float
    bytes: list[int]


class TokenLogprob(msgspec.Struct, frozen=True):
    """The chosen token; log-probabilities are of the model's own distribution, before any sampling
    parameter (temperature, penalties) acts on it."""

    token: str
    id: int
    logprob: float
    bytes: list[int]
    top: list[TopLogprob]


class Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    cached_tokens: int
    """Prompt tokens whose cells were reused and not computed again."""
    completion_tokens: int


class Timings(msgspec.Struct, frozen=True):
    """Nanoseconds. `prompt_ns` ends and `decode_ns` begins with the first sampled token."""

    queue_ns: int
    prompt_ns: int
    decode_ns: int


class Delta(msgspec.Struct, tag=True, kw_only=True):
    """Text of completion `index` that is certain: whole UTF-8 characters, no part of a stop string.
    `tokens` are those sampled since the last Delta; `text` may lag behind them."""

    id: int
    index: int
    text: str
    tokens: list[int]
    logprobs: list[TokenLogprob] | None = None
    ends: list[int] = []
    """How long `text` is with each of `tokens`, if there are several: who tells apart what they say reads
    them one by one."""
    marks: list[tuple[int, int]] = []
    """(offset in `text`, token id) of each token of `Generate.marks` that was sampled. Text before a mark is
    complete: no character and no stop string reaches across one."""
    cached_tokens: int = 0
    """Of the prompt, as in Usage: for who leaves before Finished."""


class Finished(msgspec.Struct, tag=True, kw_only=True):
    """Last message of completion `index`."""

    id: int
    index: int
    reason: FinishReason
    usage: Usage
    timings: Timings
    stop_string: str | None = None
    error: str = ""
    code: str = ""
    """Of agentkit_server.errors, for an error that has one."""
    shifted: int = 0
    """Tokens dropped by context shifts."""


class Tokenized(msgspec.Struct, tag=True):
    id: int
    tokens: list[int]


class Detokenized(msgspec.Struct, tag=True):
    id: int
    text: str


class Embedded(msgspec.Struct, tag=True, kw_only=True):
    id: int
    vectors: list[list[float]]
    prompt_tokens: int


class Stats(msgspec.Struct, tag=True, kw_only=True):
    """What the engine holds right now."""

    id: int
    cells_total: int
    cells_used: int
    cells_cached: int
    """Of those used, the ones that only cached prefixes hold: given up as soon as they are needed."""
    sequences_running: int
    sequences_waiting: int
    sequences_cached: int
    """Finished sequences that the next prompt may continue, resident and parked."""
    parked_bytes: int
    """Memory that parked ones take."""
    pins: int
    """Prefixes that are pinned."""
    decode_steps: int
    tokens_computed: int
    tokens_reused: int
    preemptions: int
    rss_bytes: int
    adapters: int = 0
    """Files of LoRA adapters that are loaded."""


class Failed(msgspec.Struct, tag=True, kw_only=True):
    """Request `id` could not be carried out; nothing else will come for it. `code` is a code of
    agentkit_server.errors."""

    id: int
    code: str
    message: str


class LoadProgress(msgspec.Struct, tag=True):
    """0.0 to 1.0, while weights are read."""

    fraction: float


class Loaded(msgspec.Struct, tag=True):
    facts: ModelFacts


class LoadError(msgspec.Struct, tag=True):
    message: str


Reply = (
    Delta | Finished | Tokenized | Detokenized | Embedded | Stats | Failed | LoadProgress | Loaded | LoadError
)
