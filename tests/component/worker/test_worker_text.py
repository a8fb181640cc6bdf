"""Texts that are interrupted go on to the same letters: real workers in new processes, tiny models, a real bucket."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import forked_workers
from carryon_core import layout
from carryon_core.done import Done
from carryon_core.messages import AssignedUnit, Cadence, ExitCode, InputRef, Termination
from carryon_worker.generators.language.decoding import BLOCK, Decoder
from carryon_worker.generators.language.drawing import Drawing, draw
from carryon_worker.journal import chain, segments
from carryon_worker.journal.segments import Segment
from forked_workers import Fate, Forge
from tiny_language_models import MODELS

TERM, KILL = signal.SIGTERM, signal.SIGKILL
SPARED = Fate()
NEVER, OFTEN = Cadence(every_seconds=3600), Cadence(every_seconds=0.02)
PROMPT = "The quiet art of green tea, for people who are in a hurry: "
LONG = 2 * BLOCK + 44
"""Tokens of a text that reaches into a third block."""
TEXTS: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {"prompt": PROMPT, "topK": 40, "topP": 0.95, "temperature": 0.9},
    "llama": {"prompt": PROMPT, "system": "Be brief.", "repetitionPenalty": 1.2},
    "qwen": {"messages": [{"role": "user", "content": PROMPT}], "sample": False},
    "mistral": {"prompt": PROMPT, "topP": 0.8},
    "mamba": {"prompt": PROMPT},
}


@dataclass(frozen=True)
class Attempt:
    """What became of one worker.

    Attributes:
        computed: Calls of the language model that it made to the end.
        ending: Seconds from the signal to its end.
    """

    code: int
    termination: Termination | None
    computed: int
    stderr: str
    ending: float


@dataclass
class Press:
    """One text at a time, and workers that try to write it."""

    bench: Any
    forge: Forge
    models: Path
    references: dict[str, bytes]
    attempts: list[Attempt] = field(default_factory=list)

    def unit(self, model: str, seed: int = 1000, like: str = "", **fields: Any) -> AssignedUnit:
        """The same place in the bucket, whatever it is made from; a model may be a folder."""
        # It does not end by itself: how long it is, is known.
        base = {"maxNewTokens": LONG, "minNewTokens": LONG}
        config = {"model": str(self.models / model), **base, **TEXTS.get(like or model, {}), **fields}
        made: AssignedUnit = self.bench.unit(0, {"text": config})
        return made.model_copy(update={"seed": seed})

    def run(self, *units: AssignedUnit, fate: Fate = SPARED, cadence: Cadence = OFTEN, **more: Any) -> Attempt:
        """One attempt, by a process of its own."""
        root, number = self.bench.root, len(self.attempts)
        assignment = self.bench.assignment(*units, checkpoint=cadence, **more)
        environment = self.bench.environment(number, assignment) | forked_workers.ONE_THREAD
        log, calls, message = root / f"log-{number}", root / f"calls-{number}", root / f"message-{number}"
        calls.touch()
        code = self.forge.run(environment, log, calls, fate)
        told = Termination.model_validate_json(message.read_text()) if message.exists() else None
        killed = calls.with_suffix(".killed")
        ending = time.time() - float(killed.read_text()) if killed.exists() else 0.0
        attempt = Attempt(code, told, len(calls.read_text().splitlines()), log.read_text(errors="replace"), ending)
        self.attempts.append(attempt)
        return attempt

    def uninterrupted(self, unit: AssignedUnit) -> bytes:
        """The text that is to come out, written without a journal; the bucket is empty again."""
        made = unit.model_dump_json()
        if made not in self.references:
            attempt = self.run(unit, cadence=Cadence(enabled=False))
            assert attempt.code == ExitCode.DONE, attempt.stderr
            assert self.done(unit).resume is None
            self.references[made] = self.text(unit)
            self.empty()
        return self.references[made]

    def empty(self) -> None:
        for info in list(self.bench.store.list()):
            self.bench.store.delete(info.key)

    def text(self, unit: AssignedUnit) -> bytes:
        (content,) = self.bench.artifacts(unit).values()
        return bytes(content)

    def done(self, unit: AssignedUnit) -> Done:
        found = self.bench.done(unit)
        assert isinstance(found, Done)
        return found

    def journal(self, unit: AssignedUnit) -> tuple[Segment, ...]:
        """What the bucket holds that could be gone on from."""
        folder = self.bench.root / "read"
        shutil.rmtree(folder, ignore_errors=True)
        return chain.furthest(self.bench.store, self.bench.prefix(unit), folder)

    def tokens(self, unit: AssignedUnit) -> int:
        """How many are kept."""
        found = self.journal(unit)
        return found[-1].end if found else 0


@pytest.fixture(scope="module")
def tiny(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of all tiny language models."""
    folder = tmp_path_factory.mktemp("tiny")
    forge.build(folder, *MODELS)
    return folder


@pytest.fixture(scope="module")
def references() -> dict[str, bytes]:
    return {}


@pytest.fixture
def press(bench: Any, forge: Forge, tiny: Path, references: dict[str, bytes]) -> Press:
    return Press(bench, forge, tiny, references)


def read_again(model: str, held: int) -> int:
    """Calls before that of a new token: the prompt and whole blocks, and what follows these one by one."""
    if model == "mamba":
        return held
    blocks, rest = divmod(held, BLOCK)
    return blocks + rest


def go_on(press: Press, model: str, unit: AssignedUnit, signals: Sequence[int], seed: str) -> None:
    """Interrupt a text at random tokens, and hold what comes out against what should."""
    draw_from = random.Random(seed)
    expected = press.uninterrupted(unit)
    held = 0
    for number, kill in enumerate(signals):
        # One cut in each part of the text.
        part = LONG // len(signals)
        new = max(1, number * part + draw_from.randint(5, part - 5) - held)
        fate = Fate(kill, read_again(model, held) + new, pause=0.002)
        attempt = press.run(unit, fate=fate, cadence=NEVER if kill == TERM else OFTEN)
        now = press.tokens(unit)
        assert attempt.computed == fate.at
        if kill == TERM:
            assert attempt.code == ExitCode.INTERRUPTED, attempt.stderr
            # Although the model was at work, and would have been for a minute.
            assert attempt.ending < 2
            # Every token that had been computed.
            assert now == held + new
            assert attempt.termination is not None
            assert attempt.termination.units[0].durable
        else:
            assert attempt.code == -KILL
            assert held <= now <= held + new
        held = now
    last = press.run(unit)
    assert last.code == ExitCode.DONE, last.stderr
    assert last.computed == read_again(model, held) + LONG - held
    resume = press.done(unit).resume
    assert resume is not None
    assert (resume.calls, resume.replayed, resume.refused) == (LONG, held, "")
    assert held > BLOCK
    assert press.text(unit) == expected
    assert list(press.bench.store.list(layout.journal_prefix(press.bench.prefix(unit)))) == []


@pytest.mark.parametrize("model", ["gpt2", "llama", "qwen"])
def test_a_text_that_is_killed_four_times_goes_on_to_the_same_letters(press: Press, model: str) -> None:
    go_on(press, model, press.unit(model), [TERM, KILL, TERM, KILL], model)


@pytest.mark.slow
@pytest.mark.parametrize("drawn", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", [*MODELS])
def test_texts_of_all_kinds_go_on_to_the_same_letters(press: Press, model: str, dtype: str, drawn: bool) -> None:
    fields = {"sample": True, "temperature": 0.8} if drawn else {"sample": False}
    if not drawn:
        fields |= {"temperature": None, "topP": None, "topK": None}
    go_on(press, model, press.unit(model, dtype=dtype, **fields), [KILL, TERM, KILL, TERM], f"{model} {dtype} {drawn}")


class InOneGo(Decoder):
    """Reads all that is kept at once, as one might."""

    def first(self, tokens: int) -> int:
        self._all = tokens
        return tokens

    def scores(self, tokens: Sequence[int]) -> torch.Tensor:
        return self._read(tokens) if tokens and len(tokens) == self._all else super().scores(tokens)


class NeverBack(Decoder):
    """Leaves in the cache what single tokens left there."""

    def _rewind(self) -> None:
        pass


def written(decoder: Decoder, tokens: int, kept: Sequence[int] = ()) -> list[int]:
    """A text, gone on with after what is kept; every token but those that are kept is drawn."""
    how = Drawing(True, 1.0, 0, 0.95, 1.0, 0, ())
    text = list(kept)
    for position in range(decoder.first(len(text)), len(text)):
        assert draw(decoder.scores(text[:position]), (), text[:position], how, 5) == text[position]
    while len(text) < tokens:
        text.append(draw(decoder.scores(text), (), text, how, 5))
    return text


@pytest.mark.parametrize(
    "model", ["llama", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gpt2", "qwen", "mistral", "mamba"))]
)
def test_a_text_is_the_same_wherever_it_is_cut_and_another_way_to_go_on_would_be_noticed(
    tiny: Path, model: str
) -> None:
    torch.set_num_threads(1)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tiny / model, dtype=torch.bfloat16).eval()
    prompt = list(PROMPT.encode())
    whole = written(Decoder(loaded, prompt), LONG)
    for cut in (BLOCK - 1, BLOCK, BLOCK + 1):
        assert written(Decoder(loaded, prompt), LONG, whole[:cut]) == whole, cut
    cuts = (30, 60, 90, BLOCK - 1, BLOCK + 30, 2 * BLOCK - 1)
    assert any(written(InOneGo(loaded, prompt), LONG, whole[:cut]) != whole for cut in cuts)


def test_an_uninterrupted_text_that_kept_its_cache_would_be_another(tiny: Path) -> None:
    torch.set_num_threads(1)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tiny / "llama", dtype=torch.bfloat16).eval()
    prompt = list(PROMPT.encode())
    whole = written(Decoder(loaded, prompt), LONG)
    with pytest.raises((AssertionError, RuntimeError)):
        assert written(NeverBack(loaded, prompt), LONG) == whole


@pytest.mark.parametrize(
    "model", ["mistral", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gpt2", "llama", "qwen", "mamba"))]
)
def test_the_likeliest_text_is_the_one_that_transformers_writes(tiny: Path, model: str) -> None:
    torch.set_num_threads(1)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tiny / model, dtype=torch.float32).eval()
    prompt, text = list(PROMPT.encode()), []
    decoder, how = Decoder(loaded, prompt), Drawing(False, 1.0, 0, 1.0, 1.0, 0, ())
    while len(text) < LONG:
        text.append(draw(decoder.scores(text), prompt, text, how, 0))
    loaded.generation_config = transformers.GenerationConfig(max_new_tokens=LONG, do_sample=False, eos_token_id=None)
    theirs = loaded.generate(torch.tensor([prompt]))[0].tolist()
    assert theirs[len(prompt) :] == text


def half_made(press: Press, unit: AssignedUnit, tokens: int) -> None:
    """Leave a journal of so many tokens."""
    attempt = press.run(unit, fate=Fate(TERM, tokens), cadence=NEVER)
    assert attempt.code == ExitCode.INTERRUPTED, attempt.stderr
    assert press.tokens(unit) == tokens


def test_a_journal_that_does_not_fit_is_refused_by_the_field_that_differs(press: Press) -> None:
    short = {"maxNewTokens": 12, "minNewTokens": 12}
    base = press.unit("gpt2", **short)
    other = Path(shutil.copytree(press.models / "gpt2", press.bench.root / "other"))
    installed = version("transformers")
    table: list[tuple[str, AssignedUnit, Fate]] = [
        ("seed 1000 -> 1001, 7 steps lost", press.unit("gpt2", seed=1001, **short), Fate()),
        ("prompt 59 values ", press.unit("gpt2", **short, prompt="Bread"), Fate()),
        ("lm.dtype bfloat16 -> float32", press.unit("gpt2", **short, dtype="float32"), Fate()),
        ("temperature 0.9 -> 0.7, 7 steps lost", press.unit("gpt2", **short, temperature=0.7), Fate()),
        ("topK 40 -> 0", press.unit("gpt2", **short, topK=0), Fate()),
        (f"transformers {installed} -> 6.0.0, 7 steps lost", base, Fate(versions={"transformers": "6.0.0"})),
        (f"model {press.models / 'gpt2'} -> {other}", press.unit(str(other), like="gpt2", **short), Fate()),
    ]
    half_made(press, base, 8)
    kept = {info.key: press.bench.store.get(info.key) for info in press.bench.store.list()}
    for reason, unit, fate in table:
        press.empty()
        for key, content in kept.items():
            press.bench.store.put(key, content, content_type="application/octet-stream")
        attempt = press.run(unit, fate=fate)
        assert attempt.code == ExitCode.DONE, attempt.stderr
        resume = press.done(unit).resume
        assert resume is not None
        assert resume.refused.startswith(f"CheckpointNotResumable: {reason}"), resume.refused
        assert resume.refused in attempt.stderr
        assert "quiet art" not in attempt.stderr
        assert (resume.replayed, resume.calls, attempt.computed) == (0, 12, 12)
        made = press.text(unit)
        press.empty()
        assert made == press.uninterrupted(unit), reason


def test_a_journal_of_other_tokens_is_not_gone_on_from(press: Press) -> None:
    unit = press.unit("gpt2", maxNewTokens=12, minNewTokens=12)
    expected = press.uninterrupted(unit)
    for position, reason in [(3, "token 4 follows other tokens, 7 steps lost"), (7, "token 7 would be another")]:
        half_made(press, unit, 8)
        (segment,) = press.journal(unit)
        calls = list(segment.header.calls)
        calls[position] = calls[position].model_copy(update={"output": {"value": 65}})
        header = segment.header.model_copy(update={"calls": calls})
        (key,) = [info.key for info in press.bench.store.list() if info.key.endswith(".safetensors")]
        content, _ = segments.encode(header, [() for _ in calls])
        press.bench.store.put(key, content, content_type="application/octet-stream")
        last = press.run(unit)
        assert last.code == ExitCode.DONE, last.stderr
        resume = press.done(unit).resume
        assert resume is not None
        assert resume.refused.startswith(f"CheckpointNotResumable: {reason}")
        assert resume.replayed == 0
        assert press.text(unit) == expected
        press.empty()


def test_a_text_that_was_whole_when_its_worker_was_killed_is_only_written_down(press: Press) -> None:
    unit, longer = (press.unit("gpt2", maxNewTokens=most, minNewTokens=4) for most in (6, 7))
    expected = press.uninterrupted(unit)
    half_made(press, longer, 6)
    calls = [call for segment in press.journal(longer) for call in segment.header.calls]
    press.empty()
    half_made(press, unit, 5)
    (segment,) = press.journal(unit)
    (key,) = [info.key for info in press.bench.store.list() if info.key.endswith(".safetensors")]
    content, _ = segments.encode(segment.header.model_copy(update={"calls": calls}), [() for _ in calls])
    press.bench.store.put(key, content, content_type="application/octet-stream")
    last = press.run(unit)
    assert (last.code, last.computed) == (ExitCode.DONE, 0), last.stderr
    resume = press.done(unit).resume
    assert resume is not None
    assert (resume.calls, resume.replayed) == (6, 6)
    assert press.text(unit) == expected


def test_units_of_a_pod_share_the_model_and_files_stand_in_prompts_as_their_text(press: Press) -> None:
    bench = press.bench
    made = bench.command(5, "true").model_copy(update={"item": "item 5"})
    bench.publish(made, "topic", {"topic.txt": b"Green tea\n"})
    notes = bench.root / "notes.md"
    notes.write_text("# Notes\n")
    ref = {"topic": InputRef(stage="topic", item=made.item, fingerprint=made.fingerprint)}
    mixed = ["On ", {"$input": {"stage": "topic", "name": None}}, " for {{ beginners }}:"]
    short = {"model": str(press.models / "llama"), "dtype": "float32", "maxNewTokens": 6, "chat": False}
    first = bench.unit(
        0, {"text": {**short, "prompt": mixed, "output": {"includePrompt": True, "name": "plan"}}}, inputs=ref
    )
    second = bench.unit(1, {"text": {**short, "prompt": "Bread", "output": {"format": "json", "includePrompt": True}}})
    attempt = press.run(first, second)
    assert attempt.code == ExitCode.DONE, attempt.stderr
    assert attempt.stderr.count("loaded LlamaForCausalLM") == 1
    (plan,) = bench.artifacts(first).items()
    assert plan[0] == "plan.txt"
    assert plan[1].decode().startswith("On Green tea for {{ beginners }}:")
    (described,) = bench.artifacts(second).items()
    assert described[0] == "text.json"
    told = json.loads(described[1])
    assert told["prompt"] == "Bread"
    assert told["tokens"] == {"prompt": 5, "text": 6}
    assert (told["finish"], told["seed"]) == ("length", 1001)
    done = press.done(first)
    assert set(done.versions) >= {"torch", "transformers", "tokenizers"}


def test_what_can_not_be_written_is_refused_with_a_sentence(press: Press, tmp_path: Path) -> None:
    t5 = tmp_path / "t5"
    transformers.T5Config(d_model=8, num_layers=1, architectures=["T5ForConditionalGeneration"]).save_pretrained(t5)
    empty = tmp_path / "empty"
    empty.mkdir()
    half = Path(shutil.copytree(press.models / "gpt2", tmp_path / "half"))
    transformers.GPT2Config.from_pretrained(half, n_layer=3).save_pretrained(half)
    pickled = Path(shutil.copytree(press.models / "gpt2", tmp_path / "pickled"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    table = [
        (
            press.unit("gpt2", prompt="x" * 2000, like="gpt2"),
            "the prompt has 2000 tokens and maxNewTokens is 300, but the",
        ),
        (press.unit(str(t5), like="mamba"), f"model {t5} is no causal language model that transformers"),
        (press.unit(str(empty), like="mamba"), f"model {empty} is no saved model: it has no config.json"),
        (press.unit(str(half), like="mamba"), "its files lack"),
        (press.unit(str(pickled), like="mamba"), "can't be loaded as a causal language model"),
        (press.unit("gpt2", chat=True), "the model has no chat template, which chat: true needs"),
        (press.unit("gpt2", temprature=1), "text.temprature: Extra inputs are not permitted"),
        (
            press.unit("gpt2", prompt=[{"$input": {"stage": "topic", "name": None}}]),
            "inputs.topic is used, but topic is",
        ),
    ]
    units = [
        unit.model_copy(update={"index": n, "item": f"item {n}", "fingerprint": f"{n:064x}"})
        for n, (unit, _) in enumerate(table)
    ]
    attempt = press.run(*units)
    assert attempt.code == ExitCode.BAD_REQUEST, attempt.stderr
    assert attempt.termination is not None
    for report, (_, sentence) in zip(attempt.termination.units, table, strict=True):
        assert report.reason == "BadRequest"
        assert sentence in report.message
    assert attempt.computed == 0


def test_a_text_that_does_not_move_is_stuck_and_goes_on_after_what_was_kept(press: Press) -> None:
    unit = press.unit("gpt2", maxNewTokens=12, minNewTokens=12)
    expected = press.uninterrupted(unit)
    half_made(press, unit, 8)
    stuck = press.run(unit, fate=Fate(pause=30.0), stall_seconds=0.5)
    assert stuck.code == ExitCode.STALLED
    assert press.tokens(unit) == 8
    assert press.run(unit, stall_seconds=10.0).code == ExitCode.DONE
    assert press.text(unit) == expected


def test_a_model_whose_weights_are_not_numbers_fails_its_unit(press: Press, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(press.models / "gpt2", tmp_path / "broken"))
    loaded = transformers.AutoModelForCausalLM.from_pretrained(broken)
    torch.nn.init.constant_(loaded.transformer.ln_f.weight, float("nan"))
    loaded.save_pretrained(broken)
    attempt = press.run(press.unit(str(broken), like="gpt2"))
    assert attempt.termination is not None
    assert attempt.termination.units[0].reason == "NotANumber"
