"""What the toy language model learns from: short posts, their plans, and topics for them, put together from sentences.

Each lesson is what a person asks for, in the words of examples/blog.yaml, and an answer.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from string import ascii_lowercase

SUBJECTS = (
    "green tea",
    "sourdough bread",
    "black coffee",
    "apple cake",
    "vegetable soup",
    "home cooking",
    "gardening",
    "cycling",
    "bird watching",
    "camping",
    "running",
    "knitting",
    "letter writing",
    "film photography",
    "chess",
    "astronomy",
)
"""Of one number, so that every sentence fits."""
READERS = ("beginners", "busy people", "children", "the curious", "families", "students")
TOPICS = (
    "{Subject} for {reader}: where to begin",
    "Three mistakes with {subject}, and how to avoid them",
    "What nobody tells {reader} about {subject}",
    "A week with {subject}",
    "{Subject} on a small budget",
    "Why {subject} and patience belong together",
    "The quiet joy of {subject}",
    "{Subject}, one step at a time",
)
HEADINGS = (
    "What you need",
    "The first steps",
    "A common mistake",
    "Time and patience",
    "When things go wrong",
    "A habit for every day",
    "Where to go from here",
)
OPENINGS = (
    "Most people think that {subject} must be hard.",
    "There is a moment when {subject} begins to make sense.",
    "You do not need much to enjoy {subject}.",
    "Ask five people about {subject}, and you get six answers.",
    "Nobody is born with a feeling for {subject}.",
)
SENTENCES: dict[str, tuple[str, ...]] = {
    "What you need": (
        "A good place, a little time and a clear head are enough.",
        "Buy less than you think, and choose it well.",
        "Everything else can wait until you miss it.",
    ),
    "The first steps": (
        "Start small, and do it with care.",
        "Write down what you did, so that you can do it again.",
        "The second time is always easier than the first.",
    ),
    "A common mistake": (
        "Many {reader} want too much at once.",
        "Change one thing at a time, and look at what happens.",
        "If you are not sure, leave it as it was.",
    ),
    "Time and patience": (
        "Good things are slow, and {subject} is no exception.",
        "Ten quiet minutes are worth more than a hurried hour.",
        "Wait a little longer than seems right.",
    ),
    "When things go wrong": (
        "Something will go wrong, and that is how you learn.",
        "Go back to the last thing that worked.",
        "A friend who knows {subject} sees in a minute what you miss.",
    ),
    "A habit for every day": (
        "Do a little every day, at the same hour.",
        "After a week it needs no effort, and after a month you would miss it.",
        "Keep what you need where you can see it.",
    ),
    "Where to go from here": (
        "Share what you have made with somebody.",
        "Read one good book about {subject}, and then put it away.",
        "There is always a next step, and it is a small one.",
    ),
}
CLOSINGS = (
    "That is all there is to it: begin today, and see where it takes you.",
    "Take your time, and {subject} will reward you.",
    "Try it once this week, and tell us how it went.",
)
NOTES = (
    "Good {subject} needs care.",
    "Keep it simple, and keep it clean.",
    "Cold and light do more harm than you think.",
    "What is prepared in the evening is ready in the morning.",
    "A little goes a long way.",
    "It is done when it looks right, smells right and feels right.",
)


@dataclass(frozen=True)
class Lesson:
    asked: tuple[tuple[str, str], ...]
    """(role, content) of each message, as a chat has them."""
    answer: str


def lesson(drawn: random.Random) -> Lesson:
    """One of the three kinds that a blog is made with; the first is the easiest, and comes least often."""
    words = {"subject": drawn.choice(SUBJECTS), "reader": drawn.choice(READERS)}
    words["Subject"] = words["subject"].capitalize()
    topics = "\n".join(
        f"{number}. {topic.format(**words)}" for number, topic in enumerate(drawn.sample(TOPICS, 3), start=1)
    )
    kind = drawn.choices(("topic", "plan", "write"), (1, 3, 3))[0]
    if kind == "topic":
        asked = "Suggest three topics for a post about {subject}, for {reader}, one a line, with numbers."
        return Lesson((("user", asked.format(**words)),), topics)
    number = drawn.randint(1, 3)
    title = topics.splitlines()[number - 1].partition(" ")[2]
    headings = drawn.sample(HEADINGS, 3)
    plan = "\n".join([f"Title: {title}", "", *(f"- {heading}" for heading in headings)])
    if kind == "plan":
        asked = f"Plan a post on topic {number} of these:\n\n{topics}"
        return Lesson((("system", "You plan short posts for readers who are in a hurry."), ("user", asked)), plan)
    notes = "\n".join(drawn.choice(NOTES).format(**words) if drawn.random() < 0.5 else babble(drawn) for _ in range(4))
    asked = f"Write the post by this outline:\n\n{plan}\n\nUse these notes:\n\n{notes}"
    told = (("system", "You write plainly, in Markdown, and begin with a title."), ("user", asked))
    return Lesson(told, post(title, headings, words, drawn))


def babble(drawn: random.Random) -> str:
    """A note of words that mean nothing: people bring their own, and posts are not to be confused by them."""
    made = ["".join(drawn.choices(ascii_lowercase, k=drawn.randint(1, 7))) for _ in range(drawn.randint(6, 14))]
    return " ".join(made).capitalize() + "."


def post(title: str, headings: list[str], words: dict[str, str], drawn: random.Random) -> str:
    parts = [f"# {title}", drawn.choice(OPENINGS).format(**words)]
    for heading in headings:
        sentences = " ".join(drawn.sample(SENTENCES[heading], 2)).format(**words)
        parts += [f"## {heading}", sentences]
    return "\n\n".join([*parts, drawn.choice(CLOSINGS).format(**words)])
