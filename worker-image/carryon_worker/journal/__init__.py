"""What a denoiser has answered so far, kept in the bucket: a unit that was killed goes on after its last kept call.

A restarted worker runs the same pipeline call from the top, and the first calls of the denoiser are answered from the
journal. Everything else, scheduler, guidance, random draws and sections, runs for real, so that nothing about it has to
be known.

In order of use: `interception` catches the calls, `recorder` keeps or replays them, `unit` holds one unit's journal,
`writer` and `chain` write it to and read it from the bucket in `segments`. `fingerprint`, `surroundings` say
for whom it holds. Only `interception`, `recorder`, `copies`, `inputs`, `drift`, `trees` and `surroundings` know torch.
"""
