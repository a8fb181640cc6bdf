"""Templates: what they may say, what they may not, and that nobody gets out of them."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_core.templates import (
    DEEPEST,
    FILTERS,
    LONGEST,
    File,
    FileRef,
    TemplateError,
    as_text,
    has_files,
    is_template,
    names,
    render,
    with_files,
)

SCOPE: dict[str, Any] = {
    "item": {
        "id": "dunes",
        "index": 3,
        "prompt": "a dune",
        "frames": 16,
        "guidance": 7.0,
        "strength": 0.5,
        "hdr": True,
        "nothing": None,
        "tags": ["sand", "sun"],
        "size": {"width": 640, "height": 360},
        "seeds": [1, 2, 3],
        "items": "not a method",
    },
    "job": {"name": "reel", "namespace": "studio"},
    "stage": {"name": "clip"},
    "inputs": {"image": FileRef("image"), "first-frame": FileRef("first-frame")},
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("plain text", "plain text"),
        ("100 % of {braces}", "100 % of {braces}"),
        ("{{ item.prompt }}, cinematic", "a dune, cinematic"),
        ("{{item.prompt}}{{item.frames}}", "a dune16"),
        ("{{ item.frames }}", 16),
        ("{{ item.guidance }}", 7.0),
        ("{{ item.hdr }}", True),
        ("{{ item.nothing }}", None),
        ("{{ item.tags }}", ["sand", "sun"]),
        ("{{ item.size }}", {"width": 640, "height": 360}),
        ("{{ item.size.width }}", 640),
        ("{{ item['size']['width'] }}", 640),
        ("{{ item.tags[1] }}", "sun"),
        ("{{ item.items }}", "not a method"),
        ("{{ item.prompt }}\n", "a dune"),
        (" {{ item.frames }}", " 16"),
        ("{{ job.name }}/{{ stage.name }}/{{ item.index }}", "reel/clip/3"),
        ("{{ inputs.image }}", FileRef("image")),
        ("{{ inputs['first-frame'] }}", FileRef("first-frame")),
        ("{{ inputs.image['last.png'] }}", FileRef("image", "last.png")),
        ("{{ 'text' }}", "text"),
        ("{{ 5 }}", 5),
        ("{{ -1.5 }}", -1.5),
        ("{{ true }}", True),
        ("{{ none }}", None),
        ("{{ 'wide' if item.size.width > 600 else 'narrow' }}", "wide"),
        ("{{ item.frames if item.hdr else 8 }}", 16),
        ("{{ 'x' if not item.hdr }}", ""),
        ("{{ item.hdr and item.frames }}", 16),
        ("{{ item.nothing or 'fallback' }}", "fallback"),
        ("{{ 1 < item.index <= 3 }}", True),
        ("{{ 'sand' in item.tags }}", True),
        ("{{ 'snow' not in item.tags }}", True),
        ("{{ item.guidance == 7 }}", True),
        ("guidance {{ item.guidance }}", "guidance 7"),
        ("strength {{ item.strength }}", "strength 0.5"),
        ("hdr {{ item.hdr }}, nothing {{ item.nothing }}.", "hdr true, nothing ."),
        ("tags {{ item.tags }}", 'tags ["sand", "sun"]'),
        ("{# a note #}{{ item.frames }}", 16),
        ("{% raw %}{{ item.prompt }}{% endraw %}", "{{ item.prompt }}"),
        (["{{ item.frames }}", {"deep": "{{ item.prompt }}"}], [16, {"deep": "a dune"}]),
        ({"{{ item.prompt }}": 1}, {"{{ item.prompt }}": 1}),
        (7.5, 7.5),
        (None, None),
    ],
)
def test_what_a_template_becomes(template: Any, value: Any) -> None:
    made = render(template, SCOPE)
    assert made == value
    assert type(made) is type(value)


FILTERED = [
    ("{{ item.prompt|capitalize }}", "A dune"),
    ("{{ item.tags|first }}", "sand"),
    ("{{ item.tags|last }}", "sun"),
    ("{{ '1.5'|float }}", 1.5),
    ("{{ '15'|int }}", 15),
    ("{{ item.tags|join(', ') }}", "sand, sun"),
    ("{{ item.seeds|join }}", "123"),
    ("{{ item.tags|length }}", 2),
    ("{{ item.prompt|upper|lower }}", "a dune"),
    ("{{ item.prompt|replace('dune', 'beach') }}", "a beach"),
    ("{{ item.frames|replace(6, 7) }}", "17"),
    ("{{ item.strength|round }}", 0.0),
    ("{{ 2.345|round(1) }}", 2.3),
    ("{{ item.guidance|string }}", "7"),
    ("{{ item.prompt|title }}", "A Dune"),
    ("{{ item.size|tojson }}", '{"height": 360, "width": 640}'),
    ("{{ '  x '|trim }}", "x"),
    ("{{ item.prompt|upper }}", "A DUNE"),
    ("{{ item.negative|default('blurry') }}", "blurry"),
    ("{{ item.negative.deep|default('blurry') }}", "blurry"),
    ("{{ item.negative|default }}", ""),
    ("{{ item.negative|default(-1) }}", -1),
    ("{{ item.negative|default(item.prompt|upper) }}", "A DUNE"),
    ("{{ item.nothing|default('blurry') }}", None),
    ("{{ nobody|default('x') }}", "x"),
]


@pytest.mark.parametrize(("template", "value"), FILTERED)
def test_what_a_filter_makes(template: str, value: Any) -> None:
    made = render(template, SCOPE)
    assert made == value
    assert type(made) is type(value)


def test_every_listed_filter_is_shown_above() -> None:
    shown = " ".join(template for template, _ in FILTERED)
    assert [name for name in (*FILTERS, "default") if f"|{name}" not in shown] == []


REFUSED = [
    ("{{ item.promt }}", "a template names item.promt, but item has: frames, guidance, hdr, id, index, items,"),
    ("{{ prompt }}", "a template names prompt, but it can begin with: inputs, item, job, stage"),
    ("{{ item.size.depth }}", "a template names item.size.depth, but item.size has: height, width"),
    ("{{ item.tags[2] }}", 'a template names item.tags.2, but item.tags is ["sand", "sun"]'),
    ("{{ item.frames.real }}", "a template names item.frames.real, but item.frames is 16"),
    ("{{ item.nothing.deep }}", "a template names item.nothing.deep, but item.nothing is empty"),
    ("{{ inputs.clip }}", "a template names inputs.clip, but inputs has: first-frame, image"),
    ("{{ inputs.image['a']['b'] }}", "but inputs.image['a'] is a file"),
    ("{{ inputs.image[0] }}", "but inputs.image is a file"),
    ("{{ item.prompt", "can't be read: unexpected end of template, expected 'end of print statement'."),
    ("{{ }}", "can't be read: Expected an expression, got 'end of print statement'"),
    ("{# open", "can't be read: Missing end of comment tag"),
    ("{{ item.first-frame }}", "uses sub, which is not allowed: use names, attributes, constants, conditionals"),
    ("{% if item.hdr %}x{% endif %}", "uses a statement: only expressions in {{ }} are allowed"),
    ("{% for t in item.tags %}{{ t }}{% endfor %}", "uses a statement"),
    ("{% set x = 1 %}", "uses a statement"),
    ("{% include '/etc/passwd' %}", "uses a statement"),
    ("{% import 'os' as os %}", "uses a statement"),
    ("{% macro m() %}{% endmacro %}", "uses a statement"),
    ("{{ item.prompt.upper() }}", "uses call, which is not allowed"),
    ("{{ range(1000000000) }}", "uses call"),
    ("{{ lipsum.__globals__ }}", "a template names lipsum, but it can begin with"),
    ("{{ item.__class__ }}", "a template names item.__class__, but item has"),
    ("{{ ''.__class__.__mro__ }}", "a template names the expression.__class__, but the expression is empty"),
    ("{{ item.prompt.__class__ }}", "a template names item.prompt.__class__, but item.prompt is a dune"),
    ("{{ item['__init__'] }}", "a template names item.__init__, but item has"),
    ("{{ item.keys }}", "a template names item.keys, but item has"),
    ("{{ self }}", "a template names self"),
    ("{{ item|attr('__class__') }}", "uses the filter attr, which is not allowed: use default, capitalize, first,"),
    ("{{ item.tags|map('upper') }}", "uses the filter map, which is not allowed"),
    ("{{ item.prompt|format }}", "uses the filter format, which is not allowed"),
    ("{{ item.prompt is defined }}", "uses test, which is not allowed"),
    ("{{ 'a' * 1000000000 }}", "uses mul, which is not allowed"),
    ("{{ 2 ** 100000 }}", "uses pow, which is not allowed"),
    ("{{ item.frames + 1 }}", "uses add, which is not allowed"),
    ("{{ 'a' ~ 'b' }}", "uses concat, which is not allowed"),
    ("{{ -item.frames }}", "uses neg, which is not allowed"),
    ("{{ [1, 2] }}", "uses list, which is not allowed"),
    ("{{ {'a': 1} }}", "uses dict, which is not allowed"),
    ("{{ item.tags[0:1] }}", "an index in brackets must be a constant"),
    ("{{ item[item.id] }}", "an index in brackets must be a constant"),
    ("{{ item.prompt|replace(old='a', new='b') }}", "give the filter replace plain positional arguments"),
    ("{{ item.prompt|replace(*item.tags) }}", "give the filter replace plain positional arguments"),
    ("{{ item.x|default('y', true) }}", "give the filter default one value, for what is not there"),
    ("{{ item.prompt|replace('a') }}", "item.prompt does not go through the filter replace"),
    ("{{ item.prompt|int }}", "item.prompt does not go through the filter int"),
    ("{{ item.size|first }}", "item.size does not go through the filter first"),
    ("{{ item.frames|length }}", "item.frames does not go through the filter length"),
    ("{{ item.prompt < 3 }}", "item.prompt can't be compared so"),
    ("{{ item.size in item.size }}", "item.size can't be compared so"),
    ("see {{ inputs.image }}", "inputs.image is a file: it must be the whole value, not a part of a text"),
    ("see {{ inputs }}", "inputs.first-frame is a file: it must be the whole value, not a part of a text"),
    ("{{ inputs.image|upper }}", "inputs.image is a file: the filter upper can't look into it"),
    ("{{ inputs|tojson }}", "is a file: it must be the whole value"),
    ("{{ item.prompt|replace('a', inputs.image) }}", "inputs.image is a file: it must be the whole value"),
]


@pytest.mark.parametrize(("template", "sentence"), REFUSED, ids=[template for template, _ in REFUSED])
def test_what_is_refused_says_why(template: str, sentence: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render({"params": [template]}, SCOPE)
    assert sentence in str(caught.value)
    assert "FileRef" not in str(caught.value)


NOT_ALLOWED = [template for template, why in REFUSED if why.startswith(("uses", "can't be read", "an index"))]


@pytest.mark.parametrize("template", NOT_ALLOWED)
def test_what_is_not_allowed_is_refused_before_there_are_items(template: str) -> None:
    with pytest.raises(TemplateError):
        names({"params": [template]})


@pytest.mark.parametrize(
    "template",
    [
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ " + "not " * 3000 + "1 }}",
        "{{ item" + ".size" * 3000 + " }}",
        "{{ item.prompt" + "|upper" * 3000 + " }}",
        "{{ " + "1 if 1 else " * 3000 + "1 }}",
    ],
    ids=["brackets", "not", "attributes", "filters", "conditionals"],
)
def test_an_expression_without_end_is_refused(template: str) -> None:
    with pytest.raises(TemplateError, match=f"is nested too deep: at most {DEEPEST} levels"):
        names(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a'" + "|replace('a', 'aaaaaaaaaa')" * 20 + " }}",
        "{{ 'a'" + "|replace('', 'aaaaaaaaaa')" * 20 + " }}",
        "{{ '\"'" + "|tojson" * 40 + " }}",
        "{{ item.many|join('" + "x" * 60_000 + "') }}",
        "{{ item.long }}" * 20,
    ],
    ids=["replace", "replace nothing", "quotes", "join", "many parts"],
)
def test_a_text_can_not_grow_without_end(template: str) -> None:
    with pytest.raises(TemplateError, match=f"grows beyond {LONGEST} characters"):
        render(template, {"item": {"many": list(range(100_000)), "long": "x" * 10_000}})


def test_a_template_has_a_longest() -> None:
    with pytest.raises(TemplateError, match=f"must be at most {LONGEST} characters"):
        names("{{ item.id }}" + "x" * LONGEST)
    names("x" * (LONGEST + 1))


@given(st.text(max_size=60), st.text(max_size=60))
def test_values_of_items_are_never_templates_themselves(before: str, value: str) -> None:
    quiet = before.replace("{", "(")
    assert render(quiet + "{{ item.x }}.", {"item": {"x": value}}).endswith(f"{value}.")


@given(st.text(alphabet=st.sampled_from("{}%# abx.|()[]'\"-+*~0,:=_\n"), max_size=40))
def test_whatever_is_written_ends_in_a_value_or_a_sentence(text: str) -> None:
    # Anything but a TemplateError fails this test.
    with suppress(TemplateError):
        json.dumps(render(text, {"a": {"b": 1}, "x": "y", "b": [1, "2"]}))


def test_a_file_has_no_text() -> None:
    with pytest.raises(TemplateError, match="must be the whole value"):
        as_text({"deep": [FileRef("image")]})


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("no template", set()),
        ("{{ none if true else false }}", set()),
        ("{{ item }}{{ inputs }}", {"item", "inputs"}),
        ("{{ item.prompt | default(job.name) | upper }}", {"item.prompt", "job.name"}),
        ("{{ item['prompt'].deep[0] }}", {"item.prompt"}),
        ("{{ 'a' if not inputs['previous'] and item.x in item.y else -1 }}", {"inputs.previous", "item.x", "item.y"}),
        ({"a": ["{{ item.a }}", {"b": "{{ item.b }}"}], "{{ item.key }}": 1, "c": None}, {"item.a", "item.b"}),
    ],
)
def test_what_templates_name_is_known_without_items(value: Any, named: set[str]) -> None:
    assert names(value) == named


def test_a_text_with_an_expression_is_a_template() -> None:
    assert is_template("a {{ item.b }}")
    assert not any(map(is_template, ("a {b}", 7, None, ["{{ item.b }}"])))


FILE = {"file": "s3://bucket/a.png"}


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (FILE, File("s3://bucket/a.png")),
        ({"a": [FILE, {"b": FILE}]}, {"a": [File("s3://bucket/a.png"), {"b": File("s3://bucket/a.png")}]}),
        ({**FILE, "more": 1}, {**FILE, "more": 1}),
        ({"file": 7}, {"file": 7}),
        ({"file": File("s3://b/c")}, File("s3://b/c")),
        ("s3://bucket/a.png", "s3://bucket/a.png"),
    ],
    ids=str,
)
def test_a_mapping_with_nothing_but_a_file_is_a_file(value: Any, made: Any) -> None:
    assert with_files(value) == made
    assert has_files(value) == (made != value)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("see {{ item.photo }}", "s3://bucket/a.png is a file: it must be the whole value, not a part of a text"),
        ("{{ item.photo | upper }}", "item.photo is a file: the filter upper can't look into it"),
        ("{{ item.all | tojson }}", "s3://bucket/a.png is a file"),
        ("{{ item.photo.width }}", "a template names item.photo.width, but item.photo is a file"),
        ("{{ item.photo | first }}", "item.photo is a file: the filter first can't look into it"),
        ("{{ item.photo | length }}", "item.photo is a file: the filter length can't look into it"),
    ],
)
def test_a_users_file_is_a_whole_value_or_nothing(template: str, sentence: str) -> None:
    photo = File("s3://bucket/a.png")
    scope = {"item": {"photo": photo, "all": [photo]}}
    assert render("{{ item.photo if item.photo else none }}", scope) == photo
    assert render("{{ item.photo.width | default(7) }}", scope) == 7
    with pytest.raises(TemplateError) as caught:
        render(template, scope)
    assert sentence in str(caught.value)
