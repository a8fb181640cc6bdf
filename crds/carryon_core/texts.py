"""`generate.text`: a unit that a language model writes."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from carryon_core.model_sources import HUB_ONLY, NO_SPACES, REVISION, Revision
from carryon_core.schema import Model, PreservedObject, rule, rules, text

TEXT_LONGEST: Final = 64 * 1024
"""Characters of a prompt, before templates and files."""
MAX_NEW_TOKENS: Final = 512
TOKENS_MOST: Final = 1_000_000
_TEMPERATURE = rule("self > 0.0", "temperature must be more than 0; for the most likely token write sample: false")


class Message(Model):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"] = Field(description="Who says it.")
    content: Annotated[str, text(TEXT_LONGEST, shortest=0)] = Field(
        description="What is said; may be a template, with files in it."
    )


class TextOutput(Model):
    """How a text is written."""

    name: Annotated[
        str,
        text(
            64,
            rule(
                "self.matches('^[A-Za-z0-9][A-Za-z0-9_.-]*$')",
                "output.name must be letters, digits, dashes, dots and underscores, such as draft",
            ),
        ),
    ] = Field(default="text", description="Name of the artifact, without its ending.")
    format: Literal["txt", "md", "json"] = Field(
        default="txt", description="Its ending. txt, md: the text alone; json: an object with text, finish and counts."
    )
    include_prompt: bool = Field(default=False, description="Write the prompt too: before the text, or as a field.")


class Text(Model):
    """A causal language model of transformers: goes on after a prompt, or answers in a conversation."""

    model: Annotated[str, text(1024, NO_SPACES)] = Field(
        description="Folder, file:// or s3:// uri of a saved model with its tokenizer, or an id on a model hub."
    )
    revision: Revision | None = Field(default=None, description=REVISION)
    dtype: Literal["float32", "float16", "bfloat16"] = Field(default="bfloat16", description="Type of the weights.")
    prompt: Annotated[str, text(TEXT_LONGEST)] | None = Field(
        default=None,
        description="What the model is asked, or goes on after; may be a template, with files in it.",
        json_schema_extra={"nullable": False},
    )
    system: Annotated[str, text(TEXT_LONGEST)] | None = Field(
        default=None,
        description="What the model is told before the prompt; may be a template, with files in it.",
        json_schema_extra={"nullable": False},
    )
    messages: (
        Annotated[
            list[Message],
            Field(min_length=1, max_length=64, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
        ]
        | None
    ) = Field(
        default=None,
        description="A conversation that the model goes on with, instead of a prompt.",
        json_schema_extra={"nullable": False},
    )
    chat: bool | None = Field(
        default=None,
        description="true: the prompt goes through the model's chat template; false: the model goes on after it as it"
        " stands; without it: through the template where the model has one.",
        json_schema_extra={"nullable": False},
    )
    chat_template_args: PreservedObject = Field(
        default_factory=dict, description="Values for the model's chat template, such as enable_thinking."
    )
    date: Annotated[
        str,
        text(
            10,
            rule(
                "self.matches('^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$')",
                'date must be a day such as "2026-11-21", in quotes',
            ),
        ),
    ] = Field(
        default="2025-01-01",
        description="Today's date, as chat templates that ask for one are told: a unit must not depend on its day.",
    )
    max_new_tokens: int = Field(
        default=MAX_NEW_TOKENS, ge=1, le=TOKENS_MOST, description="Tokens after which the text ends."
    )
    min_new_tokens: int = Field(
        default=0,
        ge=0,
        le=TOKENS_MOST,
        description="Tokens before which the model does not end it; what stands in stop does.",
    )
    sample: bool = Field(
        default=True, description="true: tokens are drawn, by the unit's seed; false: always the most likely one."
    )
    temperature: Annotated[float, Field(le=100, json_schema_extra=rules(_TEMPERATURE))] | None = Field(
        default=None,
        description="Below 1: likely tokens become likelier. Without it the model's own, else 1.",
        json_schema_extra={"nullable": False},
    )
    top_p: (
        Annotated[
            float,
            Field(
                le=1,
                json_schema_extra=rules(rule("self > 0.0", "topP must be more than 0; 1 leaves every token in")),
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="Draw from the likeliest tokens that together have this probability. Without it the model's own,"
        " else 1, which is all.",
        json_schema_extra={"nullable": False},
    )
    top_k: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="Draw from so many of the likeliest tokens; 0: from all. Without it the model's own, else 0.",
        json_schema_extra={"nullable": False},
    )
    repetition_penalty: (
        Annotated[
            float,
            Field(
                le=100,
                json_schema_extra=rules(rule("self > 0.0", "repetitionPenalty must be more than 0; 1 is none")),
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="Above 1: tokens that stand in prompt or text become less likely. Without it the model's own,"
        " else 1.",
        json_schema_extra={"nullable": False},
    )
    stop: Annotated[
        list[Annotated[str, text(256)]], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(default_factory=list, description="The text ends before the first of these.")
    output: TextOutput = Field(default_factory=TextOutput)


RULES = (
    HUB_ONLY,
    rule(
        "has(self.prompt) != has(self.messages)",
        "text takes exactly one of prompt and messages: give one of them",
    ),
    rule(
        "!has(self.system) || has(self.prompt)",
        "system goes with prompt; with messages write it as the first of them, with role: system",
    ),
    rule(
        "!has(self.chat) || self.chat || (has(self.prompt) && !has(self.system))",
        "messages and system go through the model's chat template: leave chat: false out",
    ),
    rule(
        "!has(self.sample) || self.sample || !(has(self.temperature) || has(self.topP) || has(self.topK))",
        "temperature, topP and topK say how tokens are drawn: leave them out with sample: false",
    ),
    rule(
        "(has(self.minNewTokens) ? self.minNewTokens : 0)"
        f" <= (has(self.maxNewTokens) ? self.maxNewTokens : {MAX_NEW_TOKENS})",
        f"minNewTokens must not be more than maxNewTokens, which is {MAX_NEW_TOKENS} if it is left out",
    ),
)
"""Rules of `generate.text`."""
