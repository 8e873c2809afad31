"""The soak: livecam's real processes under load, with faults by the thousand, and the leak oracle on every picture that goes out.

    kinds.py     the faults by name, and which of them comes when: everything follows from (seed, index of the frame)
    scene.py     the camera's pictures: two of the personas that ship, in motion before a room, a canary on every pixel of their faces
    oracle.py    finds the canary in what went out, with a bound on false alarms that assumes nothing about the picture
    worker.py    the worker under test: livecam's own, fed by the scene; camera.py: its camera, which fails
    effects.py   what a faulty stage does; inside.py: what is done to the worker from inside
    stubs.py     stages without model files, for many frames in little time
    outside.py   what is done to processes, memory, files and descriptors from the main process; sinks.py: outputs that fail
    watch.py     memory, threads, descriptors, segments and zombies over time
    live.py      livecam's main process under test; run.py: a run, its state file, and sums over resumed runs
    planted.py   is the oracle blind? Planted leaks, at the beginning of every run

The scene is drawn from the portraits in the persona files: they ship, they come with exact landmarks, nobody real is in them, and a sprite can be
put anywhere, turned, and doubled, which the demo clip cannot.  A renderer would need an extra and tell the guard nothing more.
"""
