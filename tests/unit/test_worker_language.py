"""The parts of the text generator that are pure: what is drawn, when it is enough, what a prompt becomes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process

import tiny_language_models
from carryon_core.texts import Text
from carryon_worker import check
from carryon_worker.failures import BadRequest, UnitFailure
from carryon_worker.generators import InputFile
from carryon_worker.generators.language import keeping, loading, prompts
from carryon_worker.generators.language.drawing import Drawing, _candidates, chance, draw, drawing
from carryon_worker.generators.language.endings import Endings, Finish
from carryon_worker.generators.language.keeping import Differs, Token, Trace
from carryon_worker.journal.segments import Header, Segment

PLAIN = Drawing(sample=True, temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0, least=0, ends=())


def scores(seed: int, size: int) -> torch.Tensor:
    return 3 * torch.randn(size, generator=torch.Generator().manual_seed(seed))


@given(
    seed=st.integers(0, 2**32),
    size=st.sampled_from([5, 300, 3000]),
    temperature=st.floats(0.1, 5),
    top_k=st.sampled_from([0, 1, 4, 50, 5000]),
    top_p=st.sampled_from([0.01, 0.5, 0.95, 0.9999, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_the_tokens_that_may_be_drawn_and_their_weights_are_those_of_transformers(
    seed: int, size: int, temperature: float, top_k: int, top_p: float
) -> None:
    given_scores = scores(seed, size)
    theirs = logits_process.TemperatureLogitsWarper(temperature)(None, given_scores[None])
    if top_k:
        theirs = logits_process.TopKLogitsWarper(top_k)(None, theirs)
    if top_p < 1:
        theirs = logits_process.TopPLogitsWarper(top_p)(None, theirs)
    expected = theirs[0].double().softmax(0)
    how = Drawing(True, temperature, top_k, top_p, 1.0, 0, ())
    tokens, weights = _candidates(given_scores / temperature, how)
    ours = torch.zeros(size, dtype=torch.float64).index_put((tokens,), weights / weights.sum())
    # They sum up in float32, which may leave one token more or less at the very edge.
    assert ((ours > 0) != (expected > 0)).sum() <= (1 if top_p < 1 else 0)
    assert torch.allclose(ours, expected, atol=1e-3 if ((ours > 0) != (expected > 0)).any() else 1e-6)


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    likely = torch.tensor([0.5, 0.3, 0.15, 0.05])
    drawn = [draw(likely.log(), (), [0] * position, PLAIN, seed) for seed in range(50) for position in range(100)]
    shares = torch.bincount(torch.tensor(drawn), minlength=4) / len(drawn)
    assert torch.allclose(shares, likely, atol=0.03)


def test_what_is_drawn_depends_on_seed_and_position_alone() -> None:
    flat = torch.zeros(1000)
    first = [draw(flat, (), [0] * position, PLAIN, 7) for position in range(20)]
    assert first == [draw(flat, (), [5] * position, PLAIN, 7) for position in range(20)]
    assert first != [draw(flat, (), [0] * position, PLAIN, 8) for position in range(20)]
    assert len(set(first)) > 15
    assert all(0 <= chance(seed, 3) < 1 for seed in (0, 2**63 - 1))


def test_what_has_no_weight_is_never_drawn() -> None:
    one = torch.full((4000,), -math.inf).index_fill(0, torch.tensor([2]), 0.0)
    for how in (PLAIN, Drawing(True, 1, 3, 0.9, 1, 0, ()), Drawing(True, 1, 0, 0.9, 1, 0, ())):
        assert {draw(one, (), [0] * position, how, 1) for position in range(50)} == {2}


def test_repetition_is_made_less_likely_as_transformers_does_it() -> None:
    given_scores, prompt, text = scores(1, 50), (1, 2, 3), [3, 4]
    theirs = logits_process.RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([[*prompt, *text]]), given_scores[None])
    for position in range(3):
        greedy = Drawing(False, 1.0, 0, 1.0, 1.7, 0, ())
        assert draw(given_scores, prompt, text, greedy, position) == int(theirs.argmax())


def test_a_text_does_not_end_before_it_may() -> None:
    ending = torch.zeros(5).index_fill(0, torch.tensor([4]), 9.0)
    greedy = Drawing(False, 1.0, 0, 1.0, 1.0, least=2, ends=(4,))
    assert [draw(ending, (), [0] * position, greedy, 0) for position in range(4)] == [0, 0, 4, 4]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers_fail_the_unit(bad: float) -> None:
    for wrong in (torch.tensor([0.0, bad]), torch.full((3,), -math.inf)):
        with pytest.raises(UnitFailure, match="scores for token 3 are not numbers") as caught:
            draw(wrong, (), [1, 1, 1], PLAIN, 0)
        assert caught.value.reason == "NotANumber"


def test_what_a_unit_does_not_say_its_model_does() -> None:
    own = transformers.GenerationConfig(temperature=0.6, top_p=0.9, top_k=20, repetition_penalty=1.05)
    assert drawing(Text(model="m"), own, (2,)) == Drawing(True, 0.6, 20, 0.9, 1.05, 0, (2,))
    asked = Text(model="m", temperature=2, top_p=1, top_k=0, repetition_penalty=1, min_new_tokens=3)
    assert drawing(asked, own, ()) == Drawing(True, 2.0, 0, 1.0, 1.0, 3, ())
    assert drawing(Text(model="m", sample=False), own, ()) == Drawing(False, 1.0, 0, 1.0, 1.05, 0, ())
    assert drawing(Text(model="m"), transformers.GenerationConfig(), ()).temperature == 1.0


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_language_models.tokenizer(chat=False)


@pytest.fixture(scope="module")
def chatting() -> Any:
    return tiny_language_models.tokenizer(chat=True)


def endings(tokenizer: Any, *stop: str, most: int = 100) -> Endings:
    return Endings(tokenizer, frozenset({256}), stop, most)


def test_a_text_ends_where_it_is_told_to(tokenizer: Any) -> None:
    tokens = tokenizer("one\n\ntwo. three")["input_ids"]
    stopping = endings(tokenizer, "\n\n", "two")
    ended = [count for count in range(len(tokens) + 1) if stopping.finish(tokens[:count])]
    assert ended[0] == 5
    assert stopping.finish(tokens[:5]) is Finish.STOP
    assert stopping.text(tokens[:5]) == "one"
    assert endings(tokenizer).finish(tokens) is None
    assert endings(tokenizer).finish([*tokens, 256]) is Finish.END
    assert endings(tokenizer).text([*tokens, 256]) == "one\n\ntwo. three"
    assert endings(tokenizer, most=4).finish(tokens[:4]) is Finish.LENGTH
    assert endings(tokenizer, most=4).finish([]) is None


@given(text=st.text("aé€ \n", min_size=1, max_size=60), stop=st.text("aé€ \n", min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_a_stop_is_seen_at_the_token_that_completes_it(text: str, stop: str) -> None:
    made = tiny_language_models.tokenizer(chat=False)
    tokens = made(text)["input_ids"]
    stopping = endings(made, stop, most=10_000)
    first = next((count for count in range(len(tokens) + 1) if stopping.finish(tokens[:count])), None)
    assert first == (len((text[: text.index(stop)] + stop).encode()) if stop in text else None)
    if first is not None:
        assert stopping.text(tokens[:first]) == text[: text.index(stop)]


def parsed(**config: Any) -> prompts.Given:
    return prompts.parse({"model": "m", **config})


def test_parts_of_a_prompt_are_joined_and_files_of_several_units_stand_apart() -> None:
    made = parsed(prompt=["Sum up: ", ["one", "two"], "."], system=["be ", "short"])
    assert (made.prompt, made.system) == ("Sum up: one\n\ntwo.", "be short")
    told = parsed(messages=[{"role": "user", "content": ["a", "b"]}]).messages
    assert told is not None
    assert told[0].content == "ab"
    assert parsed(prompt=["x" * 100_000]).prompt == "x" * 100_000
    with pytest.raises(BadRequest, match=r"^text.maxNewTokens: "):
        parsed(prompt="x", maxNewTokens=0)


@pytest.mark.parametrize(
    ("config", "read"),
    [
        ({"prompt": "Hi"}, "<user>Hi\n<assistant>"),
        ({"prompt": "Hi", "chat": False}, "Hi"),
        ({"prompt": "Hi", "system": "Short."}, "<system>Short.\n<user>Hi\n<assistant>"),
        ({"messages": [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}]}, None),
    ],
)
def test_a_model_that_answers_is_asked_through_its_template(chatting: Any, config: Any, read: str | None) -> None:
    made = prompts.encode(parsed(**config), chatting)
    assert chatting.decode(made.tokens) == (read or "<user>A\n<assistant>B\n<assistant>")
    assert made.chat is (config.get("chat") is not False)


def test_a_model_that_only_goes_on_is_given_the_prompt_as_it_stands(tokenizer: Any) -> None:
    made = prompts.encode(parsed(prompt="Hi"), tokenizer)
    assert (tokenizer.decode(made.tokens), made.chat) == ("Hi", False)
    for config in (
        {"prompt": "Hi", "chat": True},
        {"prompt": "Hi", "system": "x"},
        {"messages": [{"role": "user", "content": "x"}]},
    ):
        with pytest.raises(BadRequest, match="the model has no chat template"):
            prompts.encode(parsed(**config), tokenizer)
    with pytest.raises(BadRequest, match="the prompt is empty"):
        prompts.encode(parsed(prompt=""), tokenizer)


def test_a_template_is_told_the_same_day_whatever_day_it_is_and_what_the_unit_says() -> None:
    made = tiny_language_models.tokenizer(chat=True)
    made.chat_template = "{{ strftime_now('%d %b %Y') }}{{ ' think' if think else '' }}"
    assert made.decode(prompts.encode(parsed(prompt="x"), made).tokens) == "01 Jan 2025"
    told = parsed(prompt="x", date="2026-11-21", chatTemplateArgs={"think": True})
    assert made.decode(prompts.encode(told, made).tokens) == "21 Nov 2026 think"
    with pytest.raises(BadRequest, match=r"chatTemplateArgs\.tokenize is set by the worker"):
        prompts.encode(parsed(prompt="x", chatTemplateArgs={"tokenize": True}), made)
    made.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(BadRequest, match="chat template refuses the conversation: roles must alternate"):
        prompts.encode(parsed(prompt="x"), made)


@pytest.mark.parametrize(
    ("tokens", "most", "least", "sentence"),
    [
        (100, 28, 0, None),
        (
            100,
            29,
            0,
            "the prompt has 100 tokens and maxNewTokens is 29, but the model reads 128: shorten the prompt, or set"
            " maxNewTokens to 28 at most",
        ),
        (128, 1, 0, "or take a model that reads more"),
        (100, 60, 50, "or take a model that reads more"),
    ],
)
def test_what_the_model_can_not_read_is_refused_with_numbers(
    tokens: int, most: int, least: int, sentence: str | None
) -> None:
    config = Text(model="m", max_new_tokens=most, min_new_tokens=least)
    prompts.check_length(tokens, config, None)
    if sentence is None:
        prompts.check_length(tokens, config, 128)
        return
    with pytest.raises(BadRequest) as caught:
        prompts.check_length(tokens, config, 128)
    assert sentence in caught.value.message


def test_a_file_in_a_prompt_is_the_text_in_it(tmp_path: Path) -> None:
    def content(data: bytes, kind: str = "text/plain") -> str:
        (tmp_path / "notes").write_bytes(data)
        return prompts.content(InputFile("notes", tmp_path / "notes", kind))

    assert content("\ufeffé\n one\r\n\n".encode()) == "é\n one"
    assert content(b"a,b", "application/octet-stream") == "a,b"
    for data, kind, sentence in [
        (b"x", "image/png", "notes is image/png: in a prompt only texts can stand"),
        (b"\xff\xfe", "text/plain", "notes is no text in UTF-8"),
        (b"x" * (prompts.FILE_LARGEST + 1), "text/plain", "notes has 4194305 bytes"),
    ]:
        with pytest.raises(BadRequest, match=sentence):
            content(data, kind)


def chain(prompt: Sequence[int], tokens: Sequence[int]) -> tuple[Segment, ...]:
    trace, calls = Trace(prompt), []
    for position, token in enumerate(tokens):
        calls.append(Token(token, position, str(trace), 0.0, 0.5).describe()[0])
        trace.add(token)
    return (Segment(Header(fingerprint="f", number=0, previous="", first=0, calls=calls), "d", ((),) * len(calls), 9),)


def test_tokens_come_back_from_the_journal_and_none_that_follow_others() -> None:
    assert keeping.read((), (1, 2)).tokens == ()
    kept = keeping.read(chain((1, 2), (7, 8, 9)), (1, 2))
    assert (kept.tokens, kept.seconds) == ((7, 8, 9), (0.5, 0.5, 0.5))
    with pytest.raises(Differs, match="token 0 follows other tokens"):
        keeping.read(chain((1, 3), (7, 8)), (1, 2))
    (good,), (other,) = chain((1, 2), (7, 8, 9)), chain((1, 2), (7, 4, 9))
    mixed = good.header.model_copy(update={"calls": [*good.header.calls[:2], other.header.calls[2]]})
    with pytest.raises(Differs, match="token 2 follows other tokens"):
        keeping.read((Segment(mixed, "d", ((),) * 3, 9),), (1, 2))
    call = good.header.calls[0].model_copy(update={"output": {"tensor": 0, "stride": []}})
    with pytest.raises(Differs, match="call 0 holds no token"):
        keeping.read((Segment(good.header.model_copy(update={"calls": [call]}), "d", ((),), 9),), (1, 2))


def test_a_check_says_what_will_not_fit_and_counts_files_for_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    transformers.GPT2Config(n_positions=64, vocab_size=257, architectures=["GPT2LMHeadModel"]).save_pretrained(folder)
    tiny_language_models.tokenizer(chat=False).save_pretrained(folder)
    other = tmp_path / "t5"
    transformers.T5Config().save_pretrained(other)
    file = {"$input": {"stage": "topic", "name": None}}

    def unit(item: str, **config: Any) -> check.CheckedUnit:
        text = {"model": str(folder), "maxNewTokens": 60, **config}
        return check.CheckedUnit(stage=item.partition(" ")[0], item=item, generate={"text": text})

    answer = check.look(
        [
            unit("fine", prompt="four", output={"format": "md"}),
            unit("fine with a file", prompt=["a", file, [file]]),
            unit("fine by its file alone", prompt=[file]),
            unit("long", prompt="12345"),
            unit("long more", prompt="1234567890"),
            unit("messages", messages=[{"role": "user", "content": "x"}]),
            unit("odd", prompt="x", topP=2),
            unit("kind", prompt="x", model=str(other)),
            unit("away", prompt="x", model="org/name"),
        ]
    )
    found = {each.stage: (each.parameter, each.problem, each.count, each.message) for each in answer.findings}
    assert set(found) == {"long", "messages", "odd", "kind"}
    assert found["long"][:3] == ("prompt", "invalid", 2)
    assert "the prompt has 10 tokens and maxNewTokens is 60, but the model reads 64" in found["long"][3]
    assert "the model has no chat template, which messages needs" in found["messages"][3]
    assert found["odd"][0] == "topP"
    assert found["kind"][0] == "model"
    (unchecked,) = answer.unchecked
    assert (unchecked.stage, unchecked.message) == (
        "away",
        "prompts are not looked at: org/name is no folder of this machine",
    )


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (transformers.LlamaConfig(architectures=["LlamaForCausalLM"]), ""),
        (transformers.GPT2Config(architectures=["GPT2LMHeadModel"]), ""),
        (transformers.GPT2Config(), ""),
        (transformers.T5Config(architectures=["T5ForConditionalGeneration"]), "of type t5"),
        (transformers.BertConfig(architectures=["BertForMaskedLM"]), "it was saved as BertForMaskedLM"),
        (transformers.Qwen2Config(architectures=["Qwen2ForSequenceClassification"]), "Qwen2ForSequenceClassification"),
    ],
)
def test_only_models_that_write_are_taken(config: Any, sentence: str) -> None:
    why = loading.refusal(config)
    assert sentence in why
    assert bool(why) == bool(sentence)


def test_the_tokens_that_end_a_text_are_those_the_model_names_else_the_tokenizers(tokenizer: Any) -> None:
    assert loading.ends([9, 2, 9], tokenizer) == (2, 9)
    assert loading.ends(7, tokenizer) == (7,)
    assert loading.ends(None, tokenizer) == (256,)
    tokenizer_without = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    assert loading.ends(None, tokenizer_without) == ()
