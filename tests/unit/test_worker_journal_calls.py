"""One denoiser's calls: caught, kept, answered again, or refused; with modules small enough to read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from enum import Enum, StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, ModelMixin, UNetControlNetXSModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.hooks import HookRegistry, ModelHook, group_offloading
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from hypothesis import given
from hypothesis import strategies as st

from carryon_core.messages import Cadence, StoreConfig
from carryon_store import open_store
from carryon_worker.journal import inputs, interception, trees
from carryon_worker.journal.copies import Copies, Spare, restore
from carryon_worker.journal.drift import Memory, stateful_hook
from carryon_worker.journal.interception import NotInterceptable
from carryon_worker.journal.recorder import Diverged, Recorder
from carryon_worker.journal.segments import Kind, SegmentError
from carryon_worker.journal.trees import Unkeepable
from carryon_worker.journal.unit import Journal

FIELDS = {"diffusers": "0.42.1", "seed": 1}


class Denoiser(ModelMixin, ConfigMixin):
    """Twice what it is given, and whatever `does` does besides."""

    @register_to_config
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(2, 2)
        self.does: Callable[[torch.Tensor], Any] = lambda x: x * 2
        self.made = 0

    def forward(self, x: torch.Tensor, **more: Any) -> Any:
        COUNT[0] += 1
        return self.does(x)


COUNT = [0]
"""Calls that were made, outside of the module: it must remember nothing."""


class Studio:
    """Runs a loop over a denoiser, attempt after attempt."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = open_store(StoreConfig(uri=(root / "bucket").as_uri()))
        self.number = itertools.count()
        self.denoiser = Denoiser().eval()
        self.journals: list[Journal] = []

    def journal(self, **cadence: Any) -> Journal:
        number = next(self.number)
        made = Journal(
            self.store, "unit/", self.root / f"scratch-{number}", f"pod-{number}", Cadence(**cadence), lambda: None
        )
        self.journals.append(made)
        return made

    def attempt(self, loop: Callable[[Any], Any], denoiser: Any = None, **cadence: Any) -> tuple[Journal, int]:
        """Run a loop as a worker would, and end it right after; how many calls were made."""
        denoiser = denoiser or self.denoiser
        interception_ = interception.attach({"denoiser": denoiser})
        journal = self.journal(**{"every_seconds": 3600, **cadence})
        chain = journal.open(FIELDS)
        recorder = Recorder(journal, chain, interception_.components, lambda: 0, lambda: None)
        COUNT[0] = 0
        try:
            with interception_.asking(recorder), torch.no_grad():
                loop(denoiser)
            recorder.finish()
        finally:
            journal.flush(20.0)
            journal.close()
        return journal, COUNT[0]

    def kinds(self) -> list[Kind]:
        """Of the calls that are kept."""
        found = self.journal().open(FIELDS)
        return [call.kind for segment in found for call in segment.header.calls]


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    made = Studio(tmp_path)
    yield made
    for journal in made.journals:
        journal.close()


def steps(count: int, seen: list[Any] | None = None) -> Callable[[Any], Any]:
    """A loop in which each call is made with what the one before returned."""

    def loop(denoiser: Any) -> Any:
        x = torch.ones(2, 2)
        for _ in range(count):
            x = denoiser(x)
            if isinstance(x, tuple):
                x = x[0]
            if seen is not None:
                seen.append(x.clone())
        return x

    return loop


def test_calls_that_were_kept_are_not_made_again_and_answer_the_same(studio: Studio) -> None:
    first: list[Any] = []
    second: list[Any] = []
    assert studio.attempt(steps(3, first))[1] == 3
    journal, made = studio.attempt(steps(5, second))
    assert made == 2
    assert all(map(torch.equal, first, second))
    assert (journal.account.calls, journal.account.replayed) == (5, 3)
    assert studio.attempt(steps(5))[1] == 0


def test_what_is_answered_belongs_to_whoever_asked(studio: Studio) -> None:
    def careless(denoiser: Any) -> None:
        for _ in range(3):
            x = denoiser(torch.ones(2, 2))
            assert torch.equal(x, torch.full((2, 2), 2.0))
            x.zero_()

    assert studio.attempt(careless)[1] == 3
    assert studio.attempt(careless)[1] == 0


@pytest.mark.parametrize(
    "does",
    [
        lambda x: (x * 2, object()),
        lambda x: x * torch.rand(()),
        lambda x: (x.mul_(2), None)[0] + 1,
        lambda x: (lambda y: (y, y[0]))(x * 2),
        lambda x: (x * 2, {1: x}),
        lambda x: (x * 2).to_sparse(),
        lambda x: x * 2j,
    ],
    ids=["object", "random", "in place", "views", "keys", "sparse", "complex"],
)
def test_calls_that_can_not_be_kept_are_made_again_in_their_place(studio: Studio, does: Any) -> None:
    studio.denoiser.does = does
    results: list[Any] = []
    _, made = studio.attempt(lambda denoiser: results.append(sequence(denoiser)))
    assert made == 2
    assert studio.kinds() == [Kind.AGAIN, Kind.AGAIN]
    _, made = studio.attempt(lambda denoiser: results.append(sequence(denoiser)))
    assert made == 2
    assert results[0] == results[1]


def test_calls_that_may_have_changed_what_they_were_given_are_made_again(studio: Studio) -> None:
    def fills(cache: Any) -> Callable[[Any], None]:
        def loop(denoiser: Any) -> None:
            for _ in range(2):
                denoiser(torch.ones(2, 2), cache=cache)

        return loop

    def forward(x: torch.Tensor, cache: Any) -> torch.Tensor:
        if isinstance(cache, dict):
            cache["keys"] = x
        elif isinstance(cache, list):
            cache.append(x)
        return x * 2

    for cache in ({"keys": torch.zeros(2, 2)}, [], object()):
        attempt = Studio(studio.root / type(cache).__name__)
        attempt.denoiser.forward = forward
        attempt.attempt(fills(cache))
        assert attempt.kinds()[0] is Kind.AGAIN
        assert attempt.journals[0].resume() is not None


def sequence(denoiser: Any) -> float:
    """Two calls, then a number that depends on how often something was drawn."""
    torch.manual_seed(1)
    for _ in range(2):
        denoiser(torch.ones(2, 2))
    return float(torch.rand(()))


def test_a_call_with_a_gradient_is_made_again(studio: Studio) -> None:
    weight = torch.ones(2, 2, requires_grad=True)

    def loop(denoiser: Any) -> None:
        with torch.enable_grad():
            denoiser(weight).sum().backward()

    studio.attempt(loop)
    assert studio.kinds() == [Kind.AGAIN]
    weight.grad = None
    studio.attempt(loop)
    assert weight.grad is not None


def remember_number(denoiser: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    def does(x: torch.Tensor) -> torch.Tensor:
        denoiser.made += 1
        return x * 2

    return does


def remember_tensor(denoiser: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    def does(x: torch.Tensor) -> torch.Tensor:
        denoiser.residual = x
        return x * 2

    return does


def remember_in_place(denoiser: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    denoiser.cache = {"residual": torch.zeros(2, 2)}

    def does(x: torch.Tensor) -> torch.Tensor:
        denoiser.cache["residual"].add_(x)
        return x * 2

    return does


def remember_in_a_list(denoiser: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    denoiser.seen = []

    def does(x: torch.Tensor) -> torch.Tensor:
        denoiser.seen.append(1)
        return x * 2

    return does


def remember_in_a_buffer(denoiser: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    denoiser.register_buffer("seen", torch.zeros(()))

    def does(x: torch.Tensor) -> torch.Tensor:
        denoiser.seen += 1
        return x * 2

    return does


def remember_in_a_layer(denoiser: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    def does(x: torch.Tensor) -> torch.Tensor:
        denoiser.inner.last = x
        return x * 2

    return does


def remember_in_an_object(denoiser: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    class Processor:
        def __init__(self) -> None:
            self.count = 0

    denoiser.processor = Processor()

    def does(x: torch.Tensor) -> torch.Tensor:
        denoiser.processor.count += 1
        return x * 2

    return does


@pytest.mark.parametrize(
    ("patch", "named"),
    [
        (remember_number, "made"),
        (remember_tensor, "residual"),
        (remember_in_place, "cache"),
        (remember_in_a_list, "seen"),
        (remember_in_a_buffer, "seen"),
        (remember_in_a_layer, "attributes of its layers"),
        (remember_in_an_object, "processor"),
    ],
)
def test_a_denoiser_that_remembers_is_found_out_at_its_first_call(
    studio: Studio, patch: Any, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    studio.denoiser.does = patch(studio.denoiser)
    _, made = studio.attempt(steps(3))
    assert made == 3
    assert f"denoiser remembers earlier calls: {named} has changed in one" in caplog.text
    assert studio.kinds() == []


class Block(ModelMixin, ConfigMixin):
    """A layer, as a class of diffusers' own kind."""

    @register_to_config
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x)


def learn_the_order(module: Any) -> None:
    """What group offloading does where it has streams, which CPUs have not."""
    cpu = torch.device("cpu")
    group_offloading.apply_group_offloading(module, cpu, offload_type="leaf_level")
    whole = group_offloading.ModuleGroup([], cpu, cpu, offload_leader=module, onload_leader=module)
    config = group_offloading.GroupOffloadingConfig(
        cpu, cpu, group_offloading.GroupOffloadingType.LEAF_LEVEL, False, False, False
    )
    group_offloading._apply_lazy_group_offloading_hook(module, whole, config=config)


def test_group_offloading_that_learns_the_order_of_layers_is_no_memory(studio: Studio) -> None:
    denoiser = studio.denoiser
    denoiser.blocks = torch.nn.ModuleList([Block(), Block()])
    denoiser.does = lambda x: denoiser.blocks[1](denoiser.blocks[0](denoiser.inner(x)))
    learn_the_order(denoiser)
    forward = denoiser.forward
    _, made = studio.attempt(steps(3))
    assert made == 3
    assert denoiser.forward is not forward, "it took no hook away"
    assert studio.kinds() == [Kind.KEPT] * 3


def test_a_hook_with_a_state_is_refused(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    class Cache(ModelHook):  # type: ignore[misc]
        _is_stateful = True

        def reset_state(self, module: Any) -> Any:
            return module

    HookRegistry.check_if_exists_or_initialize(studio.denoiser).register_hook(Cache(), "tiny_cache")
    assert stateful_hook(studio.denoiser) == "tiny_cache"
    assert studio.attempt(steps(2))[1] == 2
    assert "denoiser has the hook tiny_cache, which remembers earlier calls" in caplog.text
    assert studio.kinds() == []


class Table:
    """Made when it is first asked for, as diffusers has them."""

    def __init__(self, often: bool = False) -> None:
        self.numbers: torch.Tensor | None = None
        self.often = often

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.numbers is None or self.often:
            self.numbers = torch.full((2, 2), 3.0)
        return x * self.numbers


def test_a_call_that_makes_what_the_denoiser_keeps_is_made_again(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Table, "__module__", "diffusers.models.tables")
    studio.denoiser.table = Table()
    studio.denoiser.does = lambda x: studio.denoiser.table(x)
    assert studio.attempt(steps(3))[1] == 3
    assert studio.kinds() == [Kind.AGAIN, Kind.KEPT, Kind.KEPT]
    # As in another process, where the table is not there.
    studio.denoiser.table = Table()
    assert studio.attempt(steps(4))[1] == 2
    assert studio.kinds() == [Kind.AGAIN, *[Kind.KEPT] * 3]


@pytest.mark.parametrize(("module", "often"), [("diffusers.models.tables", True), ("teacache", False)])
def test_what_is_made_again_and_again_or_by_others_is_no_table(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, module: str, often: bool
) -> None:
    monkeypatch.setattr(Table, "__module__", module)
    studio.denoiser.table = Table(often)
    studio.denoiser.does = lambda x: studio.denoiser.table(x)
    studio.attempt(steps(3))
    assert "denoiser remembers earlier calls: table has changed in one" in caplog.text
    assert Kind.KEPT not in studio.kinds()


def test_nothing_has_changed_in_a_denoiser_that_forgets() -> None:
    denoiser = Denoiser()
    memory = Memory(denoiser)
    denoiser(torch.ones(2, 2))
    assert memory.changed() == ""
    denoiser.made = 0
    assert memory.changed() == ""


@pytest.mark.parametrize(
    ("loop", "reason"),
    [
        (lambda denoiser: denoiser(torch.zeros(2, 2)), "call 0 of denoiser has another 0"),
        (lambda denoiser: denoiser(torch.ones(2, 2, dtype=torch.float64)), "call 0 of denoiser has another 0"),
        (lambda denoiser: denoiser(torch.ones(2, 2), scale=1.0), "call 0 of denoiser has another scale"),
        (lambda denoiser: denoiser(x=torch.ones(2, 2)), "call 0 of denoiser has another x"),
        (steps(1), "the pipeline made 1 calls, of which the journal holds 2"),
    ],
)
def test_whoever_does_something_else_diverges(studio: Studio, loop: Any, reason: str) -> None:
    studio.attempt(steps(2))
    with pytest.raises(Diverged, match=reason):
        studio.attempt(loop)


def test_a_pipeline_that_goes_by_its_denoisers_is_told_about(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    studio.attempt(lambda denoiser: denoiser.forward(torch.ones(2, 2)))
    assert "no call of theirs was seen" in caplog.text


def test_a_denoiser_within_another_is_part_of_its_call(studio: Studio) -> None:
    inner = Denoiser()
    studio.denoiser.does = lambda x: inner(x) + 1
    caught = interception.attach({"outer": studio.denoiser, "inner": inner})
    journal = studio.journal(every_seconds=3600)
    recorder = Recorder(journal, journal.open(FIELDS), caught.components, lambda: 0, lambda: None)
    with caught.asking(recorder), torch.no_grad():
        studio.denoiser(torch.ones(2, 2))
        inner(torch.ones(2, 2))
    assert journal.account.calls == 2


def test_what_can_not_be_caught_is_refused() -> None:
    denoiser = Denoiser()
    compiled = torch.nn.Module()
    compiled._orig_mod = denoiser
    with pytest.raises(NotInterceptable, match="transformer is compiled as a whole"):
        interception.attach({"transformer": compiled})
    vae = AutoencoderKL(block_out_channels=(4,), norm_num_groups=2)
    controlnet = ControlNetModel(
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        attention_head_dim=4,
        norm_num_groups=2,
        conditioning_embedding_out_channels=(4,),
    )
    for components in ({}, {"vae": vae}, {"controlnet": controlnet}, {"layer": torch.nn.Linear(1, 1)}):
        with pytest.raises(NotInterceptable, match="has no denoiser"):
            interception.attach(components)


def test_a_denoiser_that_holds_its_own_control_is_caught() -> None:
    with torch.device("meta"):
        denoiser = UNetControlNetXSModel()
    assert interception.attach({"unet": denoiser}).components == {"unet": denoiser}


def test_an_answered_call_takes_the_model_before_it_off_the_gpu_as_a_made_one_does(studio: Studio) -> None:
    studio.attempt(steps(3))
    taken: list[str] = []
    before = SimpleNamespace(offload=lambda: taken.append("text_encoder"))
    studio.denoiser._hf_hook = SimpleNamespace(hooks=(SimpleNamespace(prev_module_hook=before),))
    _, made = studio.attempt(steps(3))
    assert (made, taken) == (0, ["text_encoder"] * 3)


def test_arguments_that_can_not_be_looked_at_end_the_journal_and_not_the_unit(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_: Any) -> Any:
        raise torch.OutOfMemoryError("no memory for sums")

    monkeypatch.setattr(inputs, "look", look)
    _, made = studio.attempt(steps(3))
    assert made == 3
    assert studio.kinds() == []


def test_a_caught_denoiser_is_still_what_it_was(studio: Studio) -> None:
    kind = type(studio.denoiser)
    for _ in range(2):
        interception.attach({"one": studio.denoiser, "again": studio.denoiser})
    assert type(studio.denoiser).__name__ == "Denoiser"
    assert isinstance(studio.denoiser, Denoiser)
    assert interception.original(studio.denoiser) is kind
    assert type(studio.denoiser).__mro__[1] is kind
    with torch.no_grad():
        assert torch.equal(studio.denoiser(torch.ones(1)), torch.full((1,), 2.0))


def permuted() -> torch.Tensor:
    return torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.rand(2, 3),
        torch.rand(()),
        torch.rand(2, 0),
        permuted(),
        permuted()[:, :, 1:],
        torch.rand(3, 4).t(),
        torch.rand(1).expand(1),
        torch.rand(1).expand(4, 1),
        torch.rand(4, 6)[::2, ::3],
        torch.rand(5, 7)[1:, 1:],
        *(torch.rand(2, 3).mul(9).to(dtype) for dtype in trees.DTYPES),
    ],
    ids=lambda tensor: f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}",
)
def test_a_tensor_comes_back_with_its_bits_and_its_order_in_memory(tensor: torch.Tensor) -> None:
    tree, (taken,) = trees.take(tensor)
    copies = Copies([taken])
    assert copies.ready()
    (blob,) = copies.blobs()
    back = trees.build(tree, [restore(blob, *trees.strides(tree), torch.device("cpu"))])
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(back.contiguous().reshape(-1).view(torch.uint8), bits(tensor))
    assert back.stride() == torch.empty_like(tensor).stride()
    assert inputs.checksum(tensor) == inputs.checksum(back)
    assert inputs.digest([tensor]) == inputs.digest([back])


def test_memory_of_copies_is_used_again_once_they_are_forgotten() -> None:
    spare = Spare()
    first, second = Copies([torch.zeros(1000)], spare), Copies([torch.ones(1000)], spare)
    memory = first.tensors[0].data_ptr()
    assert memory != second.tensors[0].data_ptr()
    del first
    third = Copies([torch.full((10, 100), 2, dtype=torch.int32)], spare)
    assert third.tensors[0].data_ptr() == memory
    assert second.tensors[0].eq(1).all()
    assert third.tensors[0].eq(2).all()


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty(tensor.numel(), dtype=tensor.dtype).copy_(tensor.reshape(-1)).view(torch.uint8)


def test_outputs_come_back_in_their_form() -> None:
    x, y = torch.rand(2), torch.rand(3)
    for output in (
        x,
        (x, y),
        [x, None, 1, 2.5, "text", True],
        {"sample": x, "more": (y, [])},
        Transformer2DModelOutput(sample=x),
        (x, x),
    ):
        tree, tensors = trees.take(output)
        back = trees.build(tree, tensors)
        assert type(back) is type(output)
        assert repr(back) == repr(output)
    tree, tensors = trees.take((x, x))
    assert len(tensors) == 1


@pytest.mark.parametrize("output", [float("nan"), {1: 2}, {1, 2}, object(), torch.nn.Parameter(torch.rand(1))])
def test_what_would_not_come_back_the_same_is_not_taken(output: Any) -> None:
    with pytest.raises(Unkeepable):
        trees.take(output)


@pytest.mark.parametrize(
    "tree",
    [
        None,
        [],
        {"output": "os:system", "fields": {}},
        {"output": "diffusers.utils:logging", "fields": {}},
        {"output": "diffusers:Nothing", "fields": {}},
    ],
)
def test_no_other_tree_is_built(tree: Any) -> None:
    with pytest.raises(SegmentError):
        trees.build(tree, [])


@given(st.binary(min_size=1, max_size=64), st.data())
def test_every_bit_and_its_place_count_in_a_checksum(content: bytes, data: st.DataObject) -> None:
    before = torch.frombuffer(bytearray(content), dtype=torch.uint8).clone()
    after = before.clone()
    after[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert inputs.checksum(before) != inputs.checksum(after)
    assert inputs.digest([before]) != inputs.digest([after])


def test_words_that_changed_places_make_another_checksum() -> None:
    words = torch.arange(8, dtype=torch.int64)
    sums = {int(inputs.checksum(words[list(order)])) for order in itertools.permutations(range(6))}
    assert len(sums) == 720


def test_a_digest_tells_tensors_apart_that_hold_the_same_bytes_together() -> None:
    words = torch.arange(4)
    assert inputs.digest([words[:1], words[1:]]) != inputs.digest([words[:2], words[2:]])
    assert inputs.digest([torch.zeros(0)]) != inputs.digest([])


@pytest.mark.parametrize(
    "tensor", [torch.tensor(2.0).expand(1), torch.tensor(2.0).expand(3), torch.rand(4, 6)[:, ::2], torch.rand(2, 3).t()]
)
def test_a_digest_does_not_depend_on_how_a_tensor_lies_in_memory(tensor: torch.Tensor) -> None:
    assert inputs.digest([tensor]) == inputs.digest([torch.tensor(tensor.tolist())])


def test_a_digest_is_of_the_values_where_torch_only_notes_a_sign() -> None:
    number = torch.complex(torch.rand(3), torch.rand(3))
    assert inputs.digest([number.conj()]) == inputs.digest([number.conj().resolve_conj().clone()])
    assert inputs.digest([number.conj().imag]) == inputs.digest([number.conj().imag.resolve_neg().clone()])


def test_a_checksum_does_not_depend_on_how_a_tensor_is_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.rand(1000)
    whole = inputs.checksum(tensor)
    monkeypatch.setattr(inputs, "_PIECE", 7)
    assert inputs.checksum(tensor) == whole


class Sampling(Enum):
    VANILLA = object()
    INVERTED = object()


class Named(StrEnum):
    VANILLA = "vanilla"
    INVERTED = "inverted"


WITH_GAPS: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda tensor: tensor.to_sparse(),
    lambda tensor: tensor.to_sparse_csr(),
    lambda tensor: tensor.to_sparse_csc(),
    lambda tensor: tensor.to_sparse_bsr((1, 1)),
    lambda tensor: tensor.to_sparse_bsc((1, 1)),
    lambda tensor: tensor.to_mkldnn(),
]


@pytest.mark.parametrize(
    ("one", "same", "others"),
    [
        (Sampling.VANILLA, Sampling.VANILLA, [Sampling.INVERTED, None]),
        (Named.VANILLA, Named.VANILLA, [Named.INVERTED, "vanilla"]),
        *(
            (make(torch.eye(3)), make(torch.eye(3)), [make(torch.eye(3) * 2), make(torch.eye(3).flip(0)), torch.eye(3)])
            for make in WITH_GAPS
        ),
    ],
    ids=lambda value: str(value.layout) if isinstance(value, torch.Tensor) else None,
)
def test_what_is_no_plain_tensor_is_compared_by_its_content(one: Any, same: Any, others: list[Any]) -> None:
    def text(value: Any) -> str:
        looked = inputs.look((), {"given": value})
        return looked.resolve(looked.sums)["given"]

    assert text(one) == text(same)
    assert text(one) not in [text(other) for other in others]


def test_a_tensor_with_gaps_that_a_call_changes_is_seen() -> None:
    for make in WITH_GAPS[:5]:
        given = make(torch.eye(3))
        arguments = inputs.Arguments((given,), {})
        assert arguments.may_have_changed() == ""
        (given._values() if given.layout is torch.sparse_coo else given.values()).mul_(2)
        assert arguments.may_have_changed() == "0"


def test_prompts_are_not_written_down() -> None:
    looked = inputs.look((), {"text": "dunes at dawn", "more": {"texts": ["night"]}})
    assert "dunes" not in str(looked.texts)
    assert "night" not in str(looked.texts)
    assert looked.texts["text"] != inputs.look((), {"text": "dunes at noon"}).texts["text"]
