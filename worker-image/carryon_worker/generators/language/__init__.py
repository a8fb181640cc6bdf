"""What the `text` generator is made of: prompts, tokens drawn one by one, and what is kept of them.

`prompts` makes a prompt's tokens, `decoding` computes what may follow, `drawing` takes one of them, `endings` says when
it is enough, `keeping` puts tokens into the unit's journal and takes them out again, `loading` loads models.
"""
