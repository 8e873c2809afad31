"""Room `guard`: nothing wrong goes on air. It knows no detector and no output by name.

    shm.py          segments, three slots, commit word last; Writer (worker side), Reader (main side)
    link.py         words between the processes; WorkerLink, what a worker is handed
    policy.py       worker side: is this finished frame safe? -> Verdict (whole-frame search no older than 100 ms, edges, empty chair, openings)
    _change.py      what in the raw picture is new; _drawn.py: does the drawing really hide the face
    states.py       main side: LIVE, HOLD, COVER, SLATE from what the reader has and when
    second.py       a second opinion: is the wearer still recognised in the finished picture
    cover.py        pixelate the whole frame to 16 blocks; the slate picture; the watermark
    reveal.py       the grant without which no unmasked picture exists
    start.py        how a worker process begins: it loads first, then is told what to do
    supervisor.py   main side: starts, watches, kills, reaps and restarts the worker; generations
"""
